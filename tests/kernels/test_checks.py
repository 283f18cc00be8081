"""What is refused before an address reaches a kernel."""

from typing import Any

import pytest
import torch
from tests.kernels.conftest import Operations

from streamcore import kernels
from streamcore.kernels import native

OPERATIONS = Operations(native.ops_for(torch.device("cpu")))


def test_mismatched_arguments_are_refused() -> None:
    """A kernel believes its arguments: a wrong one would read or write foreign memory."""
    x, weight = torch.zeros(2, 8), torch.ones(8)
    with pytest.raises(ValueError, match=r"`weight` must be a contiguous torch\.float32 vector of 8"):
        OPERATIONS.rms_norm(x, torch.ones(7), 1e-5)
    with pytest.raises(ValueError, match="`weight` must be"):
        OPERATIONS.rms_norm(x, weight.half(), 1e-5)
    with pytest.raises(ValueError, match="`x` must be 2-d with contiguous rows"):
        OPERATIONS.rms_norm(x.t(), torch.ones(2), 1e-5)
    with pytest.raises(ValueError, match="`x` must be 2-d"):
        OPERATIONS.rms_norm(x.double(), weight.double(), 1e-5)
    with pytest.raises(ValueError, match=r"`residual` must be \[2, 8\], got \[3, 8\]"):
        OPERATIONS.add_rms_norm(x, torch.zeros(3, 8), weight, 1e-5)
    with pytest.raises(ValueError, match=r"`gate_up` must be \[2, 6\], got \[2, 7\]"):
        OPERATIONS.gated(torch.zeros(2, 7))


def rope_arguments() -> dict[str, torch.Tensor]:
    return {
        "query": torch.zeros(3, 4, 16),
        "key": torch.zeros(3, 2, 16),
        "value": torch.zeros(3, 2, 16),
        "cos_sin": torch.zeros(9, 16),
        "positions": torch.zeros(3, dtype=torch.int32),
        "key_cache": torch.zeros(2, 4, 2, 16),
        "value_cache": torch.zeros(2, 4, 2, 16),
        "slot_mapping": torch.zeros(3, dtype=torch.int64),
    }


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("query", torch.zeros(3, 16, 4).transpose(1, 2), "`query` must be .* with adjacent heads"),
        ("key", torch.zeros(2, 2, 16), "do not match"),
        ("value", torch.zeros(3, 2, 16).half(), "`value` must be torch.float32"),
        ("cos_sin", torch.zeros(9, 18), "`cos_sin` must be"),
        ("cos_sin", torch.zeros(9, 16).half(), "`cos_sin` must be"),
        ("positions", torch.zeros(3, dtype=torch.int64), "`positions` must be a contiguous torch.int32"),
        (
            "key_cache",
            torch.zeros(2, 2, 4, 16).transpose(1, 2),
            "`key_cache` must be .* with contiguous blocks",
        ),
        ("value_cache", torch.zeros(3, 4, 2, 16), "caches differ in shape"),
        ("value_cache", torch.zeros(2, 4, 2, 16).bfloat16(), "caches differ in dtype"),
        ("key_cache", torch.zeros(2, 4, 2, 16).half(), "caches differ in dtype"),
        ("slot_mapping", torch.zeros(2, dtype=torch.int64), "`slot_mapping` must be"),
        ("positions", torch.tensor([0, 9, 0], dtype=torch.int32), "position is 9, it must be below 9"),
        ("positions", torch.tensor([0, 0, -1], dtype=torch.int32), "position is -1"),
        ("slot_mapping", torch.tensor([-1, 8, 0]), "slot is 8, it must be below 8"),
    ],
)
def test_rope_refuses(name: str, wrong: torch.Tensor, message: str) -> None:
    """A slot or a head out of place would overwrite another sequence's cache."""
    with pytest.raises(ValueError, match=message):
        OPERATIONS.rope_and_store_kv(**rope_arguments() | {name: wrong})


def int32(*values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


def test_rope_takes_its_own_arguments() -> None:
    """The refusals above would prove nothing if the arguments they start from were refused."""
    OPERATIONS.rope_and_store_kv(**rope_arguments())


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("query", torch.zeros(3, 3, 16), "3 query heads do not divide among 2 KV heads"),
        ("block_tables", torch.zeros(2, 1, dtype=torch.int64), "`block_tables` must be int32"),
        ("rows", torch.zeros(3, dtype=torch.int32), "`rows` must be a contiguous torch.int32 vector of 2"),
        ("context_lens", torch.ones(2), "`context_lens` must be"),
        ("query_starts", torch.zeros(2, dtype=torch.int32), "`query_starts` must be"),
        ("query", torch.zeros(3, 4, 8), "`key_cache` must be .* with contiguous blocks"),
        ("key_cache", torch.zeros(2, 4, 2, 8), "caches differ in shape"),
        ("block_tables", int32([0], [2]), "block id is 2, it must be below 2"),
        ("block_tables", int32([-1], [0]), "block id is -1, it must be below 2"),
        ("rows", int32(2, 0), "row is 2, it must be below 2"),
        ("rows", int32(1, -1), "row is -1"),
        ("context_lens", int32(5, 1), "context length is 5, it must be below 5"),
        ("context_lens", int32(1, 1), "number of query tokens is 2, it must be below 2"),
        ("query_starts", int32(0, 2, 4), "query start is 4, it must be below 4"),
        ("query_starts", int32(-1, 2, 3), "query start is -1"),
        ("query_starts", int32(0, 2, 1), "query start is 2, it must be below 2"),
    ],
)
def test_attention_refuses(name: str, wrong: torch.Tensor, message: str) -> None:
    """A block table of the wrong width would send the kernel to foreign memory."""
    arguments: dict[str, Any] = {
        "query": torch.zeros(3, 4, 16),
        "key_cache": torch.zeros(2, 4, 2, 16),
        "value_cache": torch.zeros(2, 4, 2, 16),
    }
    columns = {
        "block_tables": torch.zeros(2, 1, dtype=torch.int32),
        "rows": torch.tensor([1, 0], dtype=torch.int32),
        "context_lens": torch.tensor([2, 1], dtype=torch.int32),
        "query_starts": torch.tensor([0, 2, 3], dtype=torch.int32),
    }
    (columns if name in columns else arguments)[name] = wrong
    with pytest.raises(ValueError, match=message):
        OPERATIONS.paged_attention(**arguments, sequences=kernels.PagedSequences(**columns), rule=1.0)
