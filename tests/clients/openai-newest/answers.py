"""Responses, as the OpenAI SDK for Python asks for them; its oldest supported release knows none."""

import json
from itertools import product
from typing import Any, Literal

import openai
from checks import API_KEY, WEATHER, check, question, raises, servers
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

DEMO, SCRIPT = servers()
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": WEATHER,
    "strict": False,
}


def client(**options: Any) -> OpenAI:
    options = {"base_url": f"{SCRIPT.url}/v1", "api_key": API_KEY, "max_retries": 0, **options}
    return OpenAI(**options, _strict_response_validation=True)


def asked(case: str, **change: Any) -> dict[str, Any]:
    """Arguments of a question to an agent."""
    return {"model": "script", "input": question(case), "tools": [TOOL], **change}


@check
def whole_response() -> None:
    """A whole response has its thought, its text, its call, and its usage, in this order."""
    response = client().responses.create(**asked("weather"))
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
    reasoning, message, call = response.output
    assert reasoning.content[0].text == "They ask about Zürich."
    assert message.content[0].text == response.output_text == "I look it up.\n"
    assert json.loads(call.arguments) == {"city": "Zürich", "days": 2}
    assert response.status == "completed"
    assert 0 < response.usage.output_tokens_details.reasoning_tokens < response.usage.output_tokens


def answered(is_streamed: bool, **request: Any) -> Any:
    """The response to a request, asked for in either way."""
    if not is_streamed:
        return client().responses.create(**request)
    with client().responses.stream(**request) as stream:
        return stream.get_final_response()


@check
def agent() -> None:
    """A loop of two calls that sends all items back, and one that names the response before, get the same answer."""
    for is_stored, is_streamed in product((False, True), repeat=2):
        request: dict[str, Any] = {"model": "script", "tools": [TOOL], "store": is_stored}
        request["input"] = [{"role": "user", "content": question("trip")}]
        cities = []
        for _ in range(3):
            response = answered(is_streamed, **request)
            calls = [item for item in response.output if item.type == "function_call"]
            if not calls:
                break
            cities += [json.loads(call.arguments)["city"] for call in calls]
            results = [
                {"type": "function_call_output", "call_id": call.call_id, "output": "21 °C"} for call in calls
            ]
            if is_stored:
                request |= {"input": results, "previous_response_id": response.id}
            else:
                request["input"] += [*response.output, *results]
        assert cities == ["Zürich", "Oslo"]
        assert response.output_text == "Zürich is warmer."


@check
def counted() -> None:
    """The number of a prompt's tokens is what its answer says that it has read, also behind another response."""
    request = asked("thought", instructions="Be brief.")
    response = client().responses.create(**request)
    assert client().responses.input_tokens.count(**request).input_tokens == response.usage.input_tokens
    request = {"model": "script", "input": question("thought"), "previous_response_id": response.id}
    num_tokens = client().responses.input_tokens.count(**request).input_tokens
    assert num_tokens == client().responses.create(**request).usage.input_tokens


@check
def events() -> None:
    """`create(stream=True)` tells OpenAI's events, numbered, each item closed before the next."""
    stream = client().responses.create(**asked("weather"), stream=True)
    told = list(stream)
    assert [event.sequence_number for event in told] == list(range(len(told)))
    kinds = [event.type.removeprefix("response.") for event in told]
    assert kinds[:2] == ["created", "in_progress"]
    assert kinds[-1] == "completed"
    assert kinds.count("output_item.added") == kinds.count("output_item.done") == 3
    assert kinds.count("function_call_arguments.delta") > 3
    text = "".join(event.delta for event in told if event.type == "response.output_text.delta")
    assert text == told[-1].response.output_text == "I look it up.\n"


@check
def stream_helper() -> None:
    """`.stream()` gathers the same response that `create` gives, with text as it grows."""
    with client().responses.stream(**asked("weather")) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert len(snapshots) > 1
    assert snapshots[-1] == final.output_text == "I look it up.\n"
    assert final.output[-1].arguments == '{"city": "Zürich", "days": 2}'


class Report(BaseModel):
    city: str
    celsius: int


class Mood(BaseModel):
    mood: Literal["happy", "sad"]


@check
def parsed() -> None:
    """`.parse()` holds the answer to a class, from the script and from a model that would say something else."""
    report = client().responses.parse(model="script", input=question("report"), text_format=Report)
    assert report.output_parsed == Report(city="Zürich", celsius=21)
    demo = client(base_url=f"{DEMO.url}/v1")
    mood = demo.responses.parse(model="demo", input="How are you?", text_format=Mood, temperature=0)
    assert mood.output_parsed.mood in ("happy", "sad")


@check
def demo_answers() -> None:
    """The demo model answers, to its end and to a limit, with log-probabilities."""
    demo = client(base_url=f"{DEMO.url}/v1")
    whole = demo.responses.create(
        model="demo", input="Explain machine learning", temperature=0, instructions="Be brief."
    )
    assert len(whole.output_text) > 20
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
    short = demo.responses.create(
        model="demo",
        input="Explain machine learning",
        max_output_tokens=5,
        include=["message.output_text.logprobs"],
        top_logprobs=2,
    )
    assert (short.status, short.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert all(len(token.top_logprobs) == 2 for token in short.output[0].content[0].logprobs)


@check
def kept() -> None:
    """What is kept can be fetched, listed and deleted, and is gone then."""
    response = client().responses.create(**asked("called"))
    assert client().responses.retrieve(response.id).output == response.output
    items = client().responses.input_items.list(response.id)
    assert items.data[0].content[0].text.startswith("called")
    client().responses.delete(response.id)
    with raises(openai.NotFoundError):
        client().responses.retrieve(response.id)


@check
def background() -> None:
    """A response in the background is taken up again behind any event, and can be cancelled."""
    stream = client().responses.create(**asked("weather"), background=True, stream=True)
    told = []
    for event in stream:
        told.append(event)
        if len(told) == 5:
            break
    stream.close()
    response_id = told[0].response.id
    rest = list(client().responses.retrieve(response_id, stream=True, starting_after=4))
    numbers = [event.sequence_number for event in [*told, *rest]]
    assert numbers == list(range(len(numbers)))
    assert rest[-1].response.output_text == "I look it up.\n"
    hanging = client().responses.create(model="script", input="hang", background=True)
    assert hanging.status in ("queued", "in_progress")
    assert client().responses.cancel(hanging.id).status == "cancelled"


@check
def errors() -> None:
    """Errors are the SDK's classes; one in the middle of a stream is the end of the response."""
    for change, error in (
        ({"input": []}, openai.BadRequestError),
        ({"model": "missing"}, openai.NotFoundError),
        ({"input": "429"}, openai.RateLimitError),
        ({"input": "503"}, openai.InternalServerError),
    ):
        with raises(error):
            client().responses.create(**{"model": "script", "input": "hi", **change})
    told = list(client().responses.create(model="script", input="error later", stream=True))
    assert told[-1].type == "response.failed"
    assert told[-1].response.error.message == "broke later"
    assert told[-1].response.output[0].content[0].text == "One two"


@check
async def asynchronous() -> None:
    """The asynchronous client gets the same, and a stream that is left stops the generation."""
    other = AsyncOpenAI(base_url=f"{SCRIPT.url}/v1", api_key=API_KEY, max_retries=0)
    assert (await other.responses.create(**asked("thought"))).output_text == "It is 42."
    aborted = SCRIPT.num_aborted()
    stream = await other.responses.create(model="script", input="hang", stream=True)
    async for event in stream:
        if event.type == "response.output_text.delta":
            break
    await stream.close()
    SCRIPT.wait_for_aborted(aborted + 1)
