"""If one of these fails, a program's typing error is written into memory that is not its own, or takes all there is."""

import subprocess
import sys

import pytest

LIMITED = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (6 << 30,) * 2)\nfrom streamcore import Scheduler\n"


def ends_with(program: str) -> str:
    """The last line of what a program says that fails, within a memory that nothing has to be taken of."""
    command = [sys.executable, "-c", LIMITED + program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1, ended
    return ended.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("num_blocks=2**24, block_size=1, max_num_seqs=4096, max_model_len=2**24", "are too large"),
        ("num_blocks=2**31, block_size=1", "`num_blocks` is 2147483648, limit is"),
        (
            "num_blocks=16, block_size=4, max_num_batched_tokens=2**30",
            "`max_num_batched_tokens` is 1073741824",
        ),
    ],
)
def test_no_limits_reserve_more_than_a_machine_has(limits: str, said: str) -> None:
    """Each limit alone makes sense, and their product is taken at once."""
    last = ends_with(f"Scheduler({limits})")
    assert last.startswith("ValueError: ")
    assert said in last


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ("[1, 2**31], max_tokens=4", "2147483648"),
        ("[1], max_tokens=4, stop_token_ids=[2**31]", "2147483648"),
        ("[1], max_tokens=4, min_tokens=5", "`min_tokens` is 5, it must be at most `max_tokens`"),
    ],
)
def test_no_request_is_beyond_the_columns_of_a_step(request_: str, said: str) -> None:
    """A token that wraps around is another one, or an address before the embedding."""
    last = ends_with(f"Scheduler(num_blocks=16, block_size=4).add_request({request_})")
    assert said in last
    assert last.startswith(("ValueError: ", "OverflowError: "))
