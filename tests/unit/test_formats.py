"""What published files say of quantised weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.checkpoints import write_checkpoint
from tests.models.published import dense
from tests.models.published_formats import INT4, PUBLISHED, compressed, group, weights

from streamcore.errors import ModelLoadError
from streamcore.models.declare import declare
from streamcore.models.formats import METHODS, parse_format
from streamcore.models.formats.stored import Format
from streamcore.models.opening import open_config, read_config
from streamcore.simulation.settings import model_size

MLP, GATE, HEAD = "model.layers.3.mlp.up_proj", "model.layers.3.mlp.gate", "lm_head"


def parsed(config: Mapping[str, Any]) -> Format:
    """The format of a file that names it so."""
    problems: list[str] = []
    weight_format = parse_format({"quantization_config": config}, problems)
    assert problems == []
    return weight_format


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_asks_for_the_tensors_that_it_comes_with(name: str) -> None:
    """A field that is misread looks for other tensors, or for scales of another size."""
    config, title, shapes = PUBLISHED[name]
    weight_format = parsed(config)
    assert weight_format.title == title
    stored = weight_format.matrix(MLP, 256, 320, {})
    entries = {} if stored is None else stored.entries
    assert {ending: entries[ending].shapes[0] for ending in shapes} == shapes
    assert bool(shapes) == (stored is not None)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_quantised_model_has_the_size_of_the_plain_one(name: str) -> None:
    """Plans of memory and simulations count what is computed with, not what is stored."""
    raw = dense("llama", 4, 64, 96, 4, 2, 256, 128)
    plain, _ = declare(*open_config(raw))
    quantised, _ = declare(*open_config(raw | {"quantization_config": PUBLISHED[name][0]}))
    assert quantised == plain


def test_every_method_has_a_published_file() -> None:
    """A method without a published file would be a guess."""
    assert {config["quant_method"] for config, _, _ in PUBLISHED.values()} == set(METHODS)


LEFT_OUT: Mapping[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "names": (PUBLISHED["Qwen3-30B-A3B-FP8"][0], [GATE, HEAD], [MLP, "model.layers.30.mlp.gate_proj"]),
    "end of a name": (
        {"quant_method": "awq", "modules_to_not_convert": ["mlp.gate"]},
        [GATE],
        [MLP, "model.layers.3.mlp.gate_proj"],
    ),
    "module around": (
        {"quant_method": "fp8", "ignored_layers": ["model.layers.3"]},
        [MLP, GATE],
        ["model.layers.30.mlp.up_proj"],
    ),
    "regular expression": (
        {"quant_method": "fp8", "modules_to_not_convert": [r"re:.*mlp\.gate$"]},
        [GATE],
        [MLP, "model.layers.3.mlp.gate_proj"],
    ),
    "pattern of a shell": (
        {"quant_method": "modelopt", "quant_algo": "FP8", "exclude_modules": ["*.mlp.gate", "lm_head*"]},
        [GATE, HEAD],
        [MLP],
    ),
    "no pattern at all": ({"quant_method": "awq", "modules_to_not_convert": ["mlp.*(["]}, [], [MLP, GATE]),
    "a wrapped name": (
        compressed("pack-quantized", group(INT4), ignore=["model.language_model.layers.3.mlp.gate"]),
        [GATE],
        [MLP],
    ),
    "a wrapper's own prefix": (
        {"quant_method": "fp8", "modules_to_not_convert": ["language_model.lm_head", "vision_tower"]},
        [HEAD],
        [MLP],
    ),
    "targets": (
        compressed("pack-quantized", group(INT4, targets=["re:.*_proj"]), ignore=[]),
        [GATE, HEAD],
        [MLP],
    ),
    "a group without weights": (
        compressed("pack-quantized", group(INT4), group({}, targets=["re:.*gate"]), ignore=[]),
        [GATE],
        [MLP, HEAD],
    ),
    "GPTQ's blocks": (
        {"quant_method": "gptq", "bits": 4, "modules_in_block_to_quantize": [["mlp.up_proj"], ["mlp.gate"]]},
        [HEAD, "model.layers.3.mlp.down_proj"],
        [MLP, GATE],
    ),
    "GPTQModel's exceptions": (PUBLISHED["of GPTQModel"][0], [GATE], [MLP, HEAD]),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_layers_that_stay_as_they_are_are_found(name: str) -> None:
    """A router that was left in 16 bits because it suffers must be read so, and no other layer."""
    config, plain, quantised = LEFT_OUT[name]
    weight_format = parsed(config)
    left_out = {layer: weight_format.matrix(layer, 64, 64, {}) is None for layer in (*plain, *quantised)}
    assert left_out == {layer: layer in plain for layer in (*plain, *quantised)}


def test_the_closest_target_decides() -> None:
    """Groups overlap: a layer that is named by itself must not get the bits of all."""
    groups = [
        group(weights(num_bits=8, type="int"), format="int-quantized"),
        group(INT4, targets=[r"re:.*mlp\..*"], format="pack-quantized"),
        group(weights(), targets=[GATE], format="float-quantized"),
    ]
    weight_format = parsed(compressed("mixed-precision", *groups, ignore=[]))
    assert weight_format.title == "4-bit and 8-bit and fp8 compressed-tensors"
    dtypes = []
    for name in ("model.layers.0.self_attn.q_proj", MLP, GATE):
        stored = weight_format.matrix(name, 64, 256, {})
        assert stored is not None
        dtypes.append(next(iter(stored.entries.values())).dtypes)
    assert dtypes == [("I8",), ("I32",), ("F8_E4M3",)]


def test_an_older_name_of_the_object_is_read() -> None:
    """Early files of compressed-tensors have the same facts elsewhere."""
    inner = PUBLISHED["Meta-Llama-3.1-8B-Instruct-quantized.w4a16"][0]
    for said in (inner, {"quantization_config": inner, "sparsity_config": {"format": "dense"}}):
        problems: list[str] = []
        assert parse_format({"compression_config": said}, problems) == parsed(inner)
        assert problems == []
    sparse = {"quantization_config": inner, "sparsity_config": {"format": "sparse-bitmask"}}
    parse_format({"compression_config": sparse}, problems)
    assert "`compression_config.quantization_config.sparsity_config.format` 'sparse-bitmask'" in problems[0]


def test_an_empty_object_says_nothing() -> None:
    """Some tools leave one behind."""
    assert (
        open_config({**dense("llama", 4, 64, 96, 4, 2, 256, 128), "quantization_config": {}})[2].title is None
    )


def test_a_wrapper_says_it_outside_or_inside() -> None:
    """A multimodal folder has the object beside `text_config`, some that people make inside of it."""
    said = PUBLISHED["Ministral-3-8B-Instruct"][0]
    text = dense("ministral3", 4, 64, 96, 4, 2, 256, 128)
    outer = {"model_type": "mistral3", "text_config": text, "quantization_config": said}
    inner = {"model_type": "mistral3", "text_config": {**text, "quantization_config": said}}
    assert open_config(outer)[2] == open_config(inner)[2] == parsed(said)


def write_modelopt(folder: Path, algorithm: str | None) -> Path:
    """A folder whose format is said in a file beside config.json."""
    write_checkpoint(folder)
    said = {"quant_algo": algorithm, "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    (folder / "hf_quant_config.json").write_text(
        json.dumps({"producer": {"name": "modelopt", "version": "0.27"}, "quantization": said})
    )
    return folder


def test_a_file_beside_config_json_is_read(tmp_path: Path) -> None:
    """NVIDIA's folders say nothing in config.json: their fp8 would be taken for broken weights."""
    raw = read_config(write_modelopt(tmp_path / "fp8", "FP8"))
    assert open_config(raw)[2] == parsed(
        {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}
    )
    assert open_config(read_config(write_modelopt(tmp_path / "keys", None)))[2].title is None
    with pytest.raises(ModelLoadError) as caught:
        open_config(read_config(write_modelopt(tmp_path / "nvfp4", "NVFP4")))
    assert str(caught.value) == "hf_quant_config.json has `quantization.quant_algo` 'NVFP4', supported is FP8"


def test_a_simulation_knows_the_size_of_a_quantised_folder(tmp_path: Path) -> None:
    """`simulate --model FOLDER` needs config.json only, and counts the numbers that are computed with."""
    plain = model_size(str(write_checkpoint(tmp_path / "plain")))
    said = PUBLISHED["Qwen2.5-7B-Instruct-AWQ"][0]
    assert model_size(str(write_checkpoint(tmp_path / "awq", quantization_config=said))) == plain
    assert model_size(str(write_modelopt(tmp_path / "fp8", "FP8"))) == plain
