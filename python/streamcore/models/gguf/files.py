"""Finds the files of a GGUF model, one or several, and reads their headers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamcore.errors import ModelLoadError
from streamcore.models.fields import shown
from streamcore.models.gguf.blocks import StoredTensor
from streamcore.models.gguf.container import MAGIC, Container, read_container
from streamcore.models.tensor_files import FileError

SUFFIX = ".gguf"
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)
_MAX_PARTS = 10_000
_TYPES = {
    "adapter": "is a LoRA adapter, not a model: merge it into its base model",
    "imatrix": "holds statistics for quantising, not a model",
    "mmproj": "is the part of a multimodal model that sees or hears: name the file of its language model",
    "vocab": "holds a vocabulary only",
}


@dataclass(frozen=True, slots=True)
class GgufFiles:
    """What all files of a model say together."""

    path: Path
    """The first of them."""
    metadata: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]


def is_gguf(path: Path) -> bool:
    """Whether a path is a GGUF file, by its name or its first bytes."""
    if not path.is_file():
        return False
    if path.suffix.lower() == SUFFIX:
        return True
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def name_of_file(name: str) -> str:
    """The name of a model by that of a file, or of one of its parts."""
    if part := _PART.fullmatch(name):
        return part[1]
    return name[: -len(SUFFIX)] if name.lower().endswith(SUFFIX) and len(name) > len(SUFFIX) else name


def read_files(path: Path) -> GgufFiles:
    """Reads the headers of the file and of its other parts.

    Raises:
        ModelLoadError: names all that is wrong with the files.
    """
    part = _PART.fullmatch(path.name)
    num_parts = int(part[3]) if part else 1
    if part is None or not 1 < num_parts <= _MAX_PARTS:
        paths = [path]
    else:
        paths = [
            path.with_name(f"{part[1]}-{number:05}-of-{part[3]}{path.suffix}")
            for number in range(1, num_parts + 1)
        ]
    containers, problems = [], []
    for each in paths:
        try:
            containers.append(read_container(each))
        except FileError as problem:
            problems.append(f"{each.name} {problem}")
    if problems:
        raise ModelLoadError(f"model {path} cannot be loaded: " + "; ".join(problems), _hint(problems))
    files = GgufFiles(paths[0], containers[0].metadata, _together(path, containers))
    _check_kind(path, files.metadata)
    return files


def _together(path: Path, containers: list[Container]) -> dict[str, StoredTensor]:
    """The tensors of all parts; each says how many there are, and which it is."""
    first = containers[0].metadata
    num_parts = first.get("split.count", len(containers))
    if num_parts not in (0, len(containers)):
        raise ModelLoadError(
            f"model {path} is one of {shown(num_parts)} parts, and is not called as such",
            "give all parts their names back: they end in -00001-of-00003.gguf",
        )
    tensors: dict[str, StoredTensor] = {}
    for index, container in enumerate(containers):
        number = container.metadata.get("split.no", index)
        if number != index:
            raise ModelLoadError(
                f"model {path} cannot be loaded: part {index + 1} is in truth part {shown(number)} of its model"
            )
        if twice := tensors.keys() & container.tensors.keys():
            raise ModelLoadError(f"model {path} cannot be loaded: two of its parts hold `{min(twice)}`")
        tensors |= container.tensors
    expected = first.get("split.tensors.count", len(tensors))
    if expected != len(tensors):
        raise ModelLoadError(
            f"model {path} cannot be loaded: its parts hold {len(tensors)} of {shown(expected)} tensors"
        )
    return tensors


def _check_kind(path: Path, metadata: Mapping[str, Any]) -> None:
    kind = metadata.get("general.type", "model")
    if kind != "model":
        what = _TYPES.get(kind) if isinstance(kind, str) else None
        raise ModelLoadError(f"model {path} {what or f'is a GGUF file of type {shown(kind)}, not a model'}")


def _hint(problems: list[str]) -> str | None:
    text = " ".join(problems)
    if "git-lfs pointer" in text:
        return "run `git lfs pull` in its folder"
    if "is missing" in text:
        return "a model in several files needs all of them in one folder"
    if "incomplete" in text or "is empty" in text:
        return "the download may not have finished: fetch the file again"
    if "big-endian" in text or "version" in text:
        return "take a file that a current llama.cpp has written"
    return None
