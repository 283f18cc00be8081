"""If one of these fails, a library that announces a change breaks what worked the day before."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.server_process import run_server

# A torch that warns when it is imported, as one of its next releases will.
SITECUSTOMIZE = """
import builtins, warnings
importing = builtins.__import__
def import_and_warn(name, *arguments, **options):
    if name == "torch":
        warnings.warn("torch will change", FutureWarning)
    return importing(name, *arguments, **options)
builtins.__import__ = import_and_warn
"""

TESTS = """
from openai import OpenAI


def test_client(streamcore_server):
    server = streamcore_server([{"answer": {"text": "ok"}}])
    with OpenAI(base_url=server.base_url, api_key="none") as client:
        messages = [{"role": "user", "content": "Hi"}]
        completion = client.chat.completions.create(model="script", messages=messages)
    assert completion.choices[0].message.content == "ok"
"""


def test_warning_does_not_end_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`PYTHONWARNINGS=error` is inherited by the servers that a test suite starts; the log stays JSON, too."""
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    with run_server("--log-format", "json") as server:
        assert httpx.get(f"{server.url}/v1/models").status_code == 200
        assert server.stop() == 0
    lines = [json.loads(line) for line in server.output.splitlines() if "FutureWarning" in line]
    assert any("FutureWarning: torch will change" in json.dumps(line) for line in lines), server.output


def test_fixture_is_silent_where_warnings_are_errors(tmp_path: Path) -> None:
    """A test suite that runs with `-W error` must not fail over a descriptor or a thread that the fixture left behind."""
    (tmp_path / "test_client.py").write_text(TESTS)
    # pytest-asyncio warns by itself where it is not configured.
    command = [
        sys.executable,
        "-X",
        "dev",
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "no:asyncio",
        "test_client.py",
    ]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 passed" in ended.stdout, ended.stdout + ended.stderr
    assert "warning" not in ended.stdout, ended.stdout
