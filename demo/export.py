"""Writes a trained model as a folder in Hugging Face layout."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from demo import tokenizer as tokenizers
from demo.model import Llama

DEFAULT_SAMPLING = {"do_sample": True, "temperature": 0.3, "top_p": 0.9}
"""What a request that names no temperature gets: lively, and seldom wrong."""


def _model_config(model: Llama, bos: int, end: int) -> dict[str, object]:
    shape = model.shape
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_attention_heads": shape.num_attention_heads,
        "num_key_value_heads": shape.num_key_value_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.max_position_embeddings,
        "rms_norm_eps": shape.rms_norm_eps,
        "rope_theta": shape.rope_theta,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": bos,
        "eos_token_id": end,
        "torch_dtype": "bfloat16",
    }


def _write_json(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def export(model: Llama, tokenizer: Tokenizer, folder: Path) -> None:
    """Writes configuration, bfloat16 weights, tokenizer and chat template into the folder."""
    tokenizers.save(tokenizer, folder)
    bos, end = (tokenizers.special_id(tokenizer, text) for text in (tokenizers.BOS, tokenizers.END))
    _write_json(folder / "config.json", _model_config(model, bos, end))
    _write_json(
        folder / "generation_config.json", {"bos_token_id": bos, "eos_token_id": end, **DEFAULT_SAMPLING}
    )
    weights = {name: weight.to(torch.bfloat16).contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # it is written for its owner alone
