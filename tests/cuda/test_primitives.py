"""What kernels are made of: on the emulator it is what the expectations say, and nothing that kernels use is left out."""

import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tests.cuda.emulated import EmulatedOps
from tests.cuda.emulator import Emulator, aligned
from tests.cuda.host_library import Form, host_library, included, missing
from tests.cuda.toolkit import CUDA
from tests.gpu.primitives import PRIMITIVES, Primitive

needs_emulator = pytest.mark.skipif(missing() is not None, reason=str(missing()))
by_name = pytest.mark.parametrize("primitive", PRIMITIVES, ids=lambda primitive: primitive.name)
CPU = torch.device("cpu")

ASSEMBLER = re.compile(r'\basm(?: volatile)?\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)')
INTRINSIC = re.compile(
    r"\b(__[a-z]\w+|atomic[A-Z]\w*|r?sqrtf|(?:exp|log)[12]?0?f|(?:sin|cos|tan|tanh|erf|pow|fma|fmax|fmin)f) *\("
)
FUNCTION = re.compile(
    r"^[^\S\n]*(?:static |template [^\n]*\n)*__(?:device|global)__ [^;{=]*?\b(\w+)(?:<\w+>)?\([^;{]*\{",
    re.MULTILINE,
)


@cache
def emulated(form: Form) -> EmulatedOps:
    """The kernels for the host."""
    return EmulatedOps(Emulator(host_library(form)))


@needs_emulator
@by_name
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_emulator_does_what_is_expected(primitive: Primitive, seed: int) -> None:
    """A twin that is wrong makes wrong kernels right here, and a device is held to the same expectations."""
    ops, inputs = emulated("fast"), primitive.inputs()
    ops.emulator.begin(seed=seed)
    assert primitive.differences(inputs, primitive.launched(ops, CPU, inputs)) == []


@needs_emulator
@by_name
def test_the_checker_finds_nothing(primitive: Primitive) -> None:
    """A primitive with a race of its own would say now this, now that on a device."""
    ops, inputs = emulated("check"), aligned(primitive.inputs()[: 128 * 4])
    output, memory = (
        aligned(torch.zeros(len(inputs), primitive.words_out).int()),
        aligned(torch.zeros(len(inputs) + 1).int()),
    )
    ops.emulator.begin(check=True, seed=1)
    for name, tensor in (("the input", inputs), ("the memory", memory)):
        ops.emulator.register(tensor.data_ptr(), tensor.nbytes, name, is_written=True)
    ops.emulator.register(output.data_ptr(), output.nbytes, "the output", is_written=False)
    primitive.launch(ops, output, inputs, memory)


@needs_emulator
@by_name
def test_a_wrong_bit_is_seen(primitive: Primitive) -> None:
    """An expectation that takes everything says of a broken device that it is sound."""
    ops, inputs = emulated("fast"), primitive.inputs()
    ops.emulator.begin()
    output = primitive.launched(ops, CPU, inputs)
    for word in range(primitive.words_out):
        wrong = output.clone()
        # The sign of a number that is neither tiny nor NaN, if any, in a row but the first.
        size = output[1:, word] & 0x7FFFFFFF
        ordinary = (size > 0x30000000) & (size < 0x7F000000)
        row = int((ordinary if ordinary.any() else size != 0).nonzero()[0]) + 1
        wrong[row, word] ^= -0x7FFF8000
        (said,) = primitive.differences(inputs, wrong)
        assert said.startswith(f"word {word} is wrong in 1 of {len(inputs)} rows: row {row}, ")


def test_primitives_have_the_numbers_of_the_header() -> None:
    """With another order each would be compared with what its neighbour should do."""
    text = re.sub(r"/\*.*?\*/", "", (CUDA / "include" / "streamcore_kernels.h").read_text(), flags=re.DOTALL)
    (listed,) = re.findall(r"typedef enum \{([^}]*)\} streamcore_primitive;", text)
    assert re.findall(r"STREAMCORE_(\w+)", listed) == [primitive.name for primitive in PRIMITIVES]


def sources() -> list[Path]:
    """What is compiled for a device, but for the primitives themselves."""
    found = [
        path for folder in ("include", "kernels", "launch") for path in sorted((CUDA / folder).glob("*.cu*"))
    ]
    return [path for path in found if path.stem != "primitives"]


def functions() -> dict[str, str]:
    """The bodies of the functions in all headers by their names; overloads are one."""
    bodies: dict[str, str] = {}
    for path in sources():
        text = without_comments(path)
        starts = [(found.start(), found[1]) for found in FUNCTION.finditer(text)]
        for (start, name), (end, _) in pairwise([*starts, (len(text), "")]):
            bodies[name] = bodies.get(name, "") + text[start:end]
    return bodies


def without_comments(path: Path) -> str:
    """The text of a source."""
    return re.sub(r"//[^\n]*", "", path.read_text())


def instructions(text: str) -> set[str]:
    """The instructions of all statements of assembler in a text."""
    found = set()
    for literal in ASSEMBLER.findall(text):
        whole = re.sub(r'"\s*"', "", literal).strip().strip('"')
        for statement in re.split(r";|\\n", whole):
            words = statement.strip("{} ").split(maxsplit=1)
            if words and not words[0].startswith("."):
                found.add(words[0])
    return found


def used(text: str) -> set[str]:
    """The instructions and intrinsics in a text."""
    return {*instructions(text), *INTRINSIC.findall(text)}


def reached() -> set[str]:
    """What the primitives' kernel uses, itself and through functions of other headers."""
    bodies, text = functions(), without_comments(CUDA / "kernels" / "primitives.cuh")
    waiting, seen = [text], {""}
    while waiting:
        text = waiting.pop()
        seen |= used(text)
        for name in set(re.findall(r"\b(\w+)(?:<[^;<>()]*>)?\(", text)) & bodies.keys():
            waiting.append(bodies.pop(name))
    return seen


def test_all_that_kernels_are_made_of_is_tried() -> None:
    """An instruction that is not among the primitives is first tried by a user's request."""
    wanted = {name for path in sources() for name in used(without_comments(path))}
    # That the sources were read as they are written.
    assert {
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
        "griddepcontrol.wait",
        "__shfl_xor_sync",
        "atomicAdd",
    } <= wanted
    assert wanted - reached() == set()


def test_every_statement_of_assembler_is_read() -> None:
    """One that is written in another way would be left out of all of this."""
    for path in sources():
        text = without_comments(path)
        assert len(ASSEMBLER.findall(text)) == len(re.findall(r"\basm\b", text)), path.name
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*(\.\w+|::\w+)*", name) for name in instructions(text)), (
            path.name
        )


def test_the_kernel_of_primitives_is_in_what_is_compiled() -> None:
    """Headers that it does not include are not tried."""
    names = {path.name for path in included(CUDA / "launch" / "primitives.cu")}
    assert {"tensor_core.cuh", "e4m3.cuh", "launch_order.cuh"} <= names
