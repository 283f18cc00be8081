"""A scripted OpenAI server inside your test, for programs that talk to one.

    with scripted_server([{"answer": {"text": "Hello!"}}]) as server:
        client = OpenAI(base_url=server.base_url, api_key="none")

What rules may say is in `docs/testing-clients.md`; the types below say it to your type checker.
With pytest, the fixture `streamcore_server` starts such servers and ends them with the test.
Nothing here imports torch.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict

from streamcore import _core
from streamcore.config import check_api_keys
from streamcore.scripted import parse_script, read_script, start_player, start_server

__all__ = [
    "Answer",
    "Error",
    "Fault",
    "ReceivedRequest",
    "Rule",
    "ScriptedServer",
    "StartServer",
    "ToolCall",
    "ToolMessage",
    "When",
    "WhenTool",
    "scripted_server",
]


class WhenTool(TypedDict, total=False):
    """What a tool has answered: all that is given must hold; nothing given, any answer will do."""

    name: str
    """The tool, by its message or by the call that it answers."""
    tool_call_id: str
    """The id of the call."""
    equals: str
    """The content is this."""
    contains: str
    """It has this in it."""
    regex: str
    """This regular expression, in Rust's syntax, finds something in it."""


class When(TypedDict, total=False):
    """Which requests a rule is for: all that is given must hold; nothing given, it is for all."""

    equals: str
    """The last message of the user, or the prompt, is this."""
    contains: str
    """It has this in it."""
    regex: str
    """This regular expression, in Rust's syntax, finds something in it."""
    model: str
    """This model is asked for."""
    stream: bool
    """The answer is streamed, or is not."""
    tool: WhenTool
    """A tool has answered so since the last turn of the model."""


class Fault(TypedDict, total=False):
    """How an answer breaks."""

    kind: Literal["error", "hang", "cut"]
    """An error event, or silence for ever, or a connection that breaks off."""
    after_tokens: int
    """How many tokens come before it; 0 if not given."""
    message: str
    """Of an error event."""


class Error(TypedDict, total=False):
    """An error status in the place of an answer."""

    status: int
    """400 to 599."""
    code: str
    """One word for programs."""
    message: str
    """For people."""
    retry_after_s: int
    """The header `Retry-After`, in seconds."""


class _ToolCall(TypedDict):
    name: str
    """The tool."""


class ToolCall(_ToolCall, total=False):
    """A call of a tool."""

    arguments: Mapping[str, Any]
    """What can be JSON; empty if not given."""
    id: str
    """What the tool's answer refers to; one is made if not given."""


class Answer(TypedDict, total=False):
    """One answer: `error`, or else `pieces`, or what the model says otherwise, with
    what follows.
    """

    reasoning: str
    """What the model thinks before it speaks."""
    text: str
    """What the model says, in tokens of the demo model."""
    tool_calls: Sequence[ToolCall]
    """What it calls behind that, written and read in the format of the script's parser."""
    pieces: Sequence[str | Sequence[int]]
    """The same in tokens of your own, texts or lists of bytes: each is one event of a stream, if
    whole characters come of it.
    """
    finish_reason: Literal["stop", "length"]
    """`stop` if not given."""
    first_token_delay_ms: int
    """From the arrival of the request to the first token."""
    token_delay_ms: int
    """From each token to the next, and to the end."""
    fault: Fault
    error: Error


class Rule(TypedDict, total=False):
    """Which requests get which answers. The first rule that is for a request answers it."""

    when: When
    answer: Answer
    answers: Sequence[Answer]
    """For one request, or choice of a request, after the other; the last one stays. In the place of
    `answer`.
    """


@dataclass(frozen=True)
class ToolMessage:
    """What a tool has answered."""

    content: str
    """Text parts are joined by line breaks."""
    tool_call_id: str | None
    """The id of the call."""
    name: str | None
    """The tool, by its message or by the call that it answers."""
    arguments: Any
    """What it was called with, as the client sends it back: read as JSON, a string where that
    fails, None without the call.
    """


@dataclass(frozen=True)
class ReceivedRequest:
    """What a client has sent."""

    method: str
    """Such as "POST"."""
    path: str
    """Path and query, such as "/v1/models?after=x"."""
    headers: dict[str, str]
    """Names in small letters; values of one name are joined by ", ". Of keys and cookies it
    shows only that they were there.
    """
    body: Any
    """The JSON of the body; None if there was none, or the request was refused before it was read.
    """

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages of a chat; else none."""
        return _objects(self.body, "messages")

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The tools that the model may call."""
        return _objects(self.body, "tools")

    @property
    def tool_choice(self) -> Any:
        """Which of them it may or must call; None if the client leaves that open."""
        return self.body.get("tool_choice") if isinstance(self.body, dict) else None

    @property
    def tool_messages(self) -> list[ToolMessage]:
        """What tools have answered since the last turn of the model, in the order of
        the messages.
        """
        messages = self.messages
        turns = [index for index, message in enumerate(messages) if message.get("role") == "assistant"]
        start = turns[-1] + 1 if turns else 0
        calls = [call for message in messages[:start] for call in _objects(message, "tool_calls")]
        answers = [message for message in messages[start:] if message.get("role") in ("tool", "function")]
        return [_tool_message(message, calls) for message in answers]


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    """The objects in a list of this name; none where the client has sent something else."""
    values = value.get(name) if isinstance(value, dict) else None
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _tool_message(message: dict[str, Any], calls: Sequence[dict[str, Any]]) -> ToolMessage:
    parts = [str(part.get("text", "")) for part in _objects(message, "content")]
    content = message.get("content")
    call_id = message.get("tool_call_id")
    functions = [call.get("function") for call in calls if call_id is not None and call.get("id") == call_id]
    called = functions[-1] if functions and isinstance(functions[-1], dict) else {}
    name = message.get("name") or called.get("name")
    text = content if isinstance(content, str) else "\n".join(parts)
    return ToolMessage(text, call_id, name, _arguments(called.get("arguments")))


def _arguments(sent: Any) -> Any:
    try:
        return json.loads(sent) if isinstance(sent, str) else sent
    except ValueError:
        return sent


class ScriptedServer:
    """A running scripted server."""

    def __init__(self, base_url: str, script: _core.Script) -> None:
        self.base_url = base_url
        """What an OpenAI client takes as its `base_url`, such as "http://127.0.0.1:40123/v1"."""
        self._script = script

    @property
    def num_replies(self) -> int:
        """Answers and errors given so far: one for each choice of each valid request, retries
        included.
        """
        return self._script.num_replies

    @property
    def requests(self) -> list[ReceivedRequest]:
        """What was asked, in the order in which it came: the last 1000 requests, and no more than
        64 MiB of bodies.
        """
        return [_received(*request) for request in self._script.requests]


def _received(method: str, path: str, pairs: Sequence[tuple[str, str]], content: bytes) -> ReceivedRequest:
    headers: dict[str, str] = {}
    for name, value in pairs:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    return ReceivedRequest(method, path, headers, body)


class StartServer(Protocol):
    """The fixture `streamcore_server`: starts a server that ends with the test. The arguments are
    `scripted_server`'s.
    """

    def __call__(
        self,
        rules: Sequence[Rule] | Path,
        *,
        models: Sequence[str] = (),
        api_keys: Sequence[str] = (),
        tool_call_parser: str = "auto",
        reasoning_parser: str = "auto",
    ) -> ScriptedServer: ...


@contextmanager
def scripted_server(
    rules: Sequence[Rule] | Path,
    *,
    models: Sequence[str] = (),
    api_keys: Sequence[str] = (),
    tool_call_parser: str = "auto",
    reasoning_parser: str = "auto",
) -> Iterator[ScriptedServer]:
    """Serve scripted answers on a free port of this machine, for the length of a `with` block.

    What is still being answered at the end of the block is ended with an error.

    Args:
        rules: the rules, or a script file.
        models: names of models that may be asked for; else the file's, else "script".
        api_keys: keys, one of which requests must carry; none: no key is asked for.
        tool_call_parser: format in which the model writes calls, a name of `--tool-call-parser`;
            "auto": the file's, else Hermes' where an answer has `tool_calls`.
        reasoning_parser: the same for reasoning, `<think>` where an answer has `reasoning`.

    Raises:
        ConfigError: the script says something that cannot be done; names the place. Or no header
            can carry a key.
        OSError: there is no free port.
    """
    check_api_keys(api_keys, "a key in `api_keys`")
    parsers = {"tool_call_parser": tool_call_parser, "reasoning_parser": reasoning_parser}
    if isinstance(rules, Path):
        model = read_script(rules, keeps_requests=True, **parsers)
    else:
        model = parse_script(json.dumps({"rules": rules}), keeps_requests=True, **parsers)
    listener = _core.Listener("127.0.0.1", 0)
    url = listener.url
    server = start_server(model, listener, served_model_names=models, api_keys=api_keys)
    player = start_player(server)
    try:
        yield ScriptedServer(f"{url}/v1", model.script)
    finally:
        server.drain(0)
        player.join()
        server.shutdown()
