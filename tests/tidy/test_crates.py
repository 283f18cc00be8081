"""The crates that are linked into the extension: their licences, where they come from, which of them know Python."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"
# Licences that ask for no more than their text, which a wheel can carry.
ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0",
    "Unicode-3.0", "Zlib",
}  # fmt: skip
# Two releases of one crate, each asked for by a crate that is itself needed.
TWICE = {
    "base64", "bit-vec", "fancy-regex", "getrandom", "itertools", "r-efi", "rand", "rand_core", "syn", "windows-sys",
}  # fmt: skip


@cache
def packages() -> list[dict[str, Any]]:
    """The crates of Cargo.lock for this machine, as cargo reads their manifests; it fetches what no build has needed yet."""
    host = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    platform = next(line.split()[1] for line in host.splitlines() if line.startswith("host:"))
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", platform]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(ended.stdout)["packages"]
    return found


def is_allowed(expression: str) -> bool:
    """Whether an SPDX expression, or one with slashes as older manifests have it, leaves a choice among those licences."""
    parts = [part.strip() for part in expression.strip().strip("()").split(") AND ")]
    if len(parts) > 1:
        return all(is_allowed(part) for part in parts)
    wanted = [re.split(r" OR |/", part) for part in expression.split(" AND ")]
    return all(any(choice.strip(" ()") in ALLOWED for choice in choices) for choices in wanted)


def test_every_licence_lets_the_wheel_be_given_away() -> None:
    """A crate under a licence that asks for more would bind users who serve with the wheel."""
    refused = {
        package["name"]: package["license"]
        for package in packages()
        if not is_allowed(package["license"] or "")
    }
    assert refused == {}


@pytest.mark.parametrize("expression", ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND MPL-2.0", ""])
def test_a_licence_that_asks_for_more_is_found(expression: str) -> None:
    """A check that lets everything pass would say nothing."""
    assert not is_allowed(expression)


def test_crates_come_from_the_registry_or_from_here() -> None:
    """A fork at some address is not what was reviewed, and may be gone tomorrow."""
    assert {package["source"] for package in packages()} == {CRATES_IO, None}


def test_only_the_binding_knows_python() -> None:
    """The engine and the server are tested, and may be used, without an interpreter."""
    own = [package for package in packages() if package["source"] is None]
    names = {
        package["name"] for package in own for other in package["dependencies"] if other["name"] == "pyo3"
    }
    assert names == {"streamcore-python"}


def test_no_crate_is_there_twice_without_need() -> None:
    """Two releases of one crate are built twice, and their types do not fit each other."""
    names = [package["name"] for package in packages()]
    assert {name for name in names if names.count(name) > 1} <= TWICE
