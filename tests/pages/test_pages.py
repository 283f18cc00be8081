"""If one of these fails, a page shows what does not work as it is written."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.pages import commands
from tests.pages.reader import COMMAND, ROOT, Block, all_blocks, all_commands, listed, pages, spans
from tests.pages.table import DRAWINGS, GENERATED, WAYS
from tests.pages.ways import World
from tests.server_process import ServerProcess

BLOCKS = [block for block in all_blocks() if block.page not in GENERATED]
# The first words of a line of Python or of a transcript.
EXAMPLE = re.compile(
    r"\s*(?:\$ |import \w|from \S+ import |(?:async )?(?:with|for|while|def|class) .*:$|\w+ = \w+[.(]|print\()"
)
COMMANDS = sorted({command.text: command for command in all_commands()}.items())


def is_drawn(block: Block) -> bool:
    """Whether a block says itself that nothing in it can be run."""
    is_of_docstring = block.page.endswith((".py", ".pyi"))
    return block.key in DRAWINGS or (is_of_docstring and block.key not in WAYS)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """One server for all blocks; its context ends a long count early."""
    with ServerProcess("--max-model-len", "256") as process:
        yield process


@pytest.fixture
def world(server: ServerProcess, tmp_path: Path, request: pytest.FixtureRequest) -> World:
    return World(server, tmp_path, request)


def test_every_block_is_known() -> None:
    """A block that is never run is wrong by the next release; one that is gone leaves a test of nothing."""
    counts = Counter(block.key for block in BLOCKS)
    assert [key for key, count in counts.items() if count > 1] == []
    unknown = [
        f"{block}: {block.key[1]}" for block in BLOCKS if block.key not in WAYS and not is_drawn(block)
    ]
    assert unknown == [], "say in tests/pages/table.py how these are run"
    assert {*WAYS, *DRAWINGS} - counts.keys() == set(), "these are in no page any more"


def test_drawings_are_drawings() -> None:
    """An example must not pass for a drawing: what has a call or a command in it is run."""
    for block in filter(is_drawn, BLOCKS):
        assert block.language in ("", "text"), block
        for line in block.text.splitlines():
            assert not EXAMPLE.match(line), f"{block}: {line}"
            assert not COMMAND.match(line), f"{block}: {line}"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.key in WAYS], ids=str)
def test_block_runs(block: Block, world: World) -> None:
    """What a reader copies must do what the page says."""
    WAYS[block.key](block, world)


@pytest.mark.parametrize("text", [text for text, _ in COMMANDS])
def test_command_can_be_run(text: str) -> None:
    """A command within a sentence names a target, a file, an option or a package that is not there."""
    commands.check(text)


def test_options_exist() -> None:
    """An option that was renamed must not live on in a sentence."""
    unknown = [
        f"{span}: {option}"
        for span in spans()
        if span.page.endswith(".md") and not COMMAND.match(span.text)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", span.text)
        if option not in commands.options()
    ]
    assert unknown == []


def test_no_command_is_left_out_that_is_not_there() -> None:
    """A reason to look away outlives what it was for."""
    lines = [line for block in BLOCKS for line in block.text.splitlines()]
    met = [text for text, _ in COMMANDS] + lines
    assert [start for start in commands.OUTSIDE if not any(start in text for text in met)] == []


def test_names_in_pages_can_be_reached() -> None:
    """`help(streamcore.step.Step)` after `import streamcore` must not depend on what was imported before."""
    names = sorted(
        {
            name
            for page in pages()
            for name in re.findall(r"(?<![\w./-])streamcore(?:\.[A-Za-z_]+)+", (ROOT / page).read_text())
        }
    )
    assert "streamcore.step.Step" in names
    # Each in a copy of an interpreter that has imported nothing else.
    code = "import os, streamcore, sys\nfor name in sys.argv[1:]:\n    if not os.fork():\n        eval(name); os._exit(0)\n"
    code += "    assert os.wait()[1] == 0, name"
    ended = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_examples_in_rust_are_compiled() -> None:
    """A block of a doc comment is a doctest unless it says `text`, and a crate without doctests has none."""
    for path in listed("*.rs"):
        crate = next(folder for folder in (ROOT / path).parents if (folder / "Cargo.toml").exists())
        has_doctests = "doctest = false" not in (crate / "Cargo.toml").read_text()
        fences = re.findall(r"^ *//[/!] ```(.*)$", (ROOT / path).read_text(), re.MULTILINE)[::2]
        for fence in fences:
            assert fence == "text" or (fence in ("", "rust") and has_doctests), f"{path}: ```{fence}"
