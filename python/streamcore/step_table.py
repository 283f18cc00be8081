"""The sizes and columns of a step as attributes, made of the engine's table: their names and what
they are stand there alone.

`step_table.pyi` says the same to type checkers; `make docs` writes it.
"""

from collections.abc import Mapping

from streamcore import _core

_SIZES, _COLUMNS = _core.step_table()
# A column that the engine leaves alone has no sizes.
_FILLED = {name: (sizes, more) for name, _, sizes, more, _ in _COLUMNS if sizes}


def filled_len(name: str, plan: _core.StepPlan) -> int:
    """How many elements of a column a plan fills."""
    sizes, length = _FILLED[name]
    for size in sizes:
        length += getattr(plan, size)
    return length


class StepTable:
    """What each step has."""

    plan: _core.StepPlan
    columns: Mapping[str, memoryview]


class _Size:
    """A count of the plan."""

    def __init__(self, name: str, about: str) -> None:
        self._name = name
        self.__doc__ = about

    def __repr__(self) -> str:
        return "int"

    def __get__(self, step: StepTable | None, _: type) -> "_Size | int":
        if step is None:
            return self
        size: int = getattr(step.plan, self._name)
        return size


class _Column:
    """The part of a column that a step fills."""

    def __init__(self, name: str, dtype: str, about: str) -> None:
        self._name = name
        self.__doc__ = f"{dtype}. {about}"

    def __repr__(self) -> str:
        sizes, more = _FILLED[self._name]
        return f"memoryview[{' + '.join([*sizes, *[str(more)] * bool(more)])}]"

    def __get__(self, step: StepTable | None, _: type) -> "_Column | memoryview":
        if step is None:
            return self
        column = step.columns[self._name]
        view = step.__dict__[self._name] = column[: filled_len(self._name, step.plan)]
        return view


for _name, _about in [("id", "Number of the step."), *_SIZES]:
    setattr(StepTable, _name, _Size(_name, _about.strip()))
for _name, _dtype, _sizes, _, _about in _COLUMNS:
    if _sizes:
        setattr(StepTable, _name, _Column(_name, _dtype, _about.strip()))
