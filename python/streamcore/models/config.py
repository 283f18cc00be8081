"""What a forward pass must know of config.json, checked: what all families share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, get_args

from streamcore.layers.rope_config import RopeConfig
from streamcore.models.fields import Fields
from streamcore.models.rope import parse_rope
from streamcore.operands import Activation

Dtype = Literal["float32", "bfloat16", "float16"]
# The tensors of every layer are listed before the files are looked at.
_MAX_LAYERS = 4096
_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """The shape of a decoder. A family that needs more derives from it."""

    model_type: str
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope: RopeConfig
    activation: Activation
    tie_word_embeddings: bool
    attention_bias: bool
    mlp_bias: bool
    dtype: Dtype | None
    """The dtype that config.json names; None if it names none."""

    @property
    def kv_numbers_per_token(self) -> int:
        """Numbers in the keys and values of one token, in all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim

    @property
    def max_context_len(self) -> int:
        """Longest context that the position embedding was stretched for, in tokens."""
        stretched = 0.0
        if self.rope.rope_type in ("yarn", "dynamic"):
            stretched = self.rope.factor * self.rope.original_max_position_embeddings
        return max(self.max_position_embeddings, int(stretched))

    @property
    def widest_mlp(self) -> int:
        """Numbers that the widest feed-forward layer makes of a token."""
        return self.intermediate_size


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowedConfig(DecoderConfig):
    """A decoder some of whose layers look back a limited number of tokens."""

    windows: tuple[int, ...]
    """Of each layer: maximum number of keys that a token sees; 0 for all."""


FULL, SLIDING = "full_attention", "sliding_attention"


def parse_windows(
    fields: Fields, num_layers: int, default: Callable[[int], bool], *, window: int | None
) -> tuple[int, ...]:
    """The window of each layer.

    Args:
        fields: config.json, whose `layer_types` decides where it is there.
        num_layers: their number.
        default: whether the layer of a number slides, for a file without `layer_types`.
        window: of the layers that slide; None: no layer does.
    """
    types = fields.layer_types(num_layers, lambda i: SLIDING if default(i) else FULL, (FULL, SLIDING))
    return tuple(window if window is not None and kind == SLIDING else 0 for kind in types)


def parse_shape(
    fields: Fields, *, rope: RopeConfig | None = None, eps_name: str = "rms_norm_eps"
) -> dict[str, Any]:
    """The fields of `DecoderConfig`, with Llama's defaults; a family puts its own into `fields`
    before.

    Args:
        fields: config.json.
        rope: where the family has read it in its own way.
        eps_name: what the family calls the number that norms add.
    """
    hidden_size, num_heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    shape = {
        "model_type": str(fields.raw.get("model_type")),
        "hidden_size": hidden_size,
        "intermediate_size": fields.integer("intermediate_size"),
        "num_layers": fields.integer("num_hidden_layers", most=_MAX_LAYERS),
        "num_heads": num_heads,
        "num_kv_heads": fields.integer("num_key_value_heads", num_heads),
        "head_dim": fields.integer("head_dim", max(hidden_size // num_heads, 1)),
        "vocab_size": fields.integer("vocab_size"),
        "max_position_embeddings": fields.integer("max_position_embeddings", 2048),
        "rms_norm_eps": fields.number(eps_name, 1e-6),
        "rope": parse_rope(fields) if rope is None else rope,
        "activation": parse_activation(fields),
        "tie_word_embeddings": fields.boolean("tie_word_embeddings", False),
        "attention_bias": fields.boolean("attention_bias", False),
        "mlp_bias": fields.boolean("mlp_bias", False),
        "dtype": _parse_dtype(fields),
    }
    _check_shape(fields, shape)
    return shape


def parse_activation(fields: Fields) -> Activation:
    """The activation of the MLPs, which Gemma names `hidden_activation`."""
    name = "hidden_activation" if fields.raw.get("hidden_activation") is not None else "hidden_act"
    value = fields.raw.get(name) or "silu"
    if isinstance(value, str) and value in _ACTIVATIONS:
        return _ACTIVATIONS[value]
    fields.refuse(name, value, "supported are " + ", ".join(_ACTIVATIONS))
    return "silu"


def _parse_dtype(fields: Fields) -> Dtype | None:
    name = "dtype" if fields.raw.get("dtype") is not None else "torch_dtype"
    value = fields.raw.get(name)
    if value is None or _is_dtype(value):
        return value
    fields.refuse(name, value, "supported are " + ", ".join(get_args(Dtype)))
    return None


def _is_dtype(value: object) -> TypeGuard[Dtype]:
    return value in get_args(Dtype)


def _check_shape(fields: Fields, shape: dict[str, Any]) -> None:
    num_heads, num_kv_heads, head_dim = shape["num_heads"], shape["num_kv_heads"], shape["head_dim"]
    if num_heads % num_kv_heads:
        why = f"it must divide `num_attention_heads` {num_heads}"
        fields.refuse("num_key_value_heads", num_kv_heads, why)
    if fields.raw.get("head_dim") is None and shape["hidden_size"] % num_heads:
        why = f"it must be a multiple of `num_attention_heads` {num_heads}"
        fields.refuse("hidden_size", shape["hidden_size"], why)
    if head_dim % 2:
        fields.refuse("head_dim", head_dim, "it must be even")
    # Where a size is wrong already, what follows from its stand-in would only confuse.
    if not fields.problems:
        check_rope(fields, shape["rope"], head_dim)


def check_rope(fields: Fields, rope: RopeConfig, head_dim: int) -> None:
    """Refuses a rope that heads of that size cannot have."""
    rotary_dim = rope.rotary_dim(head_dim)
    if rotary_dim % 2 or (rotary_dim == 0 and rope.rope_type != "none"):
        why = f"an even number of the {head_dim} dimensions of a head must turn"
        fields.refuse("partial_rotary_factor", rope.partial_factor, why)
    if rotary_dim == 2 and rope.rope_type == "dynamic":
        fields.refuse("head_dim", head_dim, "it must be at least 4 with dynamic positions")
    for name, factors in (("short_factor", rope.short_factor), ("long_factor", rope.long_factor)):
        if rope.rope_type == "longrope" and len(factors) != rotary_dim // 2:
            fields.refuse(name, len(factors), f"it must have {rotary_dim // 2} numbers")
