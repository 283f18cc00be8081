"""Which model families there are."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from streamcore.errors import ModelLoadError
from streamcore.models.config import ModelConfig
from streamcore.models.fields import shown
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
        found = "no `model_type`" if model_type is None else f"`model_type` {shown(model_type)}"
        raise ModelLoadError(
            f"config.json has {found}, supported are {', '.join(FAMILIES)}", _way_on(model_type)
        )
    architectures = raw.get("architectures") or [family.architecture]
    if architectures != [family.architecture]:
        raise ModelLoadError(
            f"config.json has `architectures` {shown(architectures)}, "
            f"supported with `model_type` {model_type} is {family.architecture}"
        )
    return family


def _way_on(model_type: object) -> str:
    """What the owner of a model can do whose family is not supported."""
    nearest = difflib.get_close_matches(str(model_type), FAMILIES, n=1)
    if nearest:
        return f"the family with the nearest name is {nearest[0]}: a model of that family can be served"
    return "serve a model of a family that is supported"
