"""If one of these fails, the name of a tensor or a folder moves a cursor, hides a line or forges one of the log."""

import pytest

from streamcore import _core

HARMFUL = "\x00\x07\x08\r\x1b\x7f\x85\x9b\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069"


@pytest.mark.parametrize("character", HARMFUL)
def test_what_a_terminal_would_obey_is_written_out(character: str) -> None:
    """A model's maker chooses the names of its tensors, and could choose what an operator reads behind them."""
    assert _core.harmless_text(f"a{character}b") == f"a\\u{ord(character):04x}b"


def test_what_is_only_seen_stays_as_it_is() -> None:
    """Names in other scripts would be unreadable."""
    text = "naïve Ελλάδα العربية 中文 \t\n🙂 \\"
    assert _core.harmless_text(text) == text
    assert set(_core.harmless_text("\ud800")) == {"\ufffd"}
