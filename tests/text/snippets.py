"""Makes snippets of templates at random: expressions and statements over Python's values, most of them valid."""

import random
from collections.abc import Callable

from tests.text.snippet_parts import (
    DICTS,
    FILTERS,
    FORMATS,
    INTS,
    LAZY,
    LISTS,
    NUMBERS,
    OPERATORS,
    OTHERS,
    PRINTF,
    RESTS,
    SMALL,
    SPECS,
    STATEMENTS,
    STR_ARGS,
    STR_METHODS,
    STRFTIME,
    STRINGS,
    TESTS,
    VARIABLES,
)


class Snippets:
    """An endless supply of snippets; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def snippet(self) -> str:
        """A whole template."""
        kinds: list[tuple[Callable[[], str], int]] = [
            (lambda: "{{ " + self.value(2) + " }}", 6),
            (lambda: self.filled(self.random.choice(STATEMENTS)), 3),
            (lambda: "{{ " + self.formatted() + " }}", 2),
            (lambda: "{{ strftime_now('" + self.time_format() + "') }}", 1),
        ]
        chosen = self.random.choices(kinds, weights=[weight for _, weight in kinds])[0]
        return chosen[0]()

    def pick(self, *choices: list[str]) -> str:
        return self.random.choice(self.random.choice(choices))

    def filled(self, pattern: str) -> str:
        """The pattern with values in the place of A (any), S (text), I (integer) and LIST."""
        words = pattern.replace("LIST", "\0")
        out = ""
        for index, char in enumerate(words):
            around = words[index - 1 : index] + words[index + 1 : index + 2]
            if char == "\0":
                out += self.random.choice(LISTS)
            elif char in "ASI" and not any(other.isalnum() or other in "_'" for other in around):
                out += {
                    "A": lambda: self.value(1),
                    "S": lambda: self.random.choice(STR_ARGS),
                    "I": lambda: self.random.choice(SMALL),
                }[char]()
            else:
                out += char
        return out

    def value(self, depth: int) -> str:
        """An expression."""
        if depth == 0:
            return self.pick(STRINGS, NUMBERS, LISTS, DICTS, OTHERS)
        kinds = [self.method, self.filter, self.test, self.operation, self.subscript, self.atom]
        return self.random.choices(kinds, weights=[4, 5, 2, 4, 3, 1])[0](depth - 1)

    def atom(self, _depth: int) -> str:
        return self.pick(STRINGS, NUMBERS, LISTS, DICTS, OTHERS)

    def operand(self, depth: int, *choices: list[str]) -> str:
        if depth and self.random.random() < 0.4:
            return "(" + self.value(depth) + ")"
        return self.pick(*choices)

    def method(self, depth: int) -> str:
        kind = self.random.random()
        if kind < 0.75:
            name = self.random.choice(list(STR_METHODS))
            subject = self.operand(depth, STRINGS)
            return f"{subject}.{name}({self.filled(self.random.choice(STR_METHODS[name]))})"
        if kind < 0.9:
            subject = self.operand(depth, DICTS)
            call = self.random.choice(
                [
                    "get(A)",
                    "get('a')",
                    "get('q', A)",
                    "keys()",
                    "values()",
                    "items()",
                    "copy()",
                    "update({})",
                    "pop('a')",
                ]
            )
        else:
            subject = self.operand(depth, LISTS)
            call = self.random.choice(["count(A)", "index(A)", "copy()", "append(1)", "index(3, 1)"])
        return f"{subject}.{self.filled(call)}"

    def filter(self, depth: int) -> str:
        name = self.random.choice(list(FILTERS))
        of_dicts = name in ("dictsort", "items", "xmlattr") and self.random.random() < 0.8
        subject = (
            self.pick(DICTS)
            if of_dicts
            else self.operand(depth, STRINGS, NUMBERS, LISTS, LISTS, DICTS, OTHERS)
        )
        args = self.filled(self.random.choice(FILTERS[name]))
        # What is printed of an iterator is an address.
        rest = self.random.choice(["|list", "|list|length", "|first", "|length"] if name in LAZY else RESTS)
        return f"{subject}|{name}" + (f"({args})" if args else "") + rest

    def test(self, depth: int) -> str:
        name = self.random.choice(list(TESTS))
        subject = self.operand(depth, STRINGS, NUMBERS, LISTS, DICTS, OTHERS)
        negation = self.random.choice(["", "not "])
        if "(A)" in TESTS[name] and self.random.random() < 0.6:
            return f"{self.pick(NUMBERS)} is {negation}{name}({self.pick(NUMBERS)})"
        return f"{subject} is {negation}{name}{self.filled(self.random.choice(TESTS[name]))}"

    def operation(self, depth: int) -> str:
        kind = self.random.random()
        if kind < 0.1:
            return self.random.choice(["not ", "-", "+"]) + self.operand(depth, NUMBERS, OTHERS, LISTS)
        if kind < 0.18:
            return f"{self.pick(NUMBERS)} ** {self.pick(SMALL)}"
        if kind < 0.25:
            return f"{self.pick(NUMBERS)} < {self.pick(NUMBERS)} <= {self.pick(NUMBERS)}"
        operator = self.random.choice(OPERATORS)
        if operator in ("+", "*", "/", "-", "//", "%") and self.random.random() < 0.5:
            return f"{self.operand(depth, NUMBERS)} {operator} {self.operand(depth, NUMBERS, INTS)}"
        if operator == "*":
            return f"{self.pick(STRINGS, LISTS)} * {self.pick(SMALL)}"
        left = self.operand(depth, STRINGS, NUMBERS, LISTS, DICTS, OTHERS)
        same = [kind for kind in (STRINGS, NUMBERS, LISTS, DICTS, OTHERS) if left in kind]
        right = (
            self.pick(*same)
            if same and self.random.random() < 0.6
            else self.operand(depth, STRINGS, NUMBERS, LISTS)
        )
        return f"{left} {operator} {right}"

    def subscript(self, depth: int) -> str:
        subject = self.operand(depth, STRINGS, LISTS, LISTS, DICTS, OTHERS)
        if self.random.random() < 0.4:
            # Of variables only: jinja2 works out constants with other rules, by which `{}[1:]` is
            # undefined and not an error.
            start, stop, step = (self.random.choice(["", *SMALL]) for _ in range(3))
            return self.random.choice(list(VARIABLES)) + self.random.choice(
                [f"[{start}:{stop}]", f"[{start}:{stop}:{step}]"]
            )
        return subject + self.random.choice(
            [
                f"[{self.pick(SMALL)}]",
                "['a']",
                ".a",
                "['items']",
                ".items is defined",
                ".upper()",
                ".name.x",
                ".0",
                "[none]",
                "['k', 1]",
                ".__class__",
                ".age",
                "[true]",
            ]
        )

    def formatted(self) -> str:
        """Formats in Python's two ways."""
        kind = self.random.random()
        if kind < 0.5:
            fields = self.random.choices(PRINTF, k=self.random.randint(1, 3))
            format_ = " ".join(fields)
            args = [self.pick(STRINGS, NUMBERS, NUMBERS, OTHERS, INTS) for _ in range(len(fields))]
            if self.random.random() < 0.25:
                return f"'{format_}' % {{'a': {args[0]}, 'b': {self.pick(INTS)}}}"
            joined = ", ".join(args)
            return f"'{format_}' % " + (f"({joined},)" if self.random.random() < 0.8 else args[0])
        if kind < 0.9:
            spec = self.random.choice(SPECS)
            name = self.random.choice(["", "", "0", "a", "0[0]", "a.b", "1"])
            conversion = self.random.choice(["", "", "", "!r", "!s", "!a", "!x"])
            first = self.pick(NUMBERS, NUMBERS, STRINGS, LISTS, OTHERS)
            return f"'<{{{name}{conversion}:{spec}}}>'.format({first}, a={self.pick(NUMBERS, DICTS)})"
        return self.random.choice(FORMATS)

    def time_format(self) -> str:
        flags = self.random.choice(["", "", "", "-", "_", "0", "^", "#", "5", "-3", "05", "E", "O"])
        parts = [
            f"%{flags}{self.random.choice(STRFTIME)}",
            "%" + self.random.choice(STRFTIME),
            self.random.choice(["", "%", "é %"]),
        ]
        return " ".join(parts)
