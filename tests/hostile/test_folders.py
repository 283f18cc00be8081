"""If one of these fails, the maker of a model that is only tried out takes the server, or the terminal of who tries it."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tests.hostile.clients import chat, post
from tests.server_process import run_server

import streamcore

LIMITED = """
import resource, sys
from streamcore import cli
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
sys.exit(cli.main())
"""
DEMO = Path(streamcore.__file__).parent / "demo_model"


def demo(tmp_path: Path, name: str = "model") -> Path:
    """A copy of the demo model, to be changed."""
    return shutil.copytree(DEMO, tmp_path / name)


def change_config(folder: Path, **fields: object) -> None:
    """Write other numbers into a model's config."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refusal(folder: Path) -> str:
    """What a server says of a folder that it does not serve, within a memory that nothing has to be taken of."""
    command = [sys.executable, "-c", LIMITED, "serve", str(folder), "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("field", "number"),
    [("num_hidden_layers", 10**9), ("num_hidden_layers", 10**300), ("rope_theta", float("inf"))],
    ids=["a billion", "300 digits", "infinite"],
)
def test_numbers_that_no_model_has_are_refused_by_name(tmp_path: Path, field: str, number: float) -> None:
    """A billion layers would be made one by one until the memory is full."""
    folder = demo(tmp_path)
    change_config(folder, **{field: number})
    said = refusal(folder)
    assert field in said
    assert len(said.splitlines()) <= 3
    assert "Traceback" not in said


@pytest.mark.parametrize("link", [" or a", ".a", " + a", "|trim"])
def test_chains_of_operators_end_in_an_error(tmp_path: Path, link: str) -> None:
    """The stack of a thread would end, and the process with it, without a word."""
    folder = demo(tmp_path)
    (folder / "chat_template.jinja").write_text("{{ a" + link * 200_000 + " }}")
    with run_server(str(folder)) as server:
        assert "the chat template does not compile" in server.output
        assert post(server, "/v1/chat/completions", chat("hello", model="model")).status_code == 400
        assert server.stop() == 0


def test_a_template_that_never_ends_costs_one_request(tmp_path: Path) -> None:
    """The thread that renders it would compute for days, and the connections that it serves would stand still."""
    folder = demo(tmp_path)
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    (folder / "chat_template.jinja").write_text(loop)
    with run_server(str(folder)) as server:
        answer = post(server, "/v1/chat/completions", chat("hello", model="model"))
        # Whichever of its two limits it meets first.
        assert re.search("more than [0-9]+ (steps|bytes)", answer.json()["error"]["message"])
        assert answer.status_code == 400
        assert httpx.get(f"{server.url}/health", timeout=5).status_code == 200
        assert server.stop() == 0


def name_of_tensor(folder: Path, name: str) -> None:
    """Give the first tensor of the weights another name."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    first = next(key for key in header if key != "__metadata__")
    header[name] = header.pop(first)
    written = json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + data[8 + length :])


def in_config(folder: Path, name: str) -> None:
    """Make it the name of an architecture."""
    change_config(folder, architectures=[name])


@pytest.mark.parametrize("place", [name_of_tensor, in_config])
def test_no_name_is_obeyed_by_a_terminal(tmp_path: Path, place: Callable[[Path, str], None]) -> None:
    """The maker of a model could write over what the server says, or have the terminal answer for its user."""
    folder = demo(tmp_path)
    place(folder, "a\x1b[2Jb\x9bc\u202ed\u2028e")
    said = refusal(folder)
    # As JSON writes it, or Python.
    assert re.search(r"a\\(u001b|x1b)\[2Jb\\(u009b|x9b)c\\u202ed\\u2028e", said)
    assert not set(said) & set("\x1b\x9b\u202e\u2028")
