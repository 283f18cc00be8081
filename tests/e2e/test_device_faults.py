"""If one of these fails, a device that breaks down leaves clients waiting, or its operator with a traceback."""

import json

import httpx
import pytest
from tests.server_process import ServerProcess, lines_until_cut

# The server of a model whose device fails in the middle of an answer.
FAILING = """
import sys

import torch
from streamcore.__main__ import run
from streamcore.runner.model_runner import ModelRunner

ERRORS = {{
    "memory": torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"),
    "fault": RuntimeError("CUDA error: an illegal memory access was encountered\\nCompile with"),
}}
launch, num_decodes = ModelRunner.launch, 0

def launched(runner, plan):
    global num_decodes
    # Beyond those of the warm-up.
    num_decodes += plan.num_tokens == 1
    if num_decodes > 10:
        raise ERRORS["{kind}"]
    launch(runner, plan)

ModelRunner.launch = launched
sys.exit(run())
"""
EXPECTED = {
    "memory": "streamcore: the device has no memory left for a step: CUDA out of memory; "
    "`--max-num-batched-tokens` and `--max-num-seqs` make steps smaller",
    "fault": "streamcore: the device failed during a step: CUDA error: an illegal memory access was encountered; "
    "start again; if it comes back, `STREAMCORE_CHECK=1` finds arguments that are at fault",
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_device_that_fails_ends_the_streams_and_the_process(kind: str) -> None:
    """An illegal address stays for the life of the process: one that goes on fails every request to come."""
    with ServerProcess(program=("-c", FAILING.format(kind=kind))) as server:
        body = {"prompt": "Once upon a time", "max_tokens": 100, "stream": True, "ignore_eos": True}
        with httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=60) as response:
            lines = lines_until_cut(response.iter_lines())
        error = json.loads(lines[-1].removeprefix("data: "))["error"]
        assert error["code"] == "engine_failed"
        # Tokens that come while others are sent leave together: how many parts there are says
        # nothing.
        said = [json.loads(line.removeprefix("data: "))["choices"][0]["text"] for line in lines[:-1]]
        assert "".join(said)
        rest, _ = server.process.communicate(timeout=60)
        assert server.process.returncode == 1
        output = server.output + rest.decode()
    (line,) = (line for line in output.splitlines() if line.startswith("streamcore: "))
    assert line.startswith(EXPECTED[kind])
    assert "Traceback" not in output
