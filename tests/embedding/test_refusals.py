"""If one of these fails, a mistake of a program is found in the answers of its model, and not where it was made."""

from typing import Any

import pytest
from tests.embedding.driver import small

from streamcore.scheduler import Scheduled


def test_wrong_results_are_refused() -> None:
    """One token too few would be another request's token."""
    scheduler = small()
    scheduler.add_request([1], max_tokens=2)
    step = scheduler.next_step()
    assert step is not None
    with pytest.raises(ValueError, match="2"):
        scheduler.complete_step(step, [1, 2])
    with pytest.raises(TypeError):
        scheduler.complete_step(step, [1.5])
    scheduler.complete_step(step, [1])
    with pytest.raises(ValueError, match="step"):
        scheduler.complete_step(step, [1])
    with pytest.raises(ValueError, match="no tokens"):
        scheduler.add_request([], max_tokens=1)
    with pytest.raises(ValueError, match="token id"):
        scheduler.add_request([-1], max_tokens=1)


def test_what_is_no_token_is_refused() -> None:
    """A sampler that has failed must not write a token that no vocabulary has into a text."""
    scheduler = small()
    request = scheduler.add_request([1], max_tokens=2)
    step = scheduler.next_step()
    assert step is not None
    with pytest.raises(ValueError, match="step 0 has a sample with token -3"):
        scheduler.complete_step(step, [-3])
    scheduler.complete_step(step, [-1])
    assert [type(event) for event in scheduler.drain_events()] == [Scheduled]
    assert scheduler.abort(request)


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"num_blocks": -1}, "`num_blocks` is -1, it must be from 1"),
        ({"max_num_seqs": -4}, "`max_num_seqs` is -4"),
        ({"max_model_len": 0}, "`max_model_len` is 0, it must be at least 1"),
        ({"num_blocks": 1 << 70}, "`num_blocks`"),
        ({"capture_sizes": [-1]}, "`capture_sizes`"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, Any], named: str) -> None:
    """A limit that was worked out wrongly must be named, not taken for another or for none."""
    with pytest.raises(ValueError, match=named):
        small(**limits)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"timeout_s": float("inf")}, "`timeout_s` is inf"),
        ({"timeout_s": -1}, "`timeout_s` is -1"),
        ({"timeout_s": float("nan")}, "`timeout_s` is nan"),
        ({"temperature": float("nan")}, "`temperature` is NaN"),
        ({"temperature": -0.5}, "`temperature` is -0.5"),
        ({"repetition_penalty": 0}, "`repetition_penalty` is 0"),
        ({"top_k": -1}, "negative"),
        ({"logit_bias": {1: float("nan")}}, "`logit_bias` is NaN"),
    ],
)
def test_numbers_out_of_range_are_refused(asked: dict[str, Any], named: str) -> None:
    """A runner divides by some of these."""
    with pytest.raises(ValueError, match=named):
        small().add_request([1], max_tokens=1, **asked)


def test_errors_name_steps_by_their_numbers() -> None:
    """The names of types in another language help no user."""
    scheduler = small(max_steps_in_flight=2)
    scheduler.add_request([1], max_tokens=4)
    first, second = scheduler.next_step(), scheduler.next_step()
    assert first is not None
    assert second is not None
    with pytest.raises(ValueError, match=r"^step 1 was completed, expected step 0$"):
        scheduler.complete_step(second, [1])
    with pytest.raises(ValueError, match=r"^step 0 has 1 samples, 2 tokens were given$"):
        scheduler.complete_step(first, [1, 2])
