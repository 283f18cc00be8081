"""From config.json to a family, the shape of its decoder and the format of its weights, also where
the file wraps a language model in a multimodal one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamcore.errors import ModelLoadError
from streamcore.models.config import DecoderConfig
from streamcore.models.families import Family, find_family
from streamcore.models.fields import Fields, shown
from streamcore.models.formats import BESIDE, HINT, PLACES, parse_format
from streamcore.models.formats.stored import Format
from streamcore.models.tensor_files import FileError, read_json_object

WRAPPERS: Mapping[str, tuple[str, str]] = {
    "gemma3": ("Gemma3ForConditionalGeneration", "gemma3_text"),
    "mistral3": ("Mistral3ForConditionalGeneration", "mistral"),
}
"""Multimodal models whose language model is served: `model_type` to the class and the default type
of its text part.
"""


def read_config(folder: Path) -> dict[str, Any]:
    """Reads config.json, and what a file beside it says of the format.

    Raises:
        FileError: a file cannot be used; the message is a whole sentence.
    """
    raw = _read(folder / "config.json")
    if all(raw.get(name) is None for name in PLACES) and (folder / BESIDE).exists():
        raw[BESIDE] = _read(folder / BESIDE)
    return raw


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path)
    except FileError as problem:
        raise FileError(f"{path.name} {problem}") from problem


def open_config(raw: Mapping[str, Any]) -> tuple[Family, DecoderConfig, Format]:
    """The family of a config.json, the shape of its decoder and the format of its weights.

    Raises:
        ModelLoadError: names every field that is missing, of the wrong type or not supported.
    """
    text, prefix = _text_part(raw)
    family = find_family(text)
    fields = Fields(text, prefix)
    config = family.parse(fields)
    problems: list[str] = []
    weight_format = parse_format(raw if any(raw.get(name) for name in (*PLACES, BESIDE)) else text, problems)
    if BESIDE not in raw:
        fields.problems += problems
    elif problems:
        said = ["config.json " + ", ".join(fields.problems)] if fields.problems else []
        raise ModelLoadError("; ".join([*said, f"{BESIDE} " + ", ".join(problems)]), HINT)
    fields.check(HINT if problems else None)
    assert isinstance(config, DecoderConfig)
    return family, config, weight_format


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
    shared = {name: raw[name] for name in ("dtype", "torch_dtype") if raw.get(name) is not None}
    return {"model_type": text_type, **shared, **text, "architectures": None}, "text_config."
