"""Brings a model to a device, and says what was chosen: device, precision, limits, memory."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from streamcore import _core, kernels
from streamcore.config import ServeConfig, engine_config_of
from streamcore.models.folder import ModelFolder
from streamcore.models.load import load_model
from streamcore.models.model import Model
from streamcore.models.progress import Progress, terminal_progress
from streamcore.runner.device import choose_device, choose_dtype
from streamcore.runner.faults import explained_faults
from streamcore.runner.limits import (
    choose_batch,
    choose_capture_sizes,
    choose_max_model_len,
    choose_pace,
    explain_pace,
    explain_shortened_context,
)
from streamcore.runner.memory import allocate_kv_cache, block_bytes, choose_num_blocks, step_bytes
from streamcore.runner.model_runner import ModelRunner
from streamcore.runner.placement import Placement
from streamcore.runner.threads import configure_threads
from streamcore.runner.trial import CudaMemory, tried_step_bytes
from streamcore.runner.warm_up import warm_up


@dataclass(frozen=True, slots=True)
class LoadedRunner:
    """A runner that has run, and the engine that it is for."""

    runner: ModelRunner
    engine_config: _core.EngineConfig
    decode_s: float
    """What a step of one token takes, in seconds."""


def load_runner(
    config: ServeConfig, folder: ModelFolder, check: Callable[[], None] | None = None
) -> LoadedRunner:
    """Choose device, precision and limits, bring the model there, and log what was chosen.

    Args:
        check: called after each tensor; what it raises ends the loading.

    Raises:
        ConfigError: an option cannot work with this model or device.
        ModelLoadError: the weights cannot be read or do not fit.
        RunnerError: the device has failed, or has no memory for the first steps.
    """
    configure_threads()
    with explained_faults("the model and its first steps"):
        return _load_runner(config, folder, check)


def _load_runner(config: ServeConfig, folder: ModelFolder, check: Callable[[], None] | None) -> LoadedRunner:
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, folder, device)
    max_model_len = choose_max_model_len(config.max_model_len, folder.config)
    model = load_model(
        folder,
        device,
        dtype,
        _progress(config, check),
        kv_cache_dtype=config.kv_cache_dtype,
        quantize=config.quantize,
        quantize_activations=config.quantize_activations,
    )
    limits = _choose_limits(config, model, max_model_len)
    runner, engine_config = _make_runner(config, model, limits)
    decode_s = warm_up(runner, engine_config)
    _announce(folder, model, limits, engine_config.max_seq_len)
    _core.log("info", explain_pace(config.target_itl_ms))
    return LoadedRunner(runner, engine_config, decode_s)


def _make_runner(
    config: ServeConfig, model: Model, limits: "_Limits"
) -> tuple[ModelRunner, _core.EngineConfig]:
    target_itl_s, min_prefill_share = choose_pace(config.target_itl_ms)
    placement = Placement.of(model)
    captures = placement.capture is not None
    engine_config = engine_config_of(
        **asdict(limits),
        max_steps_in_flight=placement.depth,
        capture_sizes=choose_capture_sizes(limits.max_num_seqs, limits.max_num_batched_tokens)
        if captures
        else [],
        target_itl_s=target_itl_s,
        min_prefill_share=min_prefill_share,
        num_mask_words=-(-model.config.vocab_size // 32),
    )
    model.prepare(engine_config.max_seq_len, limits.max_num_batched_tokens, limits.max_num_seqs)
    caches = allocate_kv_cache(model, block_size=limits.block_size, num_blocks=limits.num_blocks)
    return ModelRunner(model, caches, engine_config, placement), engine_config


@dataclass(frozen=True)
class _Limits:
    """The limits of the engine, by its names for them."""

    block_size: int
    num_blocks: int
    max_num_batched_tokens: int
    max_num_seqs: int
    max_model_len: int


def _choose_limits(config: ServeConfig, model: Model, max_model_len: int) -> _Limits:
    """Called once the weights are on the device: the KV cache takes part of what is left."""
    max_num_seqs, max_num_batched_tokens = choose_batch(
        model.device, config.max_num_seqs, config.max_num_batched_tokens
    )
    num_blocks = choose_num_blocks(
        model.config,
        model.device,
        model.precision.cache,
        block_size=config.block_size,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        reserve=_reserve(config, model, max_num_batched_tokens, max_num_seqs, max_model_len),
        kv_cache_memory_bytes=config.kv_cache_memory_bytes,
    )
    return _Limits(config.block_size, num_blocks, max_num_batched_tokens, max_num_seqs, max_model_len)


def _reserve(
    config: ServeConfig, model: Model, max_num_batched_tokens: int, max_num_seqs: int, max_model_len: int
) -> int:
    """Bytes that the largest step needs beside weights and cache: on a device as it was seen to."""
    foreseen = step_bytes(model, max_num_batched_tokens, max_num_seqs)
    if model.device.type == "cpu" or config.kv_cache_memory_bytes is not None:
        return foreseen
    tried = tried_step_bytes(
        model,
        CudaMemory(model.device),
        Placement.of(model),
        block_size=config.block_size,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
    )
    _core.log("info", f"the largest step took {tried / 1e9:.2f} GB of {model.device} beside the weights")
    return tried


def _progress(config: ServeConfig, check: Callable[[], None] | None) -> Progress:
    show = terminal_progress() if config.log_format == "text" else None

    def report(done: int, total: int) -> None:
        if check is not None:
            check()
        if show is not None:
            show(done, total)

    return report


def _announce(folder: ModelFolder, model: Model, limits: _Limits, context_len: int) -> None:
    _core.log("info", f"model {folder.path}, {folder.num_parameters / 1e6:.1f} M parameters")
    if folder.is_wrapped:
        _core.log("info", "the model is multimodal and is served as text: images and sound are refused")
    if folder.format.title is not None or model.sizes.grouped:
        _core.log("info", _explain_weights(folder, model))
    dtype = model.precision.chosen
    dtype_name = str(dtype).removeprefix("torch.")
    _core.log(
        "info", f"device {model.device}, dtype {dtype_name}; {kernels.description(dtype, model.device)}"
    )
    narrow = " in fp8" if model.precision.cache == torch.float8_e4m3fn else ""
    # Each that runs gets a token in every step.
    num_rows = min(limits.max_num_seqs, limits.max_num_batched_tokens)
    _core.log(
        "info",
        f"KV cache {limits.num_blocks} blocks of {limits.block_size} tokens{narrow}, context {context_len}, "
        f"up to {num_rows} requests at once, {limits.max_num_batched_tokens} tokens a step",
    )
    num_blocks = -(-limits.max_model_len // limits.block_size)
    needed = num_blocks * block_bytes(model.config, limits.block_size, model.precision.cache)
    if warning := explain_shortened_context(context_len, limits.max_model_len, needed):
        _core.log("warning", warning)


def _explain_weights(folder: ModelFolder, model: Model) -> str:
    """What the weights of a folder in few bits take, in files and in memory: those that no kernel
    reads as they are were widened.
    """
    title, sizes = folder.format.title, model.sizes
    dtype = str(model.precision.weights).removeprefix("torch.")
    narrow = folder.num_file_bytes
    unit, size = ("GB", 1e9) if narrow >= 1e8 else ("MB", 1e6)
    ending = ""
    if sizes.grouped and model.precision.quantizes_activations:
        ending = "; activations are rounded to int8 by group"
    elif folder.format.rounds_activations:
        ending = "; activations are not quantised"
    if not sizes.grouped:
        what = f"{title} weights are widened to {dtype}: "
        return f"{what}{sizes.total / size:.1f} {unit} instead of {narrow / size:.1f} {unit}{ending}"
    quantize = model.precision.quantize
    if title is None or quantize != "none":
        what = f"weights are rounded to {quantize}"
    else:
        what = f"{title} weights are multiplied with as they are"
    return (
        f"{what}: {sizes.grouped / size:.1f} {unit}, with the others {sizes.total / size:.1f} {unit} in memory; "
        f"the files have {narrow / size:.1f} {unit}{ending}"
    )
