"""Options of the command line."""

from streamcore.cli import _parsers


def test_an_option_named_again_adds_to_what_was_named_before() -> None:
    """The first of two keys would be dropped in silence, and its client be refused."""
    _, parsers = _parsers()
    given = parsers["serve"].parse_args(["--api-key", "one", "--api-key", "two", "three"])
    assert given.api_key == ["one", "two", "three"]
    assert parsers["serve"].parse_args([]).api_key == []
