"""Read a page of `/metrics`."""

import re
import time


def value(page: str, name: str) -> float:
    """The sum of the values whose name and labels match `name`, a regular expression."""
    values = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", page, re.MULTILINE)
    assert values, f"no metric {name} in:\n{page}"
    return sum(map(float, values))


def num_requests(page: str) -> float:
    """Requests that wait or hold a row. Both are read from one page: between two, a request goes from the one to the other."""
    return value(page, "streamcore_num_requests_waiting") + value(page, "streamcore_num_requests_running")


class Patience:
    """How long a test looks again and again before it says what is wrong."""

    def __init__(self, seconds: float = 60.0) -> None:
        self._deadline = time.monotonic() + seconds

    def is_all_back(self, page: str) -> bool:
        """Whether no request waits, holds a row or holds a block. Blocks of an aborted request are free one step after its row.

        Raises:
            AssertionError: something has been held for too long.
        """
        is_back = num_requests(page) == 0 and value(page, "streamcore_kv_blocks_free") == value(
            page, "streamcore_kv_blocks"
        )
        assert is_back or time.monotonic() < self._deadline, f"something is held:\n{page}"
        return is_back
