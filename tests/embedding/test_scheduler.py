"""If one of these fails, a user's runner on `streamcore.Scheduler` computes the wrong thing, or breaks."""

import importlib.util
import pydoc
import subprocess
import sys
from array import array
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from tests.embedding.driver import small

from streamcore import _core
from streamcore.scheduler import Finished, PromptLogprobs, Scheduled, Scores, Token, TokenLogprob
from streamcore.step import NOT_FINITE, Step
from streamcore.step_table import StepTable

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "numpy_runner.py"


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("numpy_runner", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def alone(runner: ModuleType, prompt: list[int], max_tokens: int) -> list[int]:
    """What the example's model says to one prompt: all of it computed again for each token, with no cache to go wrong."""
    model, tokens, answer = runner.ToyModel(), list(prompt), []
    for _ in range(max_tokens):
        positions = np.arange(len(tokens))
        hidden = model.embedding[tokens] + np.sin(positions[:, None] / np.arange(1, runner.WIDTH + 1))
        keys, values = hidden @ model.keys, hidden @ model.values
        scores = hidden[-1] @ model.queries @ keys.T
        weights = np.exp(scores - scores.max())
        logits = (hidden[-1] + weights @ values / weights.sum()) @ model.embedding.T
        if (token := int(logits.argmax())) == 0:
            break
        tokens.append(token)
        answer.append(token)
    return answer


def test_example_answers_as_a_plain_loop_does() -> None:
    """The example is what others start from: batched, in pieces, with shared beginnings and more requests than rows, its
    tokens must be those of each prompt alone.
    """
    runner = example()
    prompts = [[1, 2, 3], list(range(4, 34)), [1, 2, 3, 4], [50], list(range(4, 30))] + [
        [n] for n in range(60, 68)
    ]
    assert runner.generate(prompts, 12) == [alone(runner, prompt, 12) for prompt in prompts]


def test_example_is_short_and_printed() -> None:
    """The page shows the program that is tested, and it stays one that can be read at a glance."""
    source = EXAMPLE.read_text()
    assert len(source.splitlines()) < 80
    page = (ROOT / "docs" / "embedding.md").read_text()
    assert source[source.index("import numpy") :] in page
    rust = (ROOT / "rust" / "engine" / "examples" / "toy_runner.rs").read_text()
    assert rust[rust.index("use std::error") :] in (ROOT / "docs" / "embedding-rust.md").read_text()


def test_imports_no_array_library() -> None:
    """An engine with its own arrays must not bring another library's."""
    code = """
import sys
from streamcore import Scheduler
Scheduler(num_blocks=4)
assert not {"torch", "numpy", "asyncio"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_step_has_all_columns() -> None:
    """A column that the engine learns and `Step` does not could not be read."""
    config = _core.EngineConfig(
        block_size=4, num_blocks=4, max_num_batched_tokens=8, max_num_seqs=2, max_model_len=16
    )
    scheduler = small()
    scheduler.add_request([1, 2, 3], max_tokens=2)
    step = scheduler.next_step()
    assert step is not None
    names = [name for name, _, _ in config.step_columns()]
    assert all(isinstance(getattr(step, name), memoryview) for name in names)
    sizes = {name for name in vars(_core.StepPlan) if not name.startswith("_")}
    assert sizes == {name for name, kind in vars(StepTable).items() if type(kind).__name__ == "_Size"}
    assert {name for name, kind in vars(StepTable).items() if type(kind).__name__ == "_Column"} == set(names)


def test_columns_hold_the_step() -> None:
    """A prefill of one request beside a decode of another, as the page draws it."""
    scheduler = small()
    first = scheduler.add_request([7, 8, 9], max_tokens=5, temperature=0.5, seed=3)
    step = scheduler.next_step()
    assert step is not None
    assert (step.token_ids.tolist(), step.positions.tolist()) == ([7, 8, 9], [0, 1, 2])
    assert (step.new_rows.tolist(), step.temperature.tolist()) == (step.seq_rows.tolist(), [0.5])
    scheduler.complete_step(step, [5])
    scheduler.add_request([1, 2, 3, 4, 6], max_tokens=1)
    step = scheduler.next_step()
    assert step is not None
    assert step.num_seqs == 2
    assert step.token_ids.tolist() == [5, 1, 2, 3, 4, 6]
    assert step.positions.tolist() == [3, 0, 1, 2, 3, 4]
    assert step.query_starts.tolist() == [0, 1, 6]
    assert step.context_lens.tolist() == [4, 5]
    assert step.logits_indices.tolist() == [0, 5]
    assert step.num_block_updates == 2
    scheduler.complete_step(step, [5, 5])
    assert scheduler.abort(first)
    assert not scheduler.has_work
    assert scheduler.num_free_blocks == 16


def test_columns_are_seen_without_a_copy() -> None:
    """A copy of each column in each step is what the columns are there to spare."""
    scheduler = small()
    scheduler.add_request([7, 8, 9], max_tokens=5)
    step = scheduler.next_step()
    assert step is not None
    seen = np.asarray(step.token_ids)
    assert seen.dtype == np.int32
    assert seen.tolist() == [7, 8, 9]
    assert seen.ctypes.data == np.asarray(step.columns["token_ids"]).ctypes.data
    assert np.asarray(step.slot_mapping).dtype == np.int64
    assert np.asarray(step.uniform).dtype == np.float32


@pytest.mark.parametrize(
    "tokens",
    [
        [5, 6],
        (5, 6),
        array("i", [5, 6]),
        np.array([5, 6], dtype=np.int32),
        np.array([5, 6], dtype=np.int64),
        np.array([5, 0, 6, 0], dtype=np.int32)[::2],
        np.array([5, 6], dtype=">i4"),
        [np.int64(5), np.int64(6)],
        [[5], [6]],
        torch.tensor([5, 6]),
        torch.tensor([[5], [6]], dtype=torch.int32),
        [torch.tensor(5), torch.tensor(6)],
    ],
)
def test_any_integers_are_taken(tokens: Any) -> None:
    """What a model's library makes of its samples differs; other numbers than were drawn would be a different text."""
    scheduler = small()
    ids = [scheduler.add_request([prompt], max_tokens=2) for prompt in (1, 2)]
    step = scheduler.next_step()
    assert step is not None
    scheduler.complete_step(step, tokens)
    drawn = [event for event in scheduler.drain_events() if isinstance(event, Token)]
    assert drawn == [Token(ids[0], 5, None), Token(ids[1], 6, None)]


def of_numpy(rows: list[list[float]], dtype: str) -> Any:
    return np.array(rows, dtype)


def of_torch(rows: list[list[float]], dtype: str) -> Any:
    return torch.tensor(rows, dtype=getattr(torch, dtype))


def rows_of_numpy(rows: list[list[float]], dtype: str) -> Any:
    return [np.array(row, dtype) for row in rows]


def rows_of_torch(rows: list[list[float]], dtype: str) -> Any:
    return [torch.tensor(row, dtype=getattr(torch, dtype)) for row in rows]


@pytest.mark.parametrize("num_top", [0, 2])
@pytest.mark.parametrize("made", [of_numpy, of_torch, rows_of_numpy, rows_of_torch])
def test_any_scores_are_taken(made: Any, num_top: int) -> None:
    """Log-probabilities come as a model's library has them: in rows, and, where none of the likeliest are asked for, in rows
    of no width.
    """
    scheduler = small()
    ids = [scheduler.add_request([prompt], max_tokens=2, logprobs=num_top) for prompt in (1, 2)]
    step = scheduler.next_step()
    assert step is not None
    top_ids = made([[5, 6][:num_top], [7, 8][:num_top]], "int32")
    top_logprobs = made([[-0.5, -1.5][:num_top], [-0.25, -2.0][:num_top]], "float32")
    scheduler.complete_step(step, [5, 7], logprobs=Scores([-0.5, -0.25], top_ids, top_logprobs))
    drawn = [event for event in scheduler.drain_events() if isinstance(event, Token)]
    assert drawn == [
        Token(ids[0], 5, TokenLogprob(-0.5, [(5, -0.5), (6, -1.5)][:num_top])),
        Token(ids[1], 7, TokenLogprob(-0.25, [(7, -0.25), (8, -2.0)][:num_top])),
    ]


def test_help_says_what_each_column_holds() -> None:
    """Who writes a runner reads `help(Step)`, as the page tells him to."""
    text = pydoc.plain(pydoc.render_doc(Step))
    for name, member in vars(Step).items():
        if type(member).__name__ in ("_Size", "_Column"):
            assert member.__doc__
            assert f"{name} = {member!r}" in text
            assert member.__doc__ in text
    assert repr(Step.query_starts) == "memoryview[num_seqs + num_padding + 1]"


def test_whole_columns_are_seen_by_torch() -> None:
    """An empty buffer is refused by torch: the page shows how a column that is empty in most steps is seen all the same."""
    scheduler = small()
    scheduler.add_request([7, 8, 9], max_tokens=5, temperature=0.5)
    for num_new_rows in (1, 0):
        step = scheduler.next_step()
        assert step is not None
        rows = torch.frombuffer(step.columns["new_rows"], dtype=torch.int32)[: step.num_new_rows]
        assert rows.tolist() == step.seq_rows.tolist()[:num_new_rows]
        assert all(len(column) for column in step.columns.values())
        scheduler.complete_step(step, [5])


def test_events_tell_everything() -> None:
    """A program learns from the events alone what became of a request."""
    scheduler = small()
    request = scheduler.add_request([1, 2], max_tokens=3, stop_token_ids=[9], logprobs=1, prompt_logprobs=0)
    step = scheduler.next_step()
    assert step is not None
    assert (step.scored_samples.tolist(), step.scored_targets.tolist()) == ([0], [2])
    scores = Scores(np.array([-0.5, -2.0], np.float32), [[5], [6]], np.array([[-0.5], [-1.0]], np.float32))
    scheduler.complete_step(step, [5], logprobs=scores)
    step = scheduler.next_step()
    assert step is not None
    scheduler.complete_step(step, [9], logprobs=Scores([-1.0], [[9]], [[-1.0]]))
    assert scheduler.drain_events() == [
        Scheduled(request, 0),
        PromptLogprobs(request, [TokenLogprob(-2.0, [])]),
        Token(request, 5, TokenLogprob(-0.5, [(5, -0.5)])),
        Finished(request, "stop", 9, TokenLogprob(-1.0, [(9, -1.0)])),
    ]
    assert scheduler.next_step() is None


def test_logits_that_are_not_finite_end_their_request() -> None:
    """A runner must be able to say that there is nothing to draw from, without ending every other request."""
    scheduler = small()
    broken, sound = (scheduler.add_request([token, 2], max_tokens=1) for token in (1, 5))
    step = scheduler.next_step()
    assert step is not None
    scheduler.complete_step(step, [NOT_FINITE, 3])
    events = scheduler.drain_events()
    assert Finished(broken, "not_finite", None) in events
    assert Finished(sound, "length", None) in events


def test_time_ends_a_request() -> None:
    """A request whose program has given up must not hold its blocks."""
    now = 100.0
    scheduler = small(clock=lambda: now)
    request = scheduler.add_request([1, 2], max_tokens=5, timeout_s=2.0)
    other = scheduler.add_request([1, 2], max_tokens=5)
    step = scheduler.next_step()
    assert step is not None
    scheduler.complete_step(step, [3, 3])
    now = 102.0
    step = scheduler.next_step()
    assert step is not None
    assert step.num_seqs == 1
    assert scheduler.drain_events()[-1] == Finished(request, "deadline", None)
    assert scheduler.abort(other)


def test_long_steps_cut_prompts() -> None:
    """A stream beside a long prompt keeps its pace only if the scheduler knows what steps take."""
    now = 0.0
    scheduler = small(num_blocks=400, max_num_batched_tokens=512, target_itl_s=0.02, clock=lambda: now)
    scheduler.add_request([1, 2], max_tokens=300)
    sizes: list[int] = []
    for _ in range(2):
        scheduler.add_request([3] * 600, max_tokens=1)
        for _ in range(20):
            if (step := scheduler.next_step()) is not None:
                sizes.append(step.num_tokens)
                now += 0.001 * (10 + step.num_tokens)
                scheduler.complete_step(step, [5] * step.num_samples)
    assert max(sizes[:20]) > 100, "nothing is known of steps yet"
    assert max(sizes[25:]) <= 20


def test_prompts_get_their_share_of_long_steps() -> None:
    """Where decodes alone take the whole target, other requests would wait for as long as one streams."""
    now = 0.0
    scheduler = small(
        num_blocks=400,
        max_num_batched_tokens=512,
        target_itl_s=0.02,
        min_prefill_share=3,
        clock=lambda: now,
    )
    scheduler.add_request([1, 2], max_tokens=300)
    sizes: list[int] = []
    for number in range(40):
        if number % 4 == 0:
            scheduler.add_request([number] * 600, max_tokens=1)
        step = scheduler.next_step()
        assert step is not None
        sizes.append(step.num_tokens)
        now += 0.001 * (20 + step.num_tokens)
        scheduler.complete_step(step, [5] * step.num_samples)
    assert max(sizes[20:]) == pytest.approx(60, abs=4)


def test_steps_fill_captured_sizes() -> None:
    """A runner with captured graphs replays the next larger one: what fills it up must store nothing."""
    scheduler = small(capture_sizes=[1, 4])
    for prompt in range(3):
        scheduler.add_request([prompt], max_tokens=4)
    step = scheduler.next_step()
    assert step is not None
    assert (step.num_seqs, step.num_padding, step.num_samples) == (3, 1, 3)
    assert step.slot_mapping.tolist()[3] == -1
    assert step.seq_rows.tolist()[3] == 4
    assert len(step.query_starts) == 5


def test_two_steps_in_flight() -> None:
    """A step that is planned while the device runs the one before must not be written over its columns."""
    scheduler = small(max_steps_in_flight=2)
    request = scheduler.add_request([1, 2], max_tokens=3)
    first, second = scheduler.next_step(), scheduler.next_step()
    assert first is not None
    assert second is not None
    assert scheduler.next_step() is None
    assert first.token_ids.tolist() == [1, 2]
    assert (second.device_token_indices.tolist(), second.device_token_rows.tolist()) == (
        [0],
        first.sample_rows.tolist(),
    )
    scheduler.complete_step(first, [5])
    scheduler.complete_step(second, [6])
    third = scheduler.next_step()
    assert third is not None
    scheduler.complete_step(third, [7])
    tokens = [event.token_id for event in scheduler.drain_events() if isinstance(event, Token)]
    assert tokens == [5, 6, 7]
    assert scheduler.abort(request) is False


def test_masks_hold_up_their_own_request_only() -> None:
    """A grammar that thinks for long would make every other stream wait; one that is not waited for is not a grammar."""
    scheduler = small(max_steps_in_flight=2)
    free = scheduler.add_request([1, 2], max_tokens=9)
    held = scheduler.add_request([3, 4], max_tokens=9, is_constrained=True)
    first, second = scheduler.next_step(), scheduler.next_step()
    assert first is not None
    assert second is not None
    assert (first.num_seqs, first.masked_samples.tolist()) == (2, [1])
    assert scheduler.masked_requests(first) == [held]
    assert (second.num_seqs, second.num_masked_samples) == (1, 0)
    scheduler.complete_step(first, [5, 6])
    assert Token(held, 6, None) in scheduler.drain_events()
    third = scheduler.next_step()
    assert third is not None
    assert third.num_seqs == 1
    assert scheduler.resume(held, [7, 8])
    assert not scheduler.resume(held)
    assert not scheduler.resume(free)
    assert [event for event in scheduler.drain_events() if event.request_id == held] == [
        Token(held, 7, None),
        Token(held, 8, None),
    ]
    scheduler.complete_step(second, [5])
    fourth = scheduler.next_step()
    assert fourth is not None
    assert scheduler.masked_requests(fourth) == [held]
    assert sorted(fourth.token_ids.tolist()[-3:]) == [6, 7, 8]
