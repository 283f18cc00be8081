"""Small checkpoints of every family, made by `transformers`, with all parameters random.

As a model is made, its norms are 1 and its biases 0: one that is left out or swapped would pass.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tests.checkpoints import write_byte_tokenizer
from tests.references import TRANSFORMERS, skip_before
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

VOCAB = 256
SMALL: Mapping[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}


@dataclass(frozen=True)
class Variant:
    """A model of a family: the fields in which it differs from `SMALL`, None for those that it has
    not.
    """

    model_type: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    older: Mapping[str, Any] | None = None
    """Fields of a config.json as `transformers` 4 wrote it, in place of those that 5 writes; None
    there removes one.
    """
    is_wrapped: bool = False
    max_len: int = 256
    """Tokens of the longest sequence: where rope depends on it, as in `transformers` for a prompt
    of that length.
    """


def write_reference(folder: Path, variant: Variant, seed: int = 0) -> Any:
    """Writes a checkpoint, and returns the model of `transformers` that it was made from."""
    skip_before("transformers", TRANSFORMERS)
    small = {name: value for name, value in {**SMALL, **variant.fields}.items() if value is not None}
    if variant.is_wrapped:
        config = AutoConfig.for_model(variant.model_type, text_config=small, vision_config=_VISION)
        make: Any = AutoModelForImageTextToText
    else:
        config = AutoConfig.for_model(variant.model_type, **small)
        make = AutoModelForCausalLM
    model = make.from_config(config, dtype=torch.float32, attn_implementation="eager")
    _randomise(model, seed)
    model.eval().save_pretrained(folder)
    if variant.older is not None:
        path = folder / "config.json"
        raw = json.loads(path.read_text())
        if variant.is_wrapped:
            raw["text_config"] = _changed(raw["text_config"], variant.older)
        else:
            raw = _changed(raw, variant.older)
        path.write_text(json.dumps(raw))
    write_byte_tokenizer(folder)
    return model


def _changed(raw: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**raw, **fields}.items() if value is not None}


_VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def _randomise(model: Any, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensors = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in tensors.items():
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(_scaled(name, noise))


def _scaled(name: str, noise: Tensor) -> Tensor:
    if "norm" in name:
        return 1 + 0.3 * noise
    if noise.dim() < 2:
        return 0.5 * noise
    if "embed" in name:
        return noise
    # Stacked experts of gpt-oss are [experts, in, out], all other matrices [out, in].
    inputs = noise.shape[1]
    scale: float = 1.5 * inputs**-0.5
    return noise * scale


def reference_logits(model: Any, tokens: list[int]) -> Tensor:
    """float32 [tokens, vocab] of `transformers`."""
    with torch.inference_mode():
        logits: Tensor = model(torch.tensor([tokens])).logits[0].float()
    return logits
