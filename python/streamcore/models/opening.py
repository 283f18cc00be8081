"""From config.json to a family and the shape of its decoder, also where the file wraps a language
model in a multimodal one.
"""

from collections.abc import Mapping
from typing import Any

from streamcore.errors import ModelLoadError
from streamcore.models.config import DecoderConfig
from streamcore.models.families import Family, find_family
from streamcore.models.fields import Fields, shown

WRAPPERS: Mapping[str, tuple[str, str]] = {
    "gemma3": ("Gemma3ForConditionalGeneration", "gemma3_text"),
    "mistral3": ("Mistral3ForConditionalGeneration", "mistral"),
}
"""Multimodal models whose language model is served: `model_type` to the class and the default type
of its text part.
"""

_QUANTISED = ("quantization_config", "compression_config")
_PREFIXES = {
    "model.language_model.": "model.",
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
    "model.lm_head.": "lm_head.",
    "language_model.": "model.",
}
_OTHER_PARTS = (
    "vision_tower.",
    "visual.",
    "multi_modal_projector.",
    "embed_vision.",
    "audio_tower.",
    "embed_audio.",
)


def open_config(raw: Mapping[str, Any]) -> tuple[Family, DecoderConfig]:
    """The family of a config.json and the shape of its decoder.

    Raises:
        ModelLoadError: names every field that is missing, of the wrong type or not supported.
    """
    raw, prefix = _text_part(raw)
    family = find_family(raw)
    fields = Fields(raw, prefix)
    config = family.parse(fields)
    hint = _refuse_quantised(fields)
    fields.check(hint)
    assert isinstance(config, DecoderConfig)
    return family, config


def _text_part(raw: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The object with the fields of the language model, and its place in the file."""
    model_type = raw.get("model_type")
    wrapper = WRAPPERS.get(model_type) if isinstance(model_type, str) else None
    text = raw.get("text_config")
    if wrapper is None:
        return raw, ""
    architecture, text_type = wrapper
    architectures = raw.get("architectures") or [architecture]
    if architectures != [architecture]:
        raise ModelLoadError(
            f"config.json has `architectures` {shown(architectures)}, "
            f"supported with `model_type` {model_type} is {architecture}"
        )
    if not isinstance(text, dict):
        raise ModelLoadError(f"config.json has `text_config` {shown(text)}, it must be an object")
    shared = {name: raw[name] for name in ("dtype", "torch_dtype", *_QUANTISED) if raw.get(name) is not None}
    return {"model_type": text_type, **shared, **text, "architectures": None}, "text_config."


def text_name(name: str) -> str | None:
    """The name of a tensor as a folder without a wrapper has it; None for one of another part of a
    multimodal model.
    """
    if name.removeprefix("model.").startswith(_OTHER_PARTS):
        return None
    for prefix, plain in _PREFIXES.items():
        if name.startswith(prefix):
            return plain + name.removeprefix(prefix)
    return name


def _refuse_quantised(fields: Fields) -> str | None:
    """Notes quantised weights, and returns what can be done."""
    for name in _QUANTISED:
        raw = fields.raw.get(name)
        if raw is None:
            continue
        keys = ("quant_method", "quantization_method")
        methods = [raw[key] for key in keys if key in raw] if isinstance(raw, dict) else []
        method = f" {shown(methods[0])}" if methods else ""
        fields.problems.append(f"has `{name}`{method}, quantised weights are not supported")
        return "serve the folder with the unquantised weights that this one was made from"
    return None
