"""Renders conversations with jinja2 as transformers sets it up: what the Rust chat templates are held to.

    python -m tests.text.make_chat_templates                         # our templates; rewrites the expectations
    python -m tests.text.make_chat_templates --folders A B --out F  # those of model folders or .jinja files

The second form writes to ``F``; ``STREAMCORE_CHAT_TEMPLATES=F cargo test -p streamcore-server`` checks that
file too. Templates of real models are not ours to keep in the repository.
"""

import argparse
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from tests.text.conversations import CONVERSATIONS
from transformers.utils.chat_template_utils import _compile_jinja_template

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = Path(__file__).parent / "templates"
GOLDEN = ROOT / "rust/server/tests/data/chat_templates.json"
SPECIAL_TOKENS = {"bos_token": "<|begin|>", "eos_token": "<|end|>"}

# The Rust test's clock stands here too.
NOW = datetime(2024, 7, 6, 12, 34, 56)


def expectation(source: str, special_tokens: dict[str, str], conversation: dict[str, Any]) -> dict[str, str]:
    """What jinja2 makes of one conversation: ``text``, ``raised`` (by the template), or ``failed``."""
    try:
        template = _compile_jinja_template(source)
        text = template.render(
            messages=conversation["messages"],
            tools=conversation.get("tools"),
            documents=None,
            add_generation_prompt=conversation.get("add_generation_prompt", True),
            strftime_now=NOW.strftime,
            **special_tokens | conversation.get("extra", {}),
        )
    except Exception as error:
        # raise_exception raises exactly TemplateError; what goes wrong by itself is anything else.
        return {"raised" if type(error) is jinja2.TemplateError else "failed": str(error)}
    return {"text": text}


def expectations(templates: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole file: templates, conversations, and per template what each conversation becomes."""
    for template in templates:
        template["expected"] = {
            name: expectation(template["source"], template["special_tokens"], conversation)
            for name, conversation in CONVERSATIONS.items()
        }
    return {"conversations": CONVERSATIONS, "templates": templates}


def own_templates() -> list[dict[str, Any]]:
    """The templates in the repository."""
    return [
        {"name": path.stem, "source": path.read_text(encoding="utf-8"), "special_tokens": SPECIAL_TOKENS}
        for path in sorted(TEMPLATES.glob("*.jinja"))
    ]


def model_template(path: Path) -> dict[str, Any] | None:
    """The template of a model folder or of a ``.jinja`` file; None if the folder has none."""
    if path.suffix == ".jinja":
        source = path.read_text(encoding="utf-8")
        return {"name": path.stem, "source": source, "special_tokens": SPECIAL_TOKENS}
    config = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8"))
    file = path / "chat_template.jinja"
    source = file.read_text(encoding="utf-8") if file.exists() else config.get("chat_template")
    if source is None:
        return None
    tokens = {
        name: value["content"] if isinstance(value, dict) else value
        for name, value in config.items()
        if name.endswith("_token") and isinstance(value, str | dict)
    }
    return {"name": path.name, "source": source, "special_tokens": tokens}


def dumps(content: dict[str, Any]) -> str:
    """The file's text."""
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def main() -> None:
    """Writes the expectations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folders", nargs="*", type=Path, default=[])
    parser.add_argument("--out", type=Path, default=GOLDEN)
    args = parser.parse_args()
    found = [template for folder in args.folders if (template := model_template(folder))]
    content = expectations(found or own_templates())
    for template in found:
        # What breaks a template that is not ours may break it in its own way.
        expected = template["expected"].items()
        template["expected"] = {name: outcome for name, outcome in expected if "failed" not in outcome}
    args.out.write_text(dumps(content), encoding="utf-8")


if __name__ == "__main__":
    main()
