"""What the engine's tables make, beside what the engine does."""

from typing import Any, get_type_hints

import pytest

from streamcore import Scheduler, _core
from streamcore.columns import Columns
from streamcore.scheduler import Step
from streamcore.step import filled_len

SIZES, COLUMNS = _core.step_table()
PARAMETERS = [name for name, _, _ in _core.row_parameters()]


def config() -> _core.EngineConfig:
    return _core.EngineConfig(
        block_size=2,
        num_blocks=9,
        max_num_batched_tokens=8,
        max_num_seqs=3,
        max_model_len=6,
        num_mask_words=2,
    )


def test_columns_are_those_that_a_runner_must_allocate() -> None:
    """A column that is named but not lent, or in another order, would scramble every step."""
    allocated = [(name, dtype) for name, dtype, _ in config().step_columns()]
    assert allocated == [(name, dtype) for name, dtype, _, _, _ in COLUMNS]
    names = {name for name, _ in SIZES}
    assert all(set(sizes) <= names for _, _, sizes, _, _ in COLUMNS)


def test_a_plan_has_every_size() -> None:
    """A runner that cannot ask for a size cannot know how much of its columns is new."""
    engine = _core.Scheduler(config())
    engine.add_request(0, [1, 2, 3], max_tokens=1, logprobs=2)
    columns = Columns(config())
    plan = engine.next_step(columns.buffers)
    assert plan is not None
    sizes = {name: getattr(plan, name) for name, _ in SIZES}
    assert (sizes["num_tokens"], sizes["num_scored_samples"], sizes["max_top_logprobs"]) == (3, 1, 2)
    assert filled_len("query_starts", plan) == 2


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_reaches_its_own_column(name: str) -> None:
    """A number that arrives under another name is another answer, and nothing fails."""
    scheduler = Scheduler(num_blocks=4)
    asked: Any = {name: 1}
    scheduler.add_request([1], max_tokens=1, **asked)
    neutral = Scheduler(num_blocks=4)
    neutral.add_request([1], max_tokens=1)
    step, other = scheduler.next_step(), neutral.next_step()
    assert step is not None
    assert other is not None
    assert getattr(step, name).tolist() == [1]
    rest = [parameter for parameter in PARAMETERS if parameter != name]
    assert all(getattr(step, parameter) == getattr(other, parameter) for parameter in rest)


def test_unknown_parameters_are_refused() -> None:
    """A misspelt one would be left out in silence, and every answer be drawn otherwise than it was asked for."""
    scheduler = Scheduler(num_blocks=4)
    with pytest.raises(TypeError, match="unexpected keyword argument 'temprature'"):
        scheduler.add_request([1], max_tokens=1, temprature=1.0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="argument 'temperature': must be real number, not str"):
        scheduler.add_request([1], max_tokens=1, temperature="1")  # type: ignore[arg-type]
    assert not scheduler.has_work


def test_each_attribute_of_a_step_says_what_it_is() -> None:
    """`help(Step)` is where a runner's author looks."""
    attributes = [name for name, _ in SIZES] + [name for name, _, sizes, _, _ in COLUMNS if sizes]
    for name in attributes:
        assert getattr(Step, name).__doc__, name
        assert repr(getattr(Step, name)).startswith(("int", "memoryview[")), name
    assert get_type_hints(Step)
