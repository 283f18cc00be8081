"""Makes snippets of templates at random: expressions and statements over Python's values, most of them valid."""

import random
from collections.abc import Callable

VARIABLES: dict[str, object] = {
    "s": "Hello, wörld!  It's 3 o'clock.\n\tNext line",
    "t": "a,b;c--d  E",
    "u": "ÄÖß ǆ İı ΑΣ ς ½²Ⅷ一\u00a0\u200b",
    "x": "x",
    "empty": "",
    "n": 7,
    "z": 0,
    "neg": -12,
    "f": 2.5,
    "g": -0.00001234,
    "big": 123456789012345680000.0,
    "yes": True,
    "no": False,
    "nothing": None,
    "words": ["pear", "Apple", "fig", "apple"],
    "numbers": [3, 1, 2, 3.0, True],
    "mixed": [1, "a", None, 2.5, [1, "b"], {"k": "v"}],
    "rows": [
        {"name": "Bo", "age": 31, "tags": ["x"], "at": {"city": "Rom"}},
        {"name": "ann", "age": 5, "tags": [], "at": {"city": "Ulm"}},
        {"name": "Cy", "age": 31, "tags": ["y", "x"], "at": {}},
    ],
    "d": {"b": 1, "a": "x", "C": [1, 2], "items": "own", "it's": 'say "hi"'},
    "deep": {"list": [{"k": [1, 2, {"z": "end"}]}], "none": None},
}

STRINGS = [
    "s",
    "t",
    "u",
    "x",
    "empty",
    "'a-b'",
    "'%s'",
    "'<b>&\"'",
    "'  pad '",
    "'12'",
    "' -3.5e2 '",
    "'0x1f'",
    "'a\\nb\\r\\nc\\x0b'",
]
NUMBERS = [
    "n",
    "z",
    "neg",
    "f",
    "g",
    "big",
    "1",
    "-1",
    "3",
    "10",
    "255",
    "0.1",
    "1e16",
    "1e-5",
    "123456.789",
    "yes",
    "2.0",
]
INTS = ["n", "z", "neg", "1", "-1", "2", "3", "-2", "yes"]
LISTS = [
    "words",
    "numbers",
    "mixed",
    "rows",
    "[]",
    "[1, 2, 3, 4, 5]",
    "(1, 'a')",
    "(1,)",
    "()",
    "'abc'",
    "range(4)",
    "d",
    "d.items()",
    "d.keys()",
]
DICTS = ["d", "{}", "deep", "rows[0]", "{'a': 1, 2: 'b', none: [true]}", "dict(q=1, **{'w': 2})"]
OTHERS = ["nothing", "missing", "no", "d.values()", "namespace(a=1)"]

STR_ARGS = ["'a'", "','", "' '", "'l'", "'-'", "'ö'", "''", "'lo'", "'--'", "'It'", "x", "'xyz'"]
SMALL = ["0", "1", "2", "3", "-1", "-2", "5", "12"]


def each(names: str, arguments: list[str]) -> dict[str, list[str]]:
    """These names, all with the same arguments to choose from."""
    return dict.fromkeys(names.split(), arguments)


STR_METHODS: dict[str, list[str]] = {
    **each(
        "capitalize casefold isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric isprintable isspace "
        "istitle isupper lower swapcase title upper",
        [""],
    ),
    **each("strip lstrip rstrip", ["", "S", "none"]),
    **each("split rsplit", ["", "S", "S, I", "none, I", "sep=S", "maxsplit=I", "sep=S, maxsplit=I"]),
    **each("find rfind index rindex count", ["S", "S, I", "S, I, I", "S, none, I"]),
    **each("startswith endswith", ["S", "(S, S)", "S, I", "S, I, I"]),
    **each("removeprefix removesuffix partition rpartition", ["S"]),
    **each("center ljust rjust", ["I", "12", "20, 'ö'", "9, S"]),
    "zfill": ["I", "9"],
    "replace": ["S, S", "S, S, I"],
    "join": ["words", "LIST", "S"],
    "splitlines": ["", "true", "keepends=true"],
    "expandtabs": ["", "I", "tabsize=3"],
    "format": ["", "1", "A, A"],
    "translate": ["{97: 'A', 98: none}", "x.maketrans('abc', 'xyz')"],
    "append": ["1"],
    "nosuch": [""],
}
FILTERS: dict[str, list[str]] = {
    **each(
        "abs capitalize count e escape first forceescape last length list lower reverse safe string striptags title "
        "upper urlencode wordcount items",
        [""],
    ),
    "attr": ["'upper'", "'nosuch'"],
    "batch": ["I", "2, 'f'", "3"],
    "slice": ["2", "3, 'f'", "I"],
    "center": ["", "I", "width=15"],
    "d": ["", "A", "A, true"],
    "default": ["A", "default_value=A, boolean=true"],
    "dictsort": ["", "true", "by='value'", "false, 'key', true", "by='x'"],
    "filesizeformat": ["", "true", "binary=true"],
    "float": ["", "A", "default=1.5"],
    "format": ["", "A", "A, A", "a=A"],
    "groupby": ["'age'", "'at.city', default='-'", "attribute='name', case_sensitive=true"],
    "indent": ["", "I", "2, true", "width='> ', blank=true", "first=true"],
    "int": ["", "A", "0, 16", "base=2"],
    "join": ["", "S", "', ', 'name'", "attribute='age'"],
    "map": ["'upper'", "attribute='age'", "attribute='at.city', default='?'", "'default', 'x'", "'int'", ""],
    "max": ["", "true", "attribute='age'"],
    "min": ["", "true", "attribute='age'"],
    "pprint": [""],
    "replace": ["S, S", "S, S, I", "old=S, new=S"],
    "reject": ["", "'string'", "'in', [1, 2]", "'gt', 2"],
    "rejectattr": ["'tags'", "'age', 'odd'", "'at.city', 'defined'"],
    "round": ["", "1", "2, 'floor'", "0, 'ceil'", "-1", "precision=1", "1, 'x'"],
    "select": ["", "'number'", "'string'", "'divisibleby', 2", "'==', 1"],
    "selectattr": ["'tags'", "'age', 'equalto', 31", "'name', 'lower'"],
    "sort": [
        "",
        "true",
        "case_sensitive=true",
        "attribute='age'",
        "attribute='age,name'",
        "reverse=true, attribute='name'",
    ],
    "sum": ["", "'age'", "start=10", "attribute='age', start=1.5"],
    "tojson": [
        "",
        "indent=2",
        "true",
        "sort_keys=true",
        "separators=(',', ':')",
        "indent='-'",
        "ensure_ascii=true",
    ],
    "trim": ["", "S", "chars='H.'"],
    "truncate": ["", "5", "8, true", "9, false, '>>'", "length=6, leeway=0", "3, true, ''", "2"],
    "unique": ["", "true", "attribute='age'"],
    "wordwrap": ["", "9", "7, false", "width=10, break_on_hyphens=false", "6, wrapstring='|'"],
    "xmlattr": ["", "false"],
}
TESTS: dict[str, list[str]] = {
    **each(
        "odd even defined undefined none boolean false true integer float lower upper string mapping number sequence "
        "iterable callable escaped filter test",
        [""],
    ),
    "divisibleby": [" 3", "(A)"],
    "sameas": [" none", "(true)"],
    "in": [" words", "(LIST)"],
    **each("eq ne gt ge lt le equalto greaterthan lessthan", ["(A)"]),
}
LAZY = ["map", "select", "reject", "selectattr", "rejectattr", "unique", "batch", "slice", "items", "reverse"]
RESTS = ["", "|list", "|string", "|length", "|first", "|tojson"]
OPERATORS = [
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "~",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "in",
    "not in",
    "and",
    "or",
]
PRINTF = """
%s|%d|%5d|%-5d!|%05d|%+d|% d|%x|%#X|%o|%e|%.2f|%8.3f|%G|%.3g|%#g|%r|%a|%c|%10s!|%-10.3s!|%.3s|%i|%%|%5%|%(a)s|%(b)5d|%*d|%y|%
""".strip().split("|")
SPECS = """
|5|<7|>7|^7|=7|*^9|05|+| |,|_|x|#x|b|#o|e|.2e|f|.1f|g|.3g|%|.1%|d|c|s|.2|08.2f|+,.2f|010,|#b|n|<05|zz
""".strip("\n").split("|")
FORMATS = [
    "'{} {1}'.format(1, 2)",
    "'{{}}{}'.format(n)",
    "'{:{}}'.format(n, 5)",
    "'{a}'.format_map(d)",
    "'}'.format()",
    "'{'.format()",
    "'{0}{0}'.format(x)",
    "'{d[a]}'.format(d=d)",
    "'{0.real}'.format(n)",
]
STRFTIME = list("aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%fvQ")
STATEMENTS = [
    "{% for i in LIST %}{{ i }}{{ loop.index }}{% endfor %}",
    "{% for i in LIST %}{{ loop.first }}{{ loop.last }}{{ loop.revindex0 }},{% else %}none{% endfor %}",
    "{% for i in LIST if A %}{{ i }}{{ loop.length }}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for a, b in LIST %}{{ a }}{{ b }}{% endfor %}",
    "{% for i in LIST %}{% if loop.changed(i) %}{{ i }}{% endif %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for i in LIST %}{% if i == A %}{% continue %}{% endif %}"
    "{{ loop.previtem|default('-') }}{{ loop.nextitem is defined }}{% endfor %}",
    "{% for i in LIST %}{% if loop.index > 2 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in [[1, [2, [3]]], 4] recursive %}{{ loop.depth }}{{ loop(i) if i is iterable else i }}{% endfor %}",
    "{% set y = A %}{{ y }}{% for i in range(2) %}{% set y = i %}{{ y }}{% endfor %}{{ y }}",
    "{% set ns = namespace(v=A) %}{% for i in LIST %}{% set ns.v = i %}{% endfor %}{{ ns.v }}",
    "{% set a, b = A, A %}{{ b }}{{ a }}",
    "{% set y | upper %}{{ A }}b{% endset %}{{ y }}",
    "{% macro m(a, b=A) %}[{{ a }}|{{ b }}]{% endmacro %}{{ m(A) }}{{ m(b=A, a=1) }}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(A, 2, k=A) }}",
    "{% macro m() %}<{{ caller(A) }}>{% endmacro %}{% call(v) m() %}{{ v }}{{ x }}{% endcall %}",
    "{% macro m() %}x{% endmacro %}{{ m(A) }}",
    "{% with y = A, q = x %}{{ y }}{{ q }}{% endwith %}{{ y }}",
    "{% filter upper | trim %} a{{ A }}{% endfilter %}",
    "{% if A %}1{% elif A %}2{% else %}3{% endif %}",
    "{% set c = cycler('a', A) %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}",
    "{% set j = joiner(S) %}{% for i in LIST %}{{ j() }}{{ i }}{% endfor %}",
    "{% generation %}{{ A }}{% endgeneration %}",
    "  {% if A %}\n  a\n  {%- endif %}\n  b\n",
    "\n{%+ if yes %} x {%+ endif %}  \n {#- c -#} {{- A -}} \n {{+ x }}",
    "{% raw %}{{ A }}{% endraw %} {# {{ A }} #}\n{{ A }}\n",
    "{{ A if A else A }}{{ A if A }}",
    "{% autoescape true %}{{ A }}{{ '<' ~ A }}{{ A|join('<') }}{% endautoescape %}",
    "{% for g in rows|groupby('age') %}{{ g.grouper }}:{{ g.list|map(attribute='name')|join(',') }};{% endfor %}",
    "{{ raise_exception(A) if A }}{{ A|nosuch if no }}",
    "{% block b %}{{ A }}{% endblock %}{% print A, A %}",
]


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
            # Of variables only: jinja2 works out constants with other rules, by which `{}[1:]` is undefined and not an error.
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
