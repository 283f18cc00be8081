"""Reads tensors out of files."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from safetensors import safe_open
from torch import Tensor

from streamcore.kernels.grouped import Grouped
from streamcore.models.tensor_files import TensorInfo


class TensorSource(Protocol):
    """The open files of a folder."""

    def __enter__(self) -> "TensorSource":
        """Nothing is read yet."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes all files."""

    def read(self, info: TensorInfo) -> Tensor:
        """A tensor of the folder in memory that may be the file's: it is copied before the source
        is closed.
        """

    def grouped(self, info: TensorInfo) -> Grouped | None:
        """The numbers of a matrix in groups, where the files hold such; else None."""


class SafetensorsSource:
    """safetensors files, mapped into memory; each is opened once."""

    def __init__(self) -> None:
        self._files = ExitStack()
        self._opened: dict[Path, Any] = {}

    def __enter__(self) -> "SafetensorsSource":
        """See `TensorSource`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `TensorSource`."""
        self._files.close()

    def read(self, info: TensorInfo) -> Tensor:
        """See `TensorSource`."""
        file = self._opened.get(info.path)
        if file is None:
            opened = safe_open(str(info.path), framework="pt", device="cpu")
            file = self._opened[info.path] = self._files.enter_context(opened)
        tensor: Tensor = file.get_tensor(info.name)
        return tensor

    def grouped(self, info: TensorInfo) -> Grouped | None:
        """See `TensorSource`; formats put such matrices into several tensors."""
        return None
