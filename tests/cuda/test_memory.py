"""Every kernel under the checker of memory: bytes outside of its tensors, bytes that were never written, races, copies
that are still under way, barriers that not all threads reach.
"""

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.cuda.emulated import CheckedMemory
from tests.cuda.emulator import Emulator, Profile, aligned
from tests.cuda.host_library import host_library, missing
from tests.kernels.grouped_weights import FORMS, random_fp8, random_weight
from tests.kernels.test_experts import expected as expected_of_experts
from tests.kernels.test_paged_attention import Step, make_step

from streamcore.kernels import LayerCache, LinearWeight, grouped
from streamcore.kernels.grouped import Form
from streamcore.operands import AttentionRule, Expert, ExpertRule, HeadNorms, Rotation

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


ACTIVATIONS: list[Any] = ["silu", "gelu_tanh", "clamped"]


@cache
def _emulator() -> Emulator:
    return Emulator(host_library("check"))


@pytest.fixture(params=[0, 1, 2], ids=["in order", "another order", "a third"])
def ops(request: pytest.FixtureRequest) -> CheckedMemory:
    """The operations, with threads in different orders."""
    checked = CheckedMemory(_emulator())
    checked.seed = request.param
    return checked


@pytest.fixture(params=[torch.bfloat16, torch.float16], ids=["bf16", "f16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """The dtypes of attention."""
    chosen: torch.dtype = request.param
    return chosen


def random(*shape: int, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return aligned(torch.randn(*shape, generator=generator).to(dtype))


IMPLEMENTATION: Any = SimpleNamespace(
    random=lambda *shape, dtype=torch.float32, seed=0: random(*shape, dtype=dtype, seed=seed),
    ints=lambda values, dtype=torch.int32: aligned(torch.tensor(values, dtype=dtype)),
    device=torch.device("cpu"),
)


def check_attention(ops: CheckedMemory, step: Step, rule: AttentionRule | None = None) -> torch.Tensor:
    """Attends over a cache whose unused slots are NaN, which a key too many would show."""
    rule = rule or AttentionRule(step.scale)
    used = torch.zeros(step.key_cache.shape[:2], dtype=torch.bool)
    for row, length in zip(step.rows.tolist(), step.context_lens.tolist(), strict=True):
        blocks = step.block_tables[row]
        slots = blocks[blocks >= 0].long().unsqueeze(1) * used.shape[1] + torch.arange(used.shape[1])
        used.view(-1)[slots.flatten()[:length]] = True
    for cache_of_kind in (step.key_cache, step.value_cache):
        if cache_of_kind.dtype == torch.float8_e4m3fn:
            cache_of_kind.view(torch.uint8)[~used] = 0x7F
        else:
            cache_of_kind[~used] = torch.nan
    out = aligned(torch.full(step.query.shape, torch.nan, dtype=step.query.dtype))
    cache_pair = LayerCache(step.key_cache, step.value_cache)
    ops.paged_attention(out, step.query, cache_pair, step.sequences(), rule)
    for cache_of_kind in (step.key_cache, step.value_cache):
        cache_of_kind.view(torch.uint8)[~used] = 0
    expected = step.expected(rule)
    tolerance = {torch.bfloat16: 1.6e-2, torch.float16: 2e-3}[out.dtype]
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)
    return out


@pytest.mark.parametrize("head_dim", [64, 80, 96, 128, 256])
def test_decodes_of_split_contexts(ops: CheckedMemory, dtype: torch.dtype, head_dim: int) -> None:
    """The parts of a context meet without waiting for each other: one that is read too early is another answer."""
    # More than two parts of the least size, from one sequence that few blocks serve.
    step = make_step(
        IMPLEMENTATION,
        [(1, 600), (1, 1)],
        num_heads=3,
        num_kv_heads=1,
        head_dim=head_dim,
        block_size=24,
        dtype=dtype,
    )
    assert ops._splits.count(2, 3, 1) > 2
    check_attention(ops, step)


@pytest.mark.parametrize(
    "heads", [(1, 1), (7, 1), (16, 1), (24, 2)], ids=lambda heads: f"{heads[0]}q{heads[1]}kv"
)
def test_decodes_of_groups(ops: CheckedMemory, heads: tuple[int, int]) -> None:
    """A group of more than eight query heads is two blocks' work, and the second has fewer."""
    step = make_step(
        IMPLEMENTATION,
        [(1, 70), (1, 33)],
        num_heads=heads[0],
        num_kv_heads=heads[1],
        block_size=16,
        dtype=torch.bfloat16,
    )
    sinks = random(heads[0], seed=9)
    check_attention(ops, step, AttentionRule(0.2, window=45, soft_cap=5.0, sinks=sinks))


@pytest.mark.parametrize("head_dim", [64, 80, 96, 128, 256])
def test_prefills(ops: CheckedMemory, dtype: torch.dtype, head_dim: int) -> None:
    """Two tiles are in shared memory at a time: the copy of the next must not meet the reader of the last."""
    seqs = [(70, 140), (1, 5), (0, 0), (17, 17)]
    step = make_step(IMPLEMENTATION, seqs, num_heads=2, num_kv_heads=1, head_dim=head_dim, dtype=dtype)
    check_attention(ops, step)
    check_attention(ops, step, AttentionRule(0.2, window=45, soft_cap=5.0, sinks=random(2, dtype=dtype)))


def linear_weight(num_outputs: int, num_inputs: int, dtype: torch.dtype, seed: int = 1) -> LinearWeight:
    weight = aligned(random(num_outputs, num_inputs, dtype=dtype, seed=seed) * num_inputs**-0.5)
    return LinearWeight(weight, num_outputs, num_inputs, packed=False)


def check_product(
    ops: CheckedMemory, num_rows: int, num_outputs: int, num_inputs: int, dtype: torch.dtype = torch.bfloat16
) -> None:
    """Multiplies rows of a wider tensor, and makes the middle of an MLP of them."""
    x, bias = random(num_rows, num_inputs + 8, dtype=dtype)[:, 8:], random(num_outputs, dtype=dtype)
    weight = linear_weight(num_outputs, num_inputs, dtype)
    out, active = (
        aligned(torch.full((num_rows, width), torch.nan, dtype=dtype))
        for width in (num_outputs, num_outputs // 2)
    )
    ops.linear(out, x, weight, bias)
    expected = x.double() @ weight.data.double().T + bias.double()
    tolerance = {torch.bfloat16: 1.6e-2, torch.float16: 2e-3}[dtype]
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)
    ops.gated_linear(active, torch.empty_like(out), x, weight, bias, "silu")
    gate, up = expected.chunk(2, dim=1)
    middle = torch.nn.functional.silu(gate) * up
    torch.testing.assert_close(active.double(), middle, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("num_rows", [1, 9, 32])
@pytest.mark.parametrize(("num_outputs", "num_inputs"), [(2, 8), (190, 1000), (64, 2048)])
def test_products(ops: CheckedMemory, num_rows: int, num_outputs: int, num_inputs: int) -> None:
    """Weights are read before the launch in front has ended: one that also read its rows then would multiply what they
    were a step ago.
    """
    check_product(ops, num_rows, num_outputs, num_inputs)


def test_products_of_other_numbers(ops: CheckedMemory) -> None:
    """A model in float16 has kernels of its own."""
    check_product(ops, 17, 66, 520, torch.float16)


def check_groups(
    ops: CheckedMemory, form: Form, num_rows: int, shape: tuple[int, int], dtype: torch.dtype = torch.bfloat16
) -> None:
    """Multiplies rows with a weight of few bits."""
    num_outputs, num_inputs = shape
    numbers = random_weight(form, num_outputs, num_inputs)
    weight = LinearWeight(aligned(grouped.pack(numbers)), num_outputs, num_inputs, False, False, form)
    values = numbers.values().double()
    x = aligned(random(num_rows, num_inputs, dtype=dtype) / (values.abs().max() * num_inputs**0.5))
    bias = random(num_outputs, dtype=dtype)
    out = aligned(torch.full((num_rows, num_outputs), torch.nan, dtype=dtype))
    ops.linear(out, x, weight, bias)
    tolerance = {torch.bfloat16: 1.6e-2, torch.float16: 2e-3}[dtype]
    expected = x.double() @ values.T + bias.double()
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["4-bit, zero points", "4-bit, a table", "8-bit, nested minima"])
@pytest.mark.parametrize(("num_rows", "shape"), [(1, (30, 40)), (9, (130, 1000)), (40, (66, 264))])
def test_products_with_groups(ops: CheckedMemory, name: str, num_rows: int, shape: tuple[int, int]) -> None:
    """Tiles are filled up with outputs and inputs that no row has: none may be read from x, none stored."""
    dtype = torch.float16 if num_rows == 9 else torch.bfloat16
    check_groups(ops, FORMS[name], num_rows, shape, dtype)


@pytest.mark.parametrize("name", ["4-bit, minima", "8-bit, nested"])
def test_groups_are_widened(ops: CheckedMemory, name: str) -> None:
    """Rows of a weight that are widened for torch lie where those of the last one did."""
    numbers = random_weight(FORMS[name], 70, 264)
    weight = LinearWeight(aligned(grouped.pack(numbers)), 70, 264, False, False, FORMS[name])
    emulator, x = ops.emulator, random(1, 264)
    matrix = ops._widened_memory.rows(264, x)[:70]
    emulator.begin(check=True, seed=ops.seed)
    emulator.register(
        weight.data.data_ptr(), weight.data.nbytes, "a weight", is_written=True, is_constant=True
    )
    emulator.register(matrix.data_ptr(), matrix.nbytes, "the output", is_written=False)
    ops._widened(aligned(torch.empty(1, 70, dtype=torch.bfloat16)), x, weight, None)
    assert torch.equal(matrix, numbers.values().bfloat16())


def check_fp8(
    ops: CheckedMemory,
    num_rows: int,
    shape: tuple[int, int],
    *,
    is_whole: bool = False,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Multiplies rows with a weight in fp8, and makes the middle of an MLP of them."""
    num_outputs, num_inputs = shape
    numbers = random_fp8(num_outputs, num_inputs, is_whole=is_whole)
    packed = aligned(grouped.pack(numbers))
    weight = LinearWeight(packed, num_outputs, num_inputs, False, False, numbers.form)
    x, bias = random(num_rows, num_inputs, dtype=dtype), random(num_outputs, dtype=dtype)
    out, active = (
        aligned(torch.full((num_rows, width), torch.nan, dtype=dtype))
        for width in (num_outputs, num_outputs // 2)
    )
    tolerance = {torch.bfloat16: 1.6e-2, torch.float16: 2e-3}[dtype]
    ops.linear(out, x, weight, bias)
    expected = x.double() @ numbers.values().double().T + bias.double()
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)
    ops.gated_linear(active, torch.empty_like(out), x, weight, bias, "silu")
    gate, up = expected.chunk(2, dim=1)
    middle = torch.nn.functional.silu(gate) * up
    torch.testing.assert_close(active.double(), middle, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("is_whole", [False, True], ids=["blocks", "rows"])
@pytest.mark.parametrize(("num_rows", "shape"), [(1, (30, 48)), (9, (130, 1040)), (40, (66, 272))])
def test_products_in_fp8(ops: CheckedMemory, num_rows: int, shape: tuple[int, int], is_whole: bool) -> None:
    """Scales lie behind the numbers, at the end of the tensor: the last block's are the last that may be read."""
    check_fp8(
        ops, num_rows, shape, is_whole=is_whole, dtype=torch.float16 if num_rows == 9 else torch.bfloat16
    )


def test_fp8_is_widened(ops: CheckedMemory) -> None:
    """Rows of a weight that are widened for torch lie where those of the last one did."""
    numbers = random_fp8(70, 2064, is_whole=False)
    weight = LinearWeight(aligned(grouped.pack(numbers)), 70, 2064, False, False, numbers.form)
    emulator, matrix = ops.emulator, aligned(torch.empty(30, 2064, dtype=torch.bfloat16))
    emulator.begin(check=True, seed=ops.seed)
    data = weight.data
    emulator.register(data.data_ptr(), data.nbytes, "a weight", is_written=True, is_constant=True)
    emulator.register(matrix.data_ptr(), matrix.nbytes, "the output", is_written=False)
    ops._widen(matrix, weight, 40)
    assert torch.equal(matrix, numbers.values()[40:].bfloat16())


def profile_of_product(
    ops: CheckedMemory, weight: LinearWeight, num_rows: int, num_code_bytes: int
) -> Profile:
    """The profile of a product of 192 outputs whose codes are read once, 16 bytes a thread, by whole sectors."""
    out, x = aligned(torch.empty(num_rows, 192, dtype=torch.bfloat16)), random(num_rows, 1024)
    ops.linear(out, x, weight, None)
    profile = ops.emulator.profile()
    reads = [row for row in profile.requests if "launch_order.cuh" in row.line]
    assert sum(row.num_bytes for row in reads) == num_code_bytes
    assert {row.size for row in reads} == {16}
    assert sum(row.units for row in reads) == num_code_bytes // 32
    assert profile.num_mma == 12 * 64 * -(-num_rows // 8)
    return profile


def test_fp8_is_read_once_by_whole_sectors(ops: CheckedMemory) -> None:
    """A half of the bytes of bfloat16 is what fp8 is for: 16 rows cost no more of them than one, and scales add a thirtieth."""
    ops.profiles = True
    numbers = random_fp8(192, 1024, is_whole=False)
    weight = LinearWeight(aligned(grouped.pack(numbers)), 192, 1024, False, False, numbers.form)
    for num_rows in (1, 16):
        profile = profile_of_product(ops, weight, num_rows, numbers.codes.nbytes)
        assert profile.tensors["a weight"][1] == weight.data.nbytes


def test_weights_are_read_once_by_whole_sectors(ops: CheckedMemory) -> None:
    """Few rows cost what their weights cost: a byte that is read twice is time that no other part makes up for."""
    ops.profiles = True
    weight = linear_weight(192, 1024, torch.bfloat16)
    for num_rows in (1, 32):
        profile = profile_of_product(ops, weight, num_rows, weight.data.nbytes)
        assert profile.tensors["a weight"] == (weight.data.nbytes, weight.data.nbytes, 0)


def test_products_are_split_and_are_not(ops: CheckedMemory) -> None:
    """Both ways to end must be among the shapes above."""
    assert ops._splits.of_product(2048, 64)["num_splits"] == 8
    assert ops._splits.of_product(1000, 190)["num_splits"] == 3
    assert ops._splits.of_product(8, 2)["num_splits"] == 1
    assert ops._splits.of_product(1040, 130, 128)["num_splits"] == 2


def check_experts(ops: CheckedMemory, num_tokens: int, hidden: int, inter: int) -> None:
    """Uses two of five experts for each token."""
    experts = [
        Expert(
            linear_weight(2 * inter, hidden, torch.bfloat16, seed),
            random(2 * inter, seed=seed),
            linear_weight(hidden, inter, torch.bfloat16, seed + 9),
            None,
        )
        for seed in range(5)
    ]
    x, scores = random(num_tokens, hidden), random(num_tokens, 5, seed=3)
    if num_tokens > 32:
        # One expert has more rows than a part of them.
        scores[:, 2] = 9
    out = aligned(torch.full_like(x, torch.nan))
    rule = ExpertRule(2, num_tokens == 9, num_tokens == 40, "silu")
    ops.experts(out, x, scores, experts, rule)
    torch.testing.assert_close(
        out.double(), expected_of_experts(x, scores, experts, rule), rtol=1.6e-2, atol=1.6e-2
    )


@pytest.mark.parametrize("num_tokens", [1, 9, 40])
@pytest.mark.parametrize(("hidden", "inter"), [(8, 8), (72, 40), (200, 136)])
def test_experts(ops: CheckedMemory, num_tokens: int, hidden: int, inter: int) -> None:
    """Which rows an expert has is settled on the device: one row that is dealt twice is another's answer."""
    check_experts(ops, num_tokens, hidden, inter)


EIGHT_BITS = [(64, torch.bfloat16), (80, torch.float16), (128, torch.bfloat16), (256, torch.float16)]


@pytest.mark.parametrize(("head_dim", "dtype"), EIGHT_BITS)
def test_a_cache_in_eight_bits(ops: CheckedMemory, head_dim: int, dtype: torch.dtype) -> None:
    """A tile is widened from what was copied into what is computed with: neither may be overwritten too early."""
    decodes, prefills = [(1, 600), (1, 1)], [(70, 140), (1, 5), (0, 0), (17, 17)]
    for seqs in (decodes, prefills):
        step = make_step(
            IMPLEMENTATION,
            seqs,
            num_heads=3,
            num_kv_heads=1,
            head_dim=head_dim,
            block_size=24,
            dtype=dtype,
            cache_dtype=torch.float8_e4m3fn,
        )
        check_attention(ops, step, AttentionRule(0.2, soft_cap=5.0, sinks=random(3, dtype=dtype)))


@pytest.mark.parametrize("width", [64, 1000, 1003, 2048])
def test_rows(ops: CheckedMemory, width: int) -> None:
    """A row that is not a multiple of the vectors must not be read beyond its end."""
    for dtype in (torch.bfloat16, torch.float32):
        x, table, weight = (
            random(3, width, dtype=dtype),
            random(5, width, dtype=dtype),
            random(width, dtype=dtype),
        )
        out, rows = aligned(torch.empty_like(x)), aligned(torch.tensor([4, 0, 2], dtype=torch.int32))
        ops.embed(out, rows, table, 2.0)
        ops.take(out, table, rows)
        assert torch.equal(out, table[[4, 0, 2]])
        ops.add(out, x)
        ops.scale(out, 0.5)
        ops.rms_norm(out, x, weight, 1e-5)
        ops.rms_norm(x, x, weight, 1e-5)
        ops.add_rms_norm(out, x, random(3, width, dtype=dtype, seed=1), weight, 1e-5)
        gate_up = random(3, 2 * width, dtype=dtype)
        for activation in ACTIVATIONS:
            ops.gated(out, gate_up, activation)


@pytest.mark.parametrize(("head_dim", "rotary_dim"), [(128, 128), (96, 32), (10, 6), (64, 0)])
@pytest.mark.parametrize("is_normed", [False, True], ids=["plain", "normed"])
def test_rope_and_store(ops: CheckedMemory, head_dim: int, rotary_dim: int, is_normed: bool) -> None:
    """Heads are shared by neighbouring threads, which read what others are about to write."""
    qkv = random(3, 7 * head_dim).view(3, 7, head_dim)
    query, key, value = qkv[:, :3], qkv[:, 3:5], qkv[:, 5:]
    caches = [random(2, 4, 2, head_dim, seed=seed) for seed in (1, 2)]
    rotation = Rotation(random(9, rotary_dim, dtype=torch.float32), random(9, dtype=torch.float32))
    norms = HeadNorms(random(head_dim), random(head_dim, seed=3), 1e-5) if is_normed else None
    positions = aligned(torch.tensor([8, 0, 3], dtype=torch.int32))
    slots = aligned(torch.tensor([7, -1, 2]))
    before = caches[0].clone()
    ops.rope_and_store_kv(query, key, value, rotation, positions, LayerCache(*caches), slots, norms)
    assert torch.equal(caches[0].flatten(0, 1)[7], key[0])
    assert torch.equal(caches[0].flatten(0, 1)[3], before.flatten(0, 1)[3])
    if head_dim % 16:
        # Attention takes no such heads, and the checker follows memory in pairs of bytes.
        return
    narrow = [aligned(cache.to(torch.float8_e4m3fn)) for cache in caches]
    ops.rope_and_store_kv(query, key, value, rotation, positions, LayerCache(*narrow), slots, norms)
    assert torch.equal(narrow[0].float().flatten(0, 1)[7], key[0].to(torch.float8_e4m3fn).float())
