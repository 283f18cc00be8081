"""The emulator is tested itself: each bug that is planted into a kernel must be found, by the numbers or by the checker."""

import pytest
import torch
from tests.cuda.emulated import CheckedMemory
from tests.cuda.host_library import missing
from tests.cuda.planted import Plant, planted_emulator
from tests.cuda.test_memory import (
    IMPLEMENTATION,
    check_attention,
    check_experts,
    check_fp8,
    check_groups,
    check_product,
)
from tests.kernels.grouped_weights import FORMS
from tests.kernels.test_paged_attention import make_step

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

DECODES = [(1, 600), (1, 33), (1, 1)]
PREFILLS = [(100, 100), (65, 70), (20, 150)]
NUMBERS = "Tensor-likes are not close"


FENCE = "    __threadfence();\n    __syncthreads();\n    if (threadIdx.x == 0) {"
BARRIER_OF_TILE = "        __syncthreads();\n        if (kIsNarrow"

PRODUCT_PLANTS = {
    "rows are read before the launch in front has ended": Plant(
        "product.cuh",
        "    wait_for_launch_before();\n    const T* rows",
        "    const T* rows",
        "before the launch in front",
    ),
    "an input too many": Plant(
        "product.cuh",
        "input(step, l) >= num_inputs) continue",
        "input(step, l) > num_inputs) continue",
        "never written|outside|misaligned",
    ),
    "an output too many": Plant(
        "product.cuh",
        "output < end[m / 2] ? output : end[m / 2] - 1",
        "output",
        "outside of every allocation",
    ),
    "halves of a fragment exchanged": Plant(
        "product.cuh",
        "Weights::pair(parts[m][0][l], 2 * q), Weights::pair(parts[m][1][l], 2 * q)",
        "Weights::pair(parts[m][1][l], 2 * q), Weights::pair(parts[m][0][l], 2 * q)",
        NUMBERS,
    ),
    "no barrier before the sums of other warps are read": Plant(
        "product.cuh", "    warp.keep(shared);\n    __syncthreads();\n", "    warp.keep(shared);\n", "race"
    ),
    "all warps write one place": Plant(
        "product.cuh", "shared.sums[warp][n *", "shared.sums[warp / 2][n *", "two writes"
    ),
    "no fence before the ticket": Plant(
        "linear.cuh", FENCE, FENCE.replace("    __threadfence();\n", ""), "threads of different blocks"
    ),
    "no barrier before the ticket": Plant(
        "linear.cuh", FENCE, FENCE.replace("    __syncthreads();\n", ""), "threads of different blocks"
    ),
    "a ticket that stays": Plant("linear.cuh", "if (shared.is_last) *ticket = 0;", "", "tickets stay taken"),
    "a stretch of the inputs is left out": Plant(
        "linear.cuh", "int s = 0; s < splits", "int s = 1; s < splits", NUMBERS
    ),
}
EXPERT_PLANTS = {
    "parts that have no rows are not marked": Plant(
        "experts.cuh",
        "i < num_parts; i += blockDim.x) args.parts",
        "i < 0; i += blockDim.x) args.parts",
        "parts",
    ),
    "no barrier before tokens are counted": Plant(
        "experts.cuh", "    __syncthreads();\n    if (warp == 0) deal", "    if (warp == 0) deal", "race"
    ),
    "a token is counted for itself": Plant(
        "experts.cuh",
        "((1u << token % 32) - 1)",
        "((2u << token % 32) - 1)",
        "tokens that was never written|outside",
    ),
    "shares in the order of the scores": Plant(
        "experts.cuh",
        "args.shares[token * num_used + place] = share",
        "args.shares[token * num_used + lane] = share",
        NUMBERS,
    ),
}

GROUPED_PLANTS = {
    "rows are read before the launch in front has ended": Plant(
        "grouped.cuh",
        "    wait_for_launch_before();\n    const T* rows",
        "    const T* rows",
        "before the launch in front",
    ),
    "an input too many": Plant(
        "grouped.cuh",
        "input >= num_inputs) continue",
        "input > num_inputs) continue",
        "never written|outside|misaligned",
    ),
    "a tile too many": Plant(
        "grouped.cuh",
        "first + i < num_tiles ? first + i : num_tiles - 1",
        "first + i",
        "outside of every allocation",
    ),
    "the scale of the next group": Plant(
        "grouped.cuh",
        "group - span * form.span_groups, 4 * g",
        "group - span * form.span_groups, 4 * t",
        NUMBERS,
    ),
    "a group that goes on in the next": Plant("grouped.cuh", "                sum = 0.0f;\n", "", NUMBERS),
    "no barrier before the sums of other warps are read": Plant(
        "grouped.cuh", "    warp.keep(shared);\n    __syncthreads();\n", "    warp.keep(shared);\n", "race"
    ),
    "outputs of two fragments exchanged": Plant(
        "grouped.cuh", "4 * g + m % 2 * 2 + k / 2", "4 * g + k / 2 * 2 + m % 2", NUMBERS
    ),
}

FP8_PLANTS = {
    "scales are read before the weight's end": Plant(
        "product.cuh",
        "codes + int64_t{num_outputs} * num_inputs",
        "codes + int64_t{num_outputs} * num_inputs - 4",
        NUMBERS,
    ),
    "the scale of a neighbour": Plant(
        "product.cuh",
        "weights.scale(output, step)",
        "weights.scale(outputs.of(m, g + j), step)",
        NUMBERS,
    ),
    "scales of the next inputs": Plant(
        "product.cuh", "scales[step * stride", "scales[(step + 1) * stride", "outside of every allocation"
    ),
    "sums that meet two scales": Plant(
        "product.cuh",
        "sum = fmaf(scales[m][i % 4 / 2], unscaled[i / 4][i % 4], sum);",
        "sum = scales[m][i % 4 / 2] * (unscaled[i / 4][i % 4] + sum);",
        NUMBERS,
    ),
}

# Found where the cache is in eight bits.
NARROW_PLANTS = {
    "widens what is still being copied": Plant(
        "prefill_attention.cuh",
        "            cp_async_wait<0>();\n            widen();",
        "            widen();",
        "still filling|never written",
    ),
    "no barrier behind the widened tile": Plant(
        "prefill_attention.cuh", BARRIER_OF_TILE, BARRIER_OF_TILE.split("\n")[1], "race|never written"
    ),
    "widens what others still read": Plant(
        "prefill_attention.cuh",
        "        // What comes next goes where others may still read.\n        __syncthreads();",
        "",
        "write after read",
    ),
    "halves of a chunk exchanged": Plant(
        "prefill_attention.cuh",
        "codes.values[2 * half + i / 2]",
        "codes.values[2 - 2 * half + i / 2]",
        NUMBERS,
    ),
}


def attend_with(plant: Plant | None, seqs: list[tuple[int, int]], *, is_narrow: bool = False) -> None:
    emulator = planted_emulator(plant, f"planted_attention{'_e4m3' if is_narrow else ''}.cu")
    try:
        step = make_step(
            IMPLEMENTATION,
            seqs,
            num_heads=2,
            num_kv_heads=1,
            head_dim=64,
            block_size=16,
            dtype=torch.bfloat16,
            cache_dtype=torch.float8_e4m3fn if is_narrow else None,
        )
        check_attention(CheckedMemory(emulator), step)
    finally:
        emulator.close()


def multiply_with(plant: Plant | None) -> None:
    emulator = planted_emulator(plant, "planted_products.cu")
    try:
        check_product(CheckedMemory(emulator), 9, 150, 1000)
    finally:
        emulator.close()


def multiply_groups_with(plant: Plant | None) -> None:
    emulator = planted_emulator(plant, "planted_grouped.cu")
    try:
        check_groups(CheckedMemory(emulator), FORMS["4-bit, zero points"], 9, (90, 8000))
    finally:
        emulator.close()


def multiply_fp8_with(plant: Plant | None) -> None:
    emulator = planted_emulator(plant, "planted_fp8.cu")
    try:
        check_fp8(CheckedMemory(emulator), 9, (130, 1040))
    finally:
        emulator.close()


def use_experts_with(plant: Plant | None) -> None:
    emulator = planted_emulator(plant, "planted_experts.cu")
    try:
        check_experts(CheckedMemory(emulator), 9, 72, 40)
    finally:
        emulator.close()


@pytest.mark.parametrize("seqs", [DECODES, PREFILLS], ids=["decodes", "prefills"])
def test_nothing_is_found_in_sound_kernels(seqs: list[tuple[int, int]]) -> None:
    """A checker that always complains would find every bug."""
    attend_with(None, seqs)
    attend_with(None, seqs, is_narrow=True)
    multiply_with(None)
    multiply_groups_with(None)
    multiply_fp8_with(None)
    use_experts_with(None)


@pytest.mark.parametrize("name", NARROW_PLANTS)
def test_bugs_of_a_cache_in_eight_bits_are_found(name: str) -> None:
    """A tile that is widened too early or too late is right where threads happen to keep in step."""
    with pytest.raises(AssertionError, match=NARROW_PLANTS[name].found):
        attend_with(NARROW_PLANTS[name], PREFILLS, is_narrow=True)


@pytest.mark.parametrize("name", PRODUCT_PLANTS)
def test_bugs_of_products_are_found(name: str) -> None:
    """Rows that are read too early are those of the last step only where a device is quick enough."""
    with pytest.raises(AssertionError, match=PRODUCT_PLANTS[name].found):
        multiply_with(PRODUCT_PLANTS[name])


@pytest.mark.parametrize("name", GROUPED_PLANTS)
def test_bugs_of_products_with_groups_are_found(name: str) -> None:
    """A scale that belongs to a neighbour is of the right size, and wrong."""
    with pytest.raises(AssertionError, match=GROUPED_PLANTS[name].found):
        multiply_groups_with(GROUPED_PLANTS[name])


@pytest.mark.parametrize("name", FP8_PLANTS)
def test_bugs_of_products_in_fp8_are_found(name: str) -> None:
    """A scale that is off by one row is nearly the right one in every published model."""
    with pytest.raises(AssertionError, match=FP8_PLANTS[name].found):
        multiply_fp8_with(FP8_PLANTS[name])


@pytest.mark.parametrize("name", EXPERT_PLANTS)
def test_bugs_of_experts_are_found(name: str) -> None:
    """A token that is dealt to another's row has an answer, and a wrong one."""
    with pytest.raises(AssertionError, match=EXPERT_PLANTS[name].found):
        use_experts_with(EXPERT_PLANTS[name])
