"""The check of a GPU, which has fifteen minutes when there is one: it must not fail over itself."""

import re

from tests.cuda import floors
from tests.gpu import check
from tests.gpu.common import PREDICTIONS
from tests.gpu.common import floors as foreseen


def test_the_parts_fit_into_eight_minutes() -> None:
    """What is stopped in the middle has measured nothing."""
    assert sum(limit_s for _, limit_s, _ in check.parts(is_emulated=False)) <= 8 * 60 - 30


def test_every_kernel_that_floors_knows_is_foreseen() -> None:
    """A time without a prediction beside it says nothing about the kernel."""
    assert set(foreseen()) == {kernel.title for kernel in floors.KERNELS}
    assert "Predicted, not measured" in PREDICTIONS.read_text()


def test_the_table_has_every_number() -> None:
    """It is what is copied into the documents, in a hurry."""
    results = [
        {"part": "a", "status": 0, "seconds": 1.5, "numbers": {"copy, TB/s": 4.3}},
        {"part": "b", "status": 1, "seconds": 9.0, "said": ["Traceback"]},
    ]
    text = check.table(results)
    assert re.search(r"^\| a \| yes \| 1.5 \|$", text, re.MULTILINE)
    assert re.search(r"^\| b \| no \| 9.0 \|$", text, re.MULTILINE)
    assert "| copy, TB/s | 4.3 |" in text
