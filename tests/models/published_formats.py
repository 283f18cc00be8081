"""What published files say of quantised weights, as facts, with the tensors that a layer of 256
rows and 320 inputs has in them.
"""

from collections.abc import Mapping
from typing import Any


def weights(**fields: Any) -> dict[str, Any]:
    """As llm-compressor writes those of a group."""
    fixed = {"block_structure": None, "dynamic": False, "group_size": None, "observer": "minmax"}
    return {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel", **fixed, **fields}


def group(said: Mapping[str, Any], activations: Any = None, **fields: Any) -> dict[str, Any]:
    """A group of all linear layers."""
    return {
        "targets": ["Linear"],
        "weights": said,
        "input_activations": activations,
        "output_activations": None,
        **fields,
    }


def compressed(form: str, *groups: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """As llm-compressor writes it."""
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": {f"group_{index}": said for index, said in enumerate(groups)},
        "global_compression_ratio": None,
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
        "quantization_status": "compressed",
        **fields,
    }


TOKENS = weights(strategy="token", dynamic=True)
INT4 = weights(num_bits=4, type="int", strategy="group", group_size=128)
OLD_GPTQ = {
    "bits": 4,
    "group_size": 128,
    "damp_percent": 0.1,
    "desc_act": True,
    "sym": True,
    "true_sequential": True,
    "model_name_or_path": None,
    "model_file_base_name": "model",
    "quant_method": "gptq",
}

PUBLISHED: Mapping[str, tuple[dict[str, Any], str, dict[str, tuple[int, ...]]]] = {
    "Qwen3-8B-FP8": (
        {
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "quant_method": "fp8",
            "weight_block_size": [128, 128],
        },
        "fp8",
        {".weight": (256, 320), ".weight_scale_inv": (2, 3)},
    ),
    "Qwen3-30B-A3B-FP8": (
        {
            "activation_scheme": "dynamic",
            "modules_to_not_convert": ["lm_head", "model.layers.3.mlp.gate", "model.norm"],
            "quant_method": "fp8",
            "weight_block_size": [128, 128],
        },
        "fp8",
        {".weight": (256, 320), ".weight_scale_inv": (2, 3)},
    ),
    "Ministral-3-8B-Instruct": (
        {
            "activation_scheme": "static",
            "dequantize": False,
            "modules_to_not_convert": ["model.vision_tower", "model.multi_modal_projector", "lm_head"],
            "quant_method": "fp8",
            "weight_block_size": None,
        },
        "fp8",
        {".weight": (256, 320), ".weight_scale_inv": ()},
    ),
    "Meta-Llama-3-8B-Instruct-FP8": (
        {"activation_scheme": "static", "ignored_layers": ["lm_head"], "quant_method": "fp8"},
        "fp8",
        {".weight": (256, 320), ".weight_scale_inv": (2, 3)},
    ),
    "Llama-3.1-405B-Instruct-FP8": (
        {
            "activation_scale_ub": 1200.0,
            "modules_to_not_convert": ["lm_head", "model.layers.0.self_attn.q_proj"],
            "quant_method": "fbgemm_fp8",
        },
        "fp8",
        {".weight": (256, 320), ".weight_scale_inv": ()},
    ),
    "Meta-Llama-3.1-8B-Instruct-FP8-dynamic": (
        compressed("float-quantized", group(weights(), TOKENS)),
        "fp8 compressed-tensors",
        {".weight": (256, 320), ".weight_scale": (256, 1)},
    ),
    "Meta-Llama-3.1-8B-Instruct-FP8": (
        compressed(
            "float-quantized",
            group(weights(strategy="tensor"), weights(strategy="tensor")),
            quantization_status="frozen",
        ),
        "fp8 compressed-tensors",
        {".weight": (256, 320), ".weight_scale": (1,)},
    ),
    "Qwen3-32B-FP8-block": (
        compressed("float-quantized", group(weights(strategy="block", block_structure=[128, 128]))),
        "fp8 compressed-tensors",
        {".weight": (256, 320), ".weight_scale": (2, 3)},
    ),
    "Meta-Llama-3.1-8B-Instruct-quantized.w8a8": (
        compressed("int-quantized", group(weights(type="int"), {**TOKENS, "type": "int"})),
        "8-bit compressed-tensors",
        {".weight": (256, 320), ".weight_scale": (256, 1)},
    ),
    "Meta-Llama-3.1-8B-Instruct-quantized.w4a16": (
        compressed("pack-quantized", group({**INT4, "actorder": "weight"})),
        "4-bit compressed-tensors",
        {".weight_packed": (256, 40), ".weight_scale": (256, 3)},
    ),
    "gemma-3-27b-it-quantized.w4a16": (
        compressed("pack-quantized", group(INT4), ignore=["re:.*lm_head", "re:vision_tower.*"]),
        "4-bit compressed-tensors",
        {".weight_packed": (256, 40), ".weight_scale": (256, 3)},
    ),
    "asymmetric of AutoAWQ's successor": (
        compressed("pack-quantized", group({**INT4, "symmetric": False})),
        "4-bit compressed-tensors",
        {".weight_packed": (256, 40), ".weight_zero_point": (32, 3)},
    ),
    "Mistral-7B-AWQ": (
        {"bits": 4, "group_size": 128, "quant_method": "awq", "version": "gemm", "zero_point": True},
        "4-bit AWQ",
        {".qweight": (320, 32), ".qzeros": (3, 32), ".scales": (3, 256)},
    ),
    "Qwen2.5-7B-Instruct-AWQ": (
        {
            "bits": 4,
            "group_size": 64,
            "modules_to_not_convert": None,
            "quant_method": "awq",
            "version": "gemm",
            "zero_point": True,
        },
        "4-bit AWQ",
        {".qweight": (320, 32), ".qzeros": (5, 32), ".scales": (5, 256)},
    ),
    "Mistral-7B-GPTQ": (
        OLD_GPTQ,
        "4-bit GPTQ",
        {".qweight": (40, 256), ".qzeros": (3, 32), ".scales": (3, 256), ".g_idx": (320,)},
    ),
    "Qwen2.5-7B-Instruct-GPTQ-Int8": (
        {**OLD_GPTQ, "bits": 8, "desc_act": False, "modules_in_block_to_quantize": None, "use_exllama": True},
        "8-bit GPTQ",
        {".qweight": (80, 256), ".qzeros": (3, 64), ".scales": (3, 256)},
    ),
    "of GPTQModel": (
        {
            **OLD_GPTQ,
            "checkpoint_format": "gptq_v2",
            "lm_head": False,
            "dynamic": {r"-:.*\.gate$": {}, r"+:.*\.up_proj$": {"bits": 8, "group_size": 64}},
        },
        "4-bit GPTQ",
        {".qweight": (80, 256), ".qzeros": (5, 64), ".scales": (5, 256)},
    ),
    "Llama-3.1-8B-Instruct-FP8 of NVIDIA": (
        {
            "quant_method": "modelopt",
            "quant_algo": "FP8",
            "kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": False},
            "ignore": ["lm_head"],
        },
        "fp8",
        {".weight": (256, 320), ".weight_scale_inv": ()},
    ),
    "gpt-oss-20b": (
        {
            "modules_to_not_convert": [
                "model.layers.*.self_attn",
                "model.layers.*.mlp.router",
                "model.embed_tokens",
                "lm_head",
            ],
            "quant_method": "mxfp4",
        },
        "MXFP4",
        {},
    ),
}
