"""Runs `streamcore serve NAME` as a process with a cache and a hub of its own, as far as to the folder that it would load."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.hub.server import Hub

_PROGRAM = """
import os, sys
from streamcore import _core, serve

def found(folder):
    _core.flush_log()
    sys.stdout.write(f"found {folder}\\n")
    sys.stdout.flush()
    os._exit(0)

serve.check_model_folder = found
from streamcore.__main__ import run
sys.exit(run())
"""


@dataclass(frozen=True)
class Ended:
    """How a command has ended."""

    status: int
    output: str
    errors: str

    @property
    def folder(self) -> Path:
        """The folder that it would load."""
        assert self.output.startswith("found "), self.errors
        return Path(self.output.removeprefix("found ").strip())

    @property
    def complaint(self) -> str:
        """The one line in which it says why it cannot serve; those of the log may come before or after it."""
        assert (self.status, self.output) == (1, ""), (self.output, self.errors)
        assert "Traceback" not in self.errors
        lines = [line for line in self.errors.splitlines() if not line.startswith("20")]
        assert len(lines) == 1, self.errors
        return lines[0].removeprefix("streamcore: ")


@dataclass
class Machine:
    """Where commands run: a hub, a cache, and what the environment says."""

    hub: Hub
    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def cache(self) -> Path:
        """The Hugging Face cache."""
        return self.home / "hub"

    def storage(self, name: str) -> Path:
        """The folder of a repository in the cache."""
        return self.cache / ("models--" + name.replace("/", "--"))

    def environment(self, **variables: str) -> dict[str, str]:
        """Nothing of the tests' own, which are offline."""
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))
        }
        ours = {"HF_ENDPOINT": self.hub.address, "HF_HOME": str(self.home), "HOME": str(self.home)}
        # A machine that is busy with other tests must not look like a line that is broken.
        patient = {"HF_HUB_DOWNLOAD_TIMEOUT": "100", "HF_HUB_ETAG_TIMEOUT": "100"}
        return kept | ours | patient | self.variables | variables

    def start(
        self, *arguments: str, program: str = _PROGRAM, stderr: int = subprocess.PIPE, **variables: str
    ) -> "subprocess.Popen[str]":
        """Begins to look for a model."""
        self.home.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-c", program, "serve", "--port", "0", *arguments],
            env=self.environment(**variables),
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    def serve(
        self, *arguments: str, within: Sequence[str] = (), program: str = _PROGRAM, **variables: str
    ) -> Ended:
        """Looks for a model, and waits until the command has ended."""
        self.home.mkdir(parents=True, exist_ok=True)
        ended = subprocess.run(
            [*within, sys.executable, "-c", program, "serve", "--port", "0", *arguments],
            env=self.environment(**variables),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)
