"""A GGUF file from the command line and from a program: if this fails, a user's file is not served, or
is served with other words than its maker's.
"""

import json
from pathlib import Path

import gguf
import httpx
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import save_file
from tests.checkpoints import write_checkpoint
from tests.models.gguf_files import Stored, config_of, quantised, weights_of, write_gguf
from tests.server_process import run_server
from tests.text.gguf_metadata import byte_level_metadata
from tests.text.test_gguf_tokenizer import train_byte_level

from streamcore import LLM, SamplingParams

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"
)
MESSAGES = [{"role": "user", "content": "Was heißt 12345 auf 日本語?  "}]
PROMPT = "<|im_start|>user\nWas heißt 12345 auf 日本語?  <|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder, and a file of 8 bits that was made from it; the folder has the numbers of the file."""
    folder = tmp_path_factory.mktemp("gguf")
    write_checkpoint(
        folder, hidden_size=64, intermediate_size=96, vocab_size=640, bos_token_id=None, eos_token_id=2
    )
    tokenizer = train_byte_level("qwen2")
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    # A file names one end; the others are known by their names.
    ends = [tokenizer.token_to_id(end) for end in ("<|im_end|>", "<|endoftext|>", "<|end|>")]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    weights = {
        name: quantised(stored.data, Kind.Q8_0) if stored.data.ndim == 2 else stored
        for name, stored in weights_of(folder).items()
    }
    metadata = byte_level_metadata(json.loads(tokenizer.to_str()), "qwen2", num_rows=640) | {
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": TEMPLATE,
    }

    def add(writer: gguf.GGUFWriter) -> None:
        for key, value in metadata.items():
            writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))

    file = write_gguf(folder / "Tiny-Model-Q8_0.gguf", config_of(folder), weights, tokenizer=add)
    _write_widened(folder, weights)
    return folder, file


def _write_widened(folder: Path, weights: dict[str, Stored]) -> None:
    tensors = {name: torch.from_numpy(stored.widened.copy()) for name, stored in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_file_is_served(models: tuple[Path, Path]) -> None:
    """By its name, with its template and its tokens; the start says that its weights stay as they are."""
    _, file = models
    ids = train_byte_level("qwen2").encode(PROMPT).ids
    with run_server(str(file)) as server:
        (model,) = httpx.get(f"{server.url}/v1/models", timeout=30).json()["data"]
        asked = {"model": model["id"], "messages": MESSAGES}
        tokens = httpx.post(f"{server.url}/tokenize", json=asked, timeout=30).json()["tokens"]
        answer = httpx.post(f"{server.url}/v1/chat/completions", json={**asked, "max_tokens": 5}, timeout=60)
        text = httpx.post(
            f"{server.url}/detokenize", json={"model": model["id"], "tokens": ids}, timeout=30
        ).json()
    assert model["id"] == "Tiny-Model-Q8_0"
    assert tokens == ids
    assert text["prompt"] == PROMPT
    assert answer.json()["usage"]["prompt_tokens"] == len(ids)
    assert "GGUF (Q8_0, F32) weights are multiplied with as they are" in server.output


def test_a_program_gets_the_answers_of_the_folder(models: tuple[Path, Path]) -> None:
    """`LLM("model.gguf")`: the same tokens, and the same text of them."""
    params = SamplingParams(temperature=0, max_tokens=16)
    answers = []
    for path in models:
        with LLM(path, dtype="float32", max_model_len=128) as llm:
            outputs = [*llm.generate(["Hello", " 1234 world"], params), *llm.chat(MESSAGES, params)]
            answers.append([(o.prompt_token_ids, o.outputs[0].token_ids, o.outputs[0].text) for o in outputs])
    assert answers[1] == answers[0]
