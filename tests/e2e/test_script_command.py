"""If one of these fails, `streamcore serve script:FILE` misleads a user who starts it by hand, or needs more than the wheel."""

import json
import shlex
import signal
from pathlib import Path

import httpx
import pytest
from tests.server_process import run_server

EXAMPLE = Path(__file__).parents[2] / "docs" / "script.example.json"
# What the wheel depends on, and what some of it brings.
BARE = """
import sys
sys.modules.update(dict.fromkeys(["torch", "safetensors", "numpy", "starlette", "tokenizers", "jinja2"]))
from streamcore.cli import main
sys.exit(main())
"""


def test_server_needs_the_wheel_alone() -> None:
    """A job that tests a client installs ten megabytes, not torch."""
    with run_server(f"script:{EXAMPLE}", program=("-c", BARE)) as server:
        assert httpx.get(f"{server.url}/health").status_code == 200


@pytest.mark.parametrize(
    ("when", "name", "asked"),
    [
        ({"contains": "the weather in 'Bonn'"}, "script", "the weather in 'Bonn'"),
        ({"equals": 'say "hi"', "stream": True}, "my model's", 'say "hi"'),
        ({}, "script", "Tell me a joke"),
    ],
)
def test_line_to_try_is_answered(tmp_path: Path, when: dict[str, object], name: str, asked: str) -> None:
    """The first thing that a user copies into his shell must work."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"rules": [{"when": when, "answer": {"text": "ok"}}]}))
    with run_server(f"script:{script}", "--served-model-name", name) as server:
        shown = server.read_output_until("}'").split("Try:")[1]
        _, _, url, *options = shlex.split(shown[: shown.rindex("}'") + 2])
        body = json.loads(options[options.index("-d") + 1])
        assert body["messages"][0]["content"] == asked
        answer = httpx.post(url, json=body)
        assert (answer.status_code, answer.text.splitlines()[-2]) == (200, "data: [DONE]")


def test_page_with_a_borrowed_name_is_refused() -> None:
    """A page can have its own name lead to 127.0.0.1, and its browser then lets it read what a local server says."""
    for arguments, status, code in [((), 403, "foreign_host"), (("--api-key", "k"), 401, "invalid_api_key")]:
        with run_server(f"script:{EXAMPLE}", *arguments) as server:
            answer = httpx.get(f"{server.url}/v1/models", headers={"Host": "evil.example:8000"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_end_says_what_it_waits_for() -> None:
    """Ctrl-C must not speak of requests that there are not; for those that run it waits, and says so."""
    with run_server(f"script:{EXAMPLE}") as server:
        assert server.stop(signal.SIGINT) == 0
        assert "to finish" not in server.output
    body = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "hang"}]}
    with (
        run_server(f"script:{EXAMPLE}") as server,
        httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body) as answer,
    ):
        # Held, since an iterator that is dropped closes the connection.
        pieces = answer.iter_raw()
        next(pieces)
        server.process.send_signal(signal.SIGINT)
        server.read_output_until("1 request has up to 30 s to finish; once more ends them now")
        assert server.stop(signal.SIGINT) == 0
