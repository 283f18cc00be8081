"""If one of these fails, a program that has many prompts gets wrong answers, or none, or leaks what it asked for."""

import io
import json
import re
import signal
import threading
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.checkpoints import write_checkpoint
from tests.llm.driver import all_is_back, metric, num_requests, scripted

from streamcore import LLM, SamplingParams
from streamcore.errors import ConfigError, EngineFailedError, InvalidRequestError, QueueFullError
from streamcore.llm import Prompt, batch

GREEDY = SamplingParams(temperature=0, max_tokens=12)


def test_many_prompts_are_answered_in_order(demo: LLM) -> None:
    """Prompts of a data set that come back in another order, or changed by their neighbours, spoil it without a word."""
    prompts: list[Prompt] = ["Count from 1 to 9", [703, 350], "Hello", "Tell me", "Count from 5"]
    together = demo.generate(prompts, GREEDY)
    alone = [demo.generate(prompt, GREEDY)[0] for prompt in prompts]
    assert [output.prompt for output in together] == prompts
    assert [output.outputs for output in together] == [output.outputs for output in alone]
    assert together[1].prompt_token_ids == [703, 350]
    assert [output.usage.completion_tokens for output in together] == [
        len(output.outputs[0].token_ids) for output in together
    ]
    all_is_back(demo)


def test_an_answer_is_what_it_is_held_to(demo: LLM) -> None:
    """A pipeline that parses each answer stops at the first that is not what it asked for."""
    hot: dict[str, Any] = {"temperature": 1.5, "max_tokens": 300}
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "age": {"type": "integer", "minimum": 0, "maximum": 99},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    compact = SamplingParams(**hot, structured_outputs={"json": schema, "disable_any_whitespace": True})
    for output in demo.generate(["Hello"] * 6, compact):
        parsed = json.loads(output.outputs[0].text)
        assert parsed.keys() == {"name", "age"}
        assert len(parsed["name"]) <= 8
    chosen = SamplingParams(**hot, n=4, structured_outputs={"choice": ["yes", "no"]})
    assert {choice.text for choice in demo.generate("Hello", chosen)[0].outputs} <= {"yes", "no"}
    with pytest.raises(InvalidRequestError, match="`not` at `/` cannot be enforced"):
        demo.generate("Hello", SamplingParams(structured_outputs={"json": {"not": {}}}))
    all_is_back(demo)


def test_chat_uses_the_template(demo: LLM) -> None:
    """A conversation that is not put into the model's template is answered by babble."""
    conversations = [[{"role": "user", "content": f"Count from 1 to {end}"}] for end in (3, 5)]
    texts = [output.outputs[0].text for output in demo.chat(conversations, SamplingParams(temperature=0))]
    assert texts == ["1, 2, 3.", "1, 2, 3, 4, 5."]
    assert demo.chat(conversations[1], SamplingParams(temperature=0))[0].outputs[0].text == texts[1]


def test_each_prompt_may_have_its_params(demo: LLM) -> None:
    """An evaluation that varies a parameter gives one for each prompt; one too few must not be made up for."""
    each = [SamplingParams(max_tokens=count) for count in (1, 2, 3)]
    outputs = demo.generate(["Count"] * 3, each)
    assert [output.usage.completion_tokens for output in outputs] == [1, 2, 3]
    with pytest.raises(ValueError, match="2 entries for 3 prompts"):
        demo.generate(["Count"] * 3, each[:2])


def test_log_probabilities_are_those_of_both_routes(demo: LLM) -> None:
    """Scores of a prompt and of a chat are compared with each other; the wire has a different shape for each."""
    params = SamplingParams(temperature=0, max_tokens=3, n=2, logprobs=2)
    chat = demo.chat([{"role": "user", "content": "Count from 1 to 5"}], params)[0]
    plain = demo.generate([chat.prompt_token_ids], params)[0]
    assert [choice.logprobs for choice in plain.outputs] == [choice.logprobs for choice in chat.outputs]
    for choice in plain.outputs:
        assert choice.logprobs is not None
        assert [score.token_id for score in choice.logprobs] == choice.token_ids
        assert all(score.top[score.token_id] == score.logprob for score in choice.logprobs)
        assert all(len(score.top) == 2 for score in choice.logprobs)
    assert plain.outputs[1].index == 1


def test_prompt_log_probabilities(demo: LLM) -> None:
    """A likelihood evaluation reads the scores of the prompt's tokens."""
    output = demo.generate("Count from", SamplingParams(max_tokens=1, prompt_logprobs=1))[0]
    assert output.prompt_logprobs is not None
    assert output.prompt_logprobs[0] is None
    told = [score.token_id for score in output.prompt_logprobs if score is not None]
    assert told == output.prompt_token_ids[1:]


def test_bad_prompt_is_named_and_the_rest_freed(demo: LLM) -> None:
    """One line of ten thousand is wrong: its number must be told, and what was running must not go on."""
    each = [SamplingParams(max_tokens=2000, ignore_eos=True)] * 20
    each[13] = SamplingParams(top_p=2.0)
    with pytest.raises(InvalidRequestError, match=r"^request 13: `top_p` is 2") as caught:
        demo.generate(["Count"] * 20, each)
    assert (caught.value.index, caught.value.param) == (13, "top_p")
    assert caught.value.message.startswith("`top_p` is 2")
    all_is_back(demo)


@pytest.mark.parametrize(
    ("prompts", "named"),
    [
        (["a", 7], "request 1: prompt is int, it must be a text or a list of token ids"),
        (["a", ["b"]], "request 1: prompt is a list of str"),
        (["a", []], "request 1: prompt is an empty list"),
        (b"abc", "^prompt is bytes"),
        (["a", bytearray(b"abc")], "request 1: prompt is bytearray"),
        ({"prompt_token_ids": [1, 2]}, "^prompt is dict"),
        (7, "^prompt is int"),
        (np.array([1, 2]), r"^prompt is numpy.ndarray, .*: use `.tolist\(\)`"),
        (torch.tensor([[1, 2], [3, 4]]), "^prompt is torch.Tensor"),
        (["a", torch.tensor([7])], "request 1: prompt is torch.Tensor"),
        (["a", torch.tensor([1, 2, 3])], "request 1: prompt is torch.Tensor"),
        ([[1], [torch.tensor(7)]], "request 1: prompt is a list of Tensor"),
        ([[1, 1 << 40]], "`prompt"),
        ("\ud800", "surrogate"),
    ],
)
def test_what_is_no_prompt_is_refused(llm: LLM, prompts: Any, named: str) -> None:
    """A wrong type must not become a strange prompt."""
    with pytest.raises(InvalidRequestError, match=named):
        llm.generate(prompts)


def test_prompts_are_taken_from_wherever_they_are(llm: LLM) -> None:
    """Token ids of a tokenizer that uses NumPy, the column of a table, and whatever else yields texts."""
    ids: Any = [np.int64(1), np.int64(2)]
    assert llm.generate(ids)[0].prompt_token_ids == [1, 2]
    for prompts in (np.array(["x", "y"]), (text for text in "xy"), {"x": 1, "y": 2}.keys()):
        assert len(llm.generate(prompts)) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("params", [{"max_tokens": 3}, {}, 3, "greedy", [{"max_tokens": 3}]])
def test_params_of_another_kind_are_refused(llm: LLM, params: Any) -> None:
    """What is written as for another library must be told so, not end somewhere inside."""
    with pytest.raises(TypeError, match=r"`params` is .*, it must be SamplingParams"):
        llm.generate(["x"], params)
    if not isinstance(params, list):
        with pytest.raises(TypeError, match="it must be SamplingParams"):
            llm.stream_chat([{"role": "user", "content": "x"}], params)


def test_no_params_are_the_defaults(llm: LLM) -> None:
    """A program that hands on what it was given, or nothing, does so for streams, too."""
    assert "".join(delta.text for delta in llm.stream("x", None)) == "one two three"
    assert len(llm.generate(["x", "y"], [SamplingParams(), None])) == 2


def test_what_is_no_number_is_refused(llm: LLM) -> None:
    """What cannot be written as JSON is said to be that."""
    with pytest.raises(InvalidRequestError, match="cannot be written as JSON"):
        llm.generate("a", SamplingParams(temperature=float("nan")))
    with pytest.raises(TypeError, match="unknown argument `add_generation_promt`"):
        llm.chat([{"role": "user", "content": "a"}], add_generation_promt=False)
    with pytest.raises(
        InvalidRequestError, match="conversation is a list of str, it must be a list of messages"
    ):
        llm.chat([["a"]])  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match=r"^conversation is str"):
        llm.chat("a")  # type: ignore[arg-type]


def test_no_prompts_have_no_answers(llm: LLM) -> None:
    """A filter that leaves nothing over is not an error."""
    assert llm.generate([]) == []


def test_more_prompts_than_the_queue_holds(tmp_path: Path) -> None:
    """Ten thousand prompts in one call must wait for their turn, not be refused."""
    with scripted(tmp_path, max_waiting_requests=4, max_num_seqs=2) as llm:
        outputs = llm.generate(["x"] * 100, SamplingParams(n=2))
        assert [choice.text for output in outputs for choice in output.outputs] == ["one two three"] * 200
        all_is_back(llm)


def test_full_queue_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams of other threads may fill the queue meanwhile: a batch goes on when they end."""
    with scripted(tmp_path, max_waiting_requests=1, max_num_seqs=1) as llm:
        running = llm.stream("hang")
        next(running)
        other = threading.Thread(target=llm.generate, args=("other",))
        other.start()
        while not metric(llm, "streamcore_num_requests_waiting"):
            pass
        waited: list[float] = []

        def free(retry_after_s: float) -> None:
            waited.append(retry_after_s)
            running.close()
            other.join()

        monkeypatch.setattr(time, "sleep", free)
        assert llm.generate("x")[0].outputs[0].text == "one two three"
        assert len(waited) == 1
        assert waited[0] >= 1
        all_is_back(llm)


def test_what_a_script_refuses_is_not_tried_again(llm: LLM) -> None:
    """A refusal unrelated to the queue is raised."""
    with pytest.raises(QueueFullError, match="not so fast") as caught:
        llm.generate("refuse")
    assert caught.value.code == "rate_limit_exceeded"


@pytest.mark.parametrize("prompt", ["fail", "cut"])
def test_engine_that_fails_is_told(llm: LLM, prompt: str) -> None:
    """Half an answer must not be taken for a whole one."""
    with pytest.raises(EngineFailedError):
        llm.generate(prompt)


def test_threads_share_a_model(llm: LLM) -> None:
    """A program with a pool of threads has one model, not one for each."""
    texts: list[str] = []

    def ask() -> None:
        texts.extend(output.outputs[0].text for output in llm.generate(["x"] * 20))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["one two three"] * 160


async def test_works_where_a_loop_runs(llm: LLM) -> None:
    """In a notebook an event loop runs in the thread that calls."""
    assert llm.generate("x")[0].outputs[0].text == "one two three"


def test_progress_is_for_terminals(llm: LLM, capfd: pytest.CaptureFixture[str]) -> None:
    """A log must not fill with lines that rewrite themselves; a person at a terminal wants one."""
    llm.generate(["x"] * 3)
    # Other servers of this process may log.
    assert "\r" not in capfd.readouterr().err
    terminal = io.StringIO()
    progress = batch.Progress(3, terminal)
    for output in llm.generate(["x"] * 2):
        progress.add(output)
    progress.close()
    assert re.fullmatch(r"(\r\d/3 requests, \d+ output tokens/s\x1b\[K)*\n", terminal.getvalue())
    assert "\r2/3 requests" in terminal.getvalue()


def test_params_are_those_of_the_protocol() -> None:
    """A parameter that the routes learn and `SamplingParams` does not could not be used without a server."""
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    honoured = page.partition("## Refused")[0]
    # What a program has no parser for: it gets the text as the model wrote it.
    of_agents = {"tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"}
    of_agents |= {"include_reasoning", "reasoning_effort", "thinking_token_budget"}
    known = set(re.findall(r"^\| `(\w+)` \|", honoured, re.MULTILINE))
    elsewhere = {"model", "messages", "prompt", "stream", "stream_options", "request_id", "best_of", "echo"}
    of_chat = {"add_generation_prompt", "continue_final_message", "chat_template_kwargs", "top_logprobs"}
    always = {"max_completion_tokens", "return_token_ids", "return_tokens_as_token_ids"}
    # What `structured_outputs` says as well.
    constraints = {name for name in known if name.startswith("guided_")} | {"response_format"}
    assert {
        field.name for field in fields(SamplingParams)
    } == known - elsewhere - of_chat - of_agents - always - constraints


def test_unknown_param_is_refused() -> None:
    """A typing error must not be ignored."""
    with pytest.raises(
        TypeError, match="unknown sampling parameter `temprature`, did you mean `temperature`"
    ):
        SamplingParams(temprature=0.5)  # type: ignore[call-arg]


def test_interrupt_frees_everything(llm: LLM) -> None:
    """Ctrl-C in a long call must not leave the model busy in vain."""
    main = threading.get_ident()
    # A shell that runs the tests in the background has them ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt() -> None:
        while num_requests(llm) < 3:
            time.sleep(0.01)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            llm.generate(["hang"] * 3)
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join()
    all_is_back(llm)


def test_reasoning_is_part_of_the_text(tmp_path: Path) -> None:
    """A program that works on what the model wrote must find all of it, though the server would tell the thought apart."""
    folder = write_checkpoint(tmp_path / "model")
    template = (
        "{{ messages[0].content.split('</think>')[-1] }}{% if add_generation_prompt %}<think>\n{% endif %}"
    )
    (folder / "chat_template.jinja").write_text(template)
    params = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
    with LLM(folder) as llm:
        output = llm.chat([{"role": "user", "content": "Hi"}], params)[0]
        assert output.outputs[0].text == llm.generate("Hi<think>\n", params)[0].outputs[0].text
        assert len(output.outputs[0].token_ids) == 8
    with pytest.raises(ConfigError, match="`reasoning_parser`"):
        LLM(folder, reasoning_parser="qwen3")
