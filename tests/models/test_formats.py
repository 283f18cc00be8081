"""Whole models in every format against the same models unquantised: widened, in float32, they must
agree in every bit, whatever lies between the file and the product. In groups they must agree with the values of
these but for the order of sums.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.checkpoints import write_checkpoint
from tests.models.family_checkpoints import Variant, write_reference
from tests.models.format_variants import MATRICES, STACKS
from tests.models.quantised import quantise
from tests.models.steps import RunningSequence, load_paged, random_prompt
from torch import Tensor

from streamcore import kernels
from streamcore.kernels import LinearWeight
from streamcore.kernels.grouped import Grouped
from streamcore.layers.decoder import DecoderLayer
from streamcore.layers.experts import Experts

MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 16}
FAMILIES: dict[str, Variant] = {
    "qwen2": Variant("qwen2", {"num_hidden_layers": 2}),
    "qwen3_moe": Variant("qwen3_moe", {**MOE, "num_hidden_layers": 2}),
    "phi3": Variant("phi3", {"num_hidden_layers": 2}),
    "mistral3": Variant(
        "mistral3", {"model_type": "ministral3", "head_dim": 16, "num_hidden_layers": 2}, is_wrapped=True
    ),
    "gpt_oss": Variant(
        "gpt_oss",
        {
            "hidden_size": 64,
            "intermediate_size": 96,
            "head_dim": 16,
            "num_hidden_layers": 2,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": 7,
        },
    ),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An unquantised folder of each family."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("llama", *FAMILIES)}
    write_checkpoint(folders["llama"])
    for name, variant in FAMILIES.items():
        write_reference(folders[name], variant)
    return folders


def assert_same(folder: Path) -> None:
    """The quantised and the plain model of a folder give the same logits and tokens."""
    logits, tokens = [], []
    for kind in ("quantised", "plain"):
        answers = answered(folder / kind, widens=True)
        logits.append(answers[0])
        tokens.append(answers[1])
    assert torch.isfinite(logits[0]).all()
    assert logits[0].std() > 0.1
    assert torch.equal(*logits)
    assert tokens[0] == tokens[1]


def answered(folder: Path, *, widens: bool = False) -> tuple[Tensor, list[list[int]]]:
    """The logits of a prompt, and greedy tokens of two others."""
    prompts = [RunningSequence(random_prompt(7, seed=i)) for i in range(2)]
    logits = load_paged(folder, widens=widens).forward([(RunningSequence(random_prompt(19)), 19)])
    return logits, load_paged(folder, widens=widens).generate(prompts, 12)


def assert_same_in_groups(folder: Path) -> None:
    """A model whose matrices are multiplied with as they are answers as one with their values."""
    logits, tokens = answered(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "pack_grouped_weight", pack_values)
        expected, expected_tokens = answered(folder)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert tokens == expected_tokens


def pack_values(
    weights: Sequence[Grouped], dtype: torch.dtype, *, exact: bool, quantize_x: bool
) -> LinearWeight:
    """The product of the values that numbers stand for."""
    assert not quantize_x
    return kernels.pack_linear_weight(torch.cat([part.values() for part in weights]), dtype, exact=exact)


@pytest.mark.parametrize("name", MATRICES)
def test_a_quantised_model_is_the_plain_one(name: str, plain: dict[str, Path], tmp_path: Path) -> None:
    """What is right for one matrix may still be stacked, cut or placed wrongly."""
    folder = quantise(plain["llama"], tmp_path, MATRICES[name])
    assert_same(folder)
    if "fp8" not in name:
        assert_same_in_groups(folder / "quantised")


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("qwen2", "awq"),
        ("qwen2", "gptq order"),
        ("qwen2", "gptq zero biases"),
        ("qwen3_moe", "fp8 blocks"),
        ("qwen3_moe", "compressed 4 asymmetric"),
        ("qwen3_moe", "gptq"),
        ("phi3", "awq"),
        ("phi3", "compressed fp8 rows"),
        ("mistral3", "fp8 static"),
        ("mistral3", "compressed 4"),
        ("gpt_oss", "mxfp4"),
        ("gpt_oss", "compressed fp8 rows"),
        ("gpt_oss", "compressed 4"),
        ("gpt_oss", "fp8 blocks"),
    ],
)
def test_other_families_are_read_in_the_formats_in_which_they_are_published(
    family: str, name: str, plain: dict[str, Path], tmp_path: Path
) -> None:
    """Biases, experts one by one and stacked, joined projections and wrapped names."""
    folder = quantise(plain[family], tmp_path, {**MATRICES, **STACKS}[name])
    assert_same(folder)
    if "fp8" not in name:
        assert_same_in_groups(folder / "quantised")


def test_weights_rounded_at_load_stay_close(plain: dict[str, Path]) -> None:
    """8 bits must be nearly the model, 4 bits still one; the output matrix keeps 8, and every
    projection is smaller than it was.
    """
    model = load_paged(plain["llama"], widens=not kernels.can_keep_bfloat16())
    exact = model.forward([(RunningSequence(random_prompt(19)), 19)])
    if not kernels.can_keep_bfloat16():
        pytest.skip("nothing multiplies with such weights")
    distances = []
    for quantize, bits in (("int8", 8), ("int4", 4)):
        rounded = load_paged(plain["llama"], quantize=quantize)
        assert rounded.model.decoder.head.weight.form.bits == 8  # type: ignore[union-attr]
        assert rounded.model.decoder.layers[0].attention.output.weight.form.bits == bits  # type: ignore[union-attr]
        logits = rounded.forward([(RunningSequence(random_prompt(19)), 19)])
        distances.append(float((logits - exact).norm() / exact.norm()))
    assert distances[0] < 0.05
    assert distances[0] < distances[1] < 0.6
    both = load_paged(plain["llama"], quantize="int8", quantize_activations="int8")
    logits = both.forward([(RunningSequence(random_prompt(19)), 19)])
    assert distances[0] < float((logits - exact).norm() / exact.norm()) < 2 * distances[0] + 0.02


def test_activations_are_rounded_where_that_is_not_forbidden(plain: dict[str, Path]) -> None:
    """An option that changes nothing would be believed."""
    if not kernels.can_keep_bfloat16():
        pytest.skip("nothing multiplies with such weights")
    for chosen, is_rounded in (("none", False), ("int8", True)):
        model = load_paged(plain["qwen3_moe"], quantize="int4", quantize_activations=chosen).model
        layer = model.decoder.layers[0]
        assert model.decoder.head.weight.quantize_x == is_rounded, chosen
        assert layer.attention.output.weight.quantize_x == is_rounded
        assert isinstance(layer, DecoderLayer)
        assert isinstance(layer.mlp, Experts)
        assert layer.mlp.experts[0].down.quantize_x == is_rounded
