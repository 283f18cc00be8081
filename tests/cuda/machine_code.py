"""What the compiler reports of kernels, and their machine code as the disassembler shows it."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

_ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\S+)' for '(?P<target>\S+)'"
    r".*?(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
    r".*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)
_INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+ )?([A-Z][A-Z0-9_.]*)([^;]*);")


@dataclass(frozen=True)
class Entry:
    """What the compiler says of a kernel for a target."""

    kernel: str
    target: str
    registers: int
    shared_bytes: int
    spilled: int

    def __str__(self) -> str:
        return (
            f"{self.kernel} on {self.target}: {self.registers} registers, {self.shared_bytes} bytes shared, "
            f"{self.spilled} spilled"
        )


def entries(report: str) -> list[Entry]:
    """Every kernel of a report. Code for one generation alone is that generation's."""
    found = list(_ENTRY.finditer(report))
    names = readable([entry["name"] for entry in found])
    return [
        Entry(
            name,
            entry["target"].rstrip("a"),
            int(entry["registers"]),
            int(shared[1]) if (shared := re.search(r"(\d+) bytes smem", entry["rest"])) else 0,
            int(entry["stores"]) + int(entry["loads"]),
        )
        for name, entry in zip(names, found, strict=True)
    ]


def readable(names: list[str]) -> list[str]:
    """Names of kernels without their parameters."""
    said = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return [
        line.removeprefix("void ").replace("streamcore::", "").split("(")[0]
        for line in said.stdout.splitlines()
    ]


@dataclass(frozen=True)
class Instruction:
    """An instruction at its address."""

    address: int
    operation: str
    operands: str


@dataclass(frozen=True)
class Code:
    """The instructions of a kernel."""

    kernel: str
    instructions: list[Instruction]

    @cached_property
    def loops(self) -> list[list[str]]:
        """The operations of each loop, between a branch backwards and where it goes."""
        found = []
        for instruction in self.instructions:
            if not instruction.operation.startswith("BRA"):
                continue
            target = re.search(r"0x([0-9a-f]+)", instruction.operands)
            # A branch to itself fills the space behind the kernel.
            if target and (start := int(target[1], 16)) < instruction.address:
                inside = [i for i in self.instructions if start <= i.address <= instruction.address]
                found.append([i.operation for i in inside])
        return found

    def main_loop(self, mark: str) -> list[str]:
        """The operations of the smallest loop that has as many marked ones as any."""
        most = max(sum(name.startswith(mark) for name in loop) for loop in self.loops)
        return min(
            (loop for loop in self.loops if sum(name.startswith(mark) for name in loop) == most), key=len
        )

    @property
    def operations(self) -> list[str]:
        """All of them, without operands."""
        return [instruction.operation for instruction in self.instructions]

    def count(self, mark: str) -> int:
        """How many begin like this."""
        return sum(operation.startswith(mark) for operation in self.operations)


def cuobjdump() -> str | None:
    """Where the disassembler is; it needs `nvdisasm` beside it."""
    found = (Path(entry or ".") / "nvidia" / "cu13" / "bin" / "cuobjdump" for entry in sys.path)
    return shutil.which("cuobjdump") or next((str(path) for path in found if path.is_file()), None)


@cache
def codes_of(binary: Path, target: str) -> list[Code]:
    """The machine code of every kernel in an object or a cubin, for one target."""
    tool = cuobjdump()
    assert tool is not None
    command = [tool, "-sass", "-arch", target, str(binary)]
    # It looks for its helper on PATH.
    environment = {"PATH": f"{Path(tool).parent}:/usr/bin:/bin"}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    parts = said.stdout.split("Function : ")[1:]
    names = readable([part.split("\n")[0].strip() for part in parts])
    return [
        Code(
            name,
            [
                Instruction(int(at, 16), operation, operands)
                for at, operation, operands in _INSTRUCTION.findall(part)
            ],
        )
        for name, part in zip(names, parts, strict=True)
    ]
