"""What a runner does differently by where its model runs."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from streamcore.kernels.native import CudaOps, takes_heads
from streamcore.models.model import Model

Replay = Callable[[], None]
Capture = Callable[[Callable[[], None]], Replay]
"""Takes work that has run before, whose inputs and outputs stay in one place; returns what does it
again.
"""


@dataclass(frozen=True, slots=True)
class Placement:
    """How plans come to the device, and how steps run on it."""

    depth: int
    """How many plans may be handed out before the first is completed: a CPU computes within
    `launch`, a GPU beside it.
    """
    is_apart: bool
    """Whether the device has memory of its own, to which the columns of a plan are copied."""
    capture: Capture | None
    """How steps of decodes are captured; None: they are not."""

    @classmethod
    def of(cls, model: Model) -> "Placement":
        """That of a model on its device."""
        if model.device.type == "cpu":
            return cls(1, False, None)
        return cls(2, True, cuda_capture(model.device) if is_capturable(model) else None)


def is_capturable(model: Model) -> bool:
    """Whether a step of decodes needs nothing of the host: attention is the kernels', and so is the
    choice of experts, for which torch would wait.
    """
    heads = takes_heads(model.precision.activations, model.config.head_dim)
    return isinstance(model.ops, CudaOps) and heads and not model.waits_for_experts


def cuda_capture(device: torch.device) -> Capture:
    """Captures CUDA graphs, whose memory is shared: none runs beside another."""
    pool = torch.cuda.graph_pool_handle()

    def capture(work: Callable[[], None]) -> Replay:
        graph = torch.cuda.CUDAGraph()
        # Other threads may do with the device what they like.
        with torch.cuda.device(device), torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            work()
        replay: Replay = graph.replay
        return replay

    return capture
