"""Trained models against `transformers`: `make test-models MODELS=FOLDER`, where FOLDER has a
folder for each model.

Weights of others are not in this repository. Trained ones have outliers that random ones lack.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.engine_loop import EngineLoop, load
from transformers import AutoModelForCausalLM, AutoTokenizer

_MODELS = os.environ.get("STREAMCORE_MODELS")
FOLDERS = sorted(path.parent for path in Path(_MODELS).glob("*/config.json")) if _MODELS else []
NUM_TOKENS = 64
PROMPTS = [
    "Once upon a time",
    "The capital of France is",
    "def quicksort(items):",
    "In 1969 two people",
    "1, 2, 3, 5, 8,",
    "Dear Sir or Madam,",
    "Wasser kocht bei",
    "SELECT name FROM users WHERE",
    "The three laws of thermodynamics are",
    '{"name": "Ada", "born":',
]

pytestmark = [
    pytest.mark.skipif(not FOLDERS, reason="STREAMCORE_MODELS names no folder with trained models"),
    pytest.mark.timeout(3600),
]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_greedy_tokens_of_a_trained_model(folder: Path) -> None:
    """Ten prompts, 64 tokens each, in float32: alone and in a batch each token is the reference's
    most likely one.
    """
    auto_tokenizer: Any = AutoTokenizer
    auto_model: Any = AutoModelForCausalLM
    tokenizer = auto_tokenizer.from_pretrained(folder)
    prompts = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    model = load(folder, 256)
    alone = EngineLoop(model, max_num_seqs=1).generate(prompts, NUM_TOKENS)
    assert EngineLoop(model, max_num_seqs=16).generate(prompts, NUM_TOKENS) == alone
    del model
    reference = auto_model.from_pretrained(folder, dtype=torch.float32)
    for prompt, tokens in zip(prompts, alone, strict=True):
        with torch.inference_mode():
            logits = reference(torch.tensor([prompt + tokens[:-1]])).logits[0, len(prompt) - 1 :].float()
        assert logits.argmax(-1).tolist() == tokens
