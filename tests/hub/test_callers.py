"""If one of these fails, a name is understood by `streamcore serve` alone, and elsewhere taken for a path."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.hub.command import Machine
from tests.hub.models import LARGE, MIB, MODEL
from tests.hub.server import Hub, folder_files
from tests.server_process import run_server

DEMO = Path(__file__).parents[2] / "python" / "streamcore" / "demo_model"


def run(machine: Machine, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """A Python program, or the command."""
    machine.home.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [sys.executable, *arguments],
        env=machine.environment(**variables),
        cwd=machine.home,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def simulate(machine: Machine, name: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    options = (
        "-m",
        "streamcore",
        "simulate",
        "--requests",
        "1",
        "--num-blocks",
        "1000",
        "--json",
        "--model",
        name,
    )
    return run(machine, *options, **variables)


def test_simulation_takes_the_shape_alone(hub: Hub, machine: Machine) -> None:
    """A model of hundreds of gigabytes is simulated on a laptop: only its config.json is fetched, and is found again."""
    hub.add("org/name", folder_files(DEMO))
    by_name, again = simulate(machine, "org/name"), simulate(machine, "org/name", HF_HUB_OFFLINE="1")
    assert hub.fetched() == ["config.json"]
    assert by_name.stderr.startswith(
        "streamcore: no folder org/name: looking for the repository of that name"
    )
    by_path = simulate(machine, str(DEMO))
    figures = [json.loads(ended.stdout)["report"] for ended in (by_name, again, by_path)]
    assert figures[0] == figures[1] == figures[2]


def test_simulation_asks_for_no_weights(hub: Hub, machine: Machine) -> None:
    """The shape of a model whose weights could not be loaded is a shape, too."""
    hub.add("org/name", {"config.json": folder_files(DEMO)["config.json"], "model.gguf": b"GGUF"})
    assert simulate(machine, "org/name").returncode == 0


def test_simulation_leaves_the_download_to_the_server(hub: Hub, machine: Machine) -> None:
    """A cache that holds config.json alone is not whole."""
    hub.add("org/name", folder_files(DEMO))
    simulate(machine, "org/name")
    assert "which lacks `tokenizer.json`, `model.safetensors`, and" in (
        machine.serve("org/name", HF_HUB_OFFLINE="1").complaint
    )
    assert machine.serve("org/name").folder.is_dir()


def test_simulation_says_why_there_is_no_model(machine: Machine) -> None:
    """The same words as elsewhere."""
    ended = simulate(machine, "org/name")
    assert ended.returncode == 1
    assert "no repository of that name at" in ended.stderr
    assert "Traceback" not in ended.stderr


LLM = """
import sys
from streamcore import LLM

with LLM(sys.argv[1], max_model_len=64) as llm:
    print(llm.generate("Once upon a time")[0].outputs[0].finish_reason)
"""


def test_program_names_a_model(hub: Hub, machine: Machine) -> None:
    """`LLM("org/name")`, first from the hub and then without one."""
    hub.add("org/name", folder_files(DEMO))
    assert run(machine, "-c", LLM, "org/name").stdout in ("stop\n", "length\n")
    hub.close()
    ended = run(machine, "-c", LLM, "org/name@main", HF_HUB_OFFLINE="1")
    assert (ended.stdout, ended.stderr) in (("stop\n", ""), ("length\n", ""))


INTERRUPTED = """
import os, signal, sys, threading
from streamcore import LLM

def interrupt():
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
try:
    LLM("org/name")
except KeyboardInterrupt:
    print("interrupted", [thread.name for thread in threading.enumerate() if "engine" in thread.name])
"""


def test_ctrl_c_ends_the_download_of_a_program(hub: Hub, machine: Machine) -> None:
    """The hub sends nothing: a thread that waits for it must hold up neither the exception nor the end of the program."""
    hub.add("org/name", LARGE)
    hub.faults.held["model.safetensors"] = 5 * MIB
    machine.home.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        env=machine.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert hub.is_holding.wait(60)
        output, errors = process.communicate("now\n", timeout=60)
    assert (output, errors, process.returncode) == ("interrupted []\n", "", 0)


ASGI = """
import sys
from starlette.testclient import TestClient
from streamcore.asgi import create_app

with TestClient(create_app(sys.argv[1], max_model_len=64)) as client:
    print([model["id"] for model in client.get("/v1/models").json()["data"]])
"""


def test_site_names_a_model(hub: Hub, machine: Machine) -> None:
    """`create_app("org/name@v1")` is asked for by both names."""
    hub.add("org/name", folder_files(DEMO), "v1")
    ended = run(machine, "-c", ASGI, "org/name@v1")
    assert ended.stdout == "['org/name', 'org/name@v1']\n", ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["org/name"], "unknown command `org/name`, did you mean `streamcore serve org/name`?"),
        (["serve", "org/name", "--model", "org/name"], "the model is given twice"),
    ],
)
def test_name_in_the_wrong_place(arguments: list[str], said: str, machine: Machine) -> None:
    """Names are understood where paths are, also in what is said about mistakes."""
    ended = run(machine, "-m", "streamcore", *arguments)
    assert ended.returncode == 2
    assert said in ended.stderr


def test_unknown_kind_of_model_is_refused_after_its_download(hub: Hub, machine: Machine) -> None:
    """What is downloaded is checked as any folder is."""
    hub.add("org/name", MODEL)
    ended = run(machine, "-m", "streamcore", "serve", "--port", "0", "org/name")
    assert ended.returncode == 1
    assert f"model folder {machine.cache}" in ended.stderr


def test_served_by_name(hub: Hub, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """From end to end: downloaded, loaded, listed and asked by its name; then the same from the cache without a hub."""
    commit = hub.add("org/name", folder_files(DEMO))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    for name, value in machine.environment().items():
        monkeypatch.setenv(name, value)
    machine.home.mkdir()
    asked = {"prompt": "Once upon a time", "max_tokens": 4, "temperature": 0}
    texts = []
    for pinned in ("org/name", f"org/name@{commit}"):
        with run_server(pinned) as server:
            listed = [model["id"] for model in httpx.get(f"{server.url}/v1/models").json()["data"]]
            assert listed == list(dict.fromkeys(["org/name", pinned]))
            assert f"serving org/name at {server.url}" in server.output
            for model in listed:
                answer = httpx.post(f"{server.url}/v1/completions", json=asked | {"model": model}, timeout=60)
                assert answer.json()["model"] == model
                texts.append(answer.json()["choices"][0]["text"])
            refused = httpx.post(f"{server.url}/v1/completions", json=asked | {"model": "org/other"})
            assert refused.status_code == 404
        hub.close()
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert len(set(texts)) == 1
    with run_server("org/name", "--served-model-name", "mine") as server:
        assert [model["id"] for model in httpx.get(f"{server.url}/v1/models").json()["data"]] == ["mine"]
