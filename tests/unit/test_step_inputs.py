"""The columns between the engine and the runner."""

import ctypes
from typing import Any

import torch
from tests.models.plans import Plan, step_columns
from torch import Tensor

from streamcore.runner.rows import Rows
from streamcore.runner.step_inputs import StepBuffers, StepInputs

CPU = torch.device("cpu")


def fill(columns: list[tuple[str, str, int]], buffers: StepBuffers) -> dict[str, list[int]]:
    """Writes numbers into every column as the engine does, all different; answers them by name."""
    ctypes_of: dict[str, Any] = {"int32": ctypes.c_int32, "int64": ctypes.c_int64, "float32": ctypes.c_float}
    written: dict[str, list[int]] = {}
    for number, ((name, dtype, length), (address, num_elements)) in enumerate(
        zip(columns, buffers.addresses(), strict=True)
    ):
        assert num_elements == length
        raw = (ctypes_of[dtype] * length).from_address(address)
        # What names a row or a place there must be one.
        first = 0 if name in ("sample_rows", "new_rows", "block_places") else 10000 * number
        raw[:] = written[name] = [first + index for index in range(length)]
    return written


def read_by_row(inputs: StepInputs) -> dict[str, Tensor]:
    """What a plan tells of rows, as the step finds it."""
    assert inputs.penalties is not None
    return {
        "block_ids": inputs.sequences.block_tables.flatten(),
        "new_rows": inputs.penalties.new_rows,
        "temperature": inputs.sampling.temperature,
        "top_p": inputs.sampling.top_p,
        "top_k": inputs.sampling.top_k,
        "min_p": inputs.sampling.min_p,
        "repetition_penalty": inputs.penalties.repetition,
        "frequency_penalty": inputs.penalties.frequency,
        "presence_penalty": inputs.penalties.presence,
    }


def read(inputs: StepInputs) -> dict[str, tuple[Tensor, int]]:
    """The other columns as the step finds them, and how long they must be for `PLAN`."""
    sequences, penalties, biases = inputs.sequences, inputs.penalties, inputs.biases
    assert penalties is not None
    assert biases is not None
    assert inputs.masks is not None
    assert inputs.scores is not None
    return {
        "token_ids": (inputs.token_ids, 6),
        "positions": (inputs.positions, 6),
        "slot_mapping": (inputs.slot_mapping, 6),
        "query_starts": (sequences.query_starts, 3),
        "context_lens": (sequences.context_lens, 2),
        "seq_rows": (sequences.rows, 2),
        "logits_indices": (inputs.logits_indices, 2),
        "sample_rows": (inputs.sample_rows, 2),
        "uniform": (inputs.sampling.uniform, 2),
        "device_token_indices": (inputs.device_token_indices, 1),
        "device_token_rows": (inputs.device_token_rows, 1),
        "counted_indices": (penalties.counted_indices, 4),
        "counted_rows": (penalties.counted_rows, 4),
        "counted_as_output": (penalties.counted_as_output, 4),
        "penalised_samples": (penalties.samples, 2),
        "masked_samples": (inputs.masks.samples, 2),
        "mask_words": (inputs.masks.words.flatten(), 8),
        "bias_samples": (biases.samples, 3),
        "bias_tokens": (biases.tokens, 3),
        "bias_values": (biases.values, 3),
        "scored_samples": (inputs.scores.samples, 2),
        "scored_indices": (inputs.scores.indices, 5),
        "scored_targets": (inputs.scores.targets, 5),
    }


PLAN = Plan(
    num_tokens=5,
    num_seqs=1,
    num_samples=2,
    num_padding=1,
    num_block_updates=7,
    num_new_rows=2,
    num_device_tokens=1,
    num_counted_tokens=4,
    num_penalised_samples=2,
    num_masked_samples=2,
    num_biases=3,
    num_scored_samples=2,
    num_scored_tokens=5,
    max_top_logprobs=6,
)


def test_what_the_engine_writes_is_what_the_step_reads() -> None:
    """The engine writes through bare addresses: a column of another type, length or order would scramble
    every step.
    """
    columns = step_columns(max_num_batched_tokens=8, max_num_seqs=3, max_blocks_per_seq=4)
    buffers = StepBuffers(columns, CPU)
    written = fill(columns, buffers)
    inputs = buffers.inputs(PLAN, Rows(columns, CPU))
    by_row, rest = read_by_row(inputs), read(inputs)
    # The places are where the blocks are.
    assert by_row.keys() | rest.keys() | {"block_places"} == written.keys()
    for name, column in by_row.items():
        told = written[name][: 7 if name == "block_ids" else 2]
        # Rows and places that the plan does not name stay as they were.
        assert column.tolist() == told + [0] * (len(column) - len(told)), name
    for name, (column, length) in rest.items():
        assert column.tolist() == written[name][:length], name
    sequences, scores = inputs.sequences, inputs.scores
    assert (sequences.starts, sequences.lens) == (
        sequences.query_starts.tolist(),
        sequences.context_lens.tolist(),
    )
    assert scores is not None
    assert scores.num_top == 6


def test_a_device_reads_its_own_memory() -> None:
    """A kernel that got an address of the host would fault, or wait for the bus at every key."""
    columns, meta = (
        step_columns(max_num_batched_tokens=8, max_num_seqs=3, max_blocks_per_seq=4),
        torch.device("meta"),
    )
    buffers = StepBuffers(columns, meta)
    fill(columns, buffers)
    rows = Rows(columns, meta)
    inputs = buffers.inputs(PLAN, rows)
    assert inputs.sampling.temperature.tolist() == rows.host_parameters["temperature"][:2].tolist() != [0, 0]
    resident = [*read_by_row(inputs).values(), *(column for column, _ in read(inputs).values())]
    drawn = {id(getattr(inputs.sampling, name)) for name in (*inputs.sampling.parameters(), "uniform")}
    assert all(column.device == meta for column in resident if id(column) not in drawn)
    assert inputs.device_sampling.temperature.device == inputs.device_sampling.uniform.device == meta


def test_what_nobody_asks_for_is_left_out() -> None:
    """Each of them would cost every step of every request time."""
    columns = step_columns(8, 3, 4)
    buffers = StepBuffers(columns, CPU)
    buffers.column("query_starts")[:2] = torch.tensor([0, 1])
    buffers.column("context_lens")[0] = 1
    inputs = buffers.inputs(Plan(1, 1, 1), Rows(columns, CPU))
    assert (inputs.penalties, inputs.masks, inputs.biases, inputs.scores) == (None, None, None, None)
    assert inputs.wanted() is inputs.logits_indices
