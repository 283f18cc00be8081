"""Checks that a command could be run as it is written: programs, targets, files, options and packages that it names exist.

What is quick is run as a whole by `ways.py`. A build, a benchmark or an installation is taken apart here instead.
"""

import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import tomli
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from tests.pages.reader import ROOT

from streamcore import cli

OUTSIDE: Mapping[str, str] = {
    "cargo nextest run": "another runner of the same tests, which CONTRIBUTING offers to those who have it",
    "cargo audit": "asks a database in the network, before a release",
    "cargo deny": "the same",
    "cargo install --locked cargo-audit cargo-deny": "the two that ask it",
    "cargo install cargo-fuzz": "the fuzzer, a program of its own that needs the nightly toolchain",
    "cargo +nightly fuzz run": "needs the nightly toolchain; `make fuzz` has the whole line",
    "curl --http2-prior-knowledge": "how a client speaks HTTP/2 unasked, in a decision",
    "docker run --init": "what an operator's tool does for the first moments of a process, in a sentence about them",
    "docker stop": "what an operator's tool does, in a sentence about its patience",
    "npm ci": "what `tests/clients/run.py` does; `make test-clients` runs it",
    "vllm bench serve": "a peer of the benchmarks, in an environment of its own",
    "vllm serve": "the same",
    "llama-server": "the same",
}
"""Commands that cannot be looked into here, and why. Each is a beginning of the command."""

_Checker = Callable[[list[str], str], None]


def check(text: str) -> None:
    """Check one command.

    Raises:
        AssertionError: names what does not exist.
    """
    if any(re.search(rf"(?:^|=\S+ ){re.escape(start)}\b", text) for start in OUTSIDE):
        return
    words = shlex.split(text, comments=True)
    while re.match(r"[A-Z_0-9]+=", words[0]):
        words.pop(0)
    program = words.pop(0).removeprefix(".venv/bin/")
    assert program in _CHECKERS, f"it is not known how to check `{program}`"
    _CHECKERS[program](words, text)


@cache
def options() -> set[str]:
    """Every option that a page may name: those of the commands, of the benchmarks, and of programs beside them."""
    parser, named = cli._parsers()
    found = {
        option
        for one in (parser, *named.values())
        for action in one._actions
        for option in action.option_strings
    }
    for source in (ROOT / "benches").glob("**/*.py"):
        found |= set(re.findall(r'"(--[a-z-]+)"', source.read_text()))
    found |= set(re.findall(r"--[a-z-]+", help_of(sys.executable, "-m", "uvicorn")))
    return found | {"--locked", "--nocapture"}


def _check_make(words: list[str], _text: str) -> None:
    _dry_run(*words)
    for word in words:
        if word.startswith("ARGS="):
            _check_streamcore(["serve", *shlex.split(word.removeprefix("ARGS="))], "")


@cache
def _dry_run(*words: str) -> None:
    # Without what a `make` that runs the tests hands on.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    ended = subprocess.run(
        ["make", "-n", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


@cache
def crates() -> dict[str, set[tuple[str, str]]]:
    """The crates of the workspace, with kind and name of each of their targets."""
    command = ["cargo", "metadata", "--no-deps", "--format-version=1", "--locked", "--offline"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    packages: list[dict[str, Any]] = json.loads(ended.stdout)["packages"]
    return {
        package["name"]: {(kind, target["name"]) for target in package["targets"] for kind in target["kind"]}
        for package in packages
    }


def _check_cargo(words: list[str], _text: str) -> None:
    assert words[0] in ("bench", "doc", "run", "test"), f"`cargo {words[0]}` is not known"
    values = dict(itertools.pairwise(words))
    if "-p" not in values:
        return
    assert values["-p"] in crates(), f"there is no crate `{values['-p']}`"
    for option in ("--test", "--bench", "--example"):
        if option in values:
            target = (option.removeprefix("--"), values[option])
            assert target in crates()[values["-p"]], f"`{values['-p']}` has no {' '.join(target)}"


@cache
def help_of(*command: str) -> str:
    """What a program says of itself."""
    ended = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _check_python(words: list[str], text: str) -> None:
    given = re.findall(r"--[a-z-]+", text)
    if words[0] == "-m":
        spec = importlib.util.find_spec(words[1])
        assert spec is not None, f"there is no module `{words[1]}`"
        source, program = Path(spec.origin or ""), words[:2]
        if not given:
            return
    else:
        source, program = ROOT / words[0], words[:1]
        assert source.is_file(), f"there is no file {words[0]}"
    if "argparse" in source.read_text():
        shown = help_of(sys.executable, *program)
        commands = [
            word for word in words[1:2] if re.fullmatch("[a-z-]+", word) and word in source.read_text()
        ]
        for word in [*given, *commands]:
            assert re.search(rf"(?<![\w-]){word}\b", shown), f"{source.name} has no `{word}`"
    else:
        unknown = [option for option in given if f'"{option}"' not in source.read_text()]
        assert unknown == [], f"{source.name} has none of {unknown}"


def _check_pytest(words: list[str], _text: str) -> None:
    assert shutil.which("pytest", path=str(Path(sys.executable).parent))
    for path in words:
        assert (ROOT / path).exists(), f"there is no {path}"


def _check_streamcore(words: list[str], text: str) -> None:
    if "[" in text:
        # The synopsis of a command: what is between brackets stands for anything.
        words = shlex.split(re.sub(r"\[[^\]]*\]", "", text))[1:]
    parser, named = cli._parsers()
    if len(words) == 1 and words[0] in named:
        return
    unknown: list[str] = []
    status: object = 0
    try:
        _, unknown = parser.parse_known_args(words)
    except SystemExit as exit_:
        status = exit_.code
    assert status == 0, f"`streamcore {shlex.join(words)}` is refused"
    assert unknown == [], f"`streamcore {words[0]}` has none of {unknown}"


def _check_pip(words: list[str], _text: str) -> None:
    assert words[0] == "install"
    wheel = f"dist/{tomli.loads((ROOT / 'pyproject.toml').read_text())['project']['name'].replace('-', '_')}-*.whl"
    lock = (ROOT / "requirements" / "locked" / "test.txt").read_text()
    releases = dict(re.findall(r"^([\w.-]+)==([^ ]+)", lock, re.MULTILINE))
    for word in words[1:]:
        if word in (wheel, "--no-deps"):
            continue
        requirement = Requirement(word)
        name = canonicalize_name(requirement.name)
        assert name in releases, f"{name} is in no lock, so nothing says that there is such a distribution"
        assert Version(releases[name]) in requirement.specifier, f"{word} is not what is tested"


def _check_hf(words: list[str], text: str) -> None:
    program = shutil.which("hf", path=str(Path(sys.executable).parent))
    assert program is not None, "huggingface_hub has no command `hf`"
    shown = help_of(program, words[0])
    for option in re.findall(r"--[a-z-]+", text):
        assert option in shown, f"`hf {words[0]}` has no `{option}`"
    if words[0] == "auth":
        assert re.search(rf"\b{words[1]}\b", shown), f"`hf auth` has no `{words[1]}`"
    elif len(words) > 1:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", words[1]), f"`{words[1]}` is no name of a repository"


def _check_uvicorn(_words: list[str], text: str) -> None:
    shown = help_of(sys.executable, "-m", "uvicorn")
    for option in re.findall(r"--[a-z-]+", text):
        assert option in shown, f"uvicorn has no `{option}`"


_CHECKERS: Mapping[str, _Checker] = {
    "cargo": _check_cargo,
    "hf": _check_hf,
    "make": _check_make,
    "pip": _check_pip,
    "pytest": _check_pytest,
    "python": _check_python,
    "streamcore": _check_streamcore,
    "uvicorn": _check_uvicorn,
}
