"""Who imports whom in the Python half."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "streamcore"
MAX_CIRCLE = 2

Graph = Mapping[str, set[str]]


def module_name(path: Path) -> str:
    """As an import has it."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, known: set[str]) -> Iterator[str]:
    """The modules of the package that a file imports, in functions too; what only type checkers import is left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in known else node.module
        else:
            yield from imports(node, known)


def graph_of(files: Mapping[str, str]) -> Graph:
    """The imports of each module among these, given by name and text."""
    known = set(files)
    return {name: set(imports(ast.parse(text), known)) & known - {name} for name, text in files.items()}


def reached(graph: Graph, start: str) -> set[str]:
    """All that a module imports, whatever the detour."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        fresh = graph[waiting.pop()] - found
        found |= fresh
        waiting += fresh
    return found


def circles(graph: Graph) -> set[frozenset[str]]:
    """Groups of modules of which each imports each other."""
    beyond = {name: reached(graph, name) for name in graph}
    return {
        frozenset(other for other in beyond[name] if name in beyond[other])
        for name in graph
        if name in beyond[name]
    }


def test_no_circle_is_longer_than_two_files() -> None:
    """Files in a circle can only be read, tested and moved together."""
    files = {module_name(path): path.read_text() for path in PACKAGE.rglob("*.py")}
    assert len(files) > 80
    long = [sorted(circle) for circle in circles(graph_of(files)) if len(circle) > MAX_CIRCLE]
    assert long == []


def test_a_circle_is_found() -> None:
    """A search that finds nothing, whatever there is, would pass for ever."""
    files = {
        "p": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.a import x",
        "p.a": "from p import b",
        "p.b": "def f():\n    import p.c",
        "p.c": "from p.a import x",
        "p.d": "from p.a import x\nimport json",
    }
    assert circles(graph_of(files)) == {frozenset({"p.a", "p.b", "p.c"})}
