"""Reads what safetensors files say about themselves, without their data.

    8 bytes     length of the header, little endian
    header      JSON: name → {"dtype", "shape", "data_offsets": [begin, end]}, perhaps
                "__metadata__"
    data        the tensors, one after another

A download that broke off is shorter than its header says. https://huggingface.co/docs/safetensors
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from streamcore.models.fields import parse_json, shown

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")
"""The dtypes that weights may have which are not quantised."""
DTYPE_BYTES: Mapping[str, int] = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2},
    **{"F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1},
    **{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1},
}
"""Bytes of an element."""

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_HEADER_BYTES = 100 << 20
# Elements or bytes that no file holds.
_MAX_SIZE = (1 << 62) - 1


class FileError(Exception):
    """A file cannot be used; the message follows the file's name."""


Kept: TypeAlias = Literal["integers", "fp8"]
"""Numbers of a matrix that are multiplied with as they are, where the device has kernels for it."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a header says about one tensor."""

    path: Path
    name: str
    """In its file."""
    dtype: str
    shape: tuple[int, ...]

    @property
    def num_elements(self) -> int:
        """Product of the shape."""
        return math.prod(self.shape)

    @property
    def kept(self) -> Kept | None:
        """Its numbers, if some kernel multiplies with them as they are in the file."""
        return None

    @property
    def num_bytes(self) -> int:
        """Bytes in the file; 0 for a dtype that is not known."""
        return DTYPE_BYTES.get(self.dtype, 0) * self.num_elements


def check_present(path: Path) -> None:
    """Checks that a file is there and is itself, not a git-lfs pointer to it.

    Raises:
        FileError: it is not.
    """
    if not path.is_file():
        raise FileError("is a broken link" if path.is_symlink() else "is missing")
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror}") from error
    if not start:
        raise FileError("is empty")
    if start == _LFS_POINTER:
        raise FileError("is a git-lfs pointer, not the file itself")


def read_json_object(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        FileError: the file is missing or holds something else.
    """
    check_present(path)
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise FileError(f"is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise FileError("is not a JSON object")
    return value


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Reads the header of a safetensors file and compares it with the size of the file.

    Raises:
        FileError: the file is missing, cut short or damaged.
    """
    check_present(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        if size < 8 or header_bytes > size - 8:
            raise FileError(f"is incomplete: {size} bytes end within its header")
        if header_bytes > _MAX_HEADER_BYTES:
            raise FileError(f"has a header of {header_bytes} bytes, limit is {_MAX_HEADER_BYTES}")
        header = file.read(header_bytes)
    try:
        entries = parse_json(header)
        entries.pop("__metadata__", None)
        tensors = {name: _parse_entry(path, name, e) for name, e in entries.items()}
        spans = {name: _parse_span(name, e) for name, e in entries.items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise FileError("has a damaged header") from error
    expected = 8 + header_bytes + max((end for _, end in spans.values()), default=0)
    if size != expected:
        kind = "is incomplete" if size < expected else "is too long"
        raise FileError(f"{kind}: {size} of {expected} bytes")
    _check_spans(tensors, spans)
    return tensors


def _parse_entry(path: Path, name: str, entry: Mapping[str, Any]) -> TensorInfo:
    shape = tuple(_parse_size(name, size) for size in entry["shape"])
    if math.prod(shape) > _MAX_SIZE:
        raise FileError(f"has a damaged header: {shown(name)} has the shape {shown(list(shape))}")
    return TensorInfo(path, name, str(entry["dtype"]), shape)


def _parse_span(name: str, entry: Mapping[str, Any]) -> tuple[int, int]:
    return _parse_size(name, entry["data_offsets"][0]), _parse_size(name, entry["data_offsets"][1])


def _parse_size(name: str, value: object) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_SIZE:
        raise FileError(f"has a damaged header: {shown(name)} has the size {shown(value)}")
    return value


def weight_files(folder: Path) -> dict[Path, set[str]]:
    """The safetensors files of a model folder, each with the names of the tensors that the index
    expects in it (none without an index).

    Raises:
        FileError: there are none, or the index cannot be used; the message is a whole sentence.
    """
    if (folder / SINGLE).exists() or (folder / SINGLE).is_symlink():
        return {folder / SINGLE: set()}
    names = sorted(path.name for path in folder.iterdir())
    if INDEX not in names:
        raise FileError(no_weights(names))
    try:
        weight_map = read_json_object(folder / INDEX).get("weight_map")
    except FileError as problem:
        raise FileError(f"{INDEX} {problem}") from problem
    if not isinstance(weight_map, dict) or not weight_map:
        raise FileError(f"{INDEX} has no `weight_map`")
    files: dict[Path, set[str]] = {}
    for tensor, name in weight_map.items():
        # A name with a path in it could point anywhere on the machine.
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise FileError(
                f"{INDEX} places `{tensor}` in {name!r}, which is not the name of a .safetensors file"
            )
        files.setdefault(folder / name, set()).add(tensor)
    return files


def no_weights(names: Iterable[str]) -> str:
    """Says why a folder with these files has no weights that can be loaded."""
    names = list(names)
    if any(name.endswith(".safetensors") for name in names):
        return f"{INDEX} is missing, and there is no {SINGLE}"
    others = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".gguf", ".ckpt"))]
    if others:
        return f"{SINGLE} is missing: only .safetensors files are ever loaded, there is only {others[0]}"
    return f"{SINGLE} is missing"


def _check_spans(tensors: Mapping[str, TensorInfo], spans: Mapping[str, tuple[int, int]]) -> None:
    for name, info in tensors.items():
        begin, end = spans[name]
        if info.dtype in DTYPE_BYTES and (begin < 0 or end - begin != info.num_bytes):
            raise FileError(
                f"has a damaged header: `{name}` spans {end - begin} bytes, its shape needs {info.num_bytes}"
            )
