"""What the load tools here have in common: they are run as their users run them, and their own report is believed or not."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from checks import servers

DEMO = servers()[0]
TOKENIZER = os.environ["STREAMCORE_TOKENIZER"]
NUM_REQUESTS, PROMPT_TOKENS, OUTPUT_TOKENS = 12, 64, 32


def run_tool(name: str, *arguments: str, **environment: str) -> None:
    """Run a command of this environment in a folder of its own, which is gone afterwards."""
    command = [str(Path(sys.executable).parent / name), *arguments]
    with tempfile.TemporaryDirectory() as folder:
        ended = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    assert ended.returncode == 0, ended.stdout[-4000:]


def read_json(path: Path) -> Any:
    """A report that a tool wrote."""
    return json.loads(path.read_text())


class Counted:
    """What the server counted since a `with` block began, to hold against a tool's report."""

    def __enter__(self) -> "Counted":
        self.before = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended, self.output_tokens = (
            now - before for now, before in zip(self._now(), self.before, strict=True)
        )

    @staticmethod
    def _now() -> tuple[float, float]:
        return DEMO.metric("streamcore_requests_total"), DEMO.metric("streamcore_generation_tokens_total")
