"""If one of these fails, the tests pass or fail by the day on which their dependencies were installed."""

import ast
import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import tomli
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomli.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ["locked/setup.txt", "locked/test.txt", "oldest/setup.txt", "oldest/test.txt"]
CLIENTS = ROOT / "tests" / "clients"
PYTHON_CLIENTS = sorted(path.parent.name for path in CLIENTS.glob("*/requirements.txt"))
NODE_CLIENTS = sorted(path.parent.name for path in CLIENTS.glob("*/package.json"))
RUST_CLIENTS = sorted(path.parent.name for path in CLIENTS.glob("*/Cargo.toml"))
CLIENT_LOCKS = [f"../tests/clients/{name}/locked.txt" for name in PYTHON_CLIENTS]
SETUP = ("build", "develop", "run")
TEST = (*SETUP, "test", "lint", "lock")
# Its builds for different devices are different files, and pip takes the one that it is pointed at.
FREE = {"torch"}
# What is installed from here, and what has an environment of its own (tests/clients, the peers of
# the benchmarks).
OURS = {"streamcore", "tests", "demo", "benches"}
# The last is for type checkers alone, which have it.
ELSEWHERE = {"vllm", "typing_extensions"}


def locked(lock: str) -> dict[str, list[tuple[Version, str]]]:
    """Each package of a lock with its releases (more than one where Pythons differ) and all that the lock says of them."""
    packages: dict[str, list[tuple[Version, str]]] = {}
    for entry in re.findall(r"^[^#\s].*(?:\n .*)*", (ROOT / "requirements" / lock).read_text(), re.MULTILINE):
        name, release = entry.split(maxsplit=1)[0].split("==")
        packages.setdefault(canonicalize_name(name), []).append((Version(release), entry))
    return packages


def groups(*names: str) -> list[Requirement]:
    """What dependency groups of pyproject.toml ask for."""
    wanted = [line for name in names for line in PROJECT["dependency-groups"][name]]
    return [requirement for line in wanted if (requirement := Requirement(line)).name not in FREE]


def third_party_imports() -> Iterator[tuple[Path, str]]:
    """The modules that Python files here import and that neither Python nor the project brings."""
    for path in ROOT.glob("*/**/*.py"):
        folder = path.relative_to(ROOT).parts
        if folder[0] in ("target", "dist") or folder[0].startswith(".") or folder[:2] == ("tests", "clients"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            modules = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and node.level == 0
                else []
            )
            for module in (module.split(".")[0] for module in modules):
                # A script finds what lies beside it.
                is_near = (path.parent / f"{module}.py").exists()
                if not is_near and module not in sys.stdlib_module_names | OURS | ELSEWHERE | FREE:
                    yield path.relative_to(ROOT), module


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_hold_what_is_asked_for(lock: str) -> None:
    """A range that is new in pyproject.toml, or was moved, and no lock to go with it: pip would refuse, or take any."""
    names = SETUP if lock.endswith("setup.txt") else TEST
    packages = locked(lock)
    for requirement in groups(*names):
        releases = packages.get(canonicalize_name(requirement.name), [])
        assert releases, f"{lock} lacks {requirement}: run `make update`"
        assert all(version in requirement.specifier for version, _ in releases), f"{lock}: {requirement}"


def test_ranges_of_users_are_those_that_are_tested() -> None:
    """What a user may install is what the groups for development are resolved from."""
    project = PROJECT["project"]
    assert project["dependencies"] == PROJECT["dependency-groups"]["run"]
    assert PROJECT["build-system"]["requires"] == PROJECT["dependency-groups"]["build"]
    test = PROJECT["dependency-groups"]["test"]
    assert [
        line for extra in project["optional-dependencies"].values() for line in extra if line not in test
    ] == []
    torch = next(line for line in project["dependencies"] if Requirement(line).name == "torch")
    makefile = (ROOT / "Makefile").read_text()
    assert f"TORCH := {torch}\n" in makefile
    lowest = next(iter(Requirement(torch).specifier)).version
    assert re.search(rf"TORCH='torch=={re.escape(lowest)}(\.0)*'", makefile), "test-oldest has another torch"


@pytest.mark.parametrize("lock", [*LOCKS, *CLIENT_LOCKS])
def test_every_release_has_hashes_and_no_address(lock: str) -> None:
    """A file that a registry replaced must not be installed, and any index may serve the ones that are meant."""
    text = (ROOT / "requirements" / lock).read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    packages = locked(lock)
    assert len(packages) > 5
    for name, releases in packages.items():
        assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for _, entry in releases), name


@pytest.mark.parametrize("client", PYTHON_CLIENTS)
def test_client_locks_hold_what_is_pinned(client: str) -> None:
    """A table of results names a release; the lock of that client must have it, or another one was checked."""
    packages = locked(f"../tests/clients/{client}/locked.txt")
    lines = (CLIENTS / client / "requirements.txt").read_text().splitlines()
    for requirement in map(Requirement, (line for line in lines if line and not line.startswith("#"))):
        releases = packages.get(canonicalize_name(requirement.name), [])
        assert releases, f"{client} has no lock of {requirement}: run `make update`"
        assert all(version in requirement.specifier for version, _ in releases), requirement
    assert FREE.isdisjoint(packages)


@pytest.mark.parametrize("client", NODE_CLIENTS)
def test_node_locks_hold_what_is_pinned(client: str) -> None:
    """The same for a client in JavaScript: `npm ci` refuses a lock that is not that of its package.json."""
    pinned = json.loads((CLIENTS / client / "package.json").read_text())["dependencies"]
    packages = json.loads((CLIENTS / client / "package-lock.json").read_text())["packages"]
    assert packages.pop("")["dependencies"] == pinned
    assert {name: packages[f"node_modules/{name}"]["version"] for name in pinned} == pinned
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, f"{name} names a registry"


@pytest.mark.parametrize("client", RUST_CLIENTS)
def test_rust_locks_hold_what_is_pinned(client: str) -> None:
    """The same for a client in Rust: cargo refuses a lock that does not fit its Cargo.toml."""
    manifest = tomli.loads((CLIENTS / client / "Cargo.toml").read_text())
    packages = tomli.loads((CLIENTS / client / "Cargo.lock").read_text())["package"]
    releases = {package["name"]: package["version"] for package in packages}
    wanted = {
        name: pins if isinstance(pins, str) else pins["version"]
        for name, pins in manifest["dependencies"].items()
    }
    pinned = {name: version[1:] for name, version in wanted.items() if version.startswith("=")}
    assert pinned, f"{client} says of no release that it is checked"
    assert {name: releases[name] for name in pinned} == pinned
    for package in packages:
        if package["name"] != manifest["package"]["name"]:
            assert re.fullmatch("[0-9a-f]{64}", package["checksum"]), package["name"]


def test_every_client_has_a_lock() -> None:
    """A client whose pins are in a file of another name would be installed without one."""
    folders = {path.name for path in CLIENTS.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {*PYTHON_CLIENTS, *NODE_CLIENTS, *RUST_CLIENTS}


def test_oldest_is_the_lowest_that_is_promised() -> None:
    """`make test-oldest` proves nothing about a range whose lower end it does not install."""
    packages = locked("oldest/test.txt")
    for requirement in groups("run", "test"):
        lowest = min(Version(s.version) for s in requirement.specifier if s.operator in (">=", "=="))
        # Later releases of Python may have no file of the lowest release; the oldest Python has.
        found = min(version for version, _ in packages[canonicalize_name(requirement.name)])
        assert found.release[:2] == (*lowest.release, 0)[:2], f"{requirement} is tested with {found}"


def test_imports_are_of_locked_packages() -> None:
    """A test that imports what only another package happened to bring fails on the day on which that one stops."""
    packages = locked("locked/test.txt")
    asked_for = {canonicalize_name(requirement.name) for requirement in groups(*TEST)}
    providers = packages_distributions()
    unlocked = {
        f"{path}: {module}"
        for path, module in third_party_imports()
        if not {canonicalize_name(name) for name in providers.get(module, [module])}
        & asked_for
        & packages.keys()
    }
    assert unlocked == set()


def test_the_lowest_rust_is_the_one_that_is_tested() -> None:
    """The release that Cargo.toml promises, that the documents name, and whose lints must pass is one."""
    cargo = tomli.loads((ROOT / "Cargo.toml").read_text())
    lowest = cargo["workspace"]["package"]["rust-version"]
    assert f"RUST := {lowest}\n" in (ROOT / "Makefile").read_text()
    for page in ("README.md", "CONTRIBUTING.md"):
        assert f"Rust {lowest} or later" in (ROOT / page).read_text()
