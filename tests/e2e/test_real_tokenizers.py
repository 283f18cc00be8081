"""If this fails, a published model is not served as its makers meant it.

The tokenizers of well-known models are not part of this repository: `STREAMCORE_TOKENIZERS` names a folder that
holds them, one folder each (`make test-tokenizers TOKENIZERS=FOLDER`). The weights are random, so only what
reaches the model is looked at.
"""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.checkpoints import LLAMA_3_1_8B, write_checkpoint
from tests.server_process import run_server
from transformers import AutoTokenizer

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
CONVERSATION = [
    {"role": "system", "content": "You are a pirate chatbot who always responds in pirate speak!"},
    {"role": "user", "content": "Who are you? 🏴‍☠️"},
    {"role": "assistant", "content": "Arr."},
    {"role": "user", "content": "  And   who am I?\n\n"},
]


@pytest.fixture
def llama_folder() -> Path:
    if "STREAMCORE_TOKENIZERS" not in os.environ:
        pytest.skip("STREAMCORE_TOKENIZERS is not set")
    return Path(os.environ["STREAMCORE_TOKENIZERS"]) / "llama3_1"


def test_llama_3_1_gets_the_tokens_it_was_trained_on(llama_folder: Path, tmp_path: Path) -> None:
    """Its published config, tokenizer and template load, and a conversation becomes the same tokens as elsewhere."""
    folder = write_checkpoint(tmp_path, LLAMA_3_1_8B, tokenizer=llama_folder, **SMALL)
    reference = AutoTokenizer.from_pretrained(llama_folder)
    expected = reference.apply_chat_template(CONVERSATION, add_generation_prompt=True, return_dict=False)
    with run_server(str(folder), "--served-model-name", "llama", "--max-model-len", "4096") as server:
        tokens = httpx.post(
            f"{server.url}/tokenize", json={"model": "llama", "messages": CONVERSATION}, timeout=30
        ).json()
        answer = httpx.post(
            f"{server.url}/v1/chat/completions",
            json={"model": "llama", "messages": CONVERSATION, "max_tokens": 8},
            timeout=30,
        ).json()
    assert tokens["tokens"] == expected
    assert answer["usage"]["prompt_tokens"] == len(expected)


_FOLDER = os.environ.get("STREAMCORE_TOKENIZERS")
TEMPLATED = [
    path.parent.name
    for path in sorted(Path(_FOLDER).glob("*/tokenizer_config.json") if _FOLDER else [])
    if json.loads(path.read_text()).get("chat_template")
]
QUESTION: dict[str, Any] = {"role": "user", "content": "Grüße 世界: \ue000 123?\n\n"}
PREFIX: dict[str, Any] = {"role": "assistant", "content": "  The answer is  "}


@pytest.mark.parametrize("name", TEMPLATED)
def test_prompts_are_those_of_apply_chat_template(name: str, tmp_path: Path) -> None:
    """A prompt that differs by one token from what a model was trained on makes its answers quietly worse."""
    tokenizer = Path(os.environ["STREAMCORE_TOKENIZERS"]) / name
    reference = AutoTokenizer.from_pretrained(tokenizer)
    folder = write_checkpoint(tmp_path, tokenizer=tokenizer)
    cases: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
        ([QUESTION], {"add_generation_prompt": True}),
        ([QUESTION], {"add_generation_prompt": False}),
        ([QUESTION, PREFIX, QUESTION], {"add_generation_prompt": True}),
        ([QUESTION, PREFIX], {"continue_final_message": True, "add_generation_prompt": False}),
        (
            [QUESTION, PREFIX | {"content": "The"}],
            {"continue_final_message": True, "add_generation_prompt": False},
        ),
    ]
    with run_server(str(folder)) as server:
        for messages, options in cases:
            body = {"messages": messages, **options}
            answer = httpx.post(f"{server.url}/tokenize", json=body, timeout=30).json()
            expected = reference.apply_chat_template(messages, return_dict=False, **options)
            assert answer.get("tokens") == expected, (body, answer)
