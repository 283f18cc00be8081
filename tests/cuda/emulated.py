"""The product's `CudaOps`, whose launches run on the emulator: tensors lie on the CPU."""

import ctypes
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import torch
from tests.cuda.emulator import Emulator, extents
from torch import Tensor

from streamcore.kernels import LayerCache, LinearWeight, PagedSequences
from streamcore.kernels.library import Operation
from streamcore.kernels.native import CudaOps
from streamcore.operands import Expert, ExpertRule

MULTIPROCESSORS = 4
"""Of the emulated device: few, so that contexts are split in some tests and not in others."""


class EmulatedOps(CudaOps):
    """The CUDA operations on a CPU."""

    def __init__(self, emulator: Emulator, num_multiprocessors: int = MULTIPROCESSORS) -> None:
        super().__init__(torch.device("cpu"), num_multiprocessors)
        self.emulator = emulator
        self.recorded: list[Callable[[], None]] | None = None
        """Where calls are written down, if they are."""

    def run(self, operation: Operation, num_rows: int, arguments: ctypes.Structure) -> None:
        """See `NativeOps`."""
        launch(self.emulator, operation, arguments)
        if self.recorded is not None:
            copy = type(arguments).from_buffer_copy(arguments)
            self.recorded.append(partial(launch, self.emulator, operation, copy))


def launch(emulator: Emulator, operation: Operation, arguments: ctypes.Structure) -> None:
    """Carries an operation out; what the checker finds is a failed assertion."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", operation.name).lower()
    status = emulator.call(f"streamcore_cuda_{name}", arguments)
    found = emulator.reports()
    assert not found, "\n".join(found)
    assert status == 0, f"{operation.name}: cudaError_t {status}"


class CheckedMemory(EmulatedOps):
    """The same under the checker of memory: each operation may access its own tensors, and reads no
    output before it was written.
    """

    seed = 0
    profiles = False

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        return method if name not in _OPERATIONS else self._registering(method)

    def _registering(self, method: Callable[..., None]) -> Callable[..., None]:
        def registered(*arguments: Any) -> None:
            emulator = self.emulator
            emulator.begin(check=True, profile=self.profiles, seed=self.seed)
            weights = list(_weights_of(arguments))
            for address, num_bytes in extents(weights):
                emulator.register(address, num_bytes, "a weight", is_written=True, is_constant=True)
            outputs, inputs = _split_outputs(method.__name__, arguments)
            for address, num_bytes in extents(outputs):
                emulator.register(address, num_bytes, "the output", is_written=False)
            for address, num_bytes in extents(inputs):
                emulator.register(address, num_bytes, "an input", is_written=True)
            for part in self._splits._taken()[:2]:
                emulator.register(part.data_ptr(), part.nbytes, "the parts", is_written=False)
            tickets = self._splits._taken()[2]
            emulator.register(tickets.data_ptr(), tickets.nbytes, "the tickets", is_written=True)
            if method.__name__ == "experts":
                self._register_memory_of_experts(*arguments)
            self._forget_unused(arguments)
            method(*arguments)
            assert not tickets.any(), "tickets stay taken"

        return registered

    def _register_memory_of_experts(
        self, out: Tensor, x: Tensor, scores: Tensor, experts: Sequence[Expert], rule: ExpertRule
    ) -> None:
        addresses = self.addresses(experts)
        self.emulator.register(addresses.data_ptr(), addresses.nbytes, "the addresses", is_written=True)
        memory = self._expert_memory.rows(x, experts[0].down.num_inputs, len(experts), rule.num_used)
        for name, tensor in memory.items():
            self.emulator.register(tensor.data_ptr(), tensor.nbytes, name, is_written=False)

    def _forget_unused(self, arguments: tuple[Any, ...]) -> None:
        """Block tables and slots beyond a context, which hold nothing."""
        caches = [cache for cache in arguments if isinstance(cache, LayerCache)]
        for sequences in arguments:
            if not isinstance(sequences, PagedSequences):
                continue
            for row in sequences.block_tables:
                unused = (row < 0).nonzero().flatten().tolist()
                if unused:
                    self.emulator.forget(row[unused[0] :])
            for cache in caches:
                for block, used in enumerate(_slots_used(sequences, *cache.keys.shape[:2])):
                    for tensor in (cache.keys, cache.values):
                        if used < tensor.shape[1]:
                            self.emulator.forget(tensor[block, used:])


def _slots_used(sequences: PagedSequences, num_blocks: int, block_size: int) -> list[int]:
    """How many slots of each block hold a token of one of these."""
    used = [0] * num_blocks
    for row, context_len in zip(sequences.rows.tolist(), sequences.context_lens.tolist(), strict=True):
        table = sequences.block_tables[row].tolist()
        for place in range(-(-context_len // block_size)):
            in_block = min(block_size, context_len - place * block_size)
            used[table[place]] = max(used[table[place]], in_block)
    return used


_OPERATIONS = {"embed", "take", "add", "scale", "rms_norm", "add_rms_norm", "gated"} | {
    "rope_and_store_kv",
    "paged_attention",
    "linear",
    "gated_linear",
    "experts",
}


def _split_outputs(name: str, arguments: tuple[Any, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors that an operation only writes, and the others."""
    tensors = list(_tensors_of(arguments))
    only_writes = name not in ("add", "scale", "rope_and_store_kv")
    outputs = tensors[:1] if only_writes else []
    if outputs and any(other.data_ptr() == outputs[0].data_ptr() for other in tensors[1:]):
        outputs = []
    return outputs, tensors[len(outputs) :]


def _tensors_of(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, LinearWeight):
        return
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors_of(part)
    elif isinstance(value, PagedSequences):
        yield from (value.block_tables, value.rows, value.context_lens, value.query_starts)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors_of(getattr(value, field.name))


def _weights_of(value: Any) -> Iterator[Tensor]:
    """What no launch writes."""
    if isinstance(value, LinearWeight):
        yield value.data
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _weights_of(part)
    elif isinstance(value, Expert):
        yield from (value.gate_up.data, value.down.data)
