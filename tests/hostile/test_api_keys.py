"""If this fails, a server starts whose key no client can ever send, and its operator looks for the fault in the clients."""

import subprocess
import sys

import pytest
from tests.hostile.clients import SCRIPT


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_feed_from_a_file_is_refused_and_named(end: str) -> None:
    """A secret is mounted as a file, its text becomes the key, and the file ends with a line feed."""
    command = [
        sys.executable,
        "-m",
        "streamcore",
        "serve",
        SCRIPT,
        "--port",
        "0",
        "--api-key",
        f"s3cret{end}",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert "ends with a line break, which no header can carry: a file usually ends with one" in ended.stderr
    assert "s3cret" not in ended.stderr
