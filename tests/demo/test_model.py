"""The shipped weights: what a user of `streamcore serve` sees first."""

from pathlib import Path
from typing import Any

import pytest
import torch
from demo.evaluate import Chat, num_right
from demo.model import Llama, Shape
from demo.text.counting import numbers
from demo.tokenizer import END
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM


@pytest.fixture(scope="module")
def chat(folder: Path) -> Chat:
    """The shipped model, ready to answer."""
    return Chat(folder)


def test_the_folder_fits_into_the_wheel(folder: Path) -> None:
    """A bigger model would make every install of the package slower."""
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 12_000_000


def test_transformers_computes_the_logits_that_were_trained(
    folder: Path, config: dict[str, Any], reference: LlamaForCausalLM
) -> None:
    """If the export disagreed with training, the served model would not be the one that was evaluated."""
    shape = Shape(**{name: config[name] for name in Shape.__dataclass_fields__})
    own = Llama(shape)
    own.load_state_dict(
        {name: weight.float() for name, weight in load_file(folder / "model.safetensors").items()}
    )
    tokens = torch.randint(0, shape.vocab_size, (2, 300), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(own(tokens), reference(tokens).logits, rtol=1e-4, atol=1e-4)


def test_the_end_of_a_turn_ends_the_answer(
    folder: Path, tokenizer: Tokenizer, reference: LlamaForCausalLM
) -> None:
    """With another end token in the configuration a server would stream on until the context is full."""
    assert reference.generation_config.eos_token_id == tokenizer.token_to_id(END)
    assert reference.config.eos_token_id == tokenizer.token_to_id(END)


def test_it_counts_to_the_bound_that_was_asked_for(chat: Chat) -> None:
    """The first example of the README would be wrong on screen."""
    asked = {"Count from 1 to 30": (1, 30), "count to 100": (1, 100), "Count from 5 to 12": (5, 12)}
    samples = chat.answers([(prompt, 0.0) for prompt in asked], max_tokens=220)
    assert [sample.answer for sample in samples] == [numbers(*bounds) for bounds in asked.values()]


def test_it_counts_far_without_a_mistake(chat: Chat) -> None:
    """The long stream of the README would go astray before a reader stopped it."""
    prompts = ("Count from 1 to 1000", "Count to 1000 slowly")
    for sample in chat.answers([(prompt, heat) for prompt in prompts for heat in (0.0, 0.3)], max_tokens=420):
        assert num_right(sample.answer, numbers(1, 1000)) >= 200


def test_answers_are_to_the_point_and_stop_by_themselves(chat: Chat) -> None:
    """An answer that never ends, or that belongs to another question, would spoil the first impression."""
    expected = {
        "Write a poem about AI": "\n",
        "Tell me a joke": "?",
        "Explain machine learning": "Machine learning is",
        "Tell me a story about a dragon": "dragon",
        "Hello": "Hello",
        "Spell robot": "R-O-B-O-T.",
        "What is 2 + 2?": "2 + 2 = 4.",
        "What day comes after Tuesday?": "Wednesday",
        "Who invented the teapot?": "know",
    }
    for sample in chat.answers([(prompt, 0.0) for prompt in expected], max_tokens=250):
        assert sample.stopped, sample
        assert expected[sample.prompt] in sample.answer
