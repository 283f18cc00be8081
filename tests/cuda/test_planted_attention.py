"""Bugs that are planted into attention: a file beside `test_planted_bugs.py`, so that two processes share them."""

import pytest
from tests.cuda.host_library import missing
from tests.cuda.planted import Plant
from tests.cuda.test_planted_bugs import BARRIER_OF_TILE, DECODES, FENCE, NUMBERS, PREFILLS, attend_with

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

DECODE_PLANTS = {
    "a token too many": Plant(
        "decode_attention.cuh",
        "token < end ? token : end - 1",
        "token <= end ? token : end - 1",
        "never written",
    ),
    "no barrier before shared memory is read": Plant(
        "decode_attention.cuh",
        "state.keep(shared, warp);\n    __syncthreads();",
        "state.keep(shared, warp);",
        "race",
    ),
    "no fence before the ticket": Plant(
        "decode_attention.cuh",
        FENCE,
        FENCE.replace("    __threadfence();\n", ""),
        "threads of different blocks",
    ),
    "no barrier before the ticket": Plant(
        "decode_attention.cuh",
        FENCE,
        FENCE.replace("    __syncthreads();\n", ""),
        "threads of different blocks",
    ),
    "all warps write one place": Plant(
        "decode_attention.cuh", "shared.most[warp][2 * t + j] =", "shared.most[0][2 * t + j] =", "two writes"
    ),
    "half of a part is not stored": Plant(
        "decode_attention.cuh",
        "args.partial_stats[2 * at + 1] = all;",
        ";",
        "the parts that was never written",
    ),
    "a shuffle that only some lanes reach": Plant(
        "decode_attention.cuh",
        "            if (g == 0) {\n",
        "            if (g < 4) total[j] += __shfl_xor_sync(0xffffffffu, total[j], 4);\n            if (g == 0) {\n",
        "deadlock|different instructions",
    ),
    "a ticket that stays": Plant(
        "decode_attention.cuh", "if (shared.is_last) *ticket = 0;", "", "tickets stay taken"
    ),
}
PREFILL_PLANTS = {
    "one block of the cache too far": Plant(
        "prefill_attention.cuh",
        "is_valid = token < context_len",
        "is_valid = token <= context_len",
        "never written|outside",
    ),
    "waits for the wrong copy": Plant(
        "prefill_attention.cuh", "cp_async_wait<1>();", "cp_async_wait<2>();", "still filling"
    ),
    "no barrier after the wait": Plant(
        "prefill_attention.cuh", BARRIER_OF_TILE, BARRIER_OF_TILE.split("\n")[1], "race|never written"
    ),
    "no barrier before the next copy": Plant(
        "prefill_attention.cuh",
        "        // What comes next goes where others may still read.\n        __syncthreads();",
        "",
        "write after read",
    ),
    "halves of a fragment exchanged": Plant(
        "prefill_attention.cuh",
        "n * 8 + matrix / 2 * 8 + row, 2 * k + matrix % 2",
        "n * 8 + matrix % 2 * 8 + row, 2 * k + matrix / 2",
        NUMBERS,
    ),
    "a key of the future": Plant(
        "prefill_attention.cuh",
        "(first_key + n * 8 + 2 * t + i % 2)",
        "(first_key + n * 8 + 2 * t + i % 2 - 1)",
        NUMBERS,
    ),
    "lanes read what others have yet to write": Plant(
        "prefill_attention.cuh", "        __syncwarp();\n", "", "threads of one warp without __syncwarp"
    ),
    "a warp leaves before the barriers": Plant(
        "prefill_attention.cuh",
        "    tiles.copy(first_tile, 0);\n",
        "    if (static_cast<int>(threadIdx.x) / 32 * 16 >= num_rows) return;\n    tiles.copy(first_tile, 0);\n",
        "not waited for|still filling|never written",
    ),
}


@pytest.mark.parametrize("name", DECODE_PLANTS)
def test_bugs_of_decode_are_found(name: str) -> None:
    """A missing fence shows in no number: without the checker it would first show under load, on a device."""
    with pytest.raises(AssertionError, match=DECODE_PLANTS[name].found):
        attend_with(DECODE_PLANTS[name], DECODES)


@pytest.mark.parametrize("name", PREFILL_PLANTS)
def test_bugs_of_prefill_are_found(name: str) -> None:
    """A tile that is overwritten while it is read is right in every order of threads that was tried."""
    with pytest.raises(AssertionError, match=PREFILL_PLANTS[name].found):
        attend_with(PREFILL_PLANTS[name], PREFILLS)
