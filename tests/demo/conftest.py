"""The embedded demo model, loaded once."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

FOLDER = Path(__file__).resolve().parents[2] / "python/streamcore/demo_model"


@pytest.fixture(scope="session")
def folder() -> Path:
    """The folder that the wheel carries."""
    return FOLDER


@pytest.fixture(scope="session")
def config() -> dict[str, Any]:
    """The model's config.json."""
    return dict(json.loads((FOLDER / "config.json").read_text()))


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """The shipped tokenizer."""
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


@pytest.fixture(scope="session")
def reference() -> LlamaForCausalLM:
    """The shipped weights in `transformers`, float32."""
    model: LlamaForCausalLM = LlamaForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    return model
