"""Compiles kernels with a bug in them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tests.cuda.emulator import Emulator
from tests.cuda.host_library import host_library
from tests.cuda.toolkit import BUILD, CUDA


@dataclass(frozen=True)
class Plant:
    """A text of a header, what takes its place, and what is said then."""

    header: str
    text: str
    bug: str
    found: str


def planted_emulator(plant: Plant | None, launcher: str) -> Emulator:
    """The kernels of a launcher beside this file under the checker of memory, with a bug."""
    source = Path(__file__).parent / launcher
    if plant is None:
        return Emulator(host_library("check", ("SOUND=1",), (source,)))
    text = (CUDA / "kernels" / plant.header).read_text()
    assert text.count(plant.text) == 1, "the text that the bug replaces must be there, once"
    name = hashlib.sha256(f"{plant}{text}".encode()).hexdigest()[:16]
    folder = BUILD / "planted" / name
    folder.mkdir(parents=True, exist_ok=True)
    # Headers are looked for beside the one that includes them first.
    for header in (CUDA / "kernels").glob("*.cuh"):
        (folder / header.name).write_text(header.read_text())
    (folder / plant.header).write_text(text.replace(plant.text, plant.bug))
    copy = folder / source.name
    copy.write_text(source.read_text())
    return Emulator(host_library("check", (f"PLANTED_{name}=1",), (copy,)))
