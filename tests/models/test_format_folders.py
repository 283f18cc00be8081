"""Quantised folders on their way to a device: what is refused, what memory it takes, in which dtype
it ends.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.checkpoints import write_checkpoint
from tests.models.family_checkpoints import Variant, write_reference
from tests.models.format_variants import MATRICES, STACKS
from tests.models.quantised import quantise
from tests.models.steps import CPU, RunningSequence, load_paged, random_prompt
from tests.models.test_widening import format_of
from torch import Tensor
from transformers.integrations import finegrained_fp8
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from streamcore import _core, kernels
from streamcore.config import ServeConfig
from streamcore.errors import ModelLoadError
from streamcore.layers.weights import Stack
from streamcore.models import load as load_module
from streamcore.models.folder import check_model_folder
from streamcore.models.formats.awq import AwqMatrix
from streamcore.models.load import load_model
from streamcore.models.precision import precision_of
from streamcore.runner import device as device_module
from streamcore.runner.device import choose_dtype
from streamcore.runner.load import load_runner

UP, DOWN = "model.layers.1.mlp.up_proj", "model.layers.1.mlp.down_proj"


def write(tmp_path: Path, name: str, **options: Any) -> Path:
    """A folder in a format, and the plain one beside it."""
    plain = write_checkpoint(tmp_path / "source", **options.pop("fields", {}))
    return quantise(plain, tmp_path / "written", MATRICES[name], **options)


def change(folder: Path, edit: Callable[[dict[str, Tensor]], Any], **fields: Any) -> Path:
    """The quantised folder with other tensors, and other fields of its format."""
    path = folder / "quantised" / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    config = folder / "quantised" / "config.json"
    raw = json.loads(config.read_text())
    raw["quantization_config"] |= fields
    config.write_text(json.dumps(raw))
    return folder / "quantised"


def put(name: str, tensor: Tensor) -> Callable[[dict[str, Tensor]], Any]:
    """Puts another tensor there."""
    return lambda tensors: tensors.update({name: tensor})


def without(name: str) -> Callable[[dict[str, Tensor]], Any]:
    """Takes a tensor out."""
    return lambda tensors: tensors.pop(name)


Broken = tuple[str, Callable[[dict[str, Tensor]], Any], Mapping[str, Any], str]

BROKEN: Mapping[str, Broken] = {
    "no scale": (
        "fp8 static",
        without(f"{UP}.weight_scale_inv"),
        {},
        f"the weights lack `{UP}.weight_scale_inv`",
    ),
    "no zeros": ("awq", without(f"{UP}.qzeros"), {}, f"the weights lack `{UP}.qzeros`"),
    "no zeros where they are asked for": (
        "compressed 4 asymmetric",
        without(f"{UP}.weight_zero_point"),
        {},
        f"the weights lack `{UP}.weight_zero_point`",
    ),
    "no order": ("gptq order", without(f"{UP}.g_idx"), {}, f"the weights lack `{UP}.g_idx`"),
    "another group size": (
        "awq",
        lambda tensors: None,
        {"group_size": 32},
        "`model.layers.0.mlp.down_proj.qzeros` has shape [5, 6], config.json asks for [3, 6]",
    ),
    "another number of bits": (
        "gptq",
        lambda tensors: None,
        {"bits": 8},
        "`model.layers.0.mlp.gate_proj.qweight` has shape [6, 80], config.json asks for [12, 80]",
    ),
    "another block": (
        "fp8 blocks",
        lambda tensors: None,
        {"weight_block_size": [128, 128]},
        "`model.layers.0.mlp.up_proj.weight_scale_inv` has shape [5, 2], config.json asks for [1, 1]",
    ),
    "integers where there should be fp8": (
        "compressed fp8 rows",
        put(f"{UP}.weight", torch.zeros(80, 48, dtype=torch.int8)),
        {},
        f"`{UP}.weight` has dtype I8, fp8 compressed-tensors asks for F8_E4M3",
    ),
    "fp8 without a format": (
        "fp8 static",
        put("model.norm.weight", torch.ones(48).to(torch.float8_e4m3fn)),
        {},
        "the weights have dtype F8_E4M3, supported are F64, F32, F16, BF16",
    ),
    "quantised though it is listed": (
        "awq",
        lambda tensors: None,
        {"modules_to_not_convert": ["mlp.up_proj"]},
        "the weights lack `model.layers.0.mlp.up_proj.weight`",
    ),
    "both forms of a matrix": (
        "awq",
        put(f"{UP}.weight", torch.zeros(80, 48)),
        {},
        f"the weights hold `{UP}.qweight`, `{UP}.qzeros`, `{UP}.scales`, which config.json does not account for",
    ),
    "a scale of something else": (
        "fp8 static",
        put(f"{UP}.pre_quant_scale", torch.ones(48)),
        {},
        f"the weights hold `{UP}.pre_quant_scale`, which config.json does not account for",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_folder_that_is_not_in_its_format_is_refused(name: str, tmp_path: Path) -> None:
    """A scale that is missing or of another size must stop the start before torch is loaded."""
    form, edit, fields, expected = BROKEN[name]
    folder = change(write(tmp_path, form), edit, **fields)
    with pytest.raises(ModelLoadError) as caught:
        check_model_folder(folder)
    assert expected in str(caught.value)


ASTRAY: Mapping[str, tuple[str, Callable[[dict[str, Tensor]], Any], str]] = {
    "order": (
        "gptq order",
        put(f"{UP}.g_idx", torch.full((48,), 3, dtype=torch.int32)),
        f"the weights of `{UP}` cannot be used: columns belong to groups 3 to 3, there are 3",
    ),
    "order of compressed-tensors": (
        "compressed 4 order",
        put(f"{UP}.weight_g_idx", torch.full((48,), -2, dtype=torch.int32)),
        f"the weights of `{UP}` cannot be used: columns belong to groups -2 to -2, there are 3",
    ),
    "shape": (
        "compressed 4",
        put(f"{UP}.weight_shape", torch.tensor([80, 47])),
        f"the weights of `{UP}` cannot be used: `weight_shape` is [80, 47], config.json asks for [80, 48]",
    ),
    "bias": (
        "gptq zero biases",
        put(f"{UP}.bias", torch.full((80,), 0.5, dtype=torch.float16)),
        f"`{UP}.bias` is not zero, the model has no bias there",
    ),
}


def test_stacks_that_no_format_has_are_refused(tmp_path: Path) -> None:
    """Which way round they lie, and where their scales are, no two programs agree on."""
    write_reference(tmp_path, Variant("gpt_oss", {"head_dim": 16, "num_local_experts": 4}))
    name = "model.layers.0.mlp.experts.gate_up_proj"
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)
    save_file(tensors | {f"{name}_scale_inv": torch.ones(4, 1, 1)}, path, metadata={"format": "pt"})
    with pytest.raises(ModelLoadError) as caught:
        check_model_folder(tmp_path)
    assert f"`{name}` stacks the experts of a layer as F8_E4M3, supported are stacks of F64" in str(
        caught.value
    )
    assert "the weights have dtype" not in str(caught.value)


@pytest.mark.parametrize("name", ASTRAY)
def test_values_that_would_lead_astray_are_refused(name: str, tmp_path: Path) -> None:
    """What only the numbers show must not become a wrong model, or a traceback of torch."""
    form, edit, expected = ASTRAY[name]
    folder = change(write(tmp_path, form), edit)
    with pytest.raises(ModelLoadError) as caught:
        load_model(check_model_folder(folder), CPU, torch.float32)
    assert str(caught.value) == expected


def test_columns_that_are_in_order_may_say_so(tmp_path: Path) -> None:
    """-1 in the list of groups means that the columns are in their own order."""
    index = torch.full((48,), -1, dtype=torch.int32)
    folder = write(tmp_path, "compressed 4")
    change(folder, put(f"{UP}.weight_g_idx", index))
    assert torch.equal(logits(folder / "quantised"), logits(folder / "plain"))


def test_layers_that_no_list_names_may_be_plain(tmp_path: Path) -> None:
    """AutoAWQ and GPTQModel leave out routers and heads without a word in config.json."""
    folder = write(tmp_path, "awq")
    plain = load_file(folder / "plain" / "model.safetensors")

    def restore(tensors: dict[str, Tensor]) -> None:
        for end in ("qweight", "qzeros", "scales"):
            del tensors[f"{DOWN}.{end}"]
        tensors[f"{DOWN}.weight"] = plain[f"{DOWN}.weight"]

    change(folder, restore)
    assert torch.equal(logits(folder / "quantised"), logits(folder / "plain"))


def test_an_output_matrix_may_be_quantised(tmp_path: Path) -> None:
    """`lm_head: true` of GPTQModel."""
    folder = write(tmp_path, "gptq")
    tensors, worth = MATRICES["gptq"].write(256, 48, torch.Generator().manual_seed(9))

    def exchange(held: dict[str, Tensor]) -> None:
        del held["lm_head.weight"]
        held.update({f"lm_head.{end}": tensor for end, tensor in tensors.items()})

    change(folder, exchange, lm_head=True)
    plain = folder / "plain" / "model.safetensors"
    save_file({**load_file(plain), "lm_head.weight": worth}, plain, metadata={"format": "pt"})
    assert torch.equal(logits(folder / "quantised"), logits(folder / "plain"))


def test_a_quantised_folder_is_checked_without_torch(tmp_path: Path) -> None:
    """The answer to a wrong path must not take the seconds of an import."""
    for name in ("awq", "gptq order", "fp8 blocks", "compressed 4 asymmetric"):
        write(tmp_path / name, name)
    code = (
        "import sys, pathlib; from streamcore.models.folder import check_model_folder as check;"
        "[check(pathlib.Path(path)) for path in sys.argv[1:]]; sys.exit('torch' in sys.modules)"
    )
    folders = [str(path) for path in tmp_path.glob("*/written/quantised")]
    assert len(folders) == 4
    assert subprocess.run([sys.executable, "-c", code, *folders], check=False).returncode == 0


def test_a_widened_folder_may_keep_its_config(tmp_path: Path) -> None:
    """Tools that widen weights forget the object: the log must not speak of fp8 that is
    not there.
    """
    folder = write(tmp_path, "fp8 blocks") / "plain"
    raw = json.loads((folder / "config.json").read_text())
    raw["quantization_config"] = dict(MATRICES["fp8 blocks"].config)
    (folder / "config.json").write_text(json.dumps(raw))
    checked = check_model_folder(folder)
    assert checked.format.title is None
    assert checked.matrix_dtypes == {"F32"}


def test_scales_for_what_is_not_quantised_here_are_passed_over(tmp_path: Path) -> None:
    """Files hold scales for keys, values and activations, which stay as they are."""
    folder = write(tmp_path, "compressed fp8 static")

    def add(tensors: dict[str, Tensor]) -> None:
        for name in ("k_proj.k_scale", "v_proj.v_scale", "k_scale", "q_proj.input_zero_point"):
            tensors[f"model.layers.0.self_attn.{name}"] = torch.ones(1)

    change(folder, add)
    assert torch.equal(logits(folder / "quantised"), logits(folder / "plain"))


@pytest.mark.parametrize("name", ["awq", "compressed 4 asymmetric", "fp8 blocks"])
def test_formats_in_several_files_load_as_in_one(name: str, tmp_path: Path) -> None:
    """A matrix and its scales need not lie in the same file."""
    single = write(tmp_path / "1", name)
    several = write(tmp_path / "3", name, num_shards=3)
    assert torch.equal(logits(single / "quantised"), logits(several / "quantised"))


def logits(folder: Path, dtype: torch.dtype = torch.float32) -> Tensor:
    """Of a prompt's last token, with every matrix widened."""
    return load_paged(folder, dtype, widens=True).forward([(RunningSequence(random_prompt(9)), 9)])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["awq", "gptq", "fp8 blocks", "compressed fp8 rows", "compressed 4"])
def test_a_matrix_is_rounded_once_more_at_most(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Served in 16 bits, a matrix is what the reference makes of the file, rounded to these."""
    folder = write(tmp_path, name)
    assert torch.equal(logits(folder / "quantised", dtype), logits(folder / "plain", dtype))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("compressed 4", {"BF16"}), ("compressed fp8 rows", {"BF16"}), ("awq", {"BF16", "F16"})],
)
def test_what_is_bfloat16_once_widened_stays_so(name: str, expected: set[str], tmp_path: Path) -> None:
    """float32 activations meet matrices of half the bytes where widening them further
    adds nothing.
    """
    folder = check_model_folder(write(tmp_path, name, fields={"torch_dtype": "bfloat16"}) / "quantised")
    assert folder.matrix_dtypes == expected
    keeps = kernels.can_keep_bfloat16() and expected == {"BF16"}
    weights = precision_of(folder, CPU, torch.float32).weights
    assert weights == (torch.bfloat16 if keeps else torch.float32)


def test_a_widened_folder_needs_the_memory_of_the_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight bits in the file are sixteen in memory where nothing multiplies with them: a plan by
    the file would be killed while loading.
    """
    written = write(tmp_path, "fp8 rows")
    plain, folder = (check_model_folder(written / kind) for kind in ("plain", "quantised"))
    assert folder.num_parameters == plain.num_parameters
    assert folder.num_file_bytes < plain.num_file_bytes
    monkeypatch.setattr(device_module, "available_memory", lambda device: 2 * folder.num_parameters - 1)
    with pytest.raises(ModelLoadError, match=r"need 0\.0 GB as bfloat16, widened from fp8, cpu has"):
        choose_dtype("bfloat16", folder, CPU)


def test_the_start_says_what_weights_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of a small machine chose four bits and must read what they take there, and that
    nothing computes in fp8.
    """
    lines: list[str] = []
    monkeypatch.setattr(_core, "log", lambda level, line: lines.append(line))
    for name in ("awq", "fp8 blocks"):
        folder = check_model_folder(write(tmp_path / name, name) / "quantised")
        load_runner(ServeConfig(dtype="float32", kv_cache_memory_bytes=1 << 20), folder)
    rounding = ServeConfig(dtype="float32", quantize_activations="int8", kv_cache_memory_bytes=1 << 20)
    load_runner(rounding, check_model_folder(write(tmp_path / "again", "awq") / "quantised"))
    *said, rounded = [line for line in lines if "weights are" in line]
    assert rounded == said[0] + "; activations are rounded to int8 by group"
    assert said == [
        "4-bit AWQ weights are multiplied with as they are: 0.0 MB, with the others 0.1 MB in memory; the files have 0.1 MB",
        "fp8 weights are widened to float32: 0.3 MB instead of 0.1 MB; activations are not quantised",
    ]


def test_a_matrix_is_widened_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An output matrix of a gigabyte must not be unpacked to four at once; and pieces must fit
    together.
    """
    fields = {"intermediate_size": 600, "hidden_size": 64, "num_attention_heads": 4}
    folder = write(tmp_path, "awq", fields=fields)
    sizes: list[int] = []
    widen = AwqMatrix.widen

    def noted(self: AwqMatrix, tensors: Mapping[str, Tensor], rows: slice) -> Tensor:
        sizes.append(rows.stop - rows.start)
        return widen(self, tensors, rows)

    monkeypatch.setattr(AwqMatrix, "widen", noted)
    monkeypatch.setattr(load_module, "_MAX_NUMBERS", 256 * 64)
    assert torch.equal(logits(folder / "quantised"), logits(folder / "plain"))
    assert max(sizes) == 256
    assert {256, 88} <= set(sizes)


@pytest.mark.skipif(
    not hasattr(finegrained_fp8, "Fp8Dequantize"), reason="transformers 4 widens on a GPU only"
)
def test_fp8_blocks_are_those_of_transformers() -> None:
    """The reference that checkpoints are compared with by their makers."""
    form = MATRICES["fp8 blocks"]
    tensors, expected = form.write(64, 96, torch.Generator().manual_seed(0))
    weight, scale = tensors["weight"], tensors["weight_scale_inv"]
    reference: Any = finegrained_fp8.Fp8Dequantize(None)  # type: ignore[no-untyped-call]
    assert torch.equal(reference._dequantize_one(weight, scale, torch.float32), expected)


def test_mxfp4_experts_are_those_of_transformers() -> None:
    """In every exponent, also those whose products bfloat16 holds only as denormal numbers."""
    tensors, _ = STACKS["mxfp4"].write(64, 96, torch.Generator().manual_seed(0))
    scales = torch.arange(192, dtype=torch.uint8).view(64, 3)
    theirs = convert_moe_packed_tensors(tensors["blocks"][None], scales[None])[0].t()
    stored = format_of(STACKS["mxfp4"]).stack(Stack("a.gate_up_proj", 1, 64, 96))
    assert stored is not None
    ours = stored.widen({"_blocks": tensors["blocks"], "_scales": scales}, slice(0, 64))
    assert torch.equal(ours, theirs)
