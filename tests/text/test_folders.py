"""The expectations that our reading of model folders is tested against are what transformers says today."""

from tests.references import TRANSFORMERS, skip_before
from tests.text.make_folders import GOLDEN, expectations


def test_expectations_are_current() -> None:
    """A stale file would have the Rust test prove agreement with something that transformers never did."""
    skip_before("transformers", TRANSFORMERS)
    current = expectations() == GOLDEN.read_text(encoding="utf-8")
    assert current, "run: python -m tests.text.make_folders"
