"""Layers of experts against float64."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.kernels.conftest import Implementation, empty_like

from streamcore import kernels
from streamcore.kernels import Checked, LinearWeight, native
from streamcore.operands import Expert, ExpertRule

CPU = torch.device("cpu")


def experts_of(
    num_experts: int,
    hidden: int,
    inter: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
    has_bias: bool = False,
    packs: bool = True,
) -> list[Expert]:
    """Random experts for float32 activations, whose biases are large enough to be missed."""
    generator = torch.Generator().manual_seed(hidden)

    def weight(rows: int, inputs: int) -> LinearWeight:
        numbers = (torch.randn(rows, inputs, generator=generator) * inputs**-0.5).to(device, dtype)
        if not packs:
            return LinearWeight(numbers, rows, inputs, packed=False)
        return kernels.pack_linear_weight(numbers, torch.float32, exact=True)

    def bias(size: int) -> torch.Tensor | None:
        return torch.randn(size, generator=generator).to(device) if has_bias else None

    return [
        Expert(weight(2 * inter, hidden), bias(2 * inter), weight(hidden, inter), bias(hidden))
        for _ in range(num_experts)
    ]


def matrix(weight: LinearWeight) -> torch.Tensor:
    """The numbers of a weight in float64; packed ones are read out by their own product."""
    if not weight.packed:
        return weight.data.double()
    out = torch.empty(weight.num_inputs, weight.num_outputs)
    native.ops_for(CPU).linear(out, torch.eye(weight.num_inputs), replace(weight, round_x=False), None)
    return out.double().t()


def rounding(experts: list[Expert], round_x: bool) -> list[Expert]:
    """The same experts, whose activations are rounded or are not."""

    def changed(weight: LinearWeight) -> LinearWeight:
        return replace(weight, round_x=round_x)

    return [replace(one, gate_up=changed(one.gate_up), down=changed(one.down)) for one in experts]


def expected(x: torch.Tensor, scores: torch.Tensor, experts: list[Expert], rule: ExpertRule) -> torch.Tensor:
    """The formula, token by token and expert by expert."""
    out = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
    for token, (row, every) in enumerate(zip(x.double(), scores.double(), strict=True)):
        chosen = every.topk(rule.num_used)
        shares = every.softmax(0)[chosen.indices]
        if rule.chooses_first or rule.is_normalised:
            shares = shares / shares.sum()
        for share, number in zip(shares, chosen.indices.tolist(), strict=True):
            expert = experts[number]
            both = matrix(expert.gate_up) @ row
            both = both if expert.gate_up_bias is None else both + expert.gate_up_bias.double()
            active = activated(both, rule.activation)
            output = matrix(expert.down) @ active
            output = output if expert.down_bias is None else output + expert.down_bias.double()
            out[token] += share * output
    return out


def activated(gate_up: torch.Tensor, activation: str) -> torch.Tensor:
    """The middle of an expert."""
    gate, up = gate_up.chunk(2)
    if activation == "silu":
        return torch.nn.functional.silu(gate) * up
    if activation == "gelu_tanh":
        return torch.nn.functional.gelu(gate, approximate="tanh") * up
    gate, up = gate.clamp(max=7), up.clamp(-7, 7)
    return (up + 1) * gate * torch.sigmoid(1.702 * gate)


def run(ops: Any, x: torch.Tensor, scores: torch.Tensor, experts: list[Expert], rule: ExpertRule) -> Any:
    """The output in a tensor of its own."""
    ops.experts(out := empty_like(x), x, scores, experts, rule)
    return out


RULES = {
    "over all": ExpertRule(3, False, False, "silu"),
    "normalised": ExpertRule(2, False, True, "gelu_tanh"),
    "over the chosen": ExpertRule(4, True, False, "clamped"),
    "one": ExpertRule(1, False, True, "silu"),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize(("hidden", "inter"), [(1, 1), (33, 7), (96, 40), (130, 65)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_experts(
    implementation: Implementation, rule: ExpertRule, hidden: int, inter: int, has_bias: bool
) -> None:
    """A row that goes to a neighbour's expert, or a share of another, gives words that
    nearly fit.
    """
    device = implementation.device
    packs = device == CPU and not (implementation.is_reference or implementation.is_cuda)
    for dtype in (torch.float32, torch.bfloat16) if packs else (torch.float32,):
        experts = experts_of(6, hidden, inter, dtype=dtype, device=device, has_bias=has_bias, packs=packs)
        for num_tokens in (1, 2, 5, 19):
            x = implementation.random(num_tokens, hidden)
            scores = implementation.random(num_tokens, 6, seed=1)
            actual = run(implementation.operations.ops, x, scores, experts, rule)
            implementation.assert_near(actual, expected(x, scores, experts, rule))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize("round_x", [False, True], ids=["exact", "rounded"])
def test_a_token_does_not_depend_on_its_neighbours(dtype: torch.dtype, round_x: bool) -> None:
    """Tokens of a batch share the experts that they read, and must not share a rounding."""
    ops = Checked(native.ops_for(CPU))
    experts = rounding(experts_of(8, 70, 33, dtype=dtype, has_bias=True), round_x)
    if not experts[0].gate_up.packed:
        pytest.skip("torch chooses its algorithm by the shape of the batch")
    x, scores = torch.randn(41, 70), torch.randn(41, 8)
    together = run(ops, x, scores, experts, RULES["over all"])
    for token in range(41):
        row = slice(token, token + 1)
        alone = run(ops, x[row].clone(), scores[row].clone(), experts, RULES["over all"])
        assert torch.equal(alone, together[row]), token
    order = torch.randperm(41)
    shuffled = run(ops, x[order], scores[order], experts, RULES["over all"])
    assert torch.equal(shuffled, together[order])


def test_rounded_activations_are_those_of_the_projections() -> None:
    """Experts compute as every other projection of the model: rounded where that is faster."""
    experts = experts_of(3, 64, 32, dtype=torch.bfloat16)
    if not experts[0].gate_up.packed:
        pytest.skip("torch does not round")
    ops = Checked(native.ops_for(CPU))
    rule = ExpertRule(1, True, False, "silu")
    x = torch.randn(4, 64)
    for round_x in (False, True):
        changed = rounding(experts, round_x)
        ops.linear(gate_up := torch.empty(4, 64), x, changed[1].gate_up, None)
        ops.gated(active := torch.empty(4, 32), gate_up, "silu")
        ops.linear(output := torch.empty(4, 64), active, changed[1].down, None)
        scores = torch.tensor([[0.0, 1.0, -1.0]]).repeat(4, 1)
        assert torch.equal(run(ops, x, scores, changed, rule), output)


def test_a_broken_token_breaks_no_other() -> None:
    """Scores that are no numbers choose some experts: the request fails, not the server."""
    ops = Checked(native.ops_for(CPU))
    experts = experts_of(4, 32, 16, has_bias=True)
    if not experts[0].gate_up.packed:
        pytest.skip("torch adds up all tokens of an expert")
    x, scores = torch.randn(3, 32), torch.randn(3, 4)
    whole = run(ops, x, scores, experts, RULES["normalised"])
    scores[1] = torch.nan
    broken = run(ops, x, scores, experts, RULES["normalised"])
    assert not broken[1].isfinite().any()
    assert torch.equal(broken[[0, 2]], whole[[0, 2]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_used": 5}, "5 of 4 experts"),
        ({"scores": torch.randn(3, 3)}, r"`scores` must be \[3, 4\]"),
        ({"x": torch.randn(3, 31), "out": torch.randn(3, 31)}, "31 wide"),
        ({"scores": torch.randn(3, 4).bfloat16()}, "`scores` must be torch.float32"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_arguments_are_refused(change: dict[str, Any], message: str) -> None:
    """The kernel believes its arguments: a wrong one would read foreign memory."""
    experts = experts_of(4, 32, 16)
    arguments = {"out": torch.randn(3, 32), "x": torch.randn(3, 32), "scores": torch.randn(3, 4)} | change
    rule = ExpertRule(arguments.pop("num_used", 2), False, True, "silu")
    with pytest.raises(ValueError, match=message):
        Checked(native.ops_for(CPU)).experts(**arguments, experts=experts, rule=rule)


def test_experts_that_differ_are_refused() -> None:
    """One size and one way of storing are given for all of them."""
    experts = experts_of(4, 32, 16)
    others = experts_of(4, 32, 12)
    ops = Checked(native.ops_for(CPU))
    with pytest.raises(ValueError, match="one size"):
        run(ops, torch.randn(3, 32), torch.randn(3, 4), [*experts[:3], others[3]], RULES["one"])
