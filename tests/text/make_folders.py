"""Loads made model folders with transformers: what our reading of their files is held to.

python -m tests.text.make_folders        # rewrites the expectations
"""

import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

from tests.text.make_chat_templates import ROOT
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer

GOLDEN = ROOT / "rust/server/tests/data/folders.json"
TEXT = "a<s>b</s><x><pad> <y><z>"
TEMPLATE = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ image_token }}|{{ messages[0].content }}"
MESSAGES = [{"role": "user", "content": "hi"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]


def tokenizer() -> dict[str, Any]:
    """Bytes, two tokens that `tokenizer.json` has among its added ones, and one that is a plain entry of the vocabulary."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(
        models.BPE(vocab={token: index for index, token in enumerate([*alphabet, "</s>"])}, merges=[])
    )
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_tokens([AddedToken("<s>", special=True), AddedToken("<z>")])
    content: dict[str, Any] = json.loads(made.to_str())
    return content


def added(content: str, special: bool = True) -> dict[str, Any]:
    """A token as the files spell it."""
    flags = dict.fromkeys(["lstrip", "normalized", "rstrip", "single_word"], False)
    return {"__type": "AddedToken", "content": content, **flags, "special": special}


def decoder(content: str, special: bool) -> dict[str, Any]:
    """The same in `added_tokens_decoder`, which has no types."""
    return {key: value for key, value in added(content, special).items() if key != "__type"}


CONFIGS: list[dict[str, Any] | None] = [
    None,
    {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True, "add_eos_token": True},
    {"bos_token": added("<s>"), "eos_token": added("</s>"), "pad_token": None, "image_token": "<x>"},
    {
        "eos_token": "</s>",
        "added_tokens_decoder": {"300": decoder("<x>", True), "260": decoder("<y>", False)},
    },
    {"bos_token": "<s>", "additional_special_tokens": ["<y>", added("<x>")]},
    {"eos_token": "<y>", "extra_special_tokens": {"image_token": "<x>"}},
    {"eos_token": "<y>", "extra_special_tokens": ["<z>"], "added_tokens_decoder": {}},
]
MAPS: list[dict[str, Any] | None] = [
    None,
    {"bos_token": "<s>", "eos_token": "<x>", "pad_token": "<pad>"},
    {
        "bos_token": decoder("<s>", True),
        "eos_token": decoder("</s>", True),
        "additional_special_tokens": ["<y>"],
    },
    {"image_token": "<y>", "extra_special_tokens": ["<x>"]},
]
ADDED: list[dict[str, int] | None] = [None, {"<y>": 259, "</s>": 256, "<pad>": 260}]
IN_CONFIG: list[Any] = [
    None,
    "config",
    [{"name": "default", "template": "list"}, {"name": "tool_use", "template": "tools"}],
]
FILES: list[dict[str, str]] = [
    {},
    {"chat_template.jinja": "file"},
    {
        "chat_template.jinja": "file",
        "additional_chat_templates/tool_use.jinja": "file tools",
        "additional_chat_templates/rag.jinja": "x",
    },
    {"additional_chat_templates/default.jinja": "more"},
    {"additional_chat_templates/tool_use.jinja": "only tools"},
]


def folders() -> list[dict[str, Any]]:
    """Files by name of every folder, `tokenizer.json` aside."""
    made: list[dict[str, Any]] = []
    for config, special, more in itertools.product(CONFIGS, MAPS, ADDED):
        files = {
            "tokenizer_config.json": config,
            "special_tokens_map.json": special,
            "added_tokens.json": more,
        }
        made.append(
            {"chat_template.jinja": TEMPLATE}
            | {name: content for name, content in files.items() if content is not None}
        )
    for template, files in itertools.product(IN_CONFIG, FILES):
        config = {} if template is None else {"tokenizer_config.json": {"chat_template": template}}
        made.append(config | files)
    return made


def expectation(path: Path) -> dict[str, Any]:
    """What transformers makes of a folder: ids of a text, prompts without and with tools, the id of the end token."""
    loaded = AutoTokenizer.from_pretrained(path)

    def prompt(tools: Any) -> str | None:
        try:
            return str(loaded.apply_chat_template(MESSAGES, tools=tools, tokenize=False))
        except ValueError:
            return None

    return {
        "ids": loaded.encode(TEXT, add_special_tokens=False),
        "ids_around": loaded.encode(TEXT),
        "prompt": prompt(None),
        "prompt_with_tools": prompt(TOOLS),
        "eos": loaded.eos_token_id,
    }


def expectations() -> str:
    """The whole file."""
    base = tokenizer()
    cases = []
    for files in folders():
        with tempfile.TemporaryDirectory() as path:
            for name, content in ({"tokenizer.json": base, "config.json": {}} | files).items():
                file = Path(path, name)
                file.parent.mkdir(exist_ok=True)
                file.write_text(
                    content if isinstance(content, str) else json.dumps(content), encoding="utf-8"
                )
            cases.append({"files": files, "expected": expectation(Path(path))})
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    text, tools = json.dumps(TEXT), json.dumps(TOOLS)
    return f'{{"text": {text}, "tools": {tools}, "tokenizer": {json.dumps(base, ensure_ascii=False)},\n"cases": [\n{lines}\n]}}\n'


if __name__ == "__main__":
    GOLDEN.write_text(expectations(), encoding="utf-8")
