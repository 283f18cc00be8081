"""Bugs that are planted into sampling: each must be found, by the tokens or by the checker."""

import pytest
import torch
from tests.cuda.host_library import missing
from tests.cuda.planted import Plant, planted_emulator
from tests.cuda.test_sampling import make_rows, with_changes
from tests.cuda.test_scoring import likeliest, make_logits, scored

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

OTHER_TOKEN = "is not kept|row \\d+"

SAMPLING = {
    "logits are read before the launch in front has ended": Plant(
        "sample.cuh", "begin_after_launch_before();", "let_next_launch_begin();", "before the launch in front"
    ),
    "no barrier after the places of biases are cleared": Plant(
        "sample_row.cuh",
        "chunks[i] = 0;\n        __syncthreads();",
        "chunks[i] = 0;",
        "atomic and write|race",
    ),
    "a bias of a neighbour": Plant("sample_row.cuh", "first_from(args.bias_samples, number, row + 1)", "number", OTHER_TOKEN),
    "a token that is biased twice has one of them": Plant(
        "sample_row.cuh",
        "(other == token && j < i)",
        "false",
        f"two writes|never written|{OTHER_TOKEN}",
    ),
    "penalties of the place, not of the row": Plant(
        "sample_row.cuh",
        "take_penalties(args, parameters)",
        "take_penalties(args, row)",
        OTHER_TOKEN,
    ),
    "a presence penalty for tokens of the prompt": Plant(
        "sample_row.cuh", "return count > 0 ? __fadd_rn(logit, -presence) : logit;", "return __fadd_rn(logit, -presence);",
        OTHER_TOKEN,
    ),
    "no barrier before the warps' best are read": Plant(
        "sample.cuh",
        "        shared.is_bad[warp] = is_bad;\n    }\n    __syncthreads();",
        "        shared.is_bad[warp] = is_bad;\n    }",
        "race|never written",
    ),
    "a mask of the next row": Plant(
        "sample_row.cuh", "args.masked_samples[masked] == row", "args.masked_samples[masked] >= row", OTHER_TOKEN
    ),
}  # fmt: skip
SCORING = {
    "no barrier after the likeliest are noted": Plant(
        "score.cuh", "        }\n    });\n    __syncthreads();\n}", "        }\n    });\n}", "race|never written|atomic"
    ),
    "equal ones in the order of their arrival": Plant(
        "score.cuh", "shared.tokens[j] < token", "j < i", "ids"
    ),
    "a border between the thread's greatest": Plant("score.cuh", "return key >= from;", "return key > from;", "ids|written"),
}  # fmt: skip


def draw_with(plant: Plant | None) -> None:
    emulator = planted_emulator(plant, "planted_sampling.cu")
    try:
        rows = with_changes(make_rows(700, count=16, masked=True))
        for seed in (0, 1):
            tokens, _ = rows.draw("check", seed, emulator)
            rows.assert_right(tokens)
    finally:
        emulator.close()


def score_with(plant: Plant | None) -> None:
    emulator = planted_emulator(plant, "planted_sampling.cu")
    try:
        logits, targets = make_logits(1000)
        for seed in (0, 1):
            scores = scored(logits, targets, 20, form="check", seed=seed, emulator=emulator)
            assert torch.equal(scores.top_ids, likeliest(logits, 20)), "other ids"
    finally:
        emulator.close()


def test_nothing_is_found_in_sound_kernels() -> None:
    """A checker that always complains would find every bug."""
    draw_with(None)
    score_with(None)


@pytest.mark.parametrize("name", SAMPLING)
def test_bugs_of_sampling_are_found(name: str) -> None:
    """A client's bias that another client's row gets is a wrong answer that no log shows."""
    with pytest.raises(AssertionError, match=SAMPLING[name].found):
        draw_with(SAMPLING[name])


@pytest.mark.parametrize("name", SCORING)
def test_bugs_of_scoring_are_found(name: str) -> None:
    """Likeliest tokens in another order are another answer to the same question."""
    with pytest.raises(AssertionError, match=SCORING[name].found):
        score_with(SCORING[name])
