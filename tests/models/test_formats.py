"""Whole models in every format against the same models unquantised: in float32 they must agree in
every bit, whatever lies between the file and the product.
"""

from pathlib import Path

import pytest
import torch
from tests.checkpoints import write_checkpoint
from tests.models.family_checkpoints import Variant, write_reference
from tests.models.format_variants import MATRICES, STACKS
from tests.models.quantised import quantise
from tests.models.steps import RunningSequence, load_paged, random_prompt

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
        model = load_paged(folder / kind)
        logits.append(model.forward([(RunningSequence(random_prompt(19)), 19)]))
        model = load_paged(folder / kind)
        tokens.append(model.generate([RunningSequence(random_prompt(7, seed=i)) for i in range(2)], 12))
    assert torch.isfinite(logits[0]).all()
    assert logits[0].std() > 0.1
    assert torch.equal(*logits)
    assert tokens[0] == tokens[1]


@pytest.mark.parametrize("name", MATRICES)
def test_a_quantised_model_is_the_plain_one(name: str, plain: dict[str, Path], tmp_path: Path) -> None:
    """What is right for one matrix may still be stacked, cut or placed wrongly."""
    assert_same(quantise(plain["llama"], tmp_path, MATRICES[name]))


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
    assert_same(quantise(plain[family], tmp_path, {**MATRICES, **STACKS}[name]))
