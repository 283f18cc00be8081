"""Anthropic's SDK for Python: every way to ask, tools and thoughts, every way to fail."""

from typing import Any

import anthropic
from anthropic import Anthropic, AsyncAnthropic
from checks import API_KEY, WEATHER, check, question, raises, run_checks, servers

DEMO, SCRIPT = servers()
QUESTION: dict[str, Any] = {
    "model": "demo",
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "Explain machine learning"}],
    # The SDK has no place for it any more.
    "extra_body": {"temperature": 0},
}
TOOL: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": WEATHER,
}


def client(server: Any = DEMO, **options: Any) -> Anthropic:
    return Anthropic(**{"base_url": server.url, "api_key": API_KEY, "max_retries": 0, **options})


def asked(case: str, **change: Any) -> dict[str, Any]:
    """Arguments of a question to the scripted model."""
    messages = [{"role": "user", "content": question(case)}]
    return {"model": "script", "max_tokens": 1000, "messages": messages, "tools": [TOOL], **change}


def exactly(text: str) -> dict[str, Any]:
    """The same of a question that is a fault's name."""
    return {"model": "script", "max_tokens": 100, "messages": [{"role": "user", "content": text}]}


@check
def whole_answer() -> None:
    """A whole answer has its text, its end and its usage."""
    answer = client().messages.create(**QUESTION)
    assert answer.id.startswith("msg_")
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", "demo")
    [block] = answer.content
    assert block.type == "text"
    assert len(block.text) > 20
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens > 0
    assert answer.usage.output_tokens > 5


@check
def streamed_answer() -> None:
    """A stream tells the whole answer, event by event, and `.stream()` puts it together."""
    whole = client().messages.create(**QUESTION)
    events = list(client().messages.create(**QUESTION, stream=True))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert "".join(event.delta.text for event in events[2:-3]) == whole.content[0].text
    with client().messages.stream(**QUESTION) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == whole.content[0].text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens


@check
async def asynchronous() -> None:
    """The asynchronous client reads whole answers and streams."""
    async with AsyncAnthropic(base_url=DEMO.url, api_key=API_KEY, max_retries=0) as asked_:
        whole = await asked_.messages.create(**QUESTION)
        async with asked_.messages.stream(**QUESTION) as stream:
            text = "".join([piece async for piece in stream.text_stream])
    assert text == whole.content[0].text


@check
def strict() -> None:
    """Strict validation finds nothing: every answer is, to the letter, what the SDK's types say."""
    checked = client(_strict_response_validation=True)
    checked.messages.create(**QUESTION)
    list(checked.messages.create(**QUESTION, stream=True))
    checked.messages.count_tokens(model="demo", messages=QUESTION["messages"])
    list(checked.models.list())
    checked.models.retrieve("demo")
    of_script = client(SCRIPT, _strict_response_validation=True)
    of_script.messages.create(**asked("weather"))
    list(of_script.messages.create(**asked("weather"), stream=True))


@check
def ends() -> None:
    """An answer says what ended it: a limit, one of its stop sequences, or nothing but the model."""
    cut = client().messages.create(**{**QUESTION, "max_tokens": 5})
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 5)
    text = client().messages.create(**QUESTION).content[0].text
    word = text.split()[3]
    stopped = client().messages.create(**QUESTION, stop_sequences=["never said", word])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", word)
    assert stopped.content[0].text == text[: text.index(word)]
    # With a timeout of its own, or the SDK asks for a stream.
    capped = client(timeout=60).messages.create(**{**QUESTION, "max_tokens": 32_000})
    assert capped.stop_reason in ("end_turn", "max_tokens")


@check
def counted() -> None:
    """The number of a prompt's tokens is what its answer says that it has read."""
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    prompt = {"model": "demo", "system": system, "messages": QUESTION["messages"]}
    usage = client().messages.create(**prompt, max_tokens=1).usage
    count = client().messages.count_tokens(**prompt).input_tokens
    assert count == usage.input_tokens + usage.cache_read_input_tokens
    again = client().messages.create(**prompt, max_tokens=1).usage
    assert 0 < again.cache_read_input_tokens < count, "the prompt was in the cache"


@check
def models() -> None:
    """The list of models is Anthropic's, and so is a model."""
    assert [model.id for model in client().models.list()] == ["demo"]
    model = client().models.retrieve("demo")
    assert (model.type, model.display_name) == ("model", "demo")
    assert model.max_input_tokens > 0


@check
def loop() -> None:
    """A loop of two calls, each handed back as the SDK gave it, with its thought, ends with the answer."""
    conversation = asked("trip")
    called = []
    for _ in range(3):
        answer = client(SCRIPT).messages.create(**conversation)
        conversation["messages"].append({"role": "assistant", "content": answer.content})
        calls = [block for block in answer.content if block.type == "tool_use"]
        called += [call.input for call in calls]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "21 °C"} for call in calls]
        if not results:
            break
        assert answer.stop_reason == "tool_use"
        conversation["messages"].append({"role": "user", "content": results})
    assert called == [{"city": "Zürich", "days": 2}, {"city": "Oslo", "days": 1}]
    assert answer.content[0].text == "Zürich is warmer."
    assert answer.stop_reason == "end_turn"


@check
def thoughts() -> None:
    """A thought comes first, signed, and its tokens are counted."""
    asked_ = asked("weather", thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=4000)
    with client(SCRIPT).messages.stream(**asked_) as stream:
        final = stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text", "tool_use"]
    thought, text, call = final.content
    assert thought.thinking == "They ask about Zürich."
    assert thought.signature
    assert text.text.strip() == "I look it up."
    assert (call.name, call.input) == ("get_weather", {"city": "Zürich", "days": 2})
    assert 0 < final.usage.output_tokens_details.thinking_tokens < final.usage.output_tokens


@check
def two_calls() -> None:
    """Two calls of one answer are two blocks, streamed and whole."""
    whole = client(SCRIPT).messages.create(**asked("cities"))
    with client(SCRIPT).messages.stream(**asked("cities")) as stream:
        final = stream.get_final_message()
    for message in (whole, final):
        cities = [block.input["city"] for block in message.content if block.type == "tool_use"]
        assert cities == ["Zürich", "Oslo"]


@check
def errors() -> None:
    """Each refusal is raised as the class that the SDK has for it, with its type and request id."""
    with raises(anthropic.AuthenticationError) as refused:
        client(api_key="wrong").messages.create(**QUESTION)
    assert refused.error.body["error"]["type"] == "authentication_error"
    with raises(anthropic.NotFoundError) as refused:
        client().messages.create(**{**QUESTION, "model": "claude-opus"})
    assert refused.error.body["error"]["type"] == "not_found_error"
    assert refused.error.request_id == refused.error.body["request_id"]
    image = [{"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}]
    with raises(anthropic.BadRequestError) as refused:
        client().messages.create(**{**QUESTION, "messages": [{"role": "user", "content": image}]})
    assert "`messages[0].content[0].type` is `image`" in str(refused.error)
    with raises(anthropic.BadRequestError) as refused:
        client().messages.create(**{**QUESTION, "messages": [{"role": "user", "content": "word " * 20_000}]})
    assert "prompt is too long" in str(refused.error)
    with raises(anthropic.RateLimitError) as refused:
        client(SCRIPT).messages.create(**exactly("429"))
    assert refused.error.response.headers["retry-after"] == "1"


@check
def retries() -> None:
    """What can get better is tried again by the SDK."""
    answer = client(SCRIPT, max_retries=2).messages.create(**exactly("fail twice"))
    assert answer.content[0].text == "third"


@check
def broken() -> None:
    """An error within a stream is raised behind the text that came."""
    for text, expected in (("error first", ""), ("error later", "One two")):
        told = ""
        with (
            raises(anthropic.APIStatusError) as failed,
            client(SCRIPT).messages.stream(**exactly(text)) as stream,
        ):
            for piece in stream.text_stream:
                told += piece
        assert told == expected
        assert "broke" in str(failed.error)


@check
def left() -> None:
    """A client that leaves ends its request."""
    before = DEMO.num_aborted()
    long = {**QUESTION, "max_tokens": 3000, "extra_body": {"ignore_eos": True}}
    with client().messages.stream(**long) as stream:
        next(iter(stream.text_stream))
    DEMO.wait_for_aborted(before + 1)


run_checks()
