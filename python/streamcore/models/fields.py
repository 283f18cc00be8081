"""Reads typed fields of a JSON object that a stranger may have written."""

import json
from collections.abc import Callable, Mapping, Sequence
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
        """A finite number above a bound, which is positive by default; one of these stands in for
        any other.
        """
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

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of finite positive numbers."""
        value = self._get(name, None)
        if isinstance(value, list) and all(
            type(item) in (int, float) and 0 < item <= _MAX_NUMBER for item in value
        ):
            return tuple(map(float, value))
        if value is not None:
            self.refuse(name, value, "it must be a list of positive numbers")
        return ()

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object, empty where there is none."""
        value = self.raw.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.refuse(name, value, "it must be an object")
            return {}
        return value

    def layer_types(
        self, num_layers: int, default: Callable[[int], str], known: Sequence[str]
    ) -> tuple[str, ...]:
        """The type of each layer: as `layer_types` lists them, else by `default` of the layer's
        number.
        """
        value = self.raw.get("layer_types")
        if value is None:
            return tuple(default(index) for index in range(num_layers))
        if not isinstance(value, list) or len(value) != num_layers:
            self.refuse("layer_types", value, f"it must be a list of `num_hidden_layers` {num_layers}")
        elif unknown := [item for item in value if item not in known]:
            self.refuse("layer_types", unknown[0], f"supported are {', '.join(known)}")
        else:
            return tuple(value)
        return (known[0],) * num_layers

    def with_defaults(self, **defaults: Any) -> "Fields":
        """The same fields, and a family's own defaults for those that are not there."""
        given = {name: value for name, value in self.raw.items() if value is not None}
        return Fields({**defaults, **given}, self._prefix, self.problems)

    def boolean(self, name: str, default: bool) -> bool:
        """A truth value."""
        value = self._get(name, default)
        if not isinstance(value, bool):
            self.refuse(name, value, "it must be true or false")
        return bool(value)

    def choice(self, name: str, default: str | None, known: Sequence[str]) -> str:
        """One of some texts, in any case; the first stands in for another."""
        value = self._get(name, default)
        if isinstance(value, str) and value.lower() in (found := {item.lower(): item for item in known}):
            return found[value.lower()]
        if value is not None:
            self.refuse(name, value, f"supported {'is' if len(known) == 1 else 'are'} {', '.join(known)}")
        return known[0]

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, empty where there is none."""
        value = self.raw.get(name)
        if value is None:
            return ()
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.refuse(name, value, "it must be a list of texts")
        return ()

    def refuse(self, name: str, value: object, why: str) -> None:
        """Notes that a field has a value that cannot be used."""
        self.problems.append(f"has `{self._prefix}{name}` {shown(value)}, {why}")

    def check(self, hint: str | None = None) -> None:
        """Raises a `ModelLoadError` that names all problems, if there are any, with that hint."""
        if self.problems:
            raise ModelLoadError("config.json " + ", ".join(self.problems), hint)

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
