"""The text generator: what the model is taught must be right and repeatable."""

import json
from random import Random

from demo.text.conversation import conversation
from demo.text.counting import IN_WORDS, counting, counting_down, numbers
from demo.text.facts import arithmetic, json_object


def test_the_same_seed_gives_the_same_text() -> None:
    """If text differed between runs, the shipped model could not be trained again."""
    first, second = Random(7), Random(7)
    assert [conversation(first) for _ in range(300)] == [conversation(second) for _ in range(300)]
    assert conversation(Random(7)) != conversation(Random(8))


def test_counting_includes_both_ends_and_goes_both_ways() -> None:
    """A list that misses its last number would teach the model to stop early."""
    assert numbers(1, 3) == "1, 2, 3."
    assert numbers(3, 1) == "3, 2, 1."
    assert numbers(1, 1000).endswith("998, 999, 1000.")


def test_counts_end_at_a_number_that_the_request_names() -> None:
    """An answer whose end is not in its prompt would teach the model to stop at random."""
    rng = Random(3)
    for _ in range(500):
        for drawn, bound in ((counting(rng), -1), (counting_down(rng), 0)):
            named = drawn.answer.rstrip(".").split(", ")[bound]
            in_digits = (
                named in "".join(letter if letter.isdigit() else " " for letter in drawn.prompt).split()
            )
            assert in_digits or IN_WORDS[int(named)] in drawn.prompt.lower()


def test_sums_are_right() -> None:
    """A wrong sum in the text would be a wrong sum in every demonstration."""
    rng = Random(4)
    for _ in range(500):
        answer = arithmetic(rng).answer
        if "=" in answer:
            left, right = answer.rstrip(".").split(" = ")
            a, sign, b = left.split()
            assert {"+": int(a) + int(b), "-": int(a) - int(b), "x": int(a) * int(b)}[sign] == int(right)


def test_json_answers_parse_and_hold_what_was_asked() -> None:
    """The JSON example of the README would fail in `json.loads` if a template were off by a bracket."""
    rng = Random(5)
    for _ in range(200):
        drawn = json_object(rng)
        value = json.loads(drawn.answer)
        assert set(value) == {"name", "age", "city"}
        if any(letter.isdigit() for letter in drawn.prompt):
            assert str(value["age"]) in drawn.prompt
