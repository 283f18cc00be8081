"""The stubs of what the engine's tables make: plans, steps and the parameters of rows, as type
checkers see them.
"""

import re
import textwrap

from streamcore import _core

_TYPES = {"int32": "int", "float32": "float"}
_WIDTH = 100
_DEEPER = " " * 8
_GENERATED = "Generated from the tables of `rust/engine` by `make docs`; do not edit."


def _about(text: str, before: str = "", indent: str = "    ") -> str:
    """A docstring within 100 columns, with names as Python has them."""
    text = before + re.sub(r"\s+", " ", text).strip().replace("::", ".")
    whole = f'{indent}"""{text}"""\n'
    if len(whole) <= _WIDTH + 1:
        return whole
    lines = textwrap.wrap(text, _WIDTH - len(indent) - 3, break_long_words=False, break_on_hyphens=False)
    if len(lines) == 1:
        lines = textwrap.wrap(text, len(text) - 1, break_long_words=False, break_on_hyphens=False)
    return f'{indent}"""' + f"\n{indent}".join(lines) + f'\n{indent}"""\n'


def core_tables() -> str:
    """`StepPlan`, and the keyword arguments that are row parameters."""
    sizes, _ = _core.step_table()
    plan = "".join(f"    {name}: Final[int]\n{_about(about)}" for name, about in sizes)
    numbers = "".join(
        f"    {name}: {_TYPES[dtype]}\n{_about(about)}" for name, dtype, about in _core.row_parameters()
    )
    return f'''"""Parts of `streamcore._core` that tables declare. A page of the stub alone.

{_GENERATED}
"""

from typing import Final, TypedDict, final

@final
class StepPlan:
    """The sizes of a plan: how much of each column it fills."""

    id: Final[int]
{plan}
class RowParameters(TypedDict, total=False):
    """The numbers that a row keeps while its sequence runs."""

{numbers}'''


def step_table() -> str:
    """The attributes of `Step`."""
    sizes, columns = _core.step_table()
    counts = "".join(
        f"    @property\n    def {name}(self) -> int:\n{_about(about, indent=_DEEPER)}"
        for name, about in sizes
    )
    views = "".join(
        f"    @property\n    def {name}(self) -> memoryview:\n{_about(about, f'{dtype}. ', _DEEPER)}"
        for name, dtype, filled, _, about in columns
        if filled
    )
    return f'''"""The sizes and columns of a step as attributes.

{_GENERATED}
"""

from collections.abc import Mapping

from streamcore import _core

def filled_len(name: str, plan: _core.StepPlan) -> int:
    """How many elements of a column a plan fills."""

class StepTable:
    """What each step has."""

    plan: _core.StepPlan
    columns: Mapping[str, memoryview]
    @property
    def id(self) -> int:
        """Number of the step."""
{counts}{views}'''
