"""Trains the demo model and writes it, with its report: `python -m demo.train`.

A run that was interrupted goes on from its last checkpoint in the work folder.
"""

import argparse
import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from demo import tokenizer as tokenizers
from demo.batches import step_batches
from demo.evaluate import evaluate
from demo.export import export
from demo.model import Llama, Shape
from demo.report import Run, write

ROOT = Path(__file__).resolve().parent.parent
_PEAK_RATE = 2e-3
# Step and share of the peak: a rise, a plateau while the text still changes, a fall, a last rise and fall.
_RATES = (
    (0, 0.01),
    (100, 1.0),
    (1424, 1.0),
    (1600, 0.506),
    (1700, 0.337),
    (1800, 0.225),
    (1815, 0.5),
    (1860, 0.5),
    (1980, 0.0),
)
_NUM_STEPS = _RATES[-1][0]
_CHECKPOINT_STEPS = 100
_LOG_STEPS = 10


@dataclass(frozen=True)
class Settings:
    """What a run depends on, apart from the text."""

    seed: int
    threads: int
    work: Path
    model: Path
    docs: Path
    weight_decay: float = 0.1
    max_gradient_norm: float = 1.0


def rate_at(step: int) -> float:
    """The learning rate: straight lines between the knots of the schedule."""
    for (begin, low), (end, high) in itertools.pairwise(_RATES):
        if step < end:
            return _PEAK_RATE * (low + (high - low) * (step - begin) / (end - begin))
    return _PEAK_RATE * _RATES[-1][1]


def _optimizer(model: Llama, settings: Settings) -> torch.optim.AdamW:
    matrices = [weight for weight in model.parameters() if weight.dim() == 2]
    gains = [weight for weight in model.parameters() if weight.dim() == 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": gains, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=_PEAK_RATE, betas=(0.9, 0.95))


class Training:
    """A run: the model, its optimizer, the loss of each step so far and the time they took."""

    def __init__(self, settings: Settings) -> None:
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.tokenizer: Tokenizer = tokenizers.build(settings.seed)
        self.model = Llama(Shape(vocab_size=self.tokenizer.get_vocab_size()))
        self.optimizer = _optimizer(self.model, settings)
        self.losses: list[float] = []
        self.seconds, self.cpu_seconds = 0.0, 0.0

    @property
    def step(self) -> int:
        """How many steps are done."""
        return len(self.losses)

    @property
    def _checkpoint(self) -> Path:
        return self.settings.work / "checkpoint.pt"

    def resume(self) -> None:
        """Continues from the last checkpoint, if there is one."""
        if self._checkpoint.exists():
            state = torch.load(self._checkpoint, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.losses = state["losses"]
            self.seconds, self.cpu_seconds = state["seconds"], state["cpu_seconds"]

    def save(self) -> None:
        """Writes a checkpoint; a crash while it is written leaves the one before."""
        self.settings.work.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "losses": self.losses,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
        }
        partial = self._checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self._checkpoint)

    def advance(self) -> None:
        """One optimizer step over its batches; the loss is the mean over all tokens to be learned."""
        begun, cpu_begun = time.perf_counter(), time.process_time()
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step)
        batches = step_batches(self.tokenizer, self.settings.seed, self.step)
        num_targets = sum(batch.targets.numel() for batch in batches)
        total = 0.0
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16):
                logits = self.model(batch.tokens, batch.chosen)
            loss = F.cross_entropy(logits.float(), batch.targets, reduction="sum") / num_targets
            torch.autograd.backward(loss)
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(total)
        self.seconds += time.perf_counter() - begun
        self.cpu_seconds += time.process_time() - cpu_begun

    def run(self) -> None:
        """Trains to the last step, with a line of progress and a checkpoint now and then."""
        while self.step < _NUM_STEPS:
            self.advance()
            if self.step % _LOG_STEPS == 0:
                recent = sum(self.losses[-_LOG_STEPS:]) / _LOG_STEPS
                progress = f"step {self.step} of {_NUM_STEPS}, loss {recent:.4f}, {self.seconds:.0f} s"
                sys.stderr.write(progress + "\n")
            if self.step % _CHECKPOINT_STEPS == 0 or self.step == _NUM_STEPS:
                self.save()


def settings_of(arguments: list[str] | None = None) -> Settings:
    """The settings on the command line; each has a default."""
    parser = argparse.ArgumentParser(prog="python -m demo.train", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=ROOT / "target/demo", help="where checkpoints go")
    parser.add_argument("--model", type=Path, default=ROOT / "python/streamcore/demo_model")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where the report goes")
    return Settings(**vars(parser.parse_args(arguments)))


def main() -> None:
    """Trains, exports, evaluates and writes the report."""
    training = Training(settings_of())
    training.resume()
    training.run()
    settings = training.settings
    export(training.model, training.tokenizer, settings.model)
    run = Run(
        _NUM_STEPS,
        settings.seed,
        settings.threads,
        training.seconds,
        training.cpu_seconds,
        training.losses,
    )
    write(run, evaluate(settings.model, settings.seed), settings.model, settings.docs)


if __name__ == "__main__":
    main()
