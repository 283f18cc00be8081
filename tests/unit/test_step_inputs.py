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
    for number, ((_, dtype, length), (address, num_elements)) in enumerate(
        zip(columns, buffers.addresses(), strict=True)
    ):
        assert num_elements == length
        raw = (ctypes_of[dtype] * length).from_address(address)
        raw[:] = [100 * number + index for index in range(length)]
    inputs = buffers.inputs(Plan(5, 2, 2, 3, 4, 9, num_device_tokens=1))
    assert inputs.token_ids.tolist() == [0, 1, 2, 3, 4]
    assert inputs.attention.positions.tolist() == [100, 101, 102, 103, 104]
    assert inputs.attention.slot_mapping.tolist() == [200, 201, 202, 203, 204]
    sequences = inputs.attention.sequences
    assert sequences.query_starts.tolist() == sequences.starts == [300, 301, 302]
    assert sequences.context_lens.tolist() == sequences.lens == [400, 401]
    assert sequences.block_tables.tolist() == [[500, 501, 502], [503, 504, 505]]
    assert inputs.logits_indices.tolist() == [600, 601]
    assert inputs.sample_rows.tolist() == [700, 701]
    assert inputs.sampling.temperature.tolist() == [800.0, 801.0]
    assert inputs.sampling.top_p.tolist() == [900.0, 901.0]
    assert inputs.sampling.top_k.tolist() == [1000, 1001]
    assert inputs.sampling.uniform.tolist() == [1100.0, 1101.0]
    assert inputs.device_token_indices.tolist() == [1200]
    assert inputs.device_token_rows.tolist() == [1300]
