"""Options of the command line."""

from dataclasses import fields

import pytest
import torch

from streamcore.cli import _parsers
from streamcore.config import ServeConfig
from streamcore.runner.limits import choose_batch, choose_pace, explain_pace


def test_an_option_named_again_adds_to_what_was_named_before() -> None:
    """The first of two keys would be dropped in silence, and its client be refused."""
    _, parsers = _parsers()
    given = parsers["serve"].parse_args(["--api-key", "one", "--api-key", "two", "three"])
    assert given.api_key == ["one", "two", "three"]
    assert parsers["serve"].parse_args([]).api_key == []


def help_of(option: str) -> str:
    """What the help says of an option."""
    return str(next(field.metadata["help"] for field in fields(ServeConfig) if field.name == option))


@pytest.mark.parametrize(("option", "which"), [("max_num_seqs", 0), ("max_num_batched_tokens", 1)])
def test_the_help_names_what_is_chosen_where_nothing_is_given(option: str, which: int) -> None:
    """The help is shown without torch, so the numbers stand in two places."""
    on_cpu, on_gpu = (choose_batch(torch.device(name), None, None)[which] for name in ("cpu", "cuda"))
    assert help_of(option).endswith(f"else {on_cpu} on the CPU, {on_gpu} on a GPU")


def test_the_pace_of_streams_is_what_the_help_says() -> None:
    """A target that is asked for is kept to, whatever prompts wait; the default lets them have their part."""
    target_itl_s, min_prefill_share = choose_pace(None)
    assert target_itl_s == 0.1
    assert min_prefill_share == 4
    assert "else 100, or five times what a step without prompts takes" in help_of("target_itl_ms")
    assert choose_pace(20) == (0.02, 0)
    assert choose_pace(0) == (None, 0)


def test_the_log_says_what_a_stream_waits_for() -> None:
    """Who sees a prompt take its time finds the reason beside the other limits."""
    assert explain_pace(None).startswith("streams wait up to 100 ms for a step with prompts, or 5 times")
    assert explain_pace(20).startswith("streams wait up to 20 ms for a step with prompts (`--target-itl-ms`)")
    assert explain_pace(0).endswith("however long (`--target-itl-ms 0`)")
