"""How long a sequence and how large a step may be, where the user does not say."""

import torch

from streamcore.errors import ConfigError
from streamcore.models.config import DecoderConfig

# On a CPU a step's time grows with its tokens almost from the first one, and every stream waits for
# it; a GPU computes some thousand tokens in about the time of one.
_MAX_NUM_SEQS = {"cpu": 128, "cuda": 256}
_MAX_NUM_BATCHED_TOKENS = {"cpu": 768, "cuda": 8192}
# A pause that a reader of a stream hardly sees.
_TARGET_ITL_S = 0.1
# What prompts may add to a step, in multiples of what decodes take alone: with less, requests would
# come in so slowly that few run at once.
_MIN_PREFILL_SHARE = 4


def choose_max_model_len(asked: int | None, config: DecoderConfig) -> int:
    """The maximum number of tokens of one request, prompt and output.

    Raises:
        ConfigError: more is asked for than the model's positions allow.
    """
    if asked is None:
        return config.max_position_embeddings
    if asked > config.max_context_len:
        raise ConfigError(f"`--max-model-len` is {asked}, the model allows {config.max_context_len}")
    return asked


def explain_shortened_context(context_len: int, max_model_len: int, needed_bytes: int) -> str | None:
    """A sentence for the log where the KV cache holds less than the longest request; None where it
    does not.

    Args:
        context_len: tokens of the longest request that the cache holds.
        max_model_len: those that are wanted.
        needed_bytes: the memory of a cache that holds these.
    """
    if context_len >= max_model_len:
        return None
    return (
        f"the KV cache shortens the context to {context_len} of {max_model_len} tokens: "
        f"`--kv-cache-memory-bytes {-(-needed_bytes // 2**20)}MiB` would hold all of it, "
        f"`--max-model-len {context_len}` takes it as it is"
    )


def choose_batch(
    device: torch.device, max_num_seqs: int | None, max_num_batched_tokens: int | None
) -> tuple[int, int]:
    """Most sequences and most tokens of one step.

    What is asked for stays; the budget then follows the number of sequences, so that each of them
    can decode in every step.
    """
    num_seqs = max_num_seqs or _MAX_NUM_SEQS[device.type]
    num_tokens = max_num_batched_tokens or max(_MAX_NUM_BATCHED_TOKENS[device.type], num_seqs)
    return num_seqs, num_tokens


def choose_pace(target_itl_ms: float | None) -> tuple[float | None, int]:
    """The engine's `target_itl_s` and `min_prefill_share`. What is asked for is kept to, 0 is none."""
    if target_itl_ms is None:
        return _TARGET_ITL_S, _MIN_PREFILL_SHARE
    return target_itl_ms / 1000 or None, 0


def explain_pace(target_itl_ms: float | None) -> str:
    """A sentence for the log: what a stream waits for, and so why a long prompt takes its time."""
    if target_itl_ms is None:
        usual, times = _TARGET_ITL_S * 1000, 1 + _MIN_PREFILL_SHARE
        return (
            f"streams wait up to {usual:g} ms for a step with prompts, or {times} times what they take alone"
        )
    if target_itl_ms:
        return (
            f"streams wait up to {target_itl_ms:g} ms for a step with prompts (`--target-itl-ms`), "
            "and prompts come in pieces that short"
        )
    return "streams wait for every step with prompts, however long (`--target-itl-ms 0`)"


def choose_capture_sizes(max_num_seqs: int, max_num_batched_tokens: int) -> list[int]:
    """The numbers of sequences for which steps of decodes are captured, in increasing order.

    Padding is computed in full: sizes double up to 8, then come in eights, and beyond 128 at most
    an eighth of a step is padding.
    """
    most = min(max_num_seqs, max_num_batched_tokens)
    sizes, size = [], 1
    while size < most:
        sizes.append(size)
        size += size if size < 8 else max(8, size // 64 * 8)
    return [*sizes, most]
