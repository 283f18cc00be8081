"""Which model families there are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from streamcore.errors import ModelLoadError
from streamcore.models.config import ModelConfig
from streamcore.models.layout import Layout, llama_layout


@dataclass(frozen=True, slots=True)
class Family:
    """A model family: the class that config.json names, and where its tensors go."""

    architecture: str
    layout: Callable[[ModelConfig], Layout]


FAMILIES: Mapping[str, Family] = {"llama": Family("LlamaForCausalLM", llama_layout)}
"""The families by `model_type`."""


def find_family(raw: Mapping[str, Any]) -> Family:
    """The family that a config.json belongs to.

    Raises:
        ModelLoadError: names what config.json asks for and what there is.
    """
    model_type = raw.get("model_type")
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        supported = ", ".join(FAMILIES)
        found = "no `model_type`" if model_type is None else f"`model_type` {model_type!r}"
        raise ModelLoadError(f"config.json has {found}, supported are {supported}")
    architectures = raw.get("architectures") or [family.architecture]
    if architectures != [family.architecture]:
        raise ModelLoadError(
            f"config.json has `architectures` {architectures!r}, "
            f"supported with `model_type` {model_type} is {family.architecture}"
        )
    return family
