"""From the options to what `_core.simulate` takes."""

import itertools
import math
from pathlib import Path
from typing import Any

from streamcore.errors import ConfigError
from streamcore.simulation.presets import BANDWIDTH_SHARE, DEVICES, FLOPS_SHARE, MODELS, ModelSize

_MEMORY_SHARE = 0.9
_BLOCK_SIZE = 16

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


def combinations(options: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Every combination of the values that were given: those that differ between them, and the whole settings.

    Raises:
        ConfigError: two options do not go together, or the model is not known.
    """
    varied = {name: options[name] for name in ("rate", "concurrency", *_LIMITS) if options[name]}
    if options["trace"] is not None:
        for name in ("rate", "concurrency"):
            if name in varied:
                raise ConfigError(f"`--{name}` has no meaning with `--trace`", "`--speed` changes its pace")
    model = model_size(options["model"])
    runs = []
    for chosen in itertools.product(*varied.values()):
        values = dict(zip(varied, chosen, strict=True))
        shown = {name: value for name, value in values.items() if len(varied[name]) > 1}
        runs.append((shown, _settings(options, values, model)))
    return runs


def model_size(name: str) -> ModelSize:
    """The size of a model that is known by name, or of the one in a folder.

    Raises:
        ConfigError: there is neither.
        ModelLoadError: the config.json of the folder cannot be used.
    """
    if name in MODELS:
        return MODELS[name]
    folder = Path(name)
    if not folder.is_dir():
        raise ConfigError(f"`--model` is `{name}`, it must be a folder or one of {', '.join(MODELS)}")
    from streamcore.models.config import parse_config
    from streamcore.models.registry import find_family
    from streamcore.models.tensor_files import FileError, read_json_object

    try:
        raw = read_json_object(folder / "config.json")
    except FileError as problem:
        raise ConfigError(f"{folder / 'config.json'} {problem}") from problem
    config = parse_config(raw)
    layout = find_family(raw).layout(config)
    num_weights = sum(math.prod(placement.shape) for placement in layout.values())
    return ModelSize(num_weights, 2 * config.num_layers * config.num_kv_heads * config.head_dim * 2)


def _settings(options: dict[str, Any], values: dict[str, Any], model: ModelSize) -> dict[str, Any]:
    limits = {limit: values[name] for name, limit in _LIMITS.items() if name in values}
    device = _device(options, model)
    if options["trace"] is not None:
        load: dict[str, Any] = {"trace": {"path": str(options["trace"]), "speed": options["speed"]}}
    else:
        load = {"generated": _generated(options, values)}
        limits.setdefault("num_blocks", _num_blocks(options, device, limits.get("block_size", _BLOCK_SIZE)))
    return {
        "load": load,
        "limits": limits,
        "device": device,
        "max_waiting_requests": options["max_waiting_requests"],
    }


def _generated(options: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    def range_of(name: str) -> dict[str, int]:
        least, most = options[name]
        return {"min": least, "max": most}

    pace = {"rate": values["rate"]} if "rate" in values else {"concurrency": values.get("concurrency", 64)}
    return {
        "num_requests": options["requests"],
        "pace": pace,
        "prompt_len": range_of("prompt_len"),
        "output_len": range_of("output_len"),
        "num_prefixes": options["prefixes"],
        "prefix_len": options["prefix_len"],
        "key_weights": options["keys"],
        "seed": options["seed"],
    }


def _device(options: dict[str, Any], model: ModelSize) -> dict[str, float]:
    gpu = DEVICES[options["device"]]
    return {
        "weight_bytes": model.num_weights * options["bytes_per_weight"],
        "kv_bytes_per_token": model.kv_bytes_per_token,
        "flops_per_token": 2 * model.num_weights,
        "bytes_per_s": _given(options["bandwidth"], gpu.bandwidth * BANDWIDTH_SHARE),
        "flops_per_s": _given(options["flops"], gpu.flops * FLOPS_SHARE),
        "overhead_s": options["overhead_ms"] / 1000,
    }


def _given(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _num_blocks(options: dict[str, Any], device: dict[str, float], block_size: int) -> int:
    """As many as the memory holds beside the weights."""
    memory = _given(options["memory"], DEVICES[options["device"]].memory)
    weights = device["weight_bytes"]
    spare = memory * _MEMORY_SHARE - weights
    block = device["kv_bytes_per_token"] * max(block_size, 1)
    if spare < block:
        raise ConfigError(
            f"the weights take {weights / 1e9:.1f} GB, nine tenths of the memory are {memory * _MEMORY_SHARE / 1e9:.1f} GB",
            "choose another `--device`, `--memory` or `--bytes-per-weight`",
        )
    return int(spare // block)
