"""If one of these fails, a house rule was broken that a reviewer would otherwise have to see."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70
MAX_COMMENT_COLUMNS = 100
POINTING = re.compile(r"\b(nobody|somebody|anybody|everybody|whoever|so many|(is|are) told)\b", re.IGNORECASE)


def sources(*suffixes: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    return [path for path in paths if path.suffix in suffixes and path.exists()]


def python_functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def rust_functions(path: Path) -> Iterator[tuple[str, int]]:
    """Functions of formatted Rust: the closing brace stands under the first letter of the line that opens it."""
    opened: list[tuple[str, str, int]] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if match := re.match(
            r"( *)(?:pub(?:\([^)]*\))? )?(?:const |async |unsafe |extern \"C\" )*fn (\w+)(?!.*;$)", line
        ):
            opened.append((match[1], match[2], number))
        elif opened and line == opened[-1][0] + "}":
            _, name, start = opened.pop()
            yield name, number - start + 1


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are nothing but comment."""
    begin = re.compile(r"\s*#" if path.suffix in (".py", ".pyi") else r"\s*(//|/\*)| \* ")
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if begin.match(line):
            yield number, line


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of docstrings."""
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node) is not None
        ):
            first, last = node.body[0].lineno, node.body[0].end_lineno or node.body[0].lineno
            yield from enumerate(text.splitlines()[first - 1 : last], start=first)


def test_files_stay_short() -> None:
    """A file that is too long to hold in mind is split by role."""
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources(".rs", ".py", ".pyi", ".cu", ".cuh", ".h")
        if (lines := len(path.read_text().splitlines())) > MAX_FILE_LINES
    }
    assert long == {}


def test_functions_stay_short() -> None:
    """So is a function."""
    long = {
        f"{path.relative_to(ROOT)}:{name}": lines
        for suffix, functions in ((".py", python_functions), (".rs", rust_functions))
        for path in sources(suffix)
        for name, lines in functions(path)
        if lines > MAX_FUNCTION_LINES
    }
    assert long == {}


def test_comments_name_what_they_mean() -> None:
    """A reader who has to guess whom a comment means reads the code instead."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for suffixes, parts in (
            ((".rs", ".py", ".pyi", ".cu", ".cuh", ".h", ".cpp"), comments),
            ((".py", ".pyi"), docstrings),
        )
        for path in sources(*suffixes)
        for number, line in parts(path)
        if POINTING.search(line)
    ]
    assert found == []


def test_comments_stay_narrow() -> None:
    """A comment that does not fit beside the code it is about is not read with it."""
    wide = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources(".rs", ".py", ".pyi", ".cu", ".cuh", ".h", ".cpp")
        for number, line in comments(path)
        if len(line) > MAX_COMMENT_COLUMNS
    ]
    assert wide == []


def test_changelog_knows_the_version() -> None:
    """A release without an entry leaves its users in the dark."""
    version = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert version is not None
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## Unreleased" in changelog or f"## {version[1]}" in changelog


def test_generated_pages_are_up_to_date() -> None:
    """A page that says what was true last month is worse than none."""
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_links_between_pages_lead_somewhere() -> None:
    """A reader who follows a link must arrive."""
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in sources(".md")
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert dead == []


@pytest.mark.parametrize("marker", ["TO" + "DO", "FIX" + "ME", "XX" + "X"])
def test_nothing_is_left_for_later(marker: str) -> None:
    """What is not done belongs into an issue, not into a comment."""
    found = [
        str(path.relative_to(ROOT))
        for path in sources(".rs", ".py", ".pyi", ".cu", ".cuh", ".h", ".md", ".toml")
        if marker in path.read_text()
    ]
    assert found == []
