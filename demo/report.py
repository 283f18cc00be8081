"""Writes docs/demo-model.md and its loss curve."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.batches import LATE, MAX_TOKENS, NUM_CONVERSATIONS, NUM_DRILLS
from demo.evaluate import CountCheck, Evaluation, Sample

_WIDTH, _HEIGHT, _MARGIN = 640, 240, 40
_SMOOTHED_STEPS = 10
_LONGEST_SAMPLE = 700

# Written by hand after reading the samples; to be read again when the model is trained again.
_MISTAKES = """\
- **Where a long count ends.** Counts from 1 to a round number end where they should, up to 100 always and at 200 mostly.
  Between bounds that are far apart or far from zero ("from 480 to 530") it counts correctly, and past the end.
- **Long counts at temperature 1.** Greedily and at temperature 0.3 it counts to 1000 without a mistake; at temperature 1,
  without `top_p`, it usually goes astray, in these runs not before 200.
- **Larger sums.** Sums of small numbers are right; others have the right form.
- **Capitals, weekdays.** Those of its list only, and not all of them at temperature 1.
- **Words from the request.** A noun is taken over into a poem or a story if it is one of those it was taught.
- **Anything else.** It says that it does not know, or answers something that it does know."""


@dataclass(frozen=True)
class Run:
    """What is known about the training that made the model."""

    steps: int
    seed: int
    threads: int
    seconds: float
    cpu_seconds: float
    losses: Sequence[float]
    peak_rate: float
    warm_up_steps: int
    cool_down_steps: int


def loss_curve(losses: Sequence[float]) -> str:
    """An SVG of the loss, nats per token on a logarithmic scale, against the step."""
    spans = [losses[at : at + _SMOOTHED_STEPS] for at in range(0, len(losses), _SMOOTHED_STEPS)]
    heights = [math.log10(sum(span) / len(span)) for span in spans]
    low, high = math.floor(min(heights)), math.ceil(max(heights))

    def x(share: float) -> float:
        return _MARGIN + share * (_WIDTH - 2 * _MARGIN)

    def y(exponent: float) -> float:
        return _MARGIN + (high - exponent) / (high - low) * (_HEIGHT - 2 * _MARGIN)

    curve = " ".join(f"{x(at / max(1, len(heights) - 1)):.1f},{y(to):.1f}" for at, to in enumerate(heights))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"',
        '  font-family="sans-serif" font-size="11">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_MARGIN}" y="{_MARGIN - 14}">loss, nats per token</text>',
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 6}" text-anchor="middle">step</text>',
    ]
    for exponent in range(low, high + 1):
        lines.append(f'<path d="M{_MARGIN} {y(exponent):.1f}H{_WIDTH - _MARGIN}" stroke="#ddd"/>')
        lines.append(
            f'<text x="{_MARGIN - 6}" y="{y(exponent) + 4:.1f}" text-anchor="end">{10.0**exponent:g}</text>'
        )
    for quarter in range(5):
        step = round(len(losses) * quarter / 4)
        lines.append(
            f'<text x="{x(quarter / 4):.1f}" y="{_HEIGHT - _MARGIN + 16}" text-anchor="middle">{step}</text>'
        )
    lines.append(f'<polyline points="{curve}" fill="none" stroke="#1f6feb" stroke-width="1.5"/>')
    return "\n".join([*lines, "</svg>", ""])


def _counting_table(counts: Sequence[CountCheck]) -> str:
    rows = ["| request | temperature | exact | right in the worst answer |", "| --- " * 4 + "|"]
    rows += [
        f"| {check.prompt} | {check.temperature:g} | {check.exact} of {check.runs} | {check.least_right} |"
        for check in counts
    ]
    return "\n".join(rows)


def _samples(samples: Sequence[Sample]) -> str:
    blocks = []
    for sample in samples:
        answer = (
            sample.answer
            if len(sample.answer) <= _LONGEST_SAMPLE
            else sample.answer[:_LONGEST_SAMPLE] + " ..."
        )
        ending = "" if sample.stopped else "\n(did not stop by itself)"
        blocks.append(f"```text\n> {sample.prompt}\n{answer}{ending}\n```")
    return "\n\n".join(blocks)


def _sizes(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text())
    names = (
        "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
        "intermediate_size", "vocab_size", "max_position_embeddings",
    )  # fmt: skip
    parameters = (folder / "model.safetensors").stat().st_size / 2e6
    total = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    facts = ", ".join(f"`{name}` {config[name]}" for name in names)
    return (
        f"A Llama with {parameters:.1f} million parameters in bfloat16, {total:.1f} MB with its tokenizer:\n"
        f"{facts}, tied embeddings."
    )


def page(run: Run, evaluation: Evaluation, folder: Path) -> str:
    """The report in Markdown."""
    samples = [*evaluation.greedy, *evaluation.sampled]
    stopped = sum(sample.stopped for sample in samples)
    final = sum(run.losses[-50:]) / len(run.losses[-50:])
    return f"""# The demo model

The model that `streamcore serve` runs when it is given none: **a toy that shows the stream**. It counts, greets,
tells jokes, fills poems and stories with a noun, explains forty things in the words it was taught, and says
that it does not know much of the rest. It understands nothing, and nothing it says should be relied on. All
text that it learned is made by `demo/text/`, from templates written for this project.

This page is written by the training program; `make demo` (`python -m demo.train`) makes the model again, and
the page with it. Another machine or another torch rounds otherwise: the model is then alike, not the same.

## What it is

{_sizes(folder)}

The tokenizer is byte-level BPE, so any text goes in and comes out unharmed. Each number from 0 to 1000 is
one token: counting is a step from one token to the next, and 1 to 1000 takes 2000 tokens. Beyond 1000 it
declines to count. The chat template knows the roles system, user and assistant; an answer ends with
`<|end|>`. A request without a temperature gets 0.3 with `top_p` 0.9, from `generation_config.json`.

## Training

One run from random weights: {run.steps} steps, seed {run.seed}, {run.seconds / 60:.0f} minutes on {run.threads} threads
of a busy machine ({run.cpu_seconds / 60:.0f} CPU minutes). Each step draws {NUM_CONVERSATIONS} conversations
and {NUM_DRILLS} exercises (to copy words, to count between bounds, to add, to spell) from the same mixture,
first step to last, up to {MAX_TOKENS} tokens long. Every step draws new text, so the curve is as good as a
validation curve; only answers count for the loss. The matrices inside the layers are trained by Muon, peak
rate {run.peak_rate:g}, embedding and gains by AdamW at half of it; the rate rises for {run.warm_up_steps} steps,
stays, and falls in a straight line to zero over {run.cool_down_steps}. From step {LATE} on the exercises are others,
mostly counts of up to two hundred numbers that must end where they were asked to, and the rate rises once more,
to the half, and falls to zero. (They were added after a look at the answers at step {LATE}; the run went on from
its checkpoint, which holds all that a run depends on.) The arithmetic is bfloat16 with
float32 weights. The last 50 steps had a mean loss of {final:.3f} nats per token, most of it choices that
nobody can foresee: which joke, which opening, which name.

![loss against step](demo-model-loss.svg)

## Counting

Computed with `transformers` in float32 from the exported folder, with no `top_p`. *Exact* is the whole answer
with its end; the last column says how many numbers from the start were right in the worst answer.

{_counting_table(evaluation.counts)}

## What it gets wrong

{_MISTAKES}

## Samples, greedy

{stopped} of the {len(samples)} answers on this page ended by themselves.

{_samples(evaluation.greedy)}

## Samples at temperature 1

{_samples(evaluation.sampled)}
"""


def write(run: Run, evaluation: Evaluation, folder: Path, docs: Path) -> None:
    """Writes the page and the curve into the docs folder."""
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "demo-model-loss.svg").write_text(loss_curve(run.losses))
    (docs / "demo-model.md").write_text(page(run, evaluation, folder))
