"""Reads the settings of an architecture out of the metadata of a GGUF file."""

from collections.abc import Mapping
from typing import Any

from streamcore.models.fields import Fields
from streamcore.models.gguf.blocks import StoredTensor

_CHANGING = {
    "attention.causal": (True,),
    "attention.clamp_kqv": (0.0,),
    "attention.max_alibi_bias": (0.0,),
    "attention.output_scale": (),
    "attention.scale": (),
    "attention.shared_kv_layers": (0,),
    "attention.temperature_length": (),
    "attention.temperature_scale": (0.0,),
    "attn_logit_softcapping": (0.0,),
    "embedding_scale": (1.0,),
    "expert_count": (0,),
    "expert_gating_func": (0, 1),
    "expert_group_count": (0, 1),
    "expert_shared_count": (0,),
    "expert_weights_norm": (True,),
    "expert_weights_scale": (0.0, 1.0),
    "final_logit_softcapping": (0.0,),
    "leading_dense_block_count": (0,),
    "logit_scale": (1.0,),
    "nextn_predict_layers": (0,),
    "pooling_type": (0,),
    "residual_scale": (1.0,),
    "rope.dimension_sections": (),
    "rope.scaling.alpha": (),
    "rope.scaling.yarn_log_multiplier": (0.0,),
    "use_parallel_residual": (False,),
}
"""Settings that change what a model computes, with the values that change nothing: an architecture
that does not read one of them cannot have another value.
"""


class Metadata:
    """The settings of one architecture by their names without it; what is wrong is noted."""

    def __init__(
        self, architecture: str, raw: Mapping[str, Any], tensors: Mapping[str, StoredTensor]
    ) -> None:
        self.tensors = tensors
        self._prefix = f"{architecture}."
        names = [name for name in raw if name.startswith(self._prefix)]
        self._fields = Fields({name: _as_one(raw[name]) for name in names})
        self._is_read: set[str] = set()

    @property
    def problems(self) -> list[str]:
        """What is wrong with the settings that were read."""
        return self._fields.problems

    def raw(self, name: str) -> Any:
        """A setting as it is; None where there is none."""
        self._is_read.add(name)
        return self._fields.raw.get(self._prefix + name)

    def integer(self, name: str, default: int | None = None, *, least: int = 1) -> int:
        """A whole number."""
        self._is_read.add(name)
        return self._fields.integer(self._prefix + name, default, least=least)

    def number(self, name: str, default: float | None = None) -> float:
        """A positive number."""
        self._is_read.add(name)
        return self._fields.number(self._prefix + name, default)

    def optional_number(self, name: str) -> float | None:
        """A positive number, or None where there is none; 0 is none."""
        return self.number(name) if self.raw(name) not in (None, 0) else None

    def flag(self, name: str, default: bool) -> bool:
        """A truth value."""
        self._is_read.add(name)
        return self._fields.boolean(self._prefix + name, default)

    def refuse(self, name: str, why: str) -> None:
        """Notes that a setting has a value that cannot be used."""
        self._fields.refuse(self._prefix + name, self.raw(name), why)

    def size(self, tensor: str, axis: int) -> int | None:
        """A size of a tensor, rows first; None where there is no such tensor or axis."""
        stored = self.tensors.get(tensor)
        return stored.shape[axis] if stored is not None and len(stored.shape) > axis else None

    def refuse_unread(self) -> None:
        """Notes every setting that changes what is computed and was not read."""
        for name, neutral in _CHANGING.items():
            value = self._fields.raw.get(self._prefix + name)
            if value is not None and name not in self._is_read and value not in neutral:
                self.refuse(name, "this architecture is not known to have it")


def _as_one(value: Any) -> Any:
    """A list of equal values, one for each layer, as that value."""
    if isinstance(value, list) and value and all(item == value[0] for item in value):
        return value[0]
    return value
