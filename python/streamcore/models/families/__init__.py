"""The model families, a file for each: how its config.json is read, and what its decoder is made
of.
"""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

from streamcore.errors import ModelLoadError
from streamcore.layers.decoder import Decoder
from streamcore.layers.weights import Weights
from streamcore.models.families import (
    gemma2,
    gemma3,
    gpt_oss,
    granite,
    granitemoehybrid,
    llama,
    ministral3,
    mistral,
    mixtral,
    olmo2,
    olmo3,
    olmoe,
    phi3,
    qwen2,
    qwen3,
    qwen3_moe,
    smollm3,
)
from streamcore.models.fields import Fields, shown


class Family(Protocol):
    """What a file of this folder has."""

    @property
    def ARCHITECTURES(self) -> tuple[str, ...]:  # noqa: N802
        """The classes that config.json may name."""

    def parse(self, fields: Fields) -> Any:
        """Reads config.json into a `DecoderConfig` or what derives from it; problems are noted in
        `fields`.
        """

    def build(self, config: Any, weights: Weights) -> Decoder:
        """Puts the decoder together from what `parse` returned."""


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "llama": llama,
        "qwen2": qwen2,
        "qwen3": qwen3,
        "qwen3_moe": qwen3_moe,
        "mistral": mistral,
        "ministral3": ministral3,
        "mixtral": mixtral,
        "gemma2": gemma2,
        "gemma3_text": gemma3,
        "gpt_oss": gpt_oss,
        "phi3": phi3,
        "smollm3": smollm3,
        "olmo2": olmo2,
        "olmo3": olmo3,
        "olmoe": olmoe,
        "granite": granite,
        "granitemoehybrid": granitemoehybrid,
    }
)
"""By `model_type`."""


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
    architectures = raw.get("architectures") or [family.ARCHITECTURES[0]]
    if not isinstance(architectures, list) or any(name not in family.ARCHITECTURES for name in architectures):
        raise ModelLoadError(
            f"config.json has `architectures` {shown(architectures)}, "
            f"supported with `model_type` {model_type} is {' or '.join(family.ARCHITECTURES)}"
        )
    return family


def _way_on(model_type: object) -> str:
    """What the owner of a model can do whose family is not supported."""
    nearest = difflib.get_close_matches(str(model_type), FAMILIES, n=1)
    if nearest:
        return f"the family with the nearest name is {nearest[0]}: a model of that family can be served"
    return "serve a model of a family that is supported"
