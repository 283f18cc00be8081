"""What the compiled kernels rely on, checked before an address leaves Python.

Each check is a handful of attribute reads: a step makes hundreds of calls. A failure is a bug of
the caller and raises `ValueError` with the offending value.
"""

import torch
from torch import Tensor

FLOAT_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def rows(name: str, x: Tensor) -> None:
    """`x` is a 2-d floating tensor whose rows are contiguous; the row stride is free."""
    if x.dim() != 2 or x.stride(1) != 1 or x.dtype not in FLOAT_DTYPES:
        raise ValueError(
            f"`{name}` must be 2-d with contiguous rows in float32, bfloat16 or float16, "
            f"got {describe(x)} strides {x.stride()}"
        )


def heads(name: str, x: Tensor) -> None:
    """`x` is [tokens, heads, head_dim] with adjacent heads; the token stride is free."""
    adjacent = x.dim() == 3 and x.stride(2) == 1 and (x.stride(1) == x.shape[2] or x.shape[1] == 1)
    if not adjacent or x.dtype not in FLOAT_DTYPES:
        raise ValueError(
            f"`{name}` must be [num_tokens, num_heads, head_dim] with adjacent heads, "
            f"got {describe(x)} strides {x.stride()}"
        )


def same_kind(name: str, x: Tensor, like: Tensor) -> None:
    """`x` has the dtype and the device of `like`."""
    if x.dtype != like.dtype or x.device != like.device:
        raise ValueError(f"`{name}` must be {like.dtype} on {like.device}, got {x.dtype} on {x.device}")


def vector(name: str, x: Tensor, length: int, dtype: torch.dtype, like: Tensor) -> None:
    """`x` is a contiguous vector of that length and dtype on the device of `like`."""
    if x.dim() != 1 or x.shape[0] != length or x.dtype != dtype or not x.is_contiguous():
        raise ValueError(f"`{name}` must be a contiguous {dtype} vector of {length}, got {describe(x)}")
    if x.device != like.device:
        raise ValueError(f"`{name}` must be on {like.device}, got {x.device}")


def caches(key_cache: Tensor, value_cache: Tensor, like: Tensor, *, may_be_apart: bool) -> None:
    """Both caches are [num_blocks, block_size, num_kv_heads, head_dim] beside the query `like`,
    each block contiguous.

    Their dtype is that of the query, or a narrower one that a kernel widens: bfloat16 under float32
    on the CPU, eight bits under any.

    Args:
        may_be_apart: whether other memory may lie between the blocks.
    """
    for name, cache in (("key_cache", key_cache), ("value_cache", value_cache)):
        _cache(name, cache, like.shape[2])
        if not may_be_apart and not cache.is_contiguous():
            raise ValueError(f"`{name}` must be contiguous for these kernels, got strides {cache.stride()}")
        is_wide = like.dtype == torch.float32 and like.device.type == "cpu"
        is_half = is_wide and cache.dtype == torch.bfloat16
        is_narrow = is_half or cache.dtype == torch.float8_e4m3fn
        if cache.device != like.device or (cache.dtype != like.dtype and not is_narrow):
            raise ValueError(
                f"`{name}` is {cache.dtype} on {cache.device}, query {like.dtype} on {like.device}"
            )
    cache_pair(key_cache, value_cache)


def cache_pair(key_cache: Tensor, value_cache: Tensor) -> None:
    """The blocks of both caches are contiguous, and both of one shape, stride, dtype and device."""
    _cache("key_cache", key_cache, key_cache.shape[-1])
    same_device = key_cache.device == value_cache.device
    if key_cache.dtype != value_cache.dtype or not same_device:
        raise ValueError(
            f"caches differ in dtype or device: {key_cache.dtype} on {key_cache.device}, "
            f"{value_cache.dtype} on {value_cache.device}"
        )
    if key_cache.shape != value_cache.shape:
        raise ValueError(f"caches differ in shape: {describe(key_cache)}, {describe(value_cache)}")
    _cache("value_cache", value_cache, key_cache.shape[3])
    if key_cache.stride(0) != value_cache.stride(0):
        raise ValueError(
            f"blocks of the caches differ in distance: {key_cache.stride(0)}, {value_cache.stride(0)}"
        )


def rotary_table(cos_sin: Tensor, head_dim: int, device: torch.device) -> None:
    """`cos_sin` is what `rope_and_store_kv` takes for heads of that size."""
    if (
        cos_sin.dim() != 2
        or cos_sin.dtype != torch.float32
        or not cos_sin.is_contiguous()
        or cos_sin.device != device
        or cos_sin.shape[1] % 2 != 0
        or cos_sin.shape[1] > head_dim
    ):
        raise ValueError(
            "`cos_sin` must be contiguous float32 [max_position, rotary_dim], even and at most `head_dim` "
            f"{head_dim} wide, got {describe(cos_sin)}"
        )


def _cache(name: str, cache: Tensor, head_dim: int) -> None:
    if cache.dim() != 4 or cache.shape[3] != head_dim or not cache[:1].is_contiguous():
        raise ValueError(
            f"`{name}` must be [num_blocks, block_size, num_kv_heads, {head_dim}] with contiguous blocks, "
            f"got {describe(cache)} strides {cache.stride()}"
        )


def describe(x: Tensor) -> str:
    """Dtype and shape."""
    return f"{x.dtype} {list(x.shape)}"
