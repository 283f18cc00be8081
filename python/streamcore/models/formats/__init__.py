"""The formats in which weights are published, a file for each: which tensors a layer has, and how
they become the matrix that it is computed with.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from streamcore.models.fields import Fields
from streamcore.models.formats import awq, compressed_tensors, fp8, gptq, mxfp4
from streamcore.models.formats.plain import PLAIN
from streamcore.models.formats.stored import Format

METHODS: Mapping[str, Callable[[Fields], Format]] = MappingProxyType(
    {
        "awq": awq.parse,
        "gptq": gptq.parse,
        "compressed-tensors": compressed_tensors.parse,
        "fp8": fp8.parse,
        "fbgemm_fp8": fp8.parse_rows,
        "modelopt": fp8.parse_modelopt,
        "mxfp4": mxfp4.parse,
    }
)
"""By `quant_method`: reads what config.json says of the format; problems are noted in the fields.
"""

PLACES = ("quantization_config", "compression_config", "quantization")
"""The objects that may say how weights are stored: of config.json, where compressed-tensors once
had one of its own, and of the file below.
"""
BESIDE = "hf_quant_config.json"
"""The file that says it for models of NVIDIA ModelOpt, beside a config.json that does not."""

HINT = (
    f"formats that can be read are {', '.join(METHODS)}: serve a folder in one of these, or the one with the "
    "unquantised weights that this one was made from"
)
_METHOD_NAMES = ("quant_method", "quantization_method")


def parse_format(raw: Mapping[str, Any], problems: list[str]) -> Format:
    """The format of a config.json; `PLAIN` where it names none, or one that cannot be read.

    Args:
        raw: the file; what a file beside it says is under that one's name.
        problems: gets what is wrong.
    """
    fields = Fields(raw.get(BESIDE) or raw, "", problems)
    for name in PLACES:
        if not fields.raw.get(name):
            continue
        said = fields.mapping(name)
        inside = fields.inside(name, said)
        if isinstance(said.get(PLACES[0]), dict):
            sparsity = {"sparsity_config": said.get("sparsity_config")}
            inside = inside.inside(PLACES[0], sparsity | said[PLACES[0]])
        return _parse(inside) if said else PLAIN
    return PLAIN


def _parse(fields: Fields) -> Format:
    name = next((name for name in _METHOD_NAMES if fields.raw.get(name) is not None), _METHOD_NAMES[0])
    default = "compressed-tensors" if "config_groups" in fields.raw else None
    default = "modelopt" if "quant_algo" in fields.raw else default
    if default is None and fields.raw.get(name) is None and "group_size" in fields.raw:
        fields.refuse(name, None, "folders of MLX, which have none, are not supported")
        return PLAIN
    num_problems = len(fields.problems)
    method = fields.choice(name, default, tuple(METHODS))
    return PLAIN if len(fields.problems) > num_problems else METHODS[method](fields)
