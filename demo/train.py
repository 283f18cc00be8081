"""Trains the demo model and writes it, with its report: `python -m demo.train`.

A run that was interrupted goes on from its last checkpoint in the work folder.
"""

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from demo import tokenizer as tokenizers
from demo.batches import LATE, Batch, step_batches
from demo.evaluate import evaluate
from demo.export import export
from demo.model import Llama, Shape
from demo.report import Run, write

ROOT = Path(__file__).resolve().parent.parent
_NUM_STEPS = 2000
_WARM_UP_STEPS = 40
_COOL_DOWN_STEPS = 500
_PEAK_RATE = 5e-3  # of the matrices between the layers; embeddings and gains learn at half of it
_USUAL_TARGETS = 1600
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
    """The share of the peak learning rate: up in a straight line, level, and down to zero in another line.

    The late exercises have a rise and a fall of their own, to half of the peak.
    """
    if step >= LATE:
        return 0.5 * min((step - LATE) / _WARM_UP_STEPS, (_NUM_STEPS - step) / (_NUM_STEPS - LATE))
    return min((step + 1) / _WARM_UP_STEPS, 1.0, (LATE - step) / _COOL_DOWN_STEPS)


def _optimizers(model: Llama, settings: Settings) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the matrices inside the layers, AdamW for the embedding and the gains.

    Muon (https://kellerjordan.github.io/posts/muon) makes much of few steps.
    """
    inner = [weight for name, weight in model.named_parameters() if "layers" in name and weight.dim() == 2]
    gains = [weight for weight in model.parameters() if weight.dim() == 1]
    outer = {"params": [model.model.embed_tokens.weight], "weight_decay": settings.weight_decay}
    return (
        torch.optim.Muon(
            inner, lr=_PEAK_RATE, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(
            [outer, {"params": gains, "weight_decay": 0.0}], lr=_PEAK_RATE / 2, betas=(0.9, 0.95)
        ),
    )


class Training:
    """A run: the model, its optimizer, the loss of each step so far and the time they took."""

    def __init__(self, settings: Settings) -> None:
        torch.set_num_threads(1)  # a batch is too small to share; each thread takes its own
        self.pool = ThreadPoolExecutor(settings.threads)
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.tokenizer: Tokenizer = tokenizers.build(settings.seed)
        self.model = Llama(Shape(vocab_size=self.tokenizer.get_vocab_size()))
        self.optimizers = _optimizers(self.model, settings)
        self.schedules = [torch.optim.lr_scheduler.LambdaLR(each, rate_at) for each in self.optimizers]
        self.losses: list[float] = []
        self.seconds, self.cpu_seconds = 0.0, 0.0

    @property
    def step(self) -> int:
        """How many steps are done."""
        return len(self.losses)

    @property
    def _rules(self) -> tuple[Any, ...]:
        """Everything but the weights that a checkpoint must hold."""
        return (*self.optimizers, *self.schedules)

    @property
    def _checkpoint(self) -> Path:
        return self.settings.work / "checkpoint.pt"

    def resume(self) -> None:
        """Continues from the last checkpoint, if there is one."""
        if self._checkpoint.exists():
            state = torch.load(self._checkpoint, weights_only=True)
            self.model.load_state_dict(state["model"])
            for each, saved in zip(self._rules, state["rules"], strict=True):
                each.load_state_dict(saved)
            self.losses = state["losses"]
            self.seconds, self.cpu_seconds = state["seconds"], state["cpu_seconds"]

    def save(self) -> None:
        """Writes a checkpoint; a crash while it is written leaves the one before."""
        self.settings.work.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "rules": [each.state_dict() for each in self._rules],
            "losses": self.losses,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
        }
        partial = self._checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self._checkpoint)

    def _gradients(self, batch: Batch) -> tuple[float, tuple[Tensor, ...]]:
        """The loss of one batch, summed over its targets, and what it adds to the gradients."""
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model(batch.tokens, batch.chosen)
        loss = F.cross_entropy(logits.float(), batch.targets, reduction="sum")
        # By a fixed number: the many easy tokens of a long count must not make the rest of its step
        # count less.
        return loss.item(), torch.autograd.grad(loss / _USUAL_TARGETS, tuple(self.model.parameters()))

    def advance(self) -> None:
        """One optimizer step over its batches; the loss is the mean over all tokens to be learned."""
        begun, cpu_begun = time.perf_counter(), time.process_time()
        batches = step_batches(self.tokenizer, self.settings.seed, self.step)
        total = 0.0
        # Added up in the order of the batches: the sum does not depend on the number of threads.
        for loss, gradients in self.pool.map(self._gradients, batches):
            total += loss
            for weight, gradient in zip(self.model.parameters(), gradients, strict=True):
                weight.grad = gradient if weight.grad is None else weight.grad + gradient
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_gradient_norm)
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        self.losses.append(total / sum(batch.targets.numel() for batch in batches))
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
        _PEAK_RATE,
        _WARM_UP_STEPS,
        _COOL_DOWN_STEPS,
    )
    write(run, evaluate(settings.model, settings.seed), settings.model, settings.docs)


if __name__ == "__main__":
    main()
