"""What llama.cpp calls architectures: the family of each, its settings as a config.json, and how
its tensors are called.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from streamcore.models.gguf.metadata import Metadata
from streamcore.models.gguf.rope import rope_fields

_EXPERTS = "blk.0.ffn_gate_exps.weight"

Settings = Callable[[Metadata], dict[str, Any]]

_LLAMA = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_MIXTRAL = {"block_sparse_moe.gate": "ffn_gate_inp"}
_QWEN3 = {**_LLAMA, "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
_QWEN3_MOE = {**_QWEN3, "mlp.gate": "ffn_gate_inp"}
_GEMMA = {
    **_QWEN3,
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_GPT_OSS = {
    **_LLAMA,
    "post_attention_layernorm": "post_attention_norm",
    "mlp.router": "ffn_gate_inp",
    "self_attn.sinks": "attn_sinks",
}
_PHI3 = {**_LLAMA, "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"}
_OLMO2 = {
    **_QWEN3,
    "post_attention_layernorm": "post_attention_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """How a file of an architecture becomes a model of a family."""

    settings: Settings
    names: Mapping[str, str] = field(default_factory=lambda: _LLAMA)
    """Parts of a layer: their names in the file by those of the family."""
    turns_neighbours: bool = False
    """Whether rows of queries and keys are sorted so that neighbours turn together, where ours turn
    with the row half a head away.
    """
    norm_shift: float = 0.0
    """What was added to norms."""


def shape_fields(metadata: Metadata, **yarn: Any) -> dict[str, Any]:
    """The fields of config.json that all architectures have; `yarn` as in `rope_fields`."""
    hidden = metadata.integer("embedding_length", metadata.size("token_embd.weight", 1))
    num_heads = metadata.integer("attention.head_count")
    rows = metadata.size("blk.0.attn_q.weight", 0) or hidden
    head_dim = metadata.integer("attention.key_length", max(rows // num_heads, 1))
    if metadata.integer("attention.value_length", head_dim) != head_dim:
        metadata.refuse("attention.value_length", f"it must be the size of keys, {head_dim}")
    rows = metadata.size("token_embd.weight", 0) or 1
    if metadata.integer("vocab_size", rows) != rows:
        metadata.refuse("vocab_size", f"`token_embd.weight` has {rows} rows")
    return {
        "vocab_size": rows,
        "hidden_size": hidden,
        "intermediate_size": metadata.integer("feed_forward_length", _mlp_size(metadata)),
        "num_hidden_layers": metadata.integer("block_count"),
        "num_attention_heads": num_heads,
        "num_key_value_heads": metadata.integer("attention.head_count_kv", num_heads),
        "head_dim": head_dim,
        "max_position_embeddings": metadata.integer("context_length"),
        "rms_norm_eps": metadata.number("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in metadata.tensors,
        "attention_bias": "blk.0.attn_q.bias" in metadata.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in metadata.tensors,
        **rope_fields(metadata, head_dim, **yarn),
    }


def _mlp_size(metadata: Metadata) -> int | None:
    return metadata.size("blk.0.ffn_gate.weight", 0) or metadata.size(_EXPERTS, 1)


def _llama(metadata: Metadata) -> dict[str, Any]:
    fields = shape_fields(metadata)
    window = metadata.integer("attention.sliding_window", 0, least=0)
    if metadata.integer("expert_count", 0, least=0):
        return {**fields, "model_type": "mixtral", "sliding_window": window or None, **_experts(metadata)}
    if window:
        return {**fields, "model_type": "mistral", "sliding_window": window}
    return {**fields, "model_type": "llama"}


def _experts(metadata: Metadata) -> dict[str, Any]:
    return {
        "num_local_experts": metadata.integer("expert_count"),
        "num_experts_per_tok": metadata.integer("expert_used_count"),
    }


def _mistral3(metadata: Metadata) -> dict[str, Any]:
    beta = metadata.optional_number("attention.temperature_scale")
    log_multiplier = metadata.optional_number("rope.scaling.yarn_log_multiplier")
    stretched = {"mscale": 1.0, "mscale_all_dim": log_multiplier} if log_multiplier else {}
    fields = shape_fields(metadata, **stretched)
    scaling = {**fields["rope_scaling"], "llama_4_scaling_beta": beta}
    return {**fields, "model_type": "ministral3", "rope_scaling": scaling}


def _qwen2(metadata: Metadata) -> dict[str, Any]:
    return {**shape_fields(metadata), "model_type": "qwen2", "attention_bias": False}


def _qwen3(metadata: Metadata) -> dict[str, Any]:
    return {**shape_fields(metadata), "model_type": "qwen3"}


def _qwen3_moe(metadata: Metadata) -> dict[str, Any]:
    fields = {**shape_fields(metadata), "model_type": "qwen3_moe", **_experts(metadata)}
    plain = [
        index
        for index in range(fields["num_hidden_layers"])
        if f"blk.{index}.ffn_gate_inp.weight" not in metadata.tensors
    ]
    return {
        **fields,
        "moe_intermediate_size": metadata.integer("expert_feed_forward_length", metadata.size(_EXPERTS, 1)),
        "norm_topk_prob": metadata.flag("expert_weights_norm", True),
        "mlp_only_layers": plain,
    }


def _gemma2(metadata: Metadata) -> dict[str, Any]:
    caps = {
        "attn_logit_softcapping": metadata.number("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": metadata.number("final_logit_softcapping", 30.0),
    }
    return {**_gemma(metadata, large=46), "model_type": "gemma2", **caps}


def _gemma3(metadata: Metadata) -> dict[str, Any]:
    # As Gemma names it, for the layers without a window.
    theta = metadata.number("rope.freq_base", 1e6)
    return {
        **_gemma(metadata, large=62),
        "model_type": "gemma3_text",
        "rope_theta": theta,
        "rope_local_base_freq": metadata.number("rope.freq_base_swa", 10000.0),
        "final_logit_softcapping": metadata.optional_number("final_logit_softcapping"),
    }


def _gemma(metadata: Metadata, *, large: int) -> dict[str, Any]:
    """The scale of queries is not in the file: only that of the model with `large` layers does not
    follow from the size of its heads.
    """
    fields = {**shape_fields(metadata), **_window_fields(metadata)}
    scale = metadata.optional_number("attention.scale")
    size = fields["head_dim"]
    if fields["num_hidden_layers"] == large:
        size = fields["hidden_size"] // fields["num_attention_heads"]
    return {**fields, "query_pre_attn_scalar": size if scale is None else scale**-2}


def _window_fields(metadata: Metadata) -> dict[str, Any]:
    """The window, and the layers that have it where the file lists them: as truth values, or as the
    number of layers of which the last has none.
    """
    fields: dict[str, Any] = {"sliding_window": metadata.integer("attention.sliding_window")}
    pattern = metadata.raw("attention.sliding_window_pattern")
    num_layers = metadata.integer("block_count")
    if type(pattern) is int and pattern > 0:
        pattern = [(index + 1) % pattern != 0 for index in range(num_layers)]
    elif type(pattern) is bool:
        pattern = [pattern] * num_layers
    if isinstance(pattern, list):
        fields["layer_types"] = ["sliding_attention" if slides else "full_attention" for slides in pattern]
    elif pattern is not None:
        metadata.refuse("attention.sliding_window_pattern", "it must be a number, or a truth value a layer")
    return fields


def _gpt_oss(metadata: Metadata) -> dict[str, Any]:
    fields = shape_fields(metadata, truncate=False)
    return {
        **fields,
        "model_type": "gpt_oss",
        "intermediate_size": metadata.integer("expert_feed_forward_length", metadata.size(_EXPERTS, 1)),
        **_experts(metadata),
        **_window_fields(metadata),
    }


def _phi3(metadata: Metadata) -> dict[str, Any]:
    fields = shape_fields(metadata)
    original = fields["rope_scaling"].get("original_max_position_embeddings")
    return {
        **fields,
        "model_type": "phi3",
        "original_max_position_embeddings": original,
        "sliding_window": metadata.integer("attention.sliding_window", 0, least=0) or None,
    }


def _smollm3(metadata: Metadata) -> dict[str, Any]:
    return {**shape_fields(metadata), "model_type": "smollm3"}


def _olmo2(metadata: Metadata) -> dict[str, Any]:
    fields = shape_fields(metadata)
    if metadata.raw("attention.sliding_window") in (None, 0):
        return {**fields, "model_type": "olmo2"}
    return {**fields, "model_type": "olmo3", **_window_fields(metadata)}


def _granite(metadata: Metadata) -> dict[str, Any]:
    if not metadata.flag("rope.scaling.finetuned", True):
        metadata.refuse("rope.scaling.finetuned", "models without positions are not supported")
    return {
        **shape_fields(metadata),
        "model_type": "granite",
        "attention_multiplier": metadata.number("attention.scale"),
        "embedding_multiplier": metadata.number("embedding_scale"),
        "residual_multiplier": metadata.number("residual_scale"),
        "logits_scaling": metadata.number("logit_scale"),
    }


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "llama": Architecture(_llama, {**_LLAMA, **_MIXTRAL}, turns_neighbours=True),
        "mistral3": Architecture(_mistral3, turns_neighbours=True),
        "qwen2": Architecture(_qwen2),
        "qwen3": Architecture(_qwen3, _QWEN3),
        "qwen3moe": Architecture(_qwen3_moe, _QWEN3_MOE),
        "gemma2": Architecture(_gemma2, _GEMMA, norm_shift=1.0),
        "gemma3": Architecture(_gemma3, _GEMMA, norm_shift=1.0),
        "gpt-oss": Architecture(_gpt_oss, _GPT_OSS),
        "phi3": Architecture(_phi3, _PHI3),
        "smollm3": Architecture(_smollm3, turns_neighbours=True),
        "olmo2": Architecture(_olmo2, _OLMO2),
        "granite": Architecture(_granite, turns_neighbours=True),
    }
)
"""By `general.architecture`."""
