"""The columns between the engine and the runner."""

import ctypes
from typing import Any

import torch
from tests.models.plans import Plan, step_columns

from streamcore.runner.step_inputs import StepBuffers


def test_what_the_engine_writes_is_what_the_step_reads() -> None:
    """The engine writes through bare addresses: a column of another type, length or order would scramble
    every step.
    """
    columns = step_columns(max_num_batched_tokens=8, max_num_seqs=3, max_blocks_per_seq=4)
    buffers = StepBuffers(columns, torch.device("cpu"))
    ctypes_of: dict[str, Any] = {"int32": ctypes.c_int32, "int64": ctypes.c_int64, "float32": ctypes.c_float}
    written: dict[str, list[int]] = {}
    for number, ((name, dtype, length), (address, num_elements)) in enumerate(
        zip(columns, buffers.addresses(), strict=True)
    ):
        assert num_elements == length
        raw = (ctypes_of[dtype] * length).from_address(address)
        raw[:] = written[name] = [10000 * number + index for index in range(length)]

    plan = Plan(5, 2, 2, 3, 4, 9, 1, 0, 1, 4, 2, 3, 2, 5, 6)
    inputs = buffers.inputs(plan)
    assert inputs.penalties is not None
    assert inputs.biases is not None
    assert inputs.scores is not None
    sequences, sampling = inputs.attention.sequences, inputs.sampling
    read = {
        "token_ids": inputs.token_ids,
        "positions": inputs.attention.positions,
        "slot_mapping": inputs.attention.slot_mapping,
        "query_starts": sequences.query_starts,
        "context_lens": sequences.context_lens,
        "block_tables": sequences.block_tables.flatten(),
        "logits_indices": inputs.logits_indices,
        "sample_rows": inputs.sample_rows,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "uniform": sampling.uniform,
        "repetition_penalty": inputs.penalties.repetition,
        "frequency_penalty": inputs.penalties.frequency,
        "presence_penalty": inputs.penalties.presence,
        "device_token_indices": inputs.device_token_indices,
        "device_token_rows": inputs.device_token_rows,
        "reset_rows": inputs.penalties.reset_rows,
        "counted_indices": inputs.penalties.counted_indices,
        "counted_rows": inputs.penalties.counted_rows,
        "counted_as_output": inputs.penalties.counted_as_output,
        "penalised_samples": inputs.penalties.samples,
        "bias_samples": inputs.biases.samples,
        "bias_tokens": inputs.biases.tokens,
        "bias_values": inputs.biases.values,
        "scored_samples": inputs.scores.samples,
        "scored_indices": inputs.scores.indices,
        "scored_targets": inputs.scores.targets,
    }
    assert read.keys() == written.keys()
    lengths = [5, 5, 5, 3, 2, 6, *[2] * 10, 1, 1, 1, 4, 4, 4, 2, 3, 3, 3, 2, 5, 5]
    for (name, column), length in zip(read.items(), lengths, strict=True):
        assert column.tolist() == written[name][:length], name
    assert (sequences.starts, sequences.lens) == (
        sequences.query_starts.tolist(),
        sequences.context_lens.tolist(),
    )
    assert inputs.scores.num_top == 6


def test_what_nobody_asks_for_is_left_out() -> None:
    """Each of them would cost every step of every request time."""
    buffers = StepBuffers(step_columns(8, 3, 4), torch.device("cpu"))
    buffers.column("query_starts")[:2] = torch.tensor([0, 1])
    buffers.column("context_lens")[0] = 1
    inputs = buffers.inputs(Plan(1, 1, 1, 1, 1, 1))
    assert (inputs.penalties, inputs.biases, inputs.scores) == (None, None, None)
    assert inputs.wanted() is inputs.logits_indices
