"""Makes small Llama checkpoints with random weights, for any shape.

    from tests.checkpoints import LLAMA_3_1_8B, write_checkpoint
    folder = write_checkpoint(tmp_path, num_hidden_layers=2, rms_norm_eps=1e-5)

The folder is in Hugging Face layout: config.json, generation_config.json, the weights in one or more
safetensors files, tokenizer.json and tokenizer_config.json. The tokenizer knows 256 bytes and nothing else,
unless a file of a real one is given.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

TINY: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "torch_dtype": "float32",
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 256,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
"""The config.json of a checkpoint for which nothing else is asked."""

LLAMA_3_1_8B: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "head_dim": None,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.42.3",
    "use_cache": True,
    "vocab_size": 128256,
}
"""The fields of meta-llama/Llama-3.1-8B-Instruct; a test shrinks the sizes and keeps the rest."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def write_checkpoint(
    folder: Path,
    base: Mapping[str, Any] = TINY,
    *,
    seed: int = 0,
    num_shards: int = 1,
    tokenizer: Path | None = None,
    **fields: Any,
) -> Path:
    """Writes a checkpoint and returns its folder.

    Args:
        folder: made if it is not there.
        base: the config.json to start from.
        seed: of the random weights.
        num_shards: 1 writes model.safetensors, more write that many files and their index.
        tokenizer: a folder whose tokenizer files are taken instead of the byte tokenizer.
        fields: replace fields of `base`; a field that is None is left out.
    """
    config = {name: value for name, value in {**base, **fields}.items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    special = {name: config[name] for name in ("bos_token_id", "eos_token_id") if name in config}
    (folder / "generation_config.json").write_text(json.dumps(special))
    write_weights(folder, random_weights(config, seed), num_shards)
    if tokenizer is None:
        write_byte_tokenizer(folder)
    else:
        for file in tokenizer.iterdir():
            shutil.copy(file, folder)
    return folder


def random_weights(config: Mapping[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Random tensors by their names in a Llama checkpoint, large enough for logits that differ clearly."""
    hidden, intermediate, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim", hidden // heads)
    query, key_value = heads * head_dim, config.get("num_key_value_heads", heads) * head_dim
    linears = {
        "self_attn.q_proj": (query, hidden),
        "self_attn.k_proj": (key_value, hidden),
        "self_attn.v_proj": (key_value, hidden),
        "self_attn.o_proj": (hidden, query),
        "mlp.gate_proj": (intermediate, hidden),
        "mlp.up_proj": (intermediate, hidden),
        "mlp.down_proj": (hidden, intermediate),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocab, hidden),
        "model.norm.weight": (hidden,),
    }
    for index in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{index}"
        shapes[f"{prefix}.input_layernorm.weight"] = (hidden,)
        shapes[f"{prefix}.post_attention_layernorm.weight"] = (hidden,)
        for name, shape in linears.items():
            shapes[f"{prefix}.{name}.weight"] = shape
            if config.get("attention_bias" if name.startswith("self_attn") else "mlp_bias"):
                shapes[f"{prefix}.{name}.bias"] = shape[:1]
    if not config.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (vocab, hidden)
    dtype = _DTYPES[config.get("torch_dtype") or config.get("dtype") or "float32"]
    generator = torch.Generator().manual_seed(seed)
    return {name: _random(name, shape, generator).to(dtype) for name, shape in shapes.items()}


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    if name.endswith("norm.weight"):
        return 1 + 0.1 * noise
    if name.endswith(".bias"):
        return 0.1 * noise
    # Keeps the size of activations from layer to layer, whatever the width.
    return noise if "embed" in name else noise * 1.5 * shape[1] ** -0.5


def write_weights(folder: Path, weights: Mapping[str, Tensor], num_shards: int = 1) -> None:
    """Writes tensors as one safetensors file, or as several with their index."""
    if num_shards == 1:
        save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = list(weights)
    weight_map: dict[str, str] = {}
    for shard in range(num_shards):
        file = f"model-{shard + 1:05}-of-{num_shards:05}.safetensors"
        held = {name: weights[name] for name in names[shard::num_shards]}
        save_file(held, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(held, file)
    size = sum(tensor.nbytes for tensor in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_byte_tokenizer(folder: Path) -> None:
    """A byte-level BPE without merges: a token per byte, in the order of GPT-2's byte alphabet."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = [chr(byte) for byte in plain] + [chr(0x100 + index) for index in range(len(others))]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    tokenizer: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {letter: index for index, letter in enumerate(letters)},
            "merges": [],
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
