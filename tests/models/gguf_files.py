"""Writes GGUF files of checkpoints with the `gguf` package: its names of tensors and of settings,
so that what reads them here is compared with another program's idea of them.

A tensor is its numbers, or the bytes of its blocks: all that a file changes is the order of rows
and experts, which is the same for both.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import load_file

Array = npt.NDArray[Any]

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "mixtral": gguf.MODEL_ARCH.LLAMA,
    "ministral3": gguf.MODEL_ARCH.MISTRAL3,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "qwen3_moe": gguf.MODEL_ARCH.QWEN3MOE,
    "gemma2": gguf.MODEL_ARCH.GEMMA2,
    "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
    "gpt_oss": gguf.MODEL_ARCH.GPT_OSS,
    "phi3": gguf.MODEL_ARCH.PHI3,
    "smollm3": gguf.MODEL_ARCH.SMOLLM3,
    "olmo2": gguf.MODEL_ARCH.OLMO2,
    "olmo3": gguf.MODEL_ARCH.OLMO2,
    "granite": gguf.MODEL_ARCH.GRANITE,
}
"""By `model_type`."""
_TURNED = ("llama", "mistral", "mixtral", "ministral3", "smollm3", "granite")
_STACKS = {
    "mlp.experts.{}.gate_proj": "mlp.experts.gate_proj",
    "mlp.experts.{}.up_proj": "mlp.experts.up_proj",
    "mlp.experts.{}.down_proj": "mlp.experts.down_proj",
    "block_sparse_moe.experts.{}.w1": "feed_forward.experts.w1",
    "block_sparse_moe.experts.{}.w2": "feed_forward.experts.w2",
    "block_sparse_moe.experts.{}.w3": "feed_forward.experts.w3",
}


@dataclass(frozen=True)
class Stored:
    """Numbers, or the bytes of blocks."""

    data: Array
    kind: Kind = Kind.F32

    @property
    def widened(self) -> Array:
        """float32."""
        return gguf.quants.dequantize(self.data, self.kind)

    def with_data(self, data: Array) -> "Stored":
        """Others in the same blocks."""
        return Stored(np.ascontiguousarray(data), self.kind)


def quantised(numbers: Array, kind: Kind) -> Stored:
    """Numbers in blocks, as the package quantises them."""
    return Stored(gguf.quants.quantize(numbers, kind), kind)


def random_blocks(rows: int, columns: int, kind: Kind, seed: int = 0) -> Stored:
    """Blocks of which every bit is random but those of their scales, which give numbers up to about
    1.

    The package widens types that it does not quantise.
    """
    dice = np.random.default_rng(seed)
    if kind.name in ("F32", "F16", "BF16"):
        return quantised(dice.standard_normal((rows, columns)).astype(np.float32) / 8, kind)
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = dice.integers(0, 256, (rows * columns // numbers, size), dtype=np.uint8)
    if kind == Kind.MXFP4:
        # An exponent.
        blocks[:, 0] = dice.integers(122, 126, len(blocks))
        return Stored(blocks.reshape(rows, -1), kind)
    scale = (dice.uniform(0.5, 1.0, len(blocks)) * _LARGEST[kind.name]).astype(np.float16)
    for begin in _SCALES.get(kind.name, ()):
        blocks[:, begin : begin + 2] = scale[:, None].view(np.uint8)
    if kind == Kind.IQ1_M:
        # Four bits in every other of the last bytes.
        for index in range(4):
            byte = blocks[:, 49 + 2 * index]
            byte[:] = (byte & 15) | (scale.view(np.uint16) >> 4 * index & 15).astype(np.uint8) << 4
    return Stored(blocks.reshape(rows, -1), kind)


# Where the scales of a block begin, each of two bytes.
_SCALES = {
    **{"Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,)},
    **{"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)},
    **{"IQ2_XXS": (0,), "IQ2_XS": (0,), "IQ2_S": (0,), "IQ3_XXS": (0,), "IQ3_S": (0,), "IQ1_S": (0,)},
    **{"IQ4_NL": (0,), "IQ4_XS": (0,), "TQ1_0": (52,), "TQ2_0": (64,)},
}
_LARGEST = {
    **{"Q4_0": 0.05, "Q4_1": 0.05, "Q5_0": 0.03, "Q5_1": 0.03, "Q8_0": 0.005},
    **{"Q2_K": 0.02, "Q3_K": 0.01, "Q4_K": 0.002, "Q5_K": 0.001, "Q6_K": 0.0005},
    **{"IQ2_XXS": 0.01, "IQ2_XS": 0.01, "IQ2_S": 0.01, "IQ3_XXS": 0.01, "IQ3_S": 0.01, "IQ1_S": 0.05},
    **{"IQ4_NL": 0.005, "IQ4_XS": 0.0005, "TQ1_0": 0.3, "TQ2_0": 0.3, "IQ1_M": 0.05},
}


def weights_of(folder: Path) -> dict[str, Stored]:
    """The tensors of a folder as float32, by their names there."""
    weights = load_file(folder / "model.safetensors")
    return {name: Stored(tensor.float().numpy()) for name, tensor in weights.items()}


def write_file(
    path: Path,
    config: Mapping[str, Any],
    tensors: Iterable[tuple[str, Stored]],
    *,
    tokenizer: Callable[[gguf.GGUFWriter], None] | None = None,
    change: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    **options: Any,
) -> Path:
    """Writes a file.

    Args:
        path: of the file.
        config: a config.json.
        tensors: by their names in the file.
        tokenizer: adds the tokenizer; `add_byte_tokenizer` if there is none.
        change: adds settings.
        options: of the package's writer.
    """
    kind = ARCHITECTURES[config["model_type"]]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[kind], **options)
    add_settings(writer, config)
    (tokenizer or add_byte_tokenizer)(writer)
    change(writer)
    for name, stored in tensors:
        writer.add_tensor(name, stored.data, raw_dtype=stored.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_gguf(path: Path, config: Mapping[str, Any], weights: Mapping[str, Stored], **options: Any) -> Path:
    """Writes a file of weights by their names in a folder; see `write_file`."""
    return write_file(path, config, file_tensors(config, weights), **options)


def write_gguf_of(folder: Path, path: Path, **options: Any) -> Path:
    """The file of a folder; see `write_file`."""
    return write_gguf(path, config_of(folder), weights_of(folder), **options)


def config_of(folder: Path) -> dict[str, Any]:
    """The config.json of a folder."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def file_tensors(config: Mapping[str, Any], weights: Mapping[str, Stored]) -> Iterator[tuple[str, Stored]]:
    """The tensors as llama.cpp's files have them, by their names there."""
    names = gguf.get_tensor_name_map(ARCHITECTURES[config["model_type"]], config["num_hidden_layers"])
    for name, stored in _in_order(config, _stacked(config, weights)):
        if config["model_type"].startswith("gemma") and name.endswith("norm.weight"):
            stored = Stored(stored.data + np.float32(1))
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert found is not None, name
        yield found, stored
    for name, factors in _rope_factors(config).items():
        yield name, Stored(np.array(factors, np.float32))


def _stacked(config: Mapping[str, Any], weights: Mapping[str, Stored]) -> dict[str, Stored]:
    """The experts of each layer as one tensor, those of gpt-oss with gate and up apart."""
    result = dict(weights)
    count = config.get("num_experts") or config.get("num_local_experts") or 0
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for single, together in _STACKS.items():
            each = [prefix + single.format(index) + ".weight" for index in range(count)]
            if each and each[0] in result:
                tensors = [result.pop(name) for name in each]
                stack = np.stack([tensor.data for tensor in tensors])
                place = prefix if together.startswith("mlp") else f"layers.{layer}."
                result[f"{place}{together}.weight"] = tensors[0].with_data(stack)
        if config["model_type"] == "gpt_oss":
            _split_gpt_oss(result, prefix)
    return result


def _split_gpt_oss(weights: dict[str, Stored], prefix: str) -> None:
    experts = f"{prefix}mlp.experts."
    both, bias = weights.pop(f"{experts}gate_up_proj").data, weights.pop(f"{experts}gate_up_proj_bias").data
    for index, part in enumerate(("gate_proj", "up_proj")):
        rows = both[:, :, index::2].transpose(0, 2, 1)
        weights[f"{experts}{part}.weight"] = Stored(np.ascontiguousarray(rows))
        weights[f"{experts}{part}.bias"] = Stored(np.ascontiguousarray(bias[:, index::2]))
    down = weights.pop(f"{experts}down_proj").data.transpose(0, 2, 1)
    weights[f"{experts}down_proj.weight"] = Stored(np.ascontiguousarray(down))
    weights[f"{experts}down_proj.bias"] = weights.pop(f"{experts}down_proj_bias")
    sinks = weights.pop(f"{prefix}self_attn.sinks")
    weights[f"{prefix}self_attn.sinks.weight"] = sinks


def _in_order(config: Mapping[str, Any], weights: Mapping[str, Stored]) -> Iterator[tuple[str, Stored]]:
    """Rows of queries and keys as the architecture turns them."""
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for name, stored in weights.items():
        part = name.split(".")[-2]
        if config["model_type"] in _TURNED and part in heads:
            order = np.arange(len(stored.data)).reshape(heads[part], 2, -1).swapaxes(1, 2).reshape(-1)
            stored = stored.with_data(stored.data[order])
        yield name, stored


def _rope_factors(config: Mapping[str, Any]) -> dict[str, list[float]]:
    rope = rope_of(config)
    if rope.get("rope_type") == "longrope":
        return {f"rope_factors_{kind}.weight": rope[f"{kind}_factor"] for kind in ("long", "short")}
    if rope.get("rope_type") == "llama3":
        return {"rope_freqs.weight": llama3_factors(rope, config["head_dim"])}
    return {}


def llama3_factors(rope: Mapping[str, Any], head_dim: int) -> list[float]:
    """By how much each frequency of Llama 3.1 is divided (Grattafiori et al. 2024)."""
    factors = []
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    for index in range(0, head_dim, 2):
        wave = 2 * np.pi * rope["rope_theta"] ** (index / head_dim)
        turns = rope["original_max_position_embeddings"] / wave
        share = min(max((turns - low) / (high - low), 0.0), 1.0)
        factors.append(float(1 / (share + (1 - share) / rope["factor"])))
    return factors


def rope_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rope of the layers without a window, in one object."""
    rope: Mapping[str, Any] = config.get("rope_parameters") or {}
    rope = rope.get("full_attention", rope)
    return {"rope_theta": config.get("rope_theta", 10000.0), **(config.get("rope_scaling") or {}), **rope}


def add_settings(writer: gguf.GGUFWriter, config: Mapping[str, Any]) -> None:
    """The settings of an architecture, as far as its files have them."""
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if config["model_type"] not in ("phi3", "granite"):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    _add_rope(writer, config, head_dim)
    experts = config.get("num_experts") or config.get("num_local_experts")
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if config["model_type"] == "gpt_oss":
        writer.add_expert_feed_forward_length(config["intermediate_size"])
    if config["model_type"] == "qwen3_moe":
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if config["model_type"] == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if config["model_type"] == "granite":
        writer.add_attention_scale(config["attention_multiplier"])
        writer.add_embedding_scale(config["embedding_multiplier"])
        writer.add_residual_scale(config["residual_multiplier"])
        writer.add_logit_scale(config["logits_scaling"])
    _add_windows(writer, config)


def _add_windows(writer: gguf.GGUFWriter, config: Mapping[str, Any]) -> None:
    model_type = config["model_type"]
    if model_type == "phi3":
        writer.add_sliding_window(config.get("sliding_window") or 0)
    elif config.get("sliding_window") and model_type not in ("qwen2", "qwen3", "qwen3_moe", "smollm3"):
        writer.add_sliding_window(config["sliding_window"])
    if model_type == "olmo3":
        writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config["layer_types"]])


def _add_rope(writer: gguf.GGUFWriter, config: Mapping[str, Any], head_dim: int) -> None:
    rope = rope_of(config)
    writer.add_rope_freq_base(rope["rope_theta"])
    turned = int(head_dim * rope.get("partial_rotary_factor", 1.0))
    writer.add_rope_dimension_count(turned)
    kind = rope.get("rope_type")
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "longrope":
        original = config["original_max_position_embeddings"]
        stretch = config["max_position_embeddings"] / original
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors((1 + np.log(stretch) / np.log(original)) ** 0.5)
    if kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        if rope.get("attention_factor") is not None:
            writer.add_rope_scaling_attn_factors(rope["attention_factor"])
        if rope.get("mscale_all_dim"):
            writer.add_rope_scaling_yarn_log_mul(rope["mscale_all_dim"])
        if rope.get("llama_4_scaling_beta"):
            writer.add_attn_temperature_scale(rope["llama_4_scaling_beta"])


def add_byte_tokenizer(writer: gguf.GGUFWriter) -> None:
    """A token a byte, and one merge in the place of the last, as the package writes no
    empty lists.
    """
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(byte) for byte in plain] + [chr(0x100 + index) for index in range(256 - len(plain))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*letters[:-1], "Ġa"])
    writer.add_token_types([gguf.TokenType.NORMAL] * len(letters))
    writer.add_token_merges(["Ġ a"])
