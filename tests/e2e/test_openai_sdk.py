"""If one of these fails, a program written for the OpenAI SDK does not work with streamcore."""

import json

import httpx
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionUserMessageParam
from tests.server_process import ServerProcess


def user(text: str) -> list[ChatCompletionUserMessageParam]:
    return [{"role": "user", "content": text}]


def test_text_arrives_piece_by_piece(client: OpenAI) -> None:
    """Basic streaming: several chunks, each with its text, together a poem."""
    stream = client.chat.completions.create(
        model="demo", messages=user("Write a poem about AI"), stream=True, temperature=0
    )
    pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices[0].delta.content]
    assert len(pieces) > 10
    assert "AI" in "".join(pieces)


def test_full_response_is_collected_with_its_finish_reason(client: OpenAI) -> None:
    """A program that adds the pieces up gets the whole answer and learns why it ended."""
    stream = client.chat.completions.create(
        model="demo", messages=user("Tell me a joke"), stream=True, temperature=0
    )
    text, finish_reason = "", None
    for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        finish_reason = chunk.choices[0].finish_reason or finish_reason
    assert len(text) > 20
    assert finish_reason == "stop"


def test_streamed_and_whole_answers_are_the_same(client: OpenAI) -> None:
    """The same greedy question gives the same text, streamed or not, and the usage counts agree."""
    question = user("Explain machine learning")
    whole = client.chat.completions.create(model="demo", messages=question, temperature=0)
    with client.chat.completions.stream(
        model="demo", messages=question, temperature=0, stream_options={"include_usage": True}
    ) as stream:
        streamed = stream.get_final_completion()
    assert streamed.choices[0].message.content == whole.choices[0].message.content
    assert whole.choices[0].finish_reason == "stop"
    assert streamed.usage == whole.usage
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


async def test_async_client_streams(async_client: AsyncOpenAI) -> None:
    """`AsyncOpenAI` reads a stream without blocking its loop."""
    stream = await async_client.chat.completions.create(
        model="demo", messages=user("Explain machine learning"), stream=True, temperature=0
    )
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert "learn" in text.lower()


def test_typing_indicator_shows_before_the_text(client: OpenAI) -> None:
    """A chat page shows "typing" from the role chunk until the first text, then the text, then removes the cursor."""
    shown: list[str] = []
    for chunk in client.chat.completions.create(
        model="demo", messages=user("Hello"), stream=True, temperature=0
    ):
        choice = chunk.choices[0]
        if choice.delta.role:
            shown.append("typing")
        if choice.delta.content:
            shown.append("text")
        if choice.finish_reason:
            shown.append("done")
    assert shown[0] == "typing"
    assert shown.count("typing") == 1
    assert set(shown[1:-1]) == {"text"}
    assert shown[-1] == "done"


def test_early_termination_frees_the_request(server: ServerProcess, client: OpenAI) -> None:
    """A reader that stops at "50" of 1000 gets its connection closed, and the server stops generating for it at once."""
    aborted = server.metric("streamcore_requests_total")
    text = ""
    stream = client.chat.completions.create(
        model="demo", messages=user("Count from 1 to 1000"), stream=True, temperature=0
    )
    for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        if "50" in text:
            break
    stream.close()
    server.wait_until_all_is_back()
    steps = server.metric("streamcore_steps_total")
    assert server.metric("streamcore_requests_total") == aborted + 1
    assert server.metric("streamcore_steps_total") == steps
    assert "49" in text
    assert "900" not in text


def test_each_chunk_has_id_role_content_and_finish_reason(client: OpenAI) -> None:
    """Programs that print every field see one id, the role first and only there, and an empty delta at the end."""
    stream = client.chat.completions.create(
        model="demo", messages=user("Say hello"), stream=True, temperature=0
    )
    chunks = list(stream)
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].id.startswith("chatcmpl-")
    assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant"] + [None] * (len(chunks) - 1)
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert chunks[-1].choices[0].delta.model_dump(exclude_unset=True) == {}


def test_wire_ends_with_done(server: ServerProcess) -> None:
    """Clients that read the socket themselves find one JSON object per event and `[DONE]` last."""
    body = {"model": "demo", "messages": user("Hello"), "stream": True, "temperature": 0}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        wire = response.read().decode()
    events = wire.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    for event in events[:-2]:
        assert json.loads(event.removeprefix("data: "))["object"] == "chat.completion.chunk"


def test_completions_stream(client: OpenAI) -> None:
    """The older completions API streams text as well."""
    stream = client.completions.create(
        model="demo", prompt="1, 2, 3,", max_tokens=8, temperature=0, stream=True
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def test_stop_string_ends_the_text(client: OpenAI) -> None:
    """A stop string never shows, and nothing after it does."""
    answer = client.chat.completions.create(
        model="demo", messages=user("Count from 1 to 100"), stop=["20"], temperature=0
    )
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.choices[0].message.content or "").rstrip(" ,\n").endswith("19")


def test_seed_repeats_an_answer(client: OpenAI) -> None:
    """The same seed at a high temperature gives the same answer twice."""

    def ask() -> str | None:
        answer = client.chat.completions.create(
            model="demo",
            messages=user("Tell me a story about a dragon"),
            seed=7,
            temperature=1.5,
            max_tokens=40,
        )
        return answer.choices[0].message.content

    assert ask() == ask()


def test_models_are_listed(client: OpenAI) -> None:
    """Programs that pick the first model of the list get the one that is served."""
    assert [model.id for model in client.models.list()] == ["demo"]


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", 3.0), ("max_tokens", 0), ("top_p", -0.1), ("stop", ["a"] * 5)]
)
def test_wrong_parameter_is_named(client: OpenAI, field: str, value: object) -> None:
    """The SDK raises its own BadRequestError, and the message names the parameter."""
    from openai import BadRequestError

    with pytest.raises(BadRequestError) as raised:
        client.chat.completions.create(model="demo", messages=user("Hello"), extra_body={field: value})
    assert raised.value.param == field


def test_answer_that_nobody_waits_for_is_given_up(server: ServerProcess, client: OpenAI) -> None:
    """The time limit that the SDK sends along ends the computation, and what comes back is an error that the SDK knows."""
    from openai import InternalServerError

    # The header is set by hand: with a limit so short the SDK itself would give up before the
    # answer is there.
    with pytest.raises(InternalServerError) as raised:
        client.with_options(max_retries=0).chat.completions.create(
            model="demo",
            messages=user("Count from 1 to 1000"),
            extra_headers={"x-stainless-read-timeout": "0.001"},
        )
    assert (raised.value.status_code, raised.value.code) == (504, "deadline_exceeded")
    server.wait_until_all_is_back()
