"""A scripted OpenAI server inside your test, for programs that talk to one.

    with scripted_server([{"answer": {"text": "Hello!"}}]) as server:
        client = OpenAI(base_url=server.base_url, api_key="none")

What rules may say is in `docs/testing-clients.md`; the types below say it to your type checker. With pytest, the fixture
`streamcore_server` starts such servers and ends them with the test. Nothing here imports torch.
"""

import json
from collections.abc import Iterator, Sequence
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
    "When",
    "scripted_server",
]


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


class Answer(TypedDict, total=False):
    """One answer: `error`, or else `text` or `pieces` with what follows."""

    text: str
    """What the model says, in tokens of the demo model."""
    pieces: Sequence[str | Sequence[int]]
    """The same in tokens of your own, texts or lists of bytes: each is one event of a stream, if whole characters come of it."""
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
    """For one request, or choice of a request, after the other; the last one stays. In the place of `answer`."""


@dataclass(frozen=True)
class ReceivedRequest:
    """What a client has sent."""

    method: str
    """Such as "POST"."""
    path: str
    """Path and query, such as "/v1/models?after=x"."""
    headers: dict[str, str]
    """Names in small letters; values of one name are joined by ", ". Of keys and cookies it tells only that they were there."""
    body: Any
    """The JSON of the body; None if there was none, or the request was refused before it was read."""


class ScriptedServer:
    """A running scripted server."""

    def __init__(self, base_url: str, script: _core.Script) -> None:
        self.base_url = base_url
        """What an OpenAI client takes as its `base_url`, such as "http://127.0.0.1:40123/v1"."""
        self._script = script

    @property
    def num_replies(self) -> int:
        """Answers and errors given so far: one for each choice of each valid request, retries included."""
        return self._script.num_replies

    @property
    def requests(self) -> list[ReceivedRequest]:
        """What was asked, in the order in which it came: the last 1000 requests, and no more than 64 MiB of bodies."""
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
    """The fixture `streamcore_server`: starts a server that ends with the test. The arguments are `scripted_server`'s."""

    def __call__(
        self, rules: Sequence[Rule] | Path, *, models: Sequence[str] = (), api_keys: Sequence[str] = ()
    ) -> ScriptedServer: ...


@contextmanager
def scripted_server(
    rules: Sequence[Rule] | Path, *, models: Sequence[str] = (), api_keys: Sequence[str] = ()
) -> Iterator[ScriptedServer]:
    """Serve scripted answers on a free port of this machine, for the length of a `with` block.

    What is still being answered at the end of the block is ended with an error.

    Args:
        rules: the rules, or a script file.
        models: names of models that may be asked for; else the file's, else "script".
        api_keys: keys, one of which requests must carry; none: no key is asked for.

    Raises:
        ConfigError: the script says something that cannot be done; names the place. Or no header can carry a key.
        OSError: there is no free port.
    """
    check_api_keys(api_keys, "a key in `api_keys`")
    if isinstance(rules, Path):
        model = read_script(rules, keeps_requests=True)
    else:
        model = parse_script(json.dumps({"rules": rules}), keeps_requests=True)
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
