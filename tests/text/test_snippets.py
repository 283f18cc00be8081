"""The snippets that the Rust templates are tested against are what jinja2 says today."""

import json

from jinja2 import Environment
from tests.references import JINJA2, skip_before
from tests.text.make_snippets import GOLDEN, NUM_CASES, expectations


def test_snippets_are_current() -> None:
    """A stale file would have the Rust test prove agreement with something that jinja2 never said."""
    skip_before("jinja2", JINJA2)
    current = expectations(1, NUM_CASES) == GOLDEN.read_text(encoding="utf-8")
    assert current, "run: python -m tests.text.make_snippets"


def test_snippets_reach_what_there_is() -> None:
    """A generator that went dull would leave filters, methods and tests of jinja2 unproven, or have errors only."""
    environment = Environment()
    cases = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]
    rendered = " ".join(source for source, text in cases if text is not None)
    by_decision = {"random", "urlize"}
    unproven = {
        name for name in environment.filters if f"|{name}" not in rendered.replace(" ", "")
    } - by_decision
    unproven |= {name for name in environment.tests if name.isidentifier() and f" {name}" not in rendered}
    # It makes bytes, which no template can use here.
    unproven |= {name for name in dir(str) if not name.startswith("_") and f".{name}(" not in rendered} - {
        "encode"
    }
    assert not unproven
    assert sum(text is None for _, text in cases) > NUM_CASES / 5
