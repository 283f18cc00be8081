"""Where the tensors of a checkpoint go.

Projections that read the same input are stacked into one parameter, so that each becomes one matrix product:

    layers.N.qkv      rows of q_proj, then k_proj, then v_proj
    layers.N.gate_up  rows of gate_proj, then up_proj

The table is free of torch: the folder is checked against it before anything is started, and the loader
follows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from streamcore.models.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one tensor of a checkpoint goes: into rows of a parameter, from `first_row` on."""

    parameter: str
    first_row: int
    shape: tuple[int, ...]


Layout = Mapping[str, Placement]
"""Placements by the tensor's name in the checkpoint: every tensor that must be there."""


def llama_layout(config: ModelConfig) -> Layout:
    """The tensors of a Llama checkpoint. Linear weights are [out, in], as torch keeps them."""
    layout: dict[str, Placement] = {}
    hidden, intermediate = config.hidden_size, config.intermediate_size
    query, key_value = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    _place(layout, "model", "embed", {"embed_tokens": config.vocab_size}, hidden)
    for index in range(config.num_layers):
        source, target = f"model.layers.{index}", f"layers.{index}"
        attention, mlp = f"{source}.self_attn", f"{source}.mlp"
        layout[f"{source}.input_layernorm.weight"] = Placement(
            f"{target}.attention_norm.weight", 0, (hidden,)
        )
        layout[f"{source}.post_attention_layernorm.weight"] = Placement(
            f"{target}.mlp_norm.weight", 0, (hidden,)
        )
        parts = {"q_proj": query, "k_proj": key_value, "v_proj": key_value}
        _place(layout, attention, f"{target}.qkv", parts, hidden, config.attention_bias)
        _place(layout, attention, f"{target}.output", {"o_proj": hidden}, query, config.attention_bias)
        parts = {"gate_proj": intermediate, "up_proj": intermediate}
        _place(layout, mlp, f"{target}.gate_up", parts, hidden, config.mlp_bias)
        _place(layout, mlp, f"{target}.down", {"down_proj": hidden}, intermediate, config.mlp_bias)
    layout["model.norm.weight"] = Placement("norm.weight", 0, (hidden,))
    if not config.tie_word_embeddings:
        layout["lm_head.weight"] = Placement("lm_head.weight", 0, (config.vocab_size, hidden))
    return layout


def parameter_shapes(layout: Layout) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter that the layout fills."""
    shapes: dict[str, tuple[int, ...]] = {}
    for placement in layout.values():
        rows = placement.first_row + placement.shape[0]
        known = shapes.get(placement.parameter, (0,))[0]
        shapes[placement.parameter] = (max(known, rows), *placement.shape[1:])
    return shapes


def _place(
    layout: dict[str, Placement],
    source: str,
    target: str,
    parts: Mapping[str, int],
    columns: int,
    bias: bool = False,
) -> None:
    """Stacks linear layers, given with their numbers of rows, into the parameters of one."""
    first_row = 0
    for name, rows in parts.items():
        layout[f"{source}.{name}.weight"] = Placement(f"{target}.weight", first_row, (rows, columns))
        if bias:
            layout[f"{source}.{name}.bias"] = Placement(f"{target}.bias", first_row, (rows,))
        first_row += rows
