"""The parts of `check.py` that are no tests: one is named on the command line, and says its numbers."""

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from tests.checkpoints import write_checkpoint
from tests.gpu.common import IS_EMULATED, capture, device, ops, run, say
from tests.models.engine_loop import Ask, EngineLoop

from streamcore.kernels import library
from streamcore.kernels.ops import Ops
from streamcore.kernels.reference import ReferenceOps
from streamcore.models.folder import check_model_folder
from streamcore.models.load import load_model
from streamcore.models.model import Model
from streamcore.runner.penalties import BiasInputs, PenaltyInputs, TokenCounts, add_biases
from streamcore.runner.placement import Placement
from streamcore.runner.sampler import SamplingColumns, sample
from streamcore.runner.scores import LEAST, Scores, score


def sampling() -> None:
    """How many of some rows are drawn as on the CPU, and how far log-probabilities are from its own."""
    count, vocab = (16, 2000) if IS_EMULATED else (256, 151936)
    place, kernels = device(), ops()
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(count, vocab, generator=generator)

    def pick(*values: float) -> torch.Tensor:
        return torch.tensor(values)[torch.randint(len(values), (count,), generator=generator)]

    columns = SamplingColumns(
        pick(0.0, 0.3, 1.0), pick(0, 1, 50).int(), pick(0.5, 0.95, 1.0), pick(0.0, 0.05), pick(0.0, 0.0, 1.5),
        torch.rand(count, generator=generator),
    )  # fmt: skip
    penalties = {name: pick(*values) for name, values in _PENALTIES.items()}
    counts = torch.randint(-20, 3, (count, vocab), generator=generator).clamp(min=0).int()
    counted = counts, (counts > 0) | (torch.rand(count, vocab, generator=generator) < 0.01)
    samples = torch.arange(count, dtype=torch.int32).repeat_interleave(3)
    tokens = torch.cat([logits.topk(2).indices, torch.full((count, 1), vocab + 5)], dim=1).flatten().int()
    biases = samples, tokens, pick(-torch.inf, 2.0).repeat_interleave(3)

    changed = logits.clone()
    by_row = TokenCounts(count, vocab, torch.device("cpu"))
    for table, given in zip(by_row.tables(), counted, strict=True):
        table.copy_(given)
    rows = torch.arange(count, dtype=torch.int32)
    by_row.penalise(changed, PenaltyInputs(rows, rows, *penalties.values()))
    add_biases(changed, BiasInputs(*biases))
    expected = sample(changed, columns)

    drawn, results = torch.empty(2, count, dtype=torch.int32, device=place)
    parameters = {name: getattr(columns, name).to(place) for name in SamplingColumns.parameters()}
    parameters |= {name: values.to(place) for name, values in penalties.items()}
    on_device, uniform = logits.to(place), columns.uniform.to(place)
    kernels.sample(
        drawn, results, on_device, parameters, rows.to(place), uniform, -2,
        counted=(counted[0].to(place), counted[1].to(place)),
        biases=(samples.to(place), tokens.to(place), biases[2].to(place)),
    )  # fmt: skip
    equal = int((drawn.cpu() == expected).sum())
    say({"sampled as on the CPU": f"{equal} of {count}"})
    assert equal >= count - max(2, count // 64), f"{equal} of {count} tokens are those of the CPU"

    scores = Scores(*(torch.empty(shape, device=place) for shape in ((count,), (count, 20), (count, 20))))
    ids = torch.empty(count, 20, dtype=torch.int32, device=place)
    kernels.score(scores.logprobs, ids, scores.top_logprobs, on_device, drawn, None, LEAST)
    wanted = score(logits, drawn.cpu(), 20)
    difference = float((scores.logprobs.cpu() - wanted.logprobs).abs().max())
    say({"log-probabilities differ by": difference})
    assert difference < 1e-4, f"log-probabilities differ by {difference}"
    assert torch.equal(ids.cpu(), wanted.top_ids), "other tokens are the likeliest"


_PENALTIES = {
    "repetition_penalty": (1.0, 1.3),
    "frequency_penalty": (0.0, 0.5),
    "presence_penalty": (0.0, 1.0),
}


def model() -> None:
    """Whole steps: against the runner of the CPU, and every way to run them against the others."""
    with tempfile.TemporaryDirectory() as folder:
        shape: dict[str, Any] = {
            "hidden_size": 64,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
        }
        path = write_checkpoint(Path(folder), **shape)

        def loaded(chosen: Ops, place: torch.device, dtype: torch.dtype) -> Model:
            read = load_model(check_model_folder(path), place, dtype)
            read.ops = chosen
            read.prepare(256, 512, 16)
            return read

        kernels = loaded(ops(), device(), torch.float16)
        library.packs_weights = lambda: False
        on_cpu = loaded(ReferenceOps(), torch.device("cpu"), torch.float32)
    prompts = [
        [(seed * 37 + i * 11) % 250 + 2 for i in range(length)] for seed, length in enumerate((1, 9, 40, 70))
    ]

    def answered(chosen: Model, placement: Placement, **limits: Any) -> list[Any]:
        asked = [Ask(prompt, 16, {"logprobs": 1}) for prompt in prompts]
        return EngineLoop(chosen, num_blocks=64, placement=placement, **limits).answer(asked)

    one, two = Placement(1, True, None), Placement(2, True, None)
    eager = answered(kernels, one)
    first = [answer.likelihoods[0][0] for answer in eager]
    expected = [answer.likelihoods[0][0] for answer in answered(on_cpu, Placement(1, False, None))]
    difference = max(abs(a - b) for a, b in zip(first, expected, strict=True))
    say({"largest difference of a log-probability from the CPU's": difference})
    assert difference < 0.05, f"log-probabilities differ by {difference} from the CPU's"
    sizes = [4, 8, 16]
    padded = [answer.tokens for answer in answered(kernels, one, capture_sizes=sizes)]
    for name, placement in {"depth 2": two, "captured": Placement(2, True, capture())}.items():
        tokens = [answer.tokens for answer in answered(kernels, placement, capture_sizes=sizes)]
        say({f"{name}: the tokens of one step at a time": tokens == padded})
        assert tokens == padded, f"{name}: other tokens than one step at a time"


if __name__ == "__main__":
    sys.exit(run({"sampling": sampling, "model": model}[sys.argv[1]]))
