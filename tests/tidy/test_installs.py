"""If this fails, something is installed that no lock holds: what it brings differs from day to day."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
# As a shell has it, and as the list of a command in Python.
INSTALLER = re.compile(
    r"""\b(?:pip3?|uv\ pip|pipx|npm|yarn|cargo|conda|apt(?:-get)?)["',\s]+(?:--?\S+\s+)*(?:install|ci|add|i)\b"""
    r"""|\b(?:npx|uvx)\s""",
    re.VERBOSE,
)
KNOWN = {
    ("Makefile", "$(BIN)/pip install --quiet -r $<"): "a lock",
    ("Makefile", "PIP_QUIET=0 $(BIN)/pip install '$(TORCH)'"): "torch, which no lock holds",
    (
        "tests/clients/run.py",
        'return [["npm", "ci", "--no-audit", "--no-fund", "--loglevel", "error"]]',
    ): "a lock",
    (
        "tests/clients/run.py",
        'pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]',
    ): "a lock, then torch where a client wants it",
    ("requirements/update.py", 'subprocess.run(["npm", "install", *options], check=True, cwd=pins.parent)'): (
        "writes a lock and installs nothing"
    ),
}


def test_everything_that_is_installed_comes_from_a_lock() -> None:
    """A script, a workflow or an example that fetches packages by itself is found here; pages are read by tests/pages."""
    command = [
        "git",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        ":!*.md",
        ":!*.lock",
        ":!*.json",
    ]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    found = set()
    for path in listed:
        if path.startswith("tests/") and path != "tests/clients/run.py":
            continue
        try:
            lines = (ROOT / path).read_text().splitlines()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        # Commands to install something are looked up by tests/pages.
        found |= {
            (path, line.strip()) for line in lines if INSTALLER.search(line) and "`pip install" not in line
        }
    told = {(path, line) for path, line in found if line.startswith("message = ")}
    assert found - told == KNOWN.keys()
