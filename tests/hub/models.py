"""Repositories as they are published: files by their names."""

import json

MIB = 1 << 20
CHUNK = 10 * MIB
"""How many bytes `huggingface_hub` collects before it writes them."""


def weights(num_bytes: int, seed: int = 0) -> bytes:
    """Content that differs from place to place."""
    block = b"".join((seed + number).to_bytes(4, "little") for number in range(min(num_bytes, MIB) // 4 + 1))
    return (block * (num_bytes // len(block) + 1))[:num_bytes]


SMALL: dict[str, bytes] = {
    "config.json": b'{"model_type": "llama"}',
    "generation_config.json": b"{}",
    "tokenizer.json": b'{"version": "1.0"}',
    "tokenizer_config.json": b'{"a": 1}',
    "chat_template.jinja": b"{{ messages }}",
}
MODEL: dict[str, bytes] = {**SMALL, "model.safetensors": weights(100_000)}
LARGE: dict[str, bytes] = {**SMALL, "model.safetensors": weights(24 * MIB)}


def split(*names: str) -> dict[str, bytes]:
    """A model whose weights are in several files."""
    index = {"weight_map": {f"layer.{number}": name for number, name in enumerate(names)}}
    files = {name: weights(50_000, seed) for seed, name in enumerate(names)}
    return {**SMALL, **files, "model.safetensors.index.json": json.dumps(index).encode()}
