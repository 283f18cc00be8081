"""Files that say wrongly how their weights are quantised."""

from collections.abc import Mapping
from typing import Any

import pytest
from tests.checkpoints import TINY
from tests.models.published import dense
from tests.models.published_formats import INT4, compressed, group, weights

from streamcore.errors import ModelLoadError
from streamcore.models.formats import METHODS
from streamcore.models.opening import open_config


def ct(
    form: str = "pack-quantized", *, top: Mapping[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    """compressed-tensors with one wrong field."""
    return compressed(form, group({**INT4, **fields})) | dict(top or {})


BROKEN: Mapping[str, tuple[Any, str]] = {
    "no object": ([4], "`quantization_config` [4], it must be an object"),
    "no method": ({"bits": 4}, "no `quantization_config.quant_method`"),
    "MLX": ({"bits": 4, "group_size": 64}, "folders of MLX, which have none, are not supported"),
    "unknown method": (
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        "`quantization_config.quant_method` 'bitsandbytes', supported are awq, gptq, compressed-tensors, fp8",
    ),
    "method of another type": ({"quant_method": 4}, "`quantization_config.quant_method` 4, supported are"),
    "fp8 block": (
        {"quant_method": "fp8", "weight_block_size": [128]},
        "`quantization_config.weight_block_size` [128], it must be a list of two positive integers, or null",
    ),
    "fp8 block of nothing": (
        {"quant_method": "fp8", "weight_block_size": [0, 128]},
        "`quantization_config.weight_block_size` [0, 128]",
    ),
    "fp8 activations": (
        {"quant_method": "fp8", "activation_scheme": "sometimes"},
        "`quantization_config.activation_scheme` 'sometimes', supported are dynamic, static",
    ),
    "fp8 of 5 and 2 bits": ({"quant_method": "fp8", "fmt": "e5m2"}, "`quantization_config.fmt` 'e5m2'"),
    "fp4 experts": (
        {"quant_method": "fp8", "expert_dtype": "fp4"},
        "`quantization_config.expert_dtype` 'fp4'",
    ),
    "fp8 list": (
        {"quant_method": "fp8", "ignored_layers": "lm_head"},
        "`quantization_config.ignored_layers` 'lm_head', it must be a list of texts",
    ),
    "NVFP4": (
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
        "`quantization_config.quant_algo` 'NVFP4', supported is FP8",
    ),
    "awq bits": ({"quant_method": "awq", "bits": 8}, "`quantization_config.bits` 8, supported is 4"),
    "awq order": (
        {"quant_method": "awq", "version": "gemv"},
        "`quantization_config.version` 'gemv', supported is gemm",
    ),
    "awq of llm-awq": (
        {"quant_method": "awq", "backend": "llm-awq"},
        "`quantization_config.backend` 'llm-awq'",
    ),
    "awq zeros": ({"quant_method": "awq", "zero_point": False}, "`quantization_config.zero_point` False"),
    "awq group": ({"quant_method": "awq", "group_size": 0}, "`quantization_config.group_size` 0"),
    "gptq bits": (
        {"quant_method": "gptq", "bits": 5},
        "`quantization_config.bits` 5, supported are 4, 8, 2, 3",
    ),
    "gptq bits as text": (
        {"quant_method": "gptq", "bits": "4"},
        "`quantization_config.bits` '4', it must be",
    ),
    "gptq order": (
        {"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"},
        "`quantization_config.checkpoint_format` 'marlin', supported are gptq, gptq_v2",
    ),
    "gptq marlin": (
        {"quant_method": "gptq", "bits": 4, "is_marlin_format": True},
        "`quantization_config.is_marlin",
    ),
    "gptq exception": (
        {"quant_method": "gptq", "bits": 4, "dynamic": {"+:(": {}}},
        "`quantization_config.dynamic` '+:(', it must be a regular expression",
    ),
    "gptq exception's bits": (
        {"quant_method": "gptq", "bits": 4, "dynamic": {"+:a": {"bits": 7}}},
        "`quantization_config.dynamic.+:a.bits` 7",
    ),
    "gptq blocks": (
        {"quant_method": "gptq", "bits": 4, "modules_in_block_to_quantize": [[1]]},
        "`quantization_config.modules_in_block_to_quantize` [[1]]",
    ),
    "compressed format": (
        ct("nvfp4-pack-quantized"),
        "`quantization_config.format` 'nvfp4-pack-quantized', supported are dense, float-quantized",
    ),
    "compressed group's format": (
        compressed("mixed-precision", group(INT4)),
        "no `quantization_config.config_groups.group_0.format`",
    ),
    "compressed bits": (
        ct(num_bits=3),
        "`quantization_config.config_groups.group_0.weights.num_bits` 3, supported are 4, 8, 2",
    ),
    "compressed type": (
        ct(type="float"),
        "`quantization_config.config_groups.group_0.weights.type` 'float', `format` pack-quantized holds int",
    ),
    "compressed strategy": (
        ct(strategy="tensor_group"),
        "`quantization_config.config_groups.group_0.weights.strategy` 'tensor_group', supported are tensor, channel",
    ),
    "compressed group size": (
        ct(group_size=None),
        "no `quantization_config.config_groups.group_0.weights.group_size`",
    ),
    "compressed blocks": (
        ct(strategy="block"),
        "`quantization_config.config_groups.group_0.weights.strategy` 'block'",
    ),
    "compressed block": (
        compressed("float-quantized", group(weights(strategy="block", block_structure=[0]))),
        "`quantization_config.config_groups.group_0.weights.block_structure` [0]",
    ),
    "compressed order": (
        ct(actorder="sideways"),
        "`quantization_config.config_groups.group_0.weights.actorder` 'side",
    ),
    "compressed targets": (
        compressed("pack-quantized", group(INT4, targets=[])),
        "`quantization_config.config_groups.group_0.targets` [], it must be a list of layers",
    ),
    "compressed preset": (
        ct(top={"config_groups": {"W4A16": ["Linear"]}}),
        "`quantization_config.config_groups.W4A16` ['Linear'], it must be an object",
    ),
    "compressed without groups": (ct(top={"config_groups": {}}), "`quantization_config.config_groups` {}"),
    "compressed sparse": (
        ct(top={"sparsity_config": {"format": "sparse-24-bitmask"}}),
        "`quantization_config.sparsity_config.format` 'sparse-24-bitmask', supported is dense",
    ),
    "compressed rotated": (
        ct(top={"transform_config": {"config_groups": {"u": {}}}}),
        "`quantization_config.transform_config` ",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_format_that_cannot_be_read_is_refused_by_its_field(name: str) -> None:
    """The owner must read which field it is, and which formats would do."""
    said, expected = BROKEN[name]
    with pytest.raises(ModelLoadError) as caught:
        open_config({**dense("llama", 4, 64, 96, 4, 2, 256, 128), "quantization_config": said})
    assert expected in str(caught.value)
    assert str(caught.value).startswith("config.json has ")
    for method in METHODS:
        assert method in str(caught.value.hint)


def test_all_that_is_wrong_is_named_at_once() -> None:
    """Shape and format are of one file, which is mended once."""
    with pytest.raises(ModelLoadError) as caught:
        open_config({**TINY, "hidden_size": None, "quantization_config": {"quant_method": "awq", "bits": 3}})
    assert "no `hidden_size`" in str(caught.value)
    assert "`quantization_config.bits` 3" in str(caught.value)
