"""The runner: from a plan in the buffers to sampled tokens."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.checkpoints import write_checkpoint
from tests.models.plans import engine_config, plan, write
from tests.models.steps import CPU, RunningSequence, load_paged, random_prompt

from streamcore import _core
from streamcore.kernels import LayerCache
from streamcore.models.folder import check_model_folder
from streamcore.models.load import load_model
from streamcore.runner.memory import allocate_kv_cache
from streamcore.runner.model_runner import ModelRunner
from streamcore.runner.placement import Placement
from streamcore.runner.warm_up import warm_up

BLOCK_SIZE = 16


def make_runner(path: Path, max_model_len: int = 64, placement: Placement | None = None) -> ModelRunner:
    """A runner for up to 3 sequences of 4 blocks."""
    folder = check_model_folder(path)
    model = load_model(folder, CPU, torch.float32)
    model.prepare(max_model_len)
    caches = allocate_kv_cache(model, block_size=BLOCK_SIZE, num_blocks=8)
    return ModelRunner(model, caches, config_of(max_model_len), placement)


def config_of(max_model_len: int) -> _core.EngineConfig:
    return engine_config(40, 3, max_model_len, block_size=BLOCK_SIZE, num_blocks=8)


def test_a_cache_of_another_model_is_refused(tmp_path: Path) -> None:
    """Steps believe the caches: one for fewer heads or layers would be overrun."""
    runner = make_runner(write_checkpoint(tmp_path))
    model, config = runner._model, config_of(64)
    narrow = LayerCache(torch.zeros(8, BLOCK_SIZE, 1, 16), torch.zeros(8, BLOCK_SIZE, 1, 16))
    with pytest.raises(ValueError, match="1 caches for 2 layers"):
        ModelRunner(model, runner.caches[:1], config)
    with pytest.raises(ValueError, match="caches have 1 heads, the model 2"):
        ModelRunner(model, [narrow, narrow], config)


def prefill(
    runner: ModelRunner, prompt: list[int], *, row: int, block: int, num_samples: int = 1
) -> list[int]:
    """Runs a prompt that fits into one block."""
    length = len(prompt)
    columns: dict[str, Sequence[float]] = {
        "token_ids": prompt,
        "positions": range(length),
        "slot_mapping": range(block * BLOCK_SIZE, block * BLOCK_SIZE + length),
        "query_starts": [0, length],
        "context_lens": [length],
        "seq_rows": [row],
        "block_places": [4 * row],
        "block_ids": [block],
        "new_rows": [row],
        "temperature": [0.0],
        "logits_indices": [length - 1],
        "sample_rows": [row],
        "sample_context_lens": [length],
    }
    write(runner._columns.sets[runner._turn], columns)
    sizes = {"num_samples": num_samples, "num_block_updates": 1, "num_new_rows": 1}
    return runner.execute(plan(num_tokens=length, num_seqs=1, **sizes)).tokens.tolist()


def test_a_decode_takes_its_token_from_the_device(tmp_path: Path) -> None:
    """The next step is planned before the host has seen the last token: the runner must fill it in
    from its row.
    """
    path = write_checkpoint(tmp_path)
    prompts = [random_prompt(9, seed=1), random_prompt(5, seed=2)]
    expected = [load_paged(path).generate([RunningSequence(list(prompt))], 2)[0] for prompt in prompts]
    # Of steps that are launched one by one, the host has seen the tokens.
    runner = make_runner(path, placement=Placement(depth=2, is_apart=True, capture=None))
    assert prefill(runner, prompts[0], row=2, block=5) == expected[0][:1]
    assert prefill(runner, prompts[1], row=0, block=3) == expected[1][:1]
    columns: dict[str, Sequence[float]] = {
        "token_ids": [0, 0],
        "positions": [5, 9],
        "slot_mapping": [3 * BLOCK_SIZE + 5, 5 * BLOCK_SIZE + 9],
        "query_starts": [0, 1, 2],
        "context_lens": [6, 10],
        "seq_rows": [0, 2],
        "logits_indices": [0, 1],
        "sample_rows": [0, 2],
        "sample_context_lens": [6, 10],
        "device_token_indices": [0, 1],
        "device_token_rows": [0, 2],
    }
    write(runner._columns.sets[runner._turn], columns)
    tokens = runner.execute(plan(num_tokens=2, num_seqs=2, num_samples=2, num_device_tokens=2)).tokens
    assert tokens.dtype == torch.int32
    assert tokens.tolist() == [expected[1][1], expected[0][1]]


def test_a_chunk_in_the_middle_samples_nothing(tmp_path: Path) -> None:
    """A long prompt is computed in chunks; only the last of them has a token to sample."""
    path = write_checkpoint(tmp_path)
    assert prefill(make_runner(path), random_prompt(9), row=0, block=1, num_samples=0) == []


def test_warming_up_leaves_no_trace(tmp_path: Path) -> None:
    """Whatever the warm-up wrote, the first request must be answered as if it had not been."""
    path = write_checkpoint(tmp_path)
    prompt = random_prompt(7)
    cold = prefill(make_runner(path), prompt, row=1, block=0)
    runner = make_runner(path)
    assert warm_up(runner, config_of(64)) > 0
    assert prefill(runner, prompt, row=1, block=0) == cold


def test_warming_up_stays_within_the_longest_sequence(tmp_path: Path) -> None:
    """Where a block is longer than any sequence, a warm-up of a whole block would turn by angles
    that are not in the table, and leave keys in the cache that no answer survives: torch's
    attention multiplies what it masks by zero.
    """
    runner = make_runner(write_checkpoint(tmp_path), max_model_len=BLOCK_SIZE // 2)
    warm_up(runner, config_of(BLOCK_SIZE // 2))
    for cache in runner.caches:
        assert not cache.keys[0, BLOCK_SIZE // 2 :].any()
        assert cache.keys.isfinite().all()
        assert cache.values.isfinite().all()


def test_a_seeded_draw_is_the_inverse_of_the_distribution(tmp_path: Path) -> None:
    """Sampling parameters must reach the sampler: temperature and random number decide a token."""
    path = write_checkpoint(tmp_path)
    prompt = random_prompt(6)
    logits = load_paged(path).forward([(RunningSequence(prompt), 6)])[0]
    expected = int((torch.softmax(logits.double() / 2, dim=-1).cumsum(0) <= 0.75).sum())
    runner = make_runner(path)
    prefill(runner, prompt, row=0, block=2)
    write(
        runner._columns.sets[runner._turn],
        {"temperature": [2.0], "top_p": [1.0], "top_k": [0], "uniform": [0.75]},
    )
    # The other columns still hold the same prefill.
    assert runner.execute(plan(num_tokens=6, num_seqs=1, num_samples=1, num_new_rows=1)).tokens.tolist() == [
        expected
    ]


def test_a_plain_draw_is_that_of_a_plan_with_a_bias(tmp_path: Path) -> None:
    """A plan without biases is drawn by arguments that were written down once: they must be those
    of any other plan, and none that has a bias may be drawn by them.
    """
    prompt, drawn = random_prompt(6), []
    for num_biases, bias in ((0, 1e4), (1, 0.0), (1, 1e4)):
        runner = make_runner(write_checkpoint(tmp_path))
        prefill(runner, prompt, row=2, block=2)
        columns: dict[str, Sequence[float]] = {
            "temperature": [2.0],
            "top_p": [0.9],
            "top_k": [0],
            "uniform": [0.6],
            "bias_samples": [0],
            "bias_tokens": [3],
            "bias_values": [bias],
        }
        write(runner._columns.sets[runner._turn], columns)
        again = plan(num_tokens=6, num_seqs=1, num_samples=1, num_new_rows=1, num_biases=num_biases)
        drawn.append(runner.execute(again).tokens.tolist())
    assert drawn[0] == drawn[1] != drawn[2] == [3]


def test_a_row_keeps_what_it_was_told(tmp_path: Path) -> None:
    """A plan holds blocks and parameters once: a runner that took them from the columns of a later
    step would read what was left there by others.
    """
    path = write_checkpoint(tmp_path)
    prompts = [random_prompt(12, seed=1), random_prompt(12, seed=2)]
    expected = [load_paged(path).generate([RunningSequence(list(prompt))], 8)[0] for prompt in prompts]
    runner = make_runner(path)
    generated = [
        prefill(runner, prompt, row=row, block=block)
        for prompt, row, block in zip(prompts, [2, 1], [6, 3], strict=True)
    ]
    for length in range(12, 19):
        # Positions from 16 on are in the second block of each, which a plan holds when it begins.
        begins_block = length == BLOCK_SIZE
        first_slots = (
            [2 * BLOCK_SIZE, 7 * BLOCK_SIZE] if length >= BLOCK_SIZE else [6 * BLOCK_SIZE, 3 * BLOCK_SIZE]
        )
        columns: dict[str, Sequence[float]] = {
            "token_ids": [tokens[-1] for tokens in generated],
            "positions": [length, length],
            "slot_mapping": [first + length % BLOCK_SIZE for first in first_slots],
            "query_starts": [0, 1, 2],
            "context_lens": [length + 1, length + 1],
            "seq_rows": [2, 1],
            "block_places": [4 * 2 + 1, 4 * 1 + 1] if begins_block else [0, 0],
            "block_ids": [2, 7] if begins_block else [0, 0],
            "new_rows": [0, 0],
            "temperature": [9.0, 9.0],
            "logits_indices": [0, 1],
            "sample_rows": [2, 1],
            "sample_context_lens": [length + 1, length + 1],
        }
        write(runner._columns.sets[runner._turn], columns)
        output = runner.execute(
            plan(num_tokens=2, num_seqs=2, num_samples=2, num_block_updates=2 * begins_block)
        )
        for tokens, token in zip(generated, output.tokens.tolist(), strict=True):
            tokens.append(token)
    assert generated == expected


def test_padding_changes_nothing(tmp_path: Path) -> None:
    """A step that is filled up for a captured graph must draw the same tokens and store nothing
    more.
    """
    path = write_checkpoint(tmp_path)
    prompt = random_prompt(9, seed=1)
    outputs: list[list[int]] = []
    stored: list[list[torch.Tensor]] = []
    for num_padding in (0, 2):
        runner = make_runner(path)
        first = prefill(runner, prompt, row=1, block=5)
        columns: dict[str, Sequence[float]] = {
            "token_ids": [*first, 0, 0],
            "positions": [9, 0, 0],
            "slot_mapping": [5 * BLOCK_SIZE + 9, -1, -1],
            "query_starts": [0, 1, 2, 3],
            "context_lens": [10, 1, 1],
            "seq_rows": [1, 3, 3],
            "logits_indices": [0],
            "sample_rows": [1],
            "sample_context_lens": [10],
        }
        write(runner._columns.sets[runner._turn], columns)
        outputs.append(
            runner.execute(
                plan(num_tokens=1, num_seqs=1, num_samples=1, num_padding=num_padding)
            ).tokens.tolist()
        )
        stored.append([tensor for cache in runner.caches for tensor in (cache.keys, cache.values)])
    assert outputs[0] == outputs[1]
    # torch multiplies one row otherwise than three; a token too much in the cache would be as large
    # as the others.
    torch.testing.assert_close(*stored)
