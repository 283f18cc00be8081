"""The paged KV cache: how many blocks there are, and their memory.

A block holds `block_size` tokens of one sequence in every layer. Per layer the keys are [num_blocks,
block_size, num_kv_heads, head_dim], the values likewise.
"""

import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

from streamcore.errors import ConfigError
from streamcore.kernels import LayerCache
from streamcore.kernels.gathered import WORKSPACE_BYTES
from streamcore.models.config import DecoderConfig
from streamcore.runner.device import available_memory
from streamcore.runner.penalties import CHUNK_BYTES, COUNT_BYTES

_CPU_SHARE = 0.25
_CPU_LIMIT_BYTES = 4 << 30
_CUDA_SHARE = 0.9


def block_bytes(config: DecoderConfig, block_size: int, dtype: torch.dtype) -> int:
    """Memory of one block, keys and values of all layers."""
    return 2 * config.num_layers * block_size * config.num_kv_heads * config.head_dim * dtype.itemsize


def activation_bytes(
    config: DecoderConfig,
    device: torch.device,
    dtype: torch.dtype,
    max_num_batched_tokens: int,
    max_num_seqs: int,
) -> int:
    """Memory that the largest step needs beside weights and cache, estimated from above.

    Per token: the residual, a layer's input and output, queries, keys and values, what they attend to, and an MLP's
    inner tensors, all at once in scratch memory; on the CPU in float32, and again for the second scratch memory that a
    recording has; on CUDA what torch needs for an activation that has no kernel. Per sample: float32 logits, with the
    copies and the float64 sums that sampling makes of them, and the counts that penalties need. Besides, the pieces that
    log-probabilities are worked out in, and on CUDA what torch's attention gathers.
    """
    heads, inner = 2 * (config.num_heads + config.num_kv_heads), 3 * config.widest_mlp
    width = 3 * config.hidden_size + heads * config.head_dim + inner
    if device.type == "cpu":
        per_token = 2 * width * torch.float32.itemsize
    else:
        per_token = width * dtype.itemsize + (config.activation != "silu") * inner * torch.float32.itemsize
    per_sample = config.vocab_size * (dtype.itemsize + 5 * 4 + 2 * 8 + COUNT_BYTES)
    pieces = 4 * min(CHUNK_BYTES, max_num_batched_tokens * config.vocab_size * 4)
    gathered = WORKSPACE_BYTES if device.type == "cuda" else 0
    return max_num_batched_tokens * per_token + max_num_seqs * per_sample + pieces + gathered


def choose_num_blocks(
    config: DecoderConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    block_size: int,
    max_num_batched_tokens: int,
    max_num_seqs: int,
    max_model_len: int,
    kv_cache_memory_bytes: int | None = None,
) -> int:
    """How many blocks the cache has. To be asked once the weights are on the device.

    Without `kv_cache_memory_bytes` that is nine tenths of what a GPU has left beside the largest step, or a
    quarter of what the machine has left and at most 4 GiB; never more than the sequences that can run
    together could fill.

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
        reserve = activation_bytes(config, device, dtype, max_num_batched_tokens, max_num_seqs)
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


def allocate_kv_cache(
    config: DecoderConfig, device: torch.device, dtype: torch.dtype, *, block_size: int, num_blocks: int
) -> Sequence[LayerCache]:
    """Allocates the cache of every layer, zeroed: a masked slot is multiplied by zero, which only finite
    numbers survive.
    """
    shape = (config.num_layers, 2, num_blocks, block_size, config.num_kv_heads, config.head_dim)
    if device.type == "cpu":
        storage = _untouched_zeros(num_blocks * block_bytes(config, block_size, dtype), dtype).view(shape)
    else:
        storage = torch.zeros(shape, dtype=dtype, device=device)
    return [LayerCache(keys, values) for keys, values in storage]


def _untouched_zeros(num_bytes: int, dtype: torch.dtype) -> Tensor:
    """Zeros that the system hands out page by page as they are written, so that an unused cache costs
    nothing.
    """
    pages = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=dtype)
