"""The structs of the C header against those that the extension lists."""

import ctypes
import re

import pytest
from tests.cuda.toolkit import CUDA

from streamcore.kernels import library

_C_TYPES = {"int64_t": "usize", "int32_t": "u32", "float": "f32"}


def structs_of_header() -> dict[str, list[tuple[str, str]]]:
    """By the name in the extension: the fields, with the types that they have there."""
    text = (CUDA / "include" / "streamcore_kernels.h").read_text()
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    found = {}
    for body, name in re.findall(r"typedef struct \{(.*?)\} streamcore_(\w+);", text, re.DOTALL):
        fields = [
            (match[2], "usize" if "*" in match[1] else _C_TYPES[match[1].strip()])
            for match in re.finditer(r"([\w ]+[ *]+)(\w+);", body)
        ]
        found[name.title().replace("_", "")] = fields
    return found


def test_the_form_of_a_weight_is_one() -> None:
    """The CPU's kernels and a device's read the same struct: a field between is another scale for each weight."""
    if library.FORM_STRUCT is None:
        pytest.skip("the extension is not built")
    text = (CUDA / "include" / "streamcore_kernels.h").read_text()
    body = re.search(r"struct streamcore_form \{(.*?)\};", text, re.DOTALL)
    assert body is not None
    fields = re.findall(r"^ +(.+?)(\w+);", body[1], re.MULTILINE)
    kinds = {name: ctypes.c_size_t if "*" in kind else ctypes.c_uint32 for kind, name in fields}
    assert [(name, kind) for name, kind, *_ in library.FORM_STRUCT._fields_] == list(kinds.items())


def test_header_and_extension_agree() -> None:
    """A field that only one of them has moves every address behind it to another tensor's."""
    if library.compiled is None:
        pytest.skip("the extension is not built")
    listed = {name: fields for name, fields, _ in library.compiled.cuda_operations()}
    assert listed == structs_of_header()
