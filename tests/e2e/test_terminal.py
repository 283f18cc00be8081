"""If one of these fails, a terminal shows what its user has forbidden."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

SCRIPT = "script:" + str(Path(__file__).parents[2] / "docs" / "script.example.json")
ESCAPE = "\x1b"


def shown_by(*arguments: str, **variables: str) -> str:
    """What a server's terminal shows until it is ready."""
    pty = pytest.importorskip("pty", reason="this system has no terminals")
    ours, theirs = pty.openpty()
    environment: Mapping[str, str] = {**os.environ, "TERM": "xterm", **variables}
    command = [sys.executable, "-m", "streamcore", "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, env=environment, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while b"Ready at" not in shown or not shown.endswith(b"\n"):
            shown += os.read(ours, 65536)
        process.kill()
    os.close(ours)
    return shown.decode()


def test_colours_are_for_those_who_want_them() -> None:
    """https://no-color.org: any value but the empty one, in every program."""
    assert ESCAPE in shown_by(SCRIPT)
    assert ESCAPE in shown_by(SCRIPT, NO_COLOR="")
    assert ESCAPE not in shown_by(SCRIPT, NO_COLOR="1")
    assert ESCAPE not in shown_by(SCRIPT, TERM="dumb")


def test_json_is_json_on_a_terminal() -> None:
    """Neither colours nor a line that rewrites itself may be among the objects."""
    shown = shown_by("--log-format", "json")
    assert all(json.loads(line)["message"] for line in shown.splitlines())


def test_progress_is_shown_on_a_terminal() -> None:
    """Weights take a while: a user sees how far they are."""
    assert re.search(r"loading weights +100 % of", shown_by())
