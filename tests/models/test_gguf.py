"""Models in GGUF files against the folders that they were made from: a swapped row or a wrong
setting gives fluent and wrong answers.

The files are written by PyPI's `gguf`, with its names; the folders are compared with `transformers`
in test_families.py.
"""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import save_file
from tests.models.engine_loop import EngineLoop, load
from tests.models.family_checkpoints import Variant, write_reference
from tests.models.gguf_files import (
    ARCHITECTURES,
    Stored,
    config_of,
    file_tensors,
    quantised,
    random_blocks,
    weights_of,
    write_file,
    write_gguf,
    write_gguf_of,
)
from tests.models.steps import RunningSequence, load_paged, random_prompt
from tests.models.test_families import GRANITE, LONG, MOE, YARN

from streamcore.models.folder import check_model_folder
from streamcore.models.gguf.architectures import ARCHITECTURES as SUPPORTED
from streamcore.models.gguf.blocks import BLOCKS

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
GEMMA3_ROPES = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
MINISTRAL_ROPE = {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.3}

VARIANTS: dict[str, Variant] = {
    "llama": Variant("llama", {"head_dim": 16}),
    "llama tied": Variant("llama", {"tie_word_embeddings": True, "num_key_value_heads": 1}),
    "llama biases": Variant("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama stretched": Variant("llama", {"head_dim": 16, "rope_parameters": LLAMA3}),
    "llama linear": Variant(
        "llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}
    ),
    "mistral": Variant("mistral", {"sliding_window": 7, "head_dim": 32}),
    "mixtral": Variant("mixtral", {"num_local_experts": 4}),
    "ministral3": Variant("ministral3", {"head_dim": 16, "rope_parameters": MINISTRAL_ROPE}),
    "qwen2": Variant("qwen2"),
    "qwen2 stretched": Variant("qwen2", {"rope_parameters": YARN, "tie_word_embeddings": True}),
    "qwen3": Variant("qwen3", {"head_dim": 16}),
    "qwen3 tied": Variant("qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
    "qwen3_moe": Variant("qwen3_moe", {**MOE, "norm_topk_prob": True, "head_dim": 16}),
    "qwen3_moe tied": Variant(
        "qwen3_moe", {**MOE, "norm_topk_prob": True, "head_dim": 32, "tie_word_embeddings": True}
    ),
    "gemma2": Variant(
        "gemma2",
        {
            "head_dim": 16,
            "sliding_window": 7,
            "query_pre_attn_scalar": 16,
            "attn_logit_softcapping": 4.0,
            "final_logit_softcapping": 5.0,
        },
    ),
    "gemma3_text": Variant(
        "gemma3_text",
        {"head_dim": 16, "num_hidden_layers": 7, "sliding_window": 7, "query_pre_attn_scalar": 16},
    ),
    "gemma3_text stretched": Variant(
        "gemma3_text",
        {
            "head_dim": 16,
            "num_hidden_layers": 7,
            "sliding_window": 7,
            "query_pre_attn_scalar": 16,
            "rope_parameters": GEMMA3_ROPES,
        },
    ),
    "gpt_oss": Variant(
        "gpt_oss", {"head_dim": 16, "num_local_experts": 6, "num_experts_per_tok": 2, "sliding_window": 7}
    ),
    "phi3": Variant("phi3"),
    "phi3 window": Variant("phi3", {"sliding_window": 7}),
    "phi3 long": Variant("phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 64}),
    "phi3 partial": Variant(
        "phi3",
        {
            "hidden_size": 64,
            "tie_word_embeddings": True,
            "original_max_position_embeddings": 64,
            "rope_parameters": {**LONG, "partial_rotary_factor": 0.75},
        },
    ),
    "smollm3": Variant("smollm3"),
    "olmo2": Variant("olmo2"),
    "olmo3": Variant("olmo3", {"sliding_window": 7}),
    "olmo3 stretched": Variant(
        "olmo3",
        {
            "sliding_window": 9,
            "rope_parameters": {
                "full_attention": {**YARN, "rope_theta": 500000.0, "attention_factor": 1.2},
                "sliding_attention": {"rope_type": "default", "rope_theta": 500000.0},
            },
        },
    ),
    "granite": Variant("granite", GRANITE),
    "granite tied": Variant("granite", {**GRANITE, "tie_word_embeddings": True}),
}
# Where a file has the same numbers in other words: norms with 1 added, frequencies as factors.
CLOSE = ("gemma", "llama stretched", "phi3 long", "phi3 partial", "olmo3 stretched")


def test_every_architecture_is_compared() -> None:
    """One that is compared with nothing would be a guess."""
    compared = {ARCHITECTURES[name.split()[0]] for name in VARIANTS}
    assert {gguf.MODEL_ARCH_NAMES[kind] for kind in compared} == SUPPORTED.keys()


@pytest.mark.parametrize("name", VARIANTS)
def test_a_file_computes_what_its_folder_does(name: str, tmp_path: Path) -> None:
    """In float32 every logit is the folder's, and so is every greedy token."""
    variant = VARIANTS[name]
    write_reference(tmp_path, variant)
    file = write_gguf_of(tmp_path, tmp_path / "model.gguf")
    prompt = random_prompt(150 if name in ("phi3 long", "phi3 partial") else 40)
    expected, logits = (_logits(path, prompt) for path in (tmp_path, file))
    if name.startswith(CLOSE):
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    else:
        assert torch.equal(logits, expected)
    prompts = [random_prompt(5, seed=1), random_prompt(17, seed=2)]
    tokens = [EngineLoop(load(path, 256)).generate(prompts, 12) for path in (tmp_path, file)]
    assert tokens[1] == tokens[0]


def _logits(path: Path, prompt: list[int], widens: bool = True) -> torch.Tensor:
    """float32 [steps, vocab], of a few steps that end with the prompt."""
    paged, sequence = load_paged(path, widens=widens), RunningSequence(prompt)
    counts = (17, len(prompt) - 20, 1, 1, 1)
    return torch.cat([paged.forward([(sequence, count)]) for count in counts])


WIDE = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_quantised_weights_are_those_of_the_widened_folder(kind: str, tmp_path: Path) -> None:
    """Block by block, in every type that is read: the folder holds what the package
    makes of them.
    """
    write_reference(tmp_path, Variant("llama", WIDE))
    config = config_of(tmp_path)
    weights = weights_of(tmp_path)
    for seed, (name, stored) in enumerate(weights.items()):
        if stored.data.ndim == 2:
            rows, columns = stored.data.shape
            weights[name] = random_blocks(rows, columns, Kind[kind], seed)
    file = write_gguf(tmp_path / "model.gguf", config, weights)
    _write_widened(tmp_path, weights)
    prompt = random_prompt(40)
    expected = _logits(tmp_path, prompt)
    assert torch.equal(_logits(file, prompt), expected)
    # As they are, in other sums of the same products.
    torch.testing.assert_close(_logits(file, prompt, widens=False), expected, atol=1e-3, rtol=1e-3)
    assert check_model_folder(file).gguf.types.startswith(kind)  # type: ignore[union-attr]


def test_mixed_types_of_experts_are_widened(tmp_path: Path) -> None:
    """As files of 4 and 8 bits are: each matrix has a type of its own, and experts lie in one
    tensor.
    """
    write_reference(tmp_path, Variant("mixtral", {**WIDE, "num_local_experts": 4}))
    config = config_of(tmp_path)
    kinds = (Kind.Q8_0, Kind.Q4_0, Kind.Q5_1, Kind.F16, Kind.BF16)
    weights = weights_of(tmp_path)
    for name, stored in weights.items():
        if stored.data.ndim == 2:
            # All experts of a layer alike.
            part = name.replace("experts.", "").translate(str.maketrans("", "", "0123456789"))
            weights[name] = quantised(stored.data, kinds[len(part) % len(kinds)])
    file = write_gguf(tmp_path / "model.gguf", config, weights)
    _write_widened(tmp_path, weights)
    prompt = random_prompt(40)
    expected = _logits(tmp_path, prompt)
    assert torch.equal(_logits(file, prompt), expected)
    torch.testing.assert_close(_logits(file, prompt, widens=False), expected, atol=1e-3, rtol=1e-3)


def _write_widened(folder: Path, weights: dict[str, Stored]) -> None:
    tensors = {name: torch.from_numpy(np.ascontiguousarray(s.widened)) for name, s in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_gpt_oss_is_read_in_its_four_bits(tmp_path: Path) -> None:
    """MXFP4, the type of all its published files, in matrices that the folder has the other way
    round.
    """
    sizes = {"head_dim": 32, "hidden_size": 64, "intermediate_size": 96, "num_local_experts": 4}
    write_reference(tmp_path, Variant("gpt_oss", {**sizes, "num_experts_per_tok": 2, "sliding_window": 7}))
    config = config_of(tmp_path)
    weights = weights_of(tmp_path)
    in_file = dict(file_tensors(config, weights))
    for name, stored in weights.items():
        if name.endswith(("gate_up_proj", "down_proj")):
            flat = np.ascontiguousarray(stored.data.transpose(0, 2, 1))
            weights[name] = Stored(quantised(flat, Kind.MXFP4).widened.transpose(0, 2, 1))
    plain = write_gguf(tmp_path / "plain.gguf", config, weights)
    four_bits = dict(file_tensors(config, weights))
    for name, stored in four_bits.items():
        if name.endswith("_exps.weight"):
            four_bits[name] = quantised(stored.data, Kind.MXFP4)
            assert np.array_equal(four_bits[name].widened, stored.data)
            assert not np.array_equal(in_file[name].data, stored.data)
    packed = write_file(tmp_path / "packed.gguf", config, four_bits.items())
    prompt = random_prompt(40)
    _write_widened(tmp_path, weights)
    expected = _logits(tmp_path, prompt)
    assert torch.equal(_logits(plain, prompt), expected)
    assert torch.equal(_logits(packed, prompt), expected)


def test_phi3_with_separate_projections(tmp_path: Path) -> None:
    """Some converters take the stacked matrices apart."""
    write_reference(tmp_path, Variant("phi3"))
    config = config_of(tmp_path)
    tensors = dict(file_tensors(config, weights_of(tmp_path)))
    for layer in range(4):
        prefix = f"blk.{layer}."
        query, key, value = np.split(tensors.pop(f"{prefix}attn_qkv.weight").data, [48, 72])
        gate, up = np.split(tensors.pop(f"{prefix}ffn_up.weight").data, 2)
        parts = {"attn_q": query, "attn_k": key, "attn_v": value, "ffn_gate": gate, "ffn_up": up}
        tensors |= {f"{prefix}{part}.weight": Stored(data) for part, data in parts.items()}
    file = write_file(tmp_path / "model.gguf", config, tensors.items())
    prompt = random_prompt(40)
    assert torch.equal(_logits(file, prompt), _logits(tmp_path, prompt))


def test_older_mixtral_has_each_expert_alone(tmp_path: Path) -> None:
    """Files of before experts were put together are still around."""
    write_reference(tmp_path, Variant("mixtral", {"num_local_experts": 3}))
    config = config_of(tmp_path)
    tensors: dict[str, Stored] = {}
    for name, stored in file_tensors(config, weights_of(tmp_path)):
        if "_exps." in name:
            each = {name.replace("_exps", f".{i}"): Stored(stored.data[i]) for i in range(3)}
            tensors |= each
        else:
            tensors[name] = stored
    file = write_file(tmp_path / "model.gguf", config, tensors.items())
    prompt = random_prompt(40)
    assert torch.equal(_logits(file, prompt), _logits(tmp_path, prompt))


def test_parts_are_one_model(tmp_path: Path) -> None:
    """Large models come in several files; any of them may be named."""
    write_reference(tmp_path, Variant("llama"))
    write_gguf_of(tmp_path, tmp_path / "whole.gguf", split_max_tensors=15)
    parts = sorted(tmp_path.glob("*-of-*.gguf"))
    assert len(parts) > 2
    prompt = random_prompt(40)
    expected = _logits(tmp_path, prompt)
    assert torch.equal(_logits(parts[0], prompt), expected)
    folder = check_model_folder(parts[1])
    assert folder.path == parts[1]
    assert {info.path for info in folder.tensors.values()} == set(parts)


def test_bfloat16_files_stay_narrow(tmp_path: Path) -> None:
    """On a CPU that keeps bfloat16, widening them would double the memory and change no bit."""
    write_reference(tmp_path, Variant("llama", WIDE))
    config = config_of(tmp_path)
    weights = {
        name: quantised(stored.data, Kind.BF16) if stored.data.ndim == 2 else stored
        for name, stored in weights_of(tmp_path).items()
    }
    folder = check_model_folder(write_gguf(tmp_path / "model.gguf", config, weights))
    assert {info.dtype for info in folder.tensors.values() if len(info.shape) > 1} == {"BF16"}
    assert folder.dtype == "bfloat16"
