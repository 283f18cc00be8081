"""How much memory there is, and how much the KV cache takes of it."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.checkpoints import LLAMA_3_1_8B, TINY

from streamcore.errors import ConfigError
from streamcore.models.config import DecoderConfig
from streamcore.models.opening import open_config
from streamcore.runner import memory as memory_module
from streamcore.runner.memory import allocate_kv_cache, available_memory, block_bytes, choose_num_blocks

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GIB = 1 << 30
RESERVE = 3 * GIB


def num_blocks(
    monkeypatch: pytest.MonkeyPatch,
    available: int = 0,
    device: torch.device = CPU,
    max_num_seqs: int = 256,
    memory: int | None = None,
) -> int:
    """Blocks for Llama-3.1-8B in bfloat16 on a device with that much memory available."""
    monkeypatch.setattr(memory_module, "available_memory", lambda device: available)
    return choose_num_blocks(
        open_config(LLAMA_3_1_8B)[1],
        device,
        torch.bfloat16,
        block_size=16,
        max_num_seqs=max_num_seqs,
        max_model_len=131072,
        reserve=RESERVE,
        kv_cache_memory_bytes=memory,
    )


def test_memory_is_bounded_by_the_limits_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container the machine's memory is not ours."""
    assert 0 < available_memory(CPU) <= 1 << 50
    monkeypatch.setattr(memory_module, "memory_left", lambda: 1900)
    assert available_memory(CPU) == 1900


def test_a_block_of_llama_3_1_8b() -> None:
    """The published figure is 128 KiB per token: a wrong size would overrun a GPU or leave it idle."""
    assert block_bytes(open_config(LLAMA_3_1_8B)[1], 16, torch.bfloat16) == 16 * 128 * 1024


def test_the_given_memory_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names the memory gets as many blocks as fit into it, and no more."""
    assert num_blocks(monkeypatch, memory=5 * GIB) == 2560
    assert num_blocks(monkeypatch, memory=5 * GIB - 1) == 2559


def test_less_than_a_block_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache without a block could serve nothing: the start must fail, with both numbers."""
    expected = (
        "`--kv-cache-memory-bytes` is 1000 bytes, which is less than one block of the KV cache, 2097152 bytes"
    )
    with pytest.raises(ConfigError) as caught:
        num_blocks(monkeypatch, memory=1000)
    assert str(caught.value) == expected


def test_a_cpu_gives_a_bounded_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server on a workstation must not take the memory of everything else that runs there."""
    assert num_blocks(monkeypatch, available=8 * GIB) == 2 * GIB // (2 << 20)
    assert num_blocks(monkeypatch, available=500 * GIB) == 4 * GIB // (2 << 20)


def test_a_gpu_gives_what_a_step_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU every spare byte should be cache, but the largest step must still find its memory."""
    blocks = num_blocks(monkeypatch, available=64 * GIB, device=CUDA)
    assert blocks == (64 * GIB * 95 // 100 - RESERVE) // (2 << 20)


def test_no_more_than_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sequence can hold one context; memory beyond that would never be touched."""
    assert num_blocks(monkeypatch, available=64 * GIB, device=CUDA, max_num_seqs=1) == 131072 // 16


def model_of(config: DecoderConfig, *, reads_blocks_apart: bool) -> Any:
    """What `allocate_kv_cache` reads of a model."""
    ops, precision = (
        SimpleNamespace(reads_blocks_apart=reads_blocks_apart),
        SimpleNamespace(cache=torch.bfloat16),
    )
    return SimpleNamespace(config=config, device=CPU, ops=ops, precision=precision)


def tiny_config() -> DecoderConfig:
    return open_config({name: value for name, value in TINY.items() if value is not None})[1]


@pytest.mark.parametrize("reads_blocks_apart", [True, False])
def test_the_cache_is_zero_and_apart_per_layer(reads_blocks_apart: bool) -> None:
    """Masked slots are multiplied by zero, which turns garbage into NaN; layers must not share memory."""
    model = model_of(tiny_config(), reads_blocks_apart=reads_blocks_apart)
    caches = allocate_kv_cache(model, block_size=4, num_blocks=7)
    assert len(caches) == 2
    tensors = [tensor for cache in caches for tensor in (cache.keys, cache.values)]
    for number, tensor in enumerate(tensors, 1):
        assert tensor.shape == (7, 4, 2, 16)
        assert tensor.is_contiguous() == (not reads_blocks_apart)
        assert not tensor.any()
        tensor.fill_(number)
    assert [int(tensor.sum()) for tensor in tensors] == [7 * 4 * 2 * 16 * n for n in (1, 2, 3, 4)]


def test_a_block_of_all_layers_is_one_piece_of_memory() -> None:
    """A new block then touches one huge page, not one in each layer."""
    config = tiny_config()
    caches = allocate_kv_cache(model_of(config, reads_blocks_apart=True), block_size=4, num_blocks=7)
    size = block_bytes(config, 4, torch.bfloat16)
    tensors = [tensor[3] for cache in caches for tensor in (cache.keys, cache.values)]
    places = [tensor.data_ptr() for tensor in tensors]
    assert max(places) + tensors[0].nbytes - min(places) == size
