"""Numbers on their way to the engine and back: memory in the types that it takes, of whatever
library they come.
"""

from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Any

from streamcore import _core

_TYPE_CODES = {"int32": "i", "int64": "q", "float32": "f"}


class Columns:
    """The columns of a step, and their loan to the engine."""

    def __init__(self, config: _core.EngineConfig) -> None:
        arrays = {
            name: array(_TYPE_CODES[dtype], [0]) * length for name, dtype, length in config.step_columns()
        }
        # An array that is viewed keeps its place in memory.
        self.views = {name: memoryview(column) for name, column in arrays.items()}
        self.buffers = _core.StepBuffers(config, [place(column) for column in arrays.values()])


def place(column: "array[Any]") -> tuple[int, int]:
    """Address and number of elements."""
    return column.buffer_info()


def column(type_code: str, values: Any) -> "array[Any]":
    """A column of numbers.

    Args:
        type_code: as `array` has it.
        values: a sequence, a buffer or an array of any library, or rows of these. Taken over as
            bytes where it is memory of that type already.

    Raises:
        TypeError: something is no number, or not whole where it must be.
        OverflowError: a number is beyond the type.
    """
    try:
        view = memoryview(values)
    except TypeError:
        return array(type_code, _numbers(values))
    if view.format != type_code:
        return array(type_code, _numbers(values))
    column = array(type_code)
    column.frombytes(view.tobytes())
    return column


def _numbers(values: Any) -> Any:
    rows = _listed(values)
    # A row may be an array even where the rows are a list.
    if rows and not isinstance(rows[0], int | float):
        rows = [_listed(row) for row in rows]
        return chain.from_iterable(rows) if isinstance(rows[0], Sequence) else rows
    return rows


def _listed(values: Any) -> Any:
    """What the libraries of arrays agree on; a number of theirs becomes one of Python."""
    return values.tolist() if hasattr(values, "tolist") else list(values)
