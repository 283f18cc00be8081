"""What snippets of templates are made of: variables, and by name the arguments of all methods, filters and tests."""

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
