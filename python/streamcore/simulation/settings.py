"""From the options to what `_core.simulate` takes."""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from streamcore import _core
from streamcore.config import did_you_mean, path_of_model
from streamcore.console import complain
from streamcore.errors import ConfigError
from streamcore.simulation.presets import (
    BANDWIDTH_SHARE,
    DEVICES,
    FLOPS_SHARE,
    KV_BYTES,
    MODELS,
    Gpu,
    ModelSize,
)

_T = TypeVar("_T")

_MEMORY_SHARE = 0.9
_DEVICE = "h100"
_MODEL = "llama-3.1-8b"
_MAX_WAITING_REQUESTS = 2048

_GENERATED: Mapping[str, Any] = {
    "requests": 10_000,
    "prompt_len": (512, 512),
    "output_len": (128, 128),
    "prefixes": 0,
    "prefix_len": 512,
    "keys": [],
    "seed": 0,
}
"""Each option that only a load that is made up has, and its default."""

_LIMITS = {
    "block_size": "block_size",
    "num_blocks": "num_blocks",
    "max_num_batched_tokens": "max_num_batched_tokens",
    "max_num_seqs": "max_num_seqs",
    "steps_in_flight": "max_steps_in_flight",
    "target_itl_ms": "target_itl_ms",
    "prefix_caching": "enable_prefix_caching",
}
"""Each option that takes several values, and the engine's name for it."""


@dataclass(frozen=True)
class NamedModel:
    """The model of a simulation, and what the report calls it."""

    name: str
    size: ModelSize


def choose_model(options: Mapping[str, Any]) -> NamedModel:
    """The model that is given, else that of the trace, else one that is assumed.

    Raises:
        ConfigError: an option would have no effect, or the model is not known.
        ModelLoadError: the config.json of its folder cannot be used.
        OSError: there is no such trace.
        TraceError: it is none.
    """
    _refuse_without_effect(options)
    if options["model"] is not None:
        return NamedModel(options["model"], model_size(options["model"]))
    traced = None if options["trace"] is None else _core.trace_model(options["trace"])
    if traced is None:
        return NamedModel(f"{_MODEL}, assumed", MODELS[_MODEL])
    name, num_weights, kv_numbers_per_token = traced
    return NamedModel(f"{name}, as in the trace", ModelSize(num_weights, kv_numbers_per_token * KV_BYTES))


def name_device(options: Mapping[str, Any]) -> str:
    """What the report calls the device."""
    return _DEVICE + ", assumed" if options["device"] is None else str(options["device"])


def combinations(options: dict[str, Any], model: NamedModel) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Every combination of the values that were given: those that differ between them, and the
    whole settings.

    Raises:
        ConfigError: the model does not fit on the device.
    """
    varied = {name: options[name] for name in ("rate", "concurrency", *_LIMITS) if options[name]}
    runs = []
    for chosen in itertools.product(*varied.values()):
        values = dict(zip(varied, chosen, strict=True))
        shown = {name: value for name, value in values.items() if len(varied[name]) > 1}
        runs.append((shown, _settings(options, values, model.size)))
    return runs


def _refuse_without_effect(options: Mapping[str, Any]) -> None:
    """An option without effect would let its user believe that something else was simulated."""
    is_trace = options["trace"] is not None
    is_closed = not is_trace and options["rate"] is None
    rules: list[tuple[bool, str, str | None, Iterable[str]]] = [
        (is_trace, "with `--trace`", "`--speed` changes its pace", ("rate", "concurrency")),
        (is_trace, "with `--trace`", "the trace brings its own requests", _GENERATED),
        (not is_trace, "without `--trace`", None, ("speed",)),
        (not options["prefixes"], "without `--prefixes`", None, ("prefix_len",)),
        (is_closed, "without `--rate` or `--trace`", None, ("max_waiting_requests",)),
        (options["num_blocks"] is not None, "with `--num-blocks`", None, ("memory",)),
    ]
    for applies, where, hint, names in rules:
        for name in names:
            if applies and options[name] is not None:
                raise ConfigError(f"`--{name.replace('_', '-')}` has no meaning {where}", hint)


def model_size(name: str) -> ModelSize:
    """The size of a model that is known by name, or of the one in a folder or a repository.

    Raises:
        ConfigError: all of these are missing.
        ModelLoadError: its config.json cannot be had, or cannot be used.
    """
    if name in MODELS:
        return MODELS[name]
    from streamcore.models.declare import declare
    from streamcore.models.hub import Reporter, find_config
    from streamcore.models.opening import open_config, read_config
    from streamcore.models.tensor_files import FileError

    folder = find_config(path_of_model(name), Reporter(partial(complain, "streamcore")))
    if not folder.is_dir():
        raise ConfigError(
            f"`--model` is `{name}`, it must be a folder, a name like org/name or one of "
            f"{', '.join(MODELS)}{did_you_mean(name, MODELS)}"
        )
    try:
        raw = read_config(folder)
    except FileError as problem:
        raise ConfigError(f"{folder}/{problem}") from problem
    family, config, weight_format = open_config(raw)
    shapes, _ = declare(family, config, weight_format)
    num_weights = sum(math.prod(shape) for shape in shapes.values())
    return ModelSize(num_weights, config.kv_numbers_per_token * KV_BYTES)


def _settings(options: dict[str, Any], values: dict[str, Any], model: ModelSize) -> dict[str, Any]:
    limits = {limit: values[name] for name, limit in _LIMITS.items() if name in values}
    device = _device(options, model)
    if options["trace"] is not None:
        speed = _given(options["speed"], 1.0)
        load: dict[str, Any] = {"trace": {"path": str(options["trace"]), "speed": speed}}
    else:
        load = {"generated": _generated(options, values)}
    is_another_device = options["device"] is not None or options["memory"] is not None
    if "num_blocks" not in limits and (is_another_device or options["trace"] is None):
        limits["num_kv_tokens"] = _num_kv_tokens(options, device)
    return {
        "load": load,
        "limits": limits,
        "device": device,
        "max_waiting_requests": _given(options["max_waiting_requests"], _MAX_WAITING_REQUESTS),
    }


def _generated(options: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    load = {name: _given(options[name], default) for name, default in _GENERATED.items()}

    def range_of(name: str) -> dict[str, int]:
        least, most = load[name]
        return {"min": least, "max": most}

    pace = {"rate": values["rate"]} if "rate" in values else {"concurrency": values.get("concurrency", 64)}
    return {
        "num_requests": load["requests"],
        "pace": pace,
        "prompt_len": range_of("prompt_len"),
        "output_len": range_of("output_len"),
        "num_prefixes": load["prefixes"],
        "prefix_len": load["prefix_len"],
        "key_weights": load["keys"],
        "seed": load["seed"],
    }


def _device(options: dict[str, Any], model: ModelSize) -> dict[str, float]:
    gpu = _gpu(options)
    return {
        "weight_bytes": model.num_weights * options["bytes_per_weight"],
        "kv_bytes_per_token": model.kv_bytes_per_token,
        "flops_per_token": 2 * model.num_weights,
        "bytes_per_s": _given(options["bandwidth"], gpu.bandwidth * BANDWIDTH_SHARE),
        "flops_per_s": _given(options["flops"], gpu.flops * FLOPS_SHARE),
        "overhead_s": options["overhead_ms"] / 1000,
    }


def _gpu(options: dict[str, Any]) -> Gpu:
    return DEVICES[_given(options["device"], _DEVICE)]


def _given(value: _T | None, otherwise: _T) -> _T:
    return otherwise if value is None else value


def _num_kv_tokens(options: dict[str, Any], device: dict[str, float]) -> int:
    """As many as the memory holds beside the weights."""
    memory = _given(options["memory"], _gpu(options).memory)
    weights = device["weight_bytes"]
    spare = memory * _MEMORY_SHARE - weights
    if spare < device["kv_bytes_per_token"]:
        raise ConfigError(
            f"the weights take {weights / 1e9:.1f} GB, nine tenths of the memory are {memory * _MEMORY_SHARE / 1e9:.1f} GB",
            "choose another `--device`, `--memory` or `--bytes-per-weight`",
        )
    return int(spare // device["kv_bytes_per_token"])
