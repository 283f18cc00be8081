"""Reads typed fields of a JSON object that anybody may have written."""

import json
from collections.abc import Mapping
from typing import Any

from streamcore.errors import ModelLoadError

MAX_INTEGER = (1 << 31) - 1
"""Tokens and positions are numbers of 32 signed bits, and no size of a model comes near."""
_MAX_NUMBER = 1e12
_MAX_DIGITS = 30
_MAX_SHOWN = 60


def parse_json(text: str | bytes) -> Any:
    """Parses JSON; a whole number too long to print becomes a float, which no field takes.

    Raises:
        ValueError: the text is no JSON.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, parse_int=lambda digits: (int if len(digits) <= _MAX_DIGITS else float)(digits))


def shown(value: object) -> str:
    """A value of a file in a message: escaped, on one line, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


class Fields:
    """Reads typed fields and notes every problem with them, so that one message names all.

    A value that stands in for one that cannot be used lets the reader go on; `check` raises then.
    """

    def __init__(self, raw: Mapping[str, Any], prefix: str = "", problems: list[str] | None = None) -> None:
        self.raw = raw
        self.problems: list[str] = [] if problems is None else problems
        self.hint: str | None = None
        """What the user can do about the problems."""
        self._prefix = prefix

    def inside(self, name: str, raw: Mapping[str, Any]) -> "Fields":
        """The fields of an object under `name`, which share the list of problems."""
        return Fields(raw, f"{self._prefix}{name}.", self.problems)

    def integer(
        self, name: str, default: int | None = None, *, least: int = 1, most: int = MAX_INTEGER
    ) -> int:
        """A whole number; `least` stands in for one that cannot be used."""
        value = self._get(name, default)
        if type(value) is int and least <= value <= most:
            return value
        if value is not None:
            what = "a positive integer" if least == 1 else f"an integer from {least}"
            self.refuse(name, value, f"it must be {what}{_limit(value, most)}")
        return least

    def optional_integer(self, name: str) -> int | None:
        """A positive whole number, or None where there is none."""
        return None if self.raw.get(name) is None else self.integer(name)

    def number(self, name: str, default: float | None = None, *, above: float = 0.0) -> float:
        """A finite number above a bound, which is positive by default; one of these stands in for any other."""
        value = self._get(name, default)
        if type(value) in (int, float) and above < value <= _MAX_NUMBER:
            return float(value)
        if value is not None:
            what = "a positive number" if above == 0 else f"a number above {above:g}"
            self.refuse(name, value, f"it must be {what}{_limit(value, _MAX_NUMBER)}")
        return above + 1.0

    def optional_number(self, name: str) -> float | None:
        """A finite positive number, or None where there is none."""
        return None if self.raw.get(name) is None else self.number(name)

    def boolean(self, name: str, default: bool) -> bool:
        """A truth value."""
        value = self._get(name, default)
        if not isinstance(value, bool):
            self.refuse(name, value, "it must be true or false")
        return bool(value)

    def refuse(self, name: str, value: object, why: str) -> None:
        """Notes that a field has a value that cannot be used."""
        self.problems.append(f"has `{self._prefix}{name}` {shown(value)}, {why}")

    def check(self) -> None:
        """Raises a `ModelLoadError` that names all problems, if there are any."""
        if self.problems:
            raise ModelLoadError("config.json " + ", ".join(self.problems), self.hint)

    def _get(self, name: str, default: object) -> Any:
        value = self.raw.get(name)
        if value is None:
            value = default
        if value is None:
            self.problems.append(f"has no `{self._prefix}{name}`")
        return value


def _limit(value: object, most: float) -> str:
    """The end of a message about a number that is too large; nothing for other values."""
    return f", limit is {most:.10g}" if isinstance(value, int | float) and value > most else ""
