"""Finds what the documents and the docstrings show: blocks, and commands within a sentence."""

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND_WORDS = (
    "cargo",
    "curl",
    "docker",
    "echo",
    "export",
    "hf",
    "make",
    "node",
    "npm",
    "npx",
    "pip",
    "pytest",
    "python",
    "python3",
    "rustup",
    "streamcore",
    "sudo",
    "uvicorn",
    "vllm",
)
COMMAND = re.compile(rf"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(?:{'|'.join(COMMAND_WORDS)})\b")


@dataclass(frozen=True)
class Block:
    """A fenced or an indented block."""

    page: str
    line: int
    language: str
    """What is behind the fence; nothing for an indented block."""
    text: str

    @property
    def key(self) -> tuple[str, str]:
        """The page and the block's first line, by which it is known."""
        return self.page, self.text.splitlines()[0]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command in a sentence, or a line of a table."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {self.text}"


def listed(*patterns: str) -> list[str]:
    """The files of the repository, as git knows them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in found.stdout.splitlines() if (ROOT / line).exists()]


def pages() -> list[str]:
    """Every page that people read, without the log of changes, which tells of the past."""
    return [page for page in listed("*.md") if page != "CHANGELOG.md"]


def blocks_of(page: str, text: str, first_line: int = 1) -> Iterator[Block]:
    """The blocks of a text in Markdown."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        start = number
        if lines[number].startswith("```"):
            number += 1
            while not lines[number].startswith("```"):
                number += 1
            content = "\n".join(lines[start + 1 : number])
            yield Block(page, first_line + start, lines[start][3:], content)
        elif lines[number].startswith("    ") and (start == 0 or not lines[start - 1].strip()):
            while number + 1 < len(lines) and _goes_on(lines[number + 1 :]):
                number += 1
            content = "\n".join(line[4:] for line in lines[start : number + 1])
            yield Block(page, first_line + start, "", content)
        number += 1


def _goes_on(rest: list[str]) -> bool:
    """Whether an indented block has these lines as well: an empty line belongs to it if more of it follows."""
    after = next((line for line in rest if line.strip()), "")
    return after.startswith("    ")


def docstrings(path: str) -> Iterator[tuple[int, str]]:
    """The docstrings of a file in Python, each with its line."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, kinds) and (text := ast.get_docstring(node, clean=False)) is not None:
            yield node.body[0].lineno, cleandoc(text)


def texts() -> Iterator[tuple[str, int, str]]:
    """Every text that people read, with its file and the line on which it begins."""
    for page in pages():
        yield page, 1, (ROOT / page).read_text()
    for path in listed("*.py", "*.pyi"):
        for line, text in docstrings(path):
            yield path, line, text


def all_blocks() -> list[Block]:
    """Every block of every text."""
    return [block for page, line, text in texts() for block in blocks_of(page, text, line)]


def spans() -> Iterator[Command]:
    """Whatever stands between backticks in a sentence or a table, or behind `Run it with:`."""
    for page, first_line, text in texts():
        without_blocks = re.sub(r"^```.*?^```$", _blank, text, flags=re.MULTILINE | re.DOTALL)
        for match in re.finditer(r"(?<!`)`([^`\n]+)`(?!`)|Run it with: (.+)", without_blocks):
            line = first_line + without_blocks.count("\n", 0, match.start())
            yield Command(page, line, match[1] or match[2])


def all_commands() -> list[Command]:
    """Every command within a sentence or a table."""
    return [span for span in spans() if " " in span.text and COMMAND.match(span.text)]


def _blank(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")
