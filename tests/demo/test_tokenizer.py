"""The shipped tokenizer and chat template."""

from pathlib import Path

import pytest
from demo.text.conversation import Conversation
from demo.text.wording import Exchange
from demo.tokenizer import BOS, END, encode, prompt_ids, special_id
from jinja2 import Environment
from tokenizers import Tokenizer


@pytest.mark.parametrize(
    "text",
    [
        "Hello, world!",
        "  two  spaces \n\n\tand a tab ",
        "naïve café",
        "日本語 🙂 👩‍👩‍👧",
        "1, 2, 1000, 1001, 007, 3.14",
        "I don't",
        "\x00\x7f",
        "",
    ],
)
def test_any_text_comes_back_unchanged(tokenizer: Tokenizer, text: str) -> None:
    """If a byte were lost, a user would see other text than the model wrote."""
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_every_number_up_to_1000_is_one_token(tokenizer: Tokenizer) -> None:
    """If a number were cut in two, counting to 1000 would no longer fit where it fits now."""
    text = ", ".join(str(number) for number in range(1001))
    assert len(tokenizer.encode(text, add_special_tokens=False).ids) == 2001


def test_plain_prompts_begin_with_the_first_token_once(tokenizer: Tokenizer) -> None:
    """Without its beginning-of-text token `/v1/completions` would ask the model what it has never seen."""
    bos = special_id(tokenizer, BOS)
    assert tokenizer.encode("1, 2, 3").ids.count(bos) == 1
    assert tokenizer.encode("1, 2, 3").ids[0] == bos


def test_template_renders_what_the_model_was_trained_on(folder: Path, tokenizer: Tokenizer) -> None:
    """A template that differs from training by one token would make every answer worse."""
    template = Environment().from_string((folder / "chat_template.jinja").read_text())
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
    ]
    rendered = template.render(messages=messages, bos_token=BOS, add_generation_prompt=False)
    trained, learned = encode(tokenizer, Conversation("Be brief.", (Exchange("Hi", "Hello!"),)))
    assert tokenizer.encode(rendered, add_special_tokens=False).ids == trained
    assert tokenizer.decode([token for token, own in zip(trained, learned, strict=True) if own]) == "Hello!"
    assert trained[-1] == tokenizer.token_to_id(END)


def test_template_opens_the_answer(folder: Path, tokenizer: Tokenizer) -> None:
    """Without the opening of the assistant's turn the model would write the user's words."""
    template = Environment().from_string((folder / "chat_template.jinja").read_text())
    rendered = template.render(
        messages=[{"role": "user", "content": "Hi"}], bos_token=BOS, add_generation_prompt=True
    )
    assert tokenizer.encode(rendered, add_special_tokens=False).ids == prompt_ids(tokenizer, "Hi")
