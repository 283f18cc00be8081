"""The columns between the engine and the runner, and what rows keep of them."""

import ctypes
from typing import Any

import pytest
import torch
from tests.models.plans import engine_config, plan
from torch import Tensor

from streamcore import _core
from streamcore.runner.columns import Columns, PlanColumns
from streamcore.runner.masks import MaskInputs
from streamcore.runner.penalties import BiasInputs, CountInputs, PenaltyInputs
from streamcore.runner.scores import ScoreInputs
from streamcore.runner.state import RowState

CPU, META = torch.device("cpu"), torch.device("meta")
LIMITS = engine_config(8, 3, max_model_len=4, num_mask_words=4).step_columns()
NAMES = [name for name, _, _ in LIMITS]
PLAN = plan(
    num_tokens=5,
    num_seqs=1,
    num_samples=2,
    num_padding=1,
    num_block_updates=7,
    num_new_rows=2,
    num_counted_tokens=4,
    num_penalised_samples=2,
    num_masked_samples=2,
    num_biases=3,
    num_scored_samples=2,
    num_scored_tokens=5,
    max_top_logprobs=6,
)


def fill(columns: Columns, index: int = 0) -> dict[str, list[int]]:
    """Writes numbers into every column as the engine does, all different; returns them by name."""
    ctypes_of: dict[str, Any] = {"int32": ctypes.c_int32, "int64": ctypes.c_int64, "float32": ctypes.c_float}
    written: dict[str, list[int]] = {}
    places = columns.addresses(index)
    for number, ((name, dtype, length), (address, num_elements)) in enumerate(
        zip(LIMITS, places, strict=True)
    ):
        assert num_elements == length
        raw = (ctypes_of[dtype] * length).from_address(address)
        # What names a row or a place there must be one.
        first = 0 if name in ("sample_rows", "new_rows", "block_places") else 10000 * number + 100 * index
        raw[:] = written[name] = [first + position for position in range(length)]
    for name in ("counted_indices", "counted_rows", "token_ids"):
        written[name] = [1] * len(written[name])
        columns.sets[index][name].fill_(1)
    return written


def test_what_the_engine_writes_is_what_the_step_reads() -> None:
    """The engine writes through bare addresses: a column of another type, length or order would scramble
    every step.
    """
    columns = Columns(LIMITS, CPU)
    written = fill(columns)
    lengths = {"token_ids": 6, "positions": 6, "slot_mapping": 6, "query_starts": 3, "context_lens": 2}
    lengths |= {"seq_rows": 2, "block_places": 7, "block_ids": 7, "uniform": 2, "counted_rows": 4}
    lengths |= {
        "masked_samples": 2,
        "mask_words": 8,
        "bias_values": 3,
        "scored_samples": 2,
        "scored_targets": 5,
        "device_token_rows": 0,
    }
    step = columns.upload(0, PLAN)
    for name in NAMES:
        told = step[name].flatten().tolist()
        assert told == step.on_host(name).flatten().tolist() == written[name][: len(told)], name
        assert len(told) == lengths.get(name, len(told)), name


@pytest.mark.parametrize("is_written_down", [False, True])
def test_rows_keep_what_a_plan_tells_of_them(is_written_down: bool) -> None:
    """A plan tells blocks and parameters once. What it does not name must stay as it was."""
    columns, rows = Columns(LIMITS, CPU), RowState(LIMITS, 8, CPU)
    if is_written_down:
        rows.write_down(columns)
    written = fill(columns)
    rows.update(columns.upload(0, PLAN))
    told = {"block_ids": rows.block_tables.flatten(), **rows.parameters}
    for name, by_row in told.items():
        new = written[name][: 7 if name == "block_ids" else 2]
        assert by_row.tolist() == new + [0] * (len(by_row) - len(new)), name
    assert rows.host_parameters is rows.parameters
    # Another plan, which names nothing new, changes nothing.
    before = {name: by_row.clone() for name, by_row in told.items()}
    for column in columns.sets[0].values():
        column.zero_()
    rows.update(columns.upload(0, plan(num_tokens=1, num_seqs=1, num_samples=1)))
    assert all(torch.equal(by_row, before[name]) for name, by_row in told.items())


def test_a_row_that_is_not_there_is_refused() -> None:
    """An engine and a runner that disagree about their limits would write into foreign memory."""
    columns, rows = Columns(LIMITS, CPU), RowState(LIMITS, 8, CPU)
    rows.write_down(columns)
    fill(columns)
    columns.sets[0]["new_rows"][1] = rows.num_rows
    before = {name: by_row.clone() for name, by_row in rows.parameters.items()}
    with pytest.raises(ValueError, match=f"place is {rows.num_rows}, it must be below {rows.num_rows}"):
        rows.update(columns.upload(0, plan(num_tokens=1, num_seqs=1, num_samples=1, num_new_rows=2)))
    assert all(torch.equal(by_row, before[name]) for name, by_row in rows.parameters.items())


def test_the_newest_token_of_a_row_is_filled_in() -> None:
    """The next step is planned before the host has seen the token: nothing else knows it."""
    columns, rows = Columns(LIMITS, CPU), RowState(LIMITS, 8, CPU)
    host = columns.sets[0]
    host["sample_rows"][:2] = torch.tensor([2, 0])
    rows.keep(columns.upload(0, plan(num_samples=2)), torch.tensor([7, 5], dtype=torch.int32))
    host["device_token_indices"][:2] = torch.tensor([1, 3])
    host["device_token_rows"][:2] = torch.tensor([0, 2])
    step = columns.upload(0, plan(num_tokens=4, num_device_tokens=2))
    rows.update(step)
    assert step["token_ids"].tolist() == [0, 5, 0, 7]


def test_inputs_are_taken_from_their_own_columns() -> None:
    """Columns of one type and length can be swapped without an error: biases would go to other tokens."""
    columns, rows = Columns(LIMITS, CPU), RowState(LIMITS, 8, CPU)
    fill(columns)
    step = columns.upload(0, PLAN)
    rows.update(step)
    counts, penalties = CountInputs.of(step), PenaltyInputs.of(rows.parameters, step)
    masks = MaskInputs.of(step)
    biases, scores, (sampling, _) = BiasInputs.of(step), ScoreInputs.of(step), rows.sampling(step)
    taken: dict[str, Tensor] = {
        "new_rows": counts.new_rows,
        "counted_indices": counts.indices,
        "counted_rows": counts.rows,
        "counted_as_output": counts.as_output,
        "penalised_samples": penalties.samples,
        "sample_rows": penalties.sample_rows,
        "masked_samples": masks.samples,
        "mask_words": masks.words,
        "bias_samples": biases.samples,
        "bias_tokens": biases.tokens,
        "bias_values": biases.values,
        "scored_samples": scores.samples,
        "scored_indices": scores.indices,
        "scored_targets": scores.targets,
        "uniform": sampling.uniform,
        # Samples of the first two rows, which the plan has just told.
        **{name: getattr(sampling, name) for name in sampling.parameters()},
        "repetition_penalty": penalties.repetition[:2],
        "frequency_penalty": penalties.frequency[:2],
        "presence_penalty": penalties.presence[:2],
    }
    for name, column in taken.items():
        assert column.tolist() == step[name].tolist(), name
    assert scores.num_top == 6


def test_sets_are_apart_and_the_device_has_one_place() -> None:
    """Two steps in flight share no column on the host, which the engine writes while the first runs; a graph that was
    captured reads one address.
    """
    columns = Columns(LIMITS, META, num_sets=2)
    written = [fill(columns, index) for index in range(2)]
    for index in range(2):
        step = columns.upload(index, PLAN)
        assert step.on_host("positions").tolist() == written[index]["positions"][:6]
        assert step["positions"].untyped_storage() is not step.on_host("positions").untyped_storage()
    assert written[0]["positions"] != written[1]["positions"]
    assert columns.resident["token_ids"].device == META


def test_a_device_reads_its_own_memory() -> None:
    """A kernel that got an address of the host would fault, or wait for the bus at every key."""
    columns, rows = Columns(LIMITS, META), RowState(LIMITS, 8, META)
    fill(columns)
    step = columns.upload(0, PLAN)
    rows.update(step)
    on_host, on_device = rows.sampling(step)
    assert on_host.temperature.tolist() == rows.host_parameters["temperature"][:2].tolist() != [0, 0]
    assert all(step[name].device == META for name in NAMES)
    assert all(step.on_host(name).device == CPU for name in NAMES)
    resident = [rows.block_tables, rows.last_tokens, *rows.parameters.values()]
    resident += [getattr(on_device, name) for name in (*on_device.parameters(), "uniform")]
    assert {tensor.device for tensor in resident} == {META}
    assert {tensor.device for tensor in rows.host_parameters.values()} == {CPU}


def test_only_what_a_plan_fills_goes_to_the_device() -> None:
    """Columns that few requests need are the larger part: copying them would cost every step of every request time."""
    columns = Columns(LIMITS, META)
    copied = copies(columns, plan(num_tokens=2, num_seqs=2, num_samples=2))
    assert copied == ["all that is common"]
    copied = copies(columns, plan(num_tokens=2, num_seqs=2, num_samples=2, num_biases=1))
    assert copied == ["all that is common", "bias_samples", "bias_tokens", "bias_values"]


def copies(columns: Columns, step: _core.StepPlan) -> list[str]:
    """The columns that an upload copies by themselves, and what comes before them."""
    copied: list[str] = []
    end = columns._num_common_bytes
    by_pointer = {
        column.storage_offset() * column.element_size(): name for name, column in columns.resident.items()
    }

    class Watched(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is Tensor.copy_:
                target = args[0]
                is_common = target.nbytes == end
                offset = target.storage_offset() * target.element_size()
                copied.append("all that is common" if is_common else by_pointer[offset])
            return func(*args, **(kwargs or {}))

    with Watched():
        assert isinstance(columns.upload(0, step), PlanColumns)
    return copied
