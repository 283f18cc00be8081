"""What the runner keeps of each row from one plan to the next; a plan tells only what is new.

A sequence has its row while it runs. What a row held for the sequence before stays there until it is written over,
and no plan reads it.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from streamcore.runner.penalties import PENALTIES
from streamcore.runner.sampler import SamplingColumns

DTYPES = {"int32": torch.int32, "int64": torch.int64, "float32": torch.float32}
"""Of the columns, by the names that the engine gives them."""

_PARAMETERS = (*SamplingColumns.parameters(), *PENALTIES)


class Rows:
    """The blocks of each row's sequence, and how its tokens are drawn."""

    block_tables: Tensor
    """int32 [num_rows + 1, max_blocks_per_seq] on the device; the last row is no one's, that of padding"""
    parameters: Mapping[str, Tensor]
    """[num_rows] on the device, by the names of the columns"""
    host_parameters: Mapping[str, Tensor]
    """The same on the host."""

    def __init__(self, columns: Sequence[tuple[str, str, int]], device: torch.device) -> None:
        """Allocates what plans in these columns may tell, given as the engine lists them: name, type, length."""
        lengths = {name: length for name, _, length in columns}
        self._dtypes = {name: DTYPES[dtype] for name, dtype, _ in columns if name in _PARAMETERS}
        self.num_rows = lengths["seq_rows"]
        shape = (self.num_rows + 1, lengths["block_places"] // self.num_rows)
        self.block_tables = torch.zeros(shape, dtype=torch.int32, device=device)
        host = torch.device("cpu")
        self.host_parameters = self._zeros(host)
        self.parameters = self.host_parameters if device == host else self._zeros(device)

    def _zeros(self, device: torch.device) -> dict[str, Tensor]:
        return {
            name: torch.zeros(self.num_rows, dtype=dtype, device=device)
            for name, dtype in self._dtypes.items()
        }

    def set_parameters(
        self, host: Mapping[str, Tensor], resident: Mapping[str, Tensor], num_rows: int
    ) -> None:
        """Takes the parameters of new rows from the columns of a plan, which are there on the host and on the device."""
        places = [(self.host_parameters, host)]
        if self.parameters is not self.host_parameters:
            places.append((self.parameters, resident))
        for parameters, columns in places:
            rows = columns["new_rows"][:num_rows]
            for name, by_row in parameters.items():
                by_row[rows] = columns[name][:num_rows]

    def set_blocks(self, places: Tensor, block_ids: Tensor) -> None:
        """Writes blocks, int32 [num_block_updates] on the device, to places in the flattened block tables, likewise."""
        self.block_tables.view(-1)[places] = block_ids
