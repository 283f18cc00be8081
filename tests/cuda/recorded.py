"""What a graph of a device keeps of a step, on the emulator: the calls themselves, with the addresses and numbers that they had.

A step that is run again in Python may look at what has changed meanwhile. A graph cannot, and neither can this list: structs of
arguments are copied when the step is recorded, and torch's operations write to the memory that they had then.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tests.cuda.emulated import EmulatedOps
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Calls = list[Callable[[], None]]


class RecordedSteps:
    """Records steps of these operations: a `Capture`."""

    def __init__(self, ops: EmulatedOps) -> None:
        self._ops = ops
        self.num_calls = 0
        """Of all steps that were recorded, those of the kernels."""

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        """Runs a step and writes its calls down; returns what makes the same calls again."""
        calls: Calls = []
        self._ops.recorded = calls
        with _Torch(calls):
            work()
        self._ops.recorded = None
        self.num_calls += sum(isinstance(call, partial) for call in calls)

        def replay() -> None:
            for call in calls:
                call()

        return replay


class _Torch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down what torch computes meanwhile."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls = calls

    def __torch_dispatch__(
        self, function: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs an operation; again, its results go where they are now."""
        options = dict(kwargs or {})
        results = function(*args, **options)
        tensors = [leaf for leaf in tree_leaves(results) if isinstance(leaf, Tensor)]

        def again() -> None:
            anew = function(*args, **options)
            for before, now in zip(tensors, tree_leaves(anew), strict=True):
                # A view, or what was written in place, is there already.
                if before.data_ptr() != now.data_ptr():
                    before.copy_(now)

        self._calls.append(again)
        return results
