"""Writes matrices in every format, from the descriptions of their makers, and says what they are
worth. It packs whole rows as one long integer, so that nothing is shared with what unpacks them.
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tests.checkpoints import write_weights
from torch import Tensor

Written = tuple[dict[str, Tensor], Tensor]
"""The tensors of a matrix by the ends of their names, and the matrix that they are worth."""
Writer = Callable[[int, int, torch.Generator], Written]


def pack(numbers: Tensor, bits: int) -> Tensor:
    """int32 [rows, words] from unsigned numbers [rows, count], from the lowest bits on."""
    num_words = -(-numbers.shape[1] * bits // 32)
    rows = []
    for row in numbers.tolist():
        stream = sum(number << (bits * place) for place, number in enumerate(row))
        rows.append(np.frombuffer(stream.to_bytes(4 * num_words, "little"), dtype="<i4"))
    return torch.tensor(np.stack(rows))


def integers(rows: int, columns: int, bits: int, generator: torch.Generator) -> Tensor:
    """Numbers of this many bits, all of them if there is room."""
    return torch.randint(0, 1 << bits, (rows, columns), generator=generator)


def scales(shape: tuple[int, ...], inputs: int, largest: float, generator: torch.Generator) -> Tensor:
    """Such as keep the size of activations, with mantissas that fill a float32."""
    return (0.5 + torch.rand(shape, generator=generator)) * 2.5 / (math.sqrt(inputs) * largest)


def group_of(inputs: int, group_size: int, order: bool, generator: torch.Generator) -> Tensor:
    """The group of each column."""
    groups = torch.arange(inputs) // (inputs if group_size < 0 else group_size)
    return groups[torch.randperm(inputs, generator=generator)] if order else groups


def fp8(block: tuple[int, int] | str, name: str = "weight_scale_inv", dtype: Any = torch.float32) -> Writer:
    """A scale for each block, each row, or all."""

    def write(rows: int, inputs: int, generator: torch.Generator) -> Written:
        weight = torch.randint(0, 256, (rows, inputs), generator=generator).to(torch.uint8)
        weight[(weight & 127) == 127] = 3
        weight = weight.view(torch.float8_e4m3fn)
        height, width = block if isinstance(block, tuple) else (1 if block == "row" else rows, inputs)
        shape = (-(-rows // height), -(-inputs // width))
        scale = scales(shape, inputs, 100.0, generator).to(dtype)
        wide = scale[torch.arange(rows)[:, None] // height, torch.arange(inputs)[None] // width]
        stored = scale.reshape(()) if block == "one" else scale
        return {"weight": weight, name: stored}, weight.float() * wide.float()

    return write


def fp8_exponents(dtype: Any) -> Writer:
    """Blocks whose scales are powers of two, of which the file has the exponents."""

    def write(rows: int, inputs: int, generator: torch.Generator) -> Written:
        tensors, _ = fp8((16, 16))(rows, inputs, generator)
        exponents = torch.randint(115, 122, tensors["weight_scale_inv"].shape, generator=generator)
        powers = 2.0 ** (exponents - 127).double()
        wide = powers.repeat_interleave(16, 0).repeat_interleave(16, 1)[:rows, :inputs]
        tensors["weight_scale_inv"] = exponents.to(torch.uint8).view(dtype)
        return tensors, (tensors["weight"].double() * wide).float()

    return write


def awq(group_size: int, dtype: Any = torch.float16) -> Writer:
    """Words of eight rows, in AWQ's order."""

    def write(rows: int, inputs: int, generator: torch.Generator) -> Written:
        groups = group_of(inputs, group_size, False, generator)
        num_groups = int(groups.max()) + 1
        numbers = integers(inputs, rows, 4, generator)
        zeros = integers(num_groups, rows, 4, generator)
        scale = scales((num_groups, rows), inputs, 8.0, generator).to(dtype)
        tensors = {
            "qweight": pack(_awq_order(numbers), 4),
            "qzeros": pack(_awq_order(zeros), 4),
            "scales": scale,
        }
        return tensors, ((numbers - zeros[groups]).to(dtype) * scale[groups]).t().contiguous()

    return write


def _awq_order(numbers: Tensor) -> Tensor:
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    return torch.stack([numbers[:, i // 8 * 8 + order[i % 8]] for i in range(numbers.shape[1])], dim=1)


def gptq(
    bits: int,
    group_size: int,
    *,
    version: int = 1,
    order: bool = False,
    bias: bool = False,
    dtype: Any = torch.float16,
) -> Writer:
    """Words of columns; the first version stores each zero less 1."""

    def write(rows: int, inputs: int, generator: torch.Generator) -> Written:
        groups = group_of(inputs, group_size, order, generator)
        num_groups = int(groups.max()) + 1
        numbers = integers(inputs, rows, bits, generator)
        stored = integers(num_groups, rows, bits, generator)
        zeros = stored + 1 if version == 1 else stored
        scale = scales((num_groups, rows), inputs, 2.0 ** (bits - 1), generator).to(dtype)
        tensors = {
            "qweight": pack(numbers.t(), bits).t().contiguous(),
            "qzeros": pack(stored, bits),
            "scales": scale,
            "g_idx": groups.int(),
        }
        if bias:
            tensors["bias"] = torch.zeros(rows, dtype=dtype)
        return tensors, ((numbers - zeros[groups]).to(dtype) * scale[groups]).t().contiguous()

    return write


def scaled(kind: str, strategy: str, *, symmetric: bool = True, dtype: Any = torch.bfloat16) -> Writer:
    """float-quantized and int-quantized of compressed-tensors; groups of 16, blocks of 16 by 32."""

    def write(rows: int, inputs: int, generator: torch.Generator) -> Written:
        if kind == "float":
            weight = fp8("one")(rows, inputs, generator)[0]["weight"]
        else:
            weight = (integers(rows, inputs, 8, generator) - 128).to(torch.int8)
        height, width = {
            "tensor": (rows, inputs),
            "channel": (1, inputs),
            "group": (1, 16),
            "block": (16, 32),
        }[strategy]
        shape = (-(-rows // height), -(-inputs // width))
        scale = scales(shape, inputs, 100.0, generator).to(dtype)
        zeros = torch.zeros(shape, dtype=torch.int64) if symmetric else integers(*shape, 8, generator) - 128
        row = torch.arange(rows)[:, None] // height
        column = torch.arange(inputs)[None] // width
        stored = scale.reshape(1) if strategy == "tensor" else scale
        tensors = {"weight": weight, "weight_scale": stored}
        if not symmetric:
            tensors["weight_zero_point"] = zeros.to(torch.int8).reshape(stored.shape)
        return tensors, (weight.to(dtype) - zeros.to(dtype)[row, column]) * scale[row, column]

    return write


def packed(
    bits: int, strategy: str, *, symmetric: bool = True, order: bool = False, dtype: Any = torch.bfloat16
) -> Writer:
    """pack-quantized of compressed-tensors; groups of 16."""

    def write(rows: int, inputs: int, generator: torch.Generator) -> Written:
        groups = group_of(inputs, 16 if strategy == "group" else -1, order, generator)
        num_groups, half = int(groups.max()) + 1, 1 << (bits - 1)
        numbers = integers(rows, inputs, bits, generator)
        shape = (1, 1) if strategy == "tensor" else (rows, num_groups)
        zeros = torch.full(shape, half) if symmetric else integers(*shape, bits, generator)
        scale = scales(shape, inputs, float(half), generator).to(dtype)
        tensors = {
            "weight_packed": pack(numbers, bits),
            "weight_scale": scale.reshape(1) if strategy == "tensor" else scale,
            "weight_shape": torch.tensor([rows, inputs]),
        }
        if not symmetric:
            tensors["weight_zero_point"] = pack(zeros.t(), bits).t().contiguous()
        if order:
            tensors["weight_g_idx"] = groups.int()
        return tensors, (numbers - zeros[:, groups]).to(dtype) * scale[:, groups]

    return write


def mxfp4(rows: int, inputs: int, generator: torch.Generator) -> Written:
    """Of one expert: blocks of 32 numbers of 4 bits, and the exponents of their scales."""
    worth = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    numbers = integers(rows, inputs, 4, generator)
    exponents = torch.randint(120, 126, (rows, inputs // 32), generator=generator)
    values = torch.tensor([*worth, *(-value for value in worth)], dtype=torch.float64)[numbers]
    weight = values * 2.0 ** (exponents - 127).double().repeat_interleave(32, 1)
    pairs = numbers[:, 0::2] + 16 * numbers[:, 1::2]
    blocks = pairs.to(torch.uint8).reshape(rows, inputs // 32, 16)
    return {"blocks": blocks, "scales": exponents.to(torch.uint8)}, weight.bfloat16()


@dataclass(frozen=True)
class Quantised:
    """A format as config.json names it, and how its matrices are written."""

    config: Mapping[str, Any]
    write: Writer
    others: Mapping[str, Tensor] = field(default_factory=dict)
    """What a layer has besides, that is not needed."""
    is_linear: bool = True
    """Whether linear layers have it, or stacks of experts."""


def compressed(weights: Mapping[str, Any], form: str, **fields: Any) -> dict[str, Any]:
    """The config of compressed-tensors with one group."""
    group = {"targets": ["Linear"], "weights": dict(weights), "input_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
        **fields,
    }


def _is_projection(name: str) -> bool:
    """Of the language model."""
    others = ("vision", "model.vision", "multi_modal", "model.multi_modal")
    return name.endswith("proj.weight") and not name.startswith(others)


def quantise(plain: Path, folder: Path, form: Quantised, *, num_shards: int = 1, seed: int = 0) -> Path:
    """Writes two folders from one: `folder / "quantised"`, whose projections are random numbers in
    a format, and `folder / "plain"`, where they are what these are worth.
    """
    generator = torch.Generator().manual_seed(seed)
    weights: dict[str, Tensor] = {}
    for file in sorted(plain.glob("*.safetensors")):
        weights |= load_file(file)
    stored, worth = dict(weights), dict(weights)
    for name, weight in weights.items():
        if (
            form.is_linear
            and name.endswith("proj.weight")
            and not name.startswith(("vision", "model.vision", "multi_modal"))
        ):
            layer = name.removesuffix("weight")
            del stored[name]
            tensors, worth[name] = form.write(weight.shape[0], weight.shape[1], generator)
            named = {layer + end: tensor.clone() for end, tensor in {**tensors, **form.others}.items()}
            stored = named | stored
        elif name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            del stored[name]
            if form.is_linear:
                stored |= _apart(name, stored.pop(f"{name}_bias"), form, worth, generator)
                continue
            experts = [form.write(weight.shape[2], weight.shape[1], generator) for _ in weight]
            worth[name] = torch.stack([matrix.t() for _, matrix in experts])
            for end in experts[0][0]:
                stored[f"{name}_{end}"] = torch.stack([tensors[end] for tensors, _ in experts])
    for kind, tensors in (("quantised", stored), ("plain", worth)):
        target = folder / kind
        shutil.copytree(plain, target, ignore=shutil.ignore_patterns("*.safetensors*"))
        write_weights(target, {name: tensor.contiguous() for name, tensor in tensors.items()}, num_shards)
    path = folder / "quantised" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": form.config}))
    return folder


def _apart(
    stack: str, biases: Tensor, form: Quantised, worth: dict[str, Tensor], generator: torch.Generator
) -> dict[str, Tensor]:
    """The experts of a stack one by one, as programs leave them that quantise linear layers; what
    they are worth becomes the stack again.
    """
    parent, _, last = stack.rpartition(".")
    names = ["gate_proj", "up_proj"] if last == "gate_up_proj" else [last]
    stored: dict[str, Tensor] = {}
    for number, bias in enumerate(biases):
        for place, name in enumerate(names):
            rows = slice(place, None, len(names))
            tensors, matrix = form.write(len(bias[rows]), worth[stack].shape[1], generator)
            layer = f"{parent}.{number}.{name}."
            stored |= {layer + end: tensor.clone() for end, tensor in {**tensors, **form.others}.items()}
            stored[layer + "bias"] = bias[rows].clone()
            worth[stack] = worth[stack].to(matrix.dtype)
            worth[stack][number, :, rows] = matrix.t()
    return stored
