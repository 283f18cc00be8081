"""Reads the header of a GGUF file: what it says about its model, and where the tensors lie.

    magic       "GGUF"
    version     u32
    numbers     u64 tensors, u64 entries
    entries     name, u32 type, value; the value of an array is u32 type, u64 length, values
    tensors     name, u32 number of sizes, u64 sizes (columns first), u32 type, u64 offset
    data        from the next multiple of `general.alignment` on

Numbers are little endian, a text is its length as u64 and its bytes.
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

PyPI's `gguf` reads headers too, but makes an array of each number and of each text, which takes
half a minute for a large vocabulary, and believes every length in a damaged file.
"""

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamcore.models.fields import shown
from streamcore.models.gguf.blocks import BLOCKS, StoredTensor, type_name
from streamcore.models.tensor_files import FileError, check_present

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT = 32
_MAX_DIMENSIONS = 4
_MAX_SIZE = (1 << 62) - 1
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_FLOAT, _TEXT, _ARRAY = 6, 8, 9
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Container:
    """The header of a file."""

    metadata: Mapping[str, Any]
    """Numbers, texts, truth values, and lists of these."""
    tensors: Mapping[str, StoredTensor]


def read_container(path: Path) -> Container:
    """Reads a header, and compares it with the size of the file.

    Raises:
        FileError: the file is missing, of another format, cut short or damaged.
    """
    check_present(path)
    with path.open("rb") as file:
        _check_start(file.read(8), path.stat().st_size)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                return _Header(path, data).read()
            except struct.error as error:
                raise FileError(f"is incomplete: {len(data)} bytes end within its header") from error
            except UnicodeDecodeError as error:
                raise FileError("has a damaged header: a text is not UTF-8") from error


def _check_start(start: bytes, size: int) -> None:
    if start[:4] != MAGIC:
        raise FileError(f"is no GGUF file: it begins with {shown(start[:4])}")
    if len(start) < 8:
        raise FileError(f"is incomplete: {size} bytes end within its header")
    (version,) = _U32.unpack_from(start, 4)
    if version & 0xFFFF == 0:
        raise FileError("is of a machine with big-endian numbers: convert it, or take one for usual machines")
    if version not in _VERSIONS:
        known = " and ".join(map(str, _VERSIONS))
        raise FileError(f"has version {version} of the format, supported are {known}")


class _Header:
    """A place in the header, which moves on with everything that is read."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._at = 8

    def read(self) -> Container:
        """Reads all of it."""
        num_tensors, num_entries = self._u64(), self._u64()
        metadata: dict[str, Any] = {}
        for _ in range(num_entries):
            name = self._text()
            if name in metadata:
                raise FileError(f"has a damaged header: {shown(name)} is there twice")
            metadata[name] = self._value(self._u32())
        entries = [self._tensor() for _ in range(num_tensors)]
        begin = self._data_begin(metadata)
        tensors: dict[str, StoredTensor] = {}
        for name, shape, kind, offset in entries:
            if name in tensors:
                raise FileError(f"has a damaged header: tensor {shown(name)} is there twice")
            tensors[name] = StoredTensor(self._path, name, kind, shape, begin + offset)
        self._check_end(tensors)
        return Container(metadata, tensors)

    def _tensor(self) -> tuple[str, tuple[int, ...], str, int]:
        name, num_dimensions = self._text(), self._u32()
        if num_dimensions > _MAX_DIMENSIONS:
            raise FileError(f"has a damaged header: {shown(name)} has {num_dimensions} dimensions")
        sizes = tuple(self._u64() for _ in range(num_dimensions))
        if not sizes or not 0 < math.prod(sizes) <= _MAX_SIZE:
            raise FileError(f"has a damaged header: {shown(name)} has the sizes {shown(list(sizes))}")
        kind, offset = type_name(self._u32()), self._u64()
        block = BLOCKS.get(kind, (1, 0))[0]
        if sizes[0] % block:
            raise FileError(
                f"has a damaged header: {shown(name)} has rows of {sizes[0]} numbers, "
                f"{kind} has blocks of {block}"
            )
        return name, sizes[::-1], kind, offset

    def _data_begin(self, metadata: Mapping[str, Any]) -> int:
        alignment = metadata.get("general.alignment", _ALIGNMENT)
        if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
            raise FileError(f"has a damaged header: `general.alignment` is {shown(alignment)}")
        return -(-self._at // alignment) * alignment

    def _check_end(self, tensors: Mapping[str, StoredTensor]) -> None:
        known = [tensor for tensor in tensors.values() if tensor.type in BLOCKS]
        end = max((tensor.begin + tensor.num_bytes for tensor in known), default=0)
        if end > len(self._data):
            raise FileError(f"is incomplete: {len(self._data)} of {end} bytes")

    def _u32(self) -> int:
        (value,) = _U32.unpack_from(self._data, self._at)
        self._at += 4
        return int(value)

    def _u64(self) -> int:
        (value,) = _U64.unpack_from(self._data, self._at)
        self._at += 8
        return int(value)

    def _text(self) -> str:
        return self._texts(1)[0]

    def _texts(self, count: int) -> list[str]:
        data, at, size, length_of = self._data, self._at, len(self._data), _U64.unpack_from
        texts: list[str] = []
        for _ in range(count):
            (length,) = length_of(data, at)
            end = at + 8 + length
            if end > size:
                raise FileError(f"is incomplete: {size} bytes end within its header")
            texts.append(data[at + 8 : end].decode())
            at = end
        self._at = at
        return texts

    def _value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self._text()
        if kind == _ARRAY:
            kind, count = self._u32(), self._u64()
            return self._texts(count) if kind == _TEXT else self._numbers(kind, count)
        (value,) = self._numbers(kind, 1)
        return _as_written(value) if kind == _FLOAT else value

    def _numbers(self, kind: int, count: int) -> list[Any]:
        letter = _NUMBERS.get(kind)
        if letter is None:
            raise FileError(f"has a damaged header: there is no type {kind}")
        if count > len(self._data):
            raise FileError(f"is incomplete: {len(self._data)} bytes end within its header")
        layout = struct.Struct(f"<{count}{letter}")
        values = layout.unpack_from(self._data, self._at)
        self._at += layout.size
        return list(values)


def _as_written(value: float) -> float:
    """The shortest number that is stored as this one: 1e-06, not 9.999999974752427e-07."""
    for digits in range(6, 9):
        shorter = float(f"{value:.{digits}g}")
        if math.isfinite(value) and struct.pack("<f", shorter) == struct.pack("<f", value):
            return shorter
    return value
