"""The memory of a device: what is free, what a step takes, and the paged KV cache, which gets the
rest.

A block holds `block_size` tokens of one sequence in every layer. Per layer the keys are
[num_blocks, block_size, num_kv_heads, head_dim], the values likewise; other layers may lie between
two blocks.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from streamcore.errors import ConfigError
from streamcore.kernels import LayerCache, pages
from streamcore.kernels.gathered import WORKSPACE_BYTES
from streamcore.kernels.native import CudaOps, takes_heads
from streamcore.models.config import DecoderConfig
from streamcore.models.model import Model
from streamcore.runner.penalties import CHUNK_BYTES, COUNT_BYTES
from streamcore.runner.resource_limits import memory_left

_CPU_SHARE = 0.25
_CPU_LIMIT_BYTES = 4 << 30
# The rest is for graphs of smaller steps, and for what the allocator cannot use.
_CUDA_SHARE = 0.95


def available_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on a device; on the CPU within the limits of the machine,
    of its control groups and of `ulimit`.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    return min(_machine_memory(), memory_left())


def _machine_memory() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def step_bytes(model: Model, max_num_batched_tokens: int, max_num_seqs: int) -> int:
    """Memory that the largest step needs beside weights and cache, from above; on a CUDA device
    `trial` measures it instead.

    What a forward pass takes is measured. It is there twice on the CPU, where a recording has its
    own. Besides, per sample, the copies of the logits and the float64 sums that sampling by torch
    makes of them (by kernels it takes less), and the counts that penalties need; the pieces that
    log-probabilities are worked out in; and on CUDA what torch's attention gathers where that is
    used.
    """
    is_cpu, vocab_size = model.device.type == "cpu", model.config.vocab_size
    per_token, per_sample = model.measure()
    forward = max_num_batched_tokens * per_token + max_num_seqs * per_sample
    sampling = max_num_seqs * vocab_size * (5 * 4 + 2 * 8 + COUNT_BYTES)
    pieces = 4 * min(CHUNK_BYTES, max_num_batched_tokens * vocab_size * 4)
    gathers = not is_cpu and not _attends_by_kernel(model)
    return forward * (1 + is_cpu) + sampling + pieces + gathers * WORKSPACE_BYTES


def _attends_by_kernel(model: Model) -> bool:
    is_native = isinstance(model.ops, CudaOps)
    return is_native and takes_heads(model.precision.activations, model.config.head_dim)


def block_bytes(config: DecoderConfig, block_size: int, dtype: torch.dtype) -> int:
    """Memory of one block, keys and values of all layers."""
    return 2 * config.num_layers * block_size * config.num_kv_heads * config.head_dim * dtype.itemsize


def choose_num_blocks(
    config: DecoderConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    block_size: int,
    max_num_seqs: int,
    max_model_len: int,
    reserve: int,
    kv_cache_memory_bytes: int | None = None,
) -> int:
    """How many blocks the cache has. Called once the weights are on the device.

    Without `kv_cache_memory_bytes` that is 95 % of what a GPU has left, less what the largest step
    needs, or a quarter of what the machine has left and at most 4 GiB; never more than the sequences
    that can run together could fill.

    Args:
        dtype: of keys and values.
        reserve: what the largest step needs, in bytes.

    Raises:
        ConfigError: the memory holds not even one block.
    """
    one = block_bytes(config, block_size, dtype)
    if kv_cache_memory_bytes is not None:
        memory, source = (
            kv_cache_memory_bytes,
            f"`--kv-cache-memory-bytes` is {kv_cache_memory_bytes} bytes, which",
        )
    else:
        memory = _spare_memory(device, reserve)
        source = f"the memory that is free on {device}, {memory} bytes,"
    useful = max_num_seqs * -(-max_model_len // block_size)
    num_blocks = min(memory // one, useful)
    if num_blocks < 1:
        raise ConfigError(f"{source} is less than one block of the KV cache, {one} bytes")
    return num_blocks


def _spare_memory(device: torch.device, reserve: int) -> int:
    available = available_memory(device)
    if device.type == "cuda":
        return max(int(available * _CUDA_SHARE) - reserve, 0)
    return max(min(int(available * _CPU_SHARE), _CPU_LIMIT_BYTES, available - reserve), 0)


def allocate_kv_cache(model: Model, *, block_size: int, num_blocks: int) -> Sequence[LayerCache]:
    """Allocates the cache of every layer, zeroed: a masked slot is multiplied by zero, which only
    finite numbers survive.

    On the CPU the blocks of all layers lie side by side, if the kernels allow it. The system hands
    memory out as it is touched, in huge pages (`kernels/pages.py`): a new block then needs a part
    of one, not one in each layer.
    """
    config, dtype = model.config, model.precision.cache
    rest = (block_size, config.num_kv_heads, config.head_dim)
    if model.device.type != "cpu":
        storage = torch.zeros(config.num_layers, 2, num_blocks, *rest, dtype=dtype, device=model.device)
    elif model.ops.reads_blocks_apart:
        storage = _zeros((num_blocks, config.num_layers, 2, *rest), dtype).permute(1, 2, 0, 3, 4, 5)
    else:
        storage = _zeros((config.num_layers, 2, num_blocks, *rest), dtype)
    return [LayerCache(keys, values) for keys, values in storage]


def _zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return pages.zeros(math.prod(shape), dtype).view(shape)
