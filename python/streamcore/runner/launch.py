"""Brings a model to a device, and carries out the engine's plans there."""

from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from streamcore import _core, kernels
from streamcore.config import ServeConfig, engine_config_of
from streamcore.errors import RunnerError
from streamcore.models.config import DecoderConfig
from streamcore.models.folder import ModelFolder
from streamcore.models.load import Progress, load_model
from streamcore.models.progress import terminal_progress
from streamcore.runner.device import choose_device, choose_dtype
from streamcore.runner.kv_cache import allocate_kv_cache, block_bytes, choose_num_blocks
from streamcore.runner.limits import choose_batch, choose_max_model_len, explain_shortened_context
from streamcore.runner.model_runner import ModelRunner, steps_in_flight
from streamcore.runner.plan import StepPlan
from streamcore.runner.threads import configure_threads

# How long the engine thread waits for work before it looks for signals again.
_IDLE_WAIT_S = 0.1


def load_runner(
    config: ServeConfig, folder: ModelFolder, check: Callable[[], None] | None = None
) -> tuple[_core.EngineConfig, ModelRunner]:
    """Choose device, dtype and limits, bring the model there, and log what was chosen.

    Args:
        check: called after each tensor; what it raises ends the loading.

    Raises:
        ConfigError: an option cannot work with this model or device.
        ModelLoadError: the weights cannot be read or do not fit.
    """
    configure_threads()
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, folder, device)
    max_model_len = choose_max_model_len(config.max_model_len, folder.config)
    model = load_model(folder, device, dtype, _progress(config, check))
    limits = _choose_limits(config, folder.config, device, dtype, max_model_len)
    target_itl_s = None if config.target_itl_ms is None else config.target_itl_ms / 1000
    engine_config = engine_config_of(
        **asdict(limits),
        max_steps_in_flight=steps_in_flight(device),
        target_itl_s=target_itl_s,
        num_mask_words=-(-folder.config.vocab_size // 32),
    )
    model.prepare(engine_config.max_seq_len, limits.max_num_batched_tokens)
    caches = allocate_kv_cache(
        folder.config, device, dtype, block_size=limits.block_size, num_blocks=limits.num_blocks
    )
    runner = ModelRunner(model, caches, engine_config.step_columns(), device)
    runner.warm_up()
    _announce(folder, device, dtype, limits, engine_config.max_seq_len)
    num_blocks = -(-max_model_len // limits.block_size)
    needed = num_blocks * block_bytes(folder.config, limits.block_size, dtype)
    if warning := explain_shortened_context(engine_config.max_seq_len, max_model_len, needed):
        _core.log("warning", warning)
    return engine_config, runner


@dataclass(frozen=True)
class _Limits:
    """Those of the engine, by their names there."""

    block_size: int
    num_blocks: int
    max_num_batched_tokens: int
    max_num_seqs: int
    max_model_len: int


def _choose_limits(
    config: ServeConfig, model: DecoderConfig, device: torch.device, dtype: torch.dtype, max_model_len: int
) -> _Limits:
    """To be asked once the weights are on the device: the KV cache takes of what is left."""
    max_num_seqs, max_num_batched_tokens = choose_batch(
        device, config.max_num_seqs, config.max_num_batched_tokens
    )
    num_blocks = choose_num_blocks(
        model,
        device,
        dtype,
        block_size=config.block_size,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        kv_cache_memory_bytes=config.kv_cache_memory_bytes,
    )
    return _Limits(config.block_size, num_blocks, max_num_batched_tokens, max_num_seqs, max_model_len)


def _progress(config: ServeConfig, check: Callable[[], None] | None) -> Progress:
    show = terminal_progress() if config.log_format == "text" else None

    def told(done: int, total: int) -> None:
        if check is not None:
            check()
        if show is not None:
            show(done, total)

    return told


def _announce(
    folder: ModelFolder, device: torch.device, dtype: torch.dtype, limits: _Limits, context_len: int
) -> None:
    _core.log("info", f"model {folder.path}, {folder.num_parameters / 1e6:.1f} M parameters")
    if folder.is_wrapped:
        _core.log("info", "the model is multimodal and is served as text: images and sound are refused")
    dtype_name = str(dtype).removeprefix("torch.")
    _core.log("info", f"device {device}, dtype {dtype_name}; {kernels.description(dtype)}")
    # Each that runs gets a token in every step.
    num_rows = min(limits.max_num_seqs, limits.max_num_batched_tokens)
    _core.log(
        "info",
        f"KV cache {limits.num_blocks} blocks of {limits.block_size} tokens, context {context_len}, "
        f"up to {num_rows} requests at once, {limits.max_num_batched_tokens} tokens a step",
    )


def run_steps(
    server: _core.Server, engine_config: _core.EngineConfig, runner: ModelRunner, *, is_watched: bool
) -> None:
    """Carry out plans until the server has stopped, as many in flight as the device takes.

    Args:
        is_watched: whether the server gives the steps up when they hang.

    Raises:
        RunnerError: a step took so long that the server has given up.
    """
    lent = [_core.StepBuffers(engine_config, buffers.addresses()) for buffers in runner.all_buffers]
    in_flight: deque[StepPlan] = deque()
    if is_watched:
        server.watch(runner.last_warm_up_s)
    while in_flight or not server.is_stopped:
        plan = server.next_step(lent[runner.turn], 0.0 if in_flight else _IDLE_WAIT_S)
        if plan is not None:
            runner.launch(plan)
            in_flight.append(plan)
        if in_flight and (plan is None or len(in_flight) == runner.depth):
            output = runner.collect()
            server.complete_step(in_flight.popleft().id, *output.places())
    if (failure := server.failure) is not None:
        raise RunnerError(failure)
