"""The state that the runner keeps for each row between plans; a plan holds only what is new.

A sequence has its row while it runs. What a row held for the sequence before stays there until it
is written over, and no plan reads it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from streamcore import _core
from streamcore.kernels import KvGroup, LayerCache, PagedSequences
from streamcore.kernels.recorder import Recorder
from streamcore.runner.columns import DTYPES, Columns, PlanColumns
from streamcore.runner.penalties import CountInputs, PenaltyInputs, TokenCounts
from streamcore.runner.sampler import SamplingColumns

_BLOCK_UPDATES, _NEW_ROWS = range(2)


class RowState:
    """The blocks of each row's sequence, its newest token, how its tokens are drawn, and how often
    it has which.
    """

    def __init__(
        self, columns: Sequence[tuple[str, str, int]], vocab_size: int, device: torch.device
    ) -> None:
        """Allocates what plans in these columns may change, given as the engine lists them: name,
        type, length.
        """
        lengths = {name: length for name, _, length in columns}
        dtypes = {name: DTYPES[dtype] for name, dtype, _ in _core.row_parameters()}
        self.num_rows = num_rows = lengths["seq_rows"]
        self.max_biases = lengths["bias_samples"] // num_rows
        """Biases of one sample, at most."""
        shape = (num_rows + 1, lengths["block_places"] // num_rows)
        self.block_tables = torch.zeros(shape, dtype=torch.int32, device=device)
        """int32 [num_rows + 1, max_blocks_per_seq] on the device; the last row is that of padding
        """
        self.last_tokens = torch.zeros(num_rows, dtype=torch.int32, device=device)
        """int32 [num_rows] on the device, so that the next step can begin before the host has seen
        them"""
        self._counts = TokenCounts(num_rows, vocab_size, device)
        self._written: Recorder | None = None
        # Where tokens begin, of sequences that have one each.
        self._host_starts = torch.arange(num_rows + 1, dtype=torch.int32)
        self._starts = self._host_starts.to(device)

        def zeros(place: torch.device) -> dict[str, Tensor]:
            return {name: torch.zeros(num_rows, dtype=dtype, device=place) for name, dtype in dtypes.items()}

        self._is_apart = device.type != "cpu"
        self.host_parameters = zeros(torch.device("cpu"))
        """[num_rows] on the host, by the names of the columns"""
        self.parameters = zeros(device) if self._is_apart else self.host_parameters
        """The same on the device."""

    def write_down(self, columns: Columns) -> None:
        """Prepares for plans that are always in these columns, on the CPU: what they tell of rows
        is kept by one call into the extension. Operations of torch take far longer for as much
        behind a forward pass, which has filled the caches with weights.
        """
        self._written = recorder = Recorder()
        resident = columns.resident
        recorder.count = _BLOCK_UPDATES
        recorder.put(self.block_tables.view(-1), resident["block_places"], resident["block_ids"])
        recorder.count = _NEW_ROWS
        for name, by_row in self.parameters.items():
            recorder.put(by_row, resident["new_rows"], resident[name])

    def update(self, columns: PlanColumns) -> None:
        """Takes what is new in the rows out of a plan, and fills in the input tokens that only the
        rows have.
        """
        plan = columns.plan
        if plan.num_block_updates or plan.num_new_rows:
            self._keep_what_is_new(columns)
        if plan.num_device_tokens:
            tokens = self.last_tokens.index_select(0, columns["device_token_rows"])
            columns["token_ids"][columns["device_token_indices"]] = tokens
        if plan.num_counted_tokens:
            self._counts.count(columns["token_ids"], CountInputs.of(columns))

    def _keep_what_is_new(self, columns: PlanColumns) -> None:
        plan = columns.plan
        if self._written is not None:
            self._written.carry_out(plan.num_block_updates, plan.num_new_rows)
            return
        if plan.num_new_rows:
            self._set_parameters(columns)
        if plan.num_block_updates:
            self.block_tables.view(-1)[columns["block_places"]] = columns["block_ids"]

    def _set_parameters(self, columns: PlanColumns) -> None:
        rows = columns.on_host("new_rows")
        for name, by_row in self.host_parameters.items():
            by_row[rows] = columns.on_host(name)
        if self._is_apart:
            rows = columns["new_rows"]
            for name, by_row in self.parameters.items():
                by_row[rows] = columns[name]

    def keep(self, columns: PlanColumns, tokens: Tensor) -> None:
        """Keeps the tokens that a plan's samples have drawn, int32 [num_samples]."""
        self.last_tokens[columns["sample_rows"]] = tokens

    def penalise(self, logits: Tensor, columns: PlanColumns) -> None:
        """Applies the penalties of a plan's samples in place to float32 [num_samples,
        vocab_size].
        """
        self._counts.penalise(logits, PenaltyInputs.of(self.parameters, columns))

    def counted(self) -> tuple[Tensor, Tensor]:
        """How often each token is in a row's output, and whether it is in its sequence; see
        `TokenCounts.tables`.
        """
        return self._counts.tables()

    def sampling(self, columns: PlanColumns) -> tuple[SamplingColumns, SamplingColumns]:
        """How a plan's samples are drawn, on the host and on the device."""
        on_host = SamplingColumns.of(
            self.host_parameters, columns.on_host("sample_rows"), columns.on_host("uniform")
        )
        if not self._is_apart:
            return on_host, on_host
        return on_host, SamplingColumns.of(self.parameters, columns["sample_rows"], columns["uniform"])

    def kv(self, caches: Sequence[LayerCache], columns: PlanColumns) -> KvGroup:
        """A plan's places in the cache; the tokens whose logits are wanted, where that is some of
        them and none is scored.
        """
        plan = columns.plan
        sequences = PagedSequences(
            self.block_tables,
            columns["seq_rows"],
            columns["context_lens"],
            columns["query_starts"],
            host_context_lens=columns.on_host("context_lens"),
            host_query_starts=columns.on_host("query_starts"),
        )
        wanted = None
        if 0 < plan.num_samples < plan.num_tokens and not plan.num_scored_tokens:
            wanted = PagedSequences(
                self.block_tables,
                columns["sample_rows"],
                columns["sample_context_lens"],
                self._starts[: plan.num_samples + 1],
                host_context_lens=columns.on_host("sample_context_lens"),
                host_query_starts=self._host_starts[: plan.num_samples + 1],
            )
        return KvGroup(caches, columns["slot_mapping"], sequences, wanted)

    def whole_kv(self, caches: Sequence[LayerCache], columns: Columns) -> KvGroup:
        """The same of whole columns, of which each plan uses the beginning."""
        of = columns.resident
        sequences = PagedSequences(self.block_tables, of["seq_rows"], of["context_lens"], of["query_starts"])
        wanted = PagedSequences(self.block_tables, of["sample_rows"], of["sample_context_lens"], self._starts)
        return KvGroup(caches, of["slot_mapping"], sequences, wanted)
