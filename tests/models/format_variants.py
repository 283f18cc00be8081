"""Formats in the ways in which they are published."""

from collections.abc import Mapping
from typing import Any

import torch
from tests.models.quantised import (
    Quantised,
    awq,
    compressed,
    fp8,
    fp8_exponents,
    gptq,
    mxfp4,
    packed,
    scaled,
)

_ONE = torch.tensor(1.5)


def _ints(bits: int, strategy: str, **fields: Any) -> dict[str, Any]:
    group_size = {"group_size": 16} if strategy == "group" else {}
    return {"num_bits": bits, "type": "int", "strategy": strategy, "symmetric": True, **group_size, **fields}


def _floats(strategy: str, **fields: Any) -> dict[str, Any]:
    return {"num_bits": 8, "type": "float", "strategy": strategy, "symmetric": True, **fields}


def _gptq(bits: int, group_size: int, **fields: Any) -> dict[str, Any]:
    return {
        "quant_method": "gptq",
        "bits": bits,
        "group_size": group_size,
        "sym": False,
        "desc_act": False,
        **fields,
    }


def _awq(group_size: int) -> dict[str, Any]:
    return {"quant_method": "awq", "bits": 4, "group_size": group_size, "zero_point": True, "version": "gemm"}


_FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "modules_to_not_convert": ["lm_head"]}
_STATIC = {**_FP8, "activation_scheme": "static", "weight_block_size": None}

MATRICES: Mapping[str, Quantised] = {
    "fp8 blocks": Quantised({**_FP8, "weight_block_size": [16, 32]}, fp8((16, 32))),
    "fp8 blocks bfloat16": Quantised(
        {**_FP8, "weight_block_size": [128, 128]}, fp8((128, 128), dtype=torch.bfloat16)
    ),
    "fp8 blocks exponents": Quantised(
        {**_FP8, "weight_block_size": [16, 16], "scale_fmt": "ue8m0"},
        fp8_exponents(torch.uint8),
    ),
    "fp8 blocks powers": Quantised(
        {**_FP8, "weight_block_size": [16, 16], "scale_fmt": "ue8m0"},
        fp8_exponents(torch.float8_e8m0fnu),
    ),
    "fp8 static": Quantised(_STATIC, fp8("one"), {"activation_scale": _ONE}),
    "fp8 static by vLLM": Quantised(
        {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]},
        fp8("one", "weight_scale"),
        {"input_scale": _ONE},
    ),
    "fp8 rows": Quantised(
        {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]},
        fp8("row", "weight_scale"),
        {"input_scale_ub": _ONE},
    ),
    "fp8 ModelOpt": Quantised(
        {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]},
        fp8("one", "weight_scale"),
        {"input_scale": _ONE},
    ),
    "awq": Quantised(_awq(16), awq(16)),
    "awq one group": Quantised(_awq(-1), awq(-1)),
    "awq bfloat16": Quantised(_awq(16), awq(16, torch.bfloat16)),
    "gptq": Quantised(_gptq(4, 16), gptq(4, 16)),
    "gptq one group": Quantised(_gptq(4, -1), gptq(4, -1)),
    "gptq order": Quantised(_gptq(4, 16, desc_act=True), gptq(4, 16, order=True)),
    "gptq v2": Quantised(_gptq(4, 16, checkpoint_format="gptq_v2"), gptq(4, 16, version=2)),
    "gptq 8": Quantised(_gptq(8, 16, desc_act=True), gptq(8, 16, order=True)),
    "gptq 3": Quantised(_gptq(3, 16), gptq(3, 16)),
    "gptq 2": Quantised(_gptq(2, 16, format="gptq"), gptq(2, 16, dtype=torch.bfloat16)),
    "gptq zero biases": Quantised(_gptq(4, 16), gptq(4, 16, bias=True)),
    "compressed fp8 rows": Quantised(
        compressed(_floats("channel"), "float-quantized"), scaled("float", "channel")
    ),
    "compressed fp8 static": Quantised(
        compressed(_floats("tensor"), "float-quantized"),
        scaled("float", "tensor", dtype=torch.float32),
        {"input_scale": _ONE},
    ),
    "compressed fp8 blocks": Quantised(
        compressed(_floats("block", block_structure=[16, 32]), "float-quantized"), scaled("float", "block")
    ),
    "compressed fp8 naive": Quantised(
        compressed(_floats("channel"), "naive-quantized"), scaled("float", "channel", dtype=torch.float16)
    ),
    "compressed int8": Quantised(compressed(_ints(8, "channel"), "int-quantized"), scaled("int", "channel")),
    "compressed int8 asymmetric": Quantised(
        compressed(_ints(8, "group", symmetric=False), "int-quantized"),
        scaled("int", "group", symmetric=False),
    ),
    "compressed 4": Quantised(compressed(_ints(4, "group"), "pack-quantized"), packed(4, "group")),
    "compressed 4 asymmetric": Quantised(
        compressed(_ints(4, "group", symmetric=False), "pack-quantized"),
        packed(4, "group", symmetric=False, dtype=torch.float16),
    ),
    "compressed 4 rows": Quantised(
        compressed(_ints(4, "channel", group_size=-1, symmetric=False), "pack-quantized"),
        packed(4, "channel", symmetric=False),
    ),
    "compressed 4 whole": Quantised(compressed(_ints(4, "tensor"), "pack-quantized"), packed(4, "tensor")),
    "compressed 4 order": Quantised(
        compressed(_ints(4, "group", actorder="group"), "pack-quantized"), packed(4, "group", order=True)
    ),
    "compressed 4 order asymmetric": Quantised(
        compressed(_ints(4, "group", actorder="group", symmetric=False), "pack-quantized"),
        packed(4, "group", order=True, symmetric=False),
    ),
    "compressed 8": Quantised(compressed(_ints(8, "channel"), "pack-quantized"), packed(8, "channel")),
    "compressed 8 groups": Quantised(
        compressed(_ints(8, "group", symmetric=False), "pack-quantized"), packed(8, "group", symmetric=False)
    ),
    "compressed 2": Quantised(compressed(_ints(2, "group"), "pack-quantized"), packed(2, "group")),
}
"""Of linear layers, by name."""

STACKS: Mapping[str, Quantised] = {
    "mxfp4": Quantised(
        {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]},
        mxfp4,
        is_linear=False,
    ),
}
"""Of stacks of experts, by name."""
