"""If one of these fails, tests of an OpenAI client prove something false."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import openai
import pytest
from openai import OpenAI, Stream
from openai.types.chat import ChatCompletionChunk
from tests.server_process import run_server

from streamcore import _core
from streamcore.config import ServeConfig
from streamcore.errors import ConfigError, RunnerError
from streamcore.serve import open_server
from streamcore.testing import Answer, Rule, ScriptedServer, StartServer, scripted_server

EXAMPLE = Path(__file__).parents[2] / "docs" / "script.example.json"
pytest_plugins = ["streamcore.pytest_plugin"]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK waits before it tries again; here it need not."""
    monkeypatch.setattr(OpenAI, "_calculate_retry_timeout", lambda *_: 0.0)


def client_of(server: ScriptedServer, max_retries: int = 0, timeout: float = 30.0) -> OpenAI:
    return OpenAI(base_url=server.base_url, api_key="none", max_retries=max_retries, timeout=timeout)


def ask(client: OpenAI, text: str = "hi", model: str = "script") -> str | None:
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
    return answer.choices[0].message.content


def stream(client: OpenAI, text: str = "hi") -> Stream[ChatCompletionChunk]:
    return client.chat.completions.create(
        model="script", messages=[{"role": "user", "content": text}], stream=True
    )


def texts(chunks: Iterator[ChatCompletionChunk]) -> Iterator[str]:
    for chunk in chunks:
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


def test_rules_answer_the_sdk(streamcore_server: StartServer) -> None:
    """The text that the script says is the text that the program gets, streamed or not, by chat or completion."""
    server = streamcore_server(
        [
            {"when": {"contains": "weather"}, "answer": {"text": "Sunny, 21 °C ☀️"}},
            {"answers": [{"text": "first"}, {"text": "second", "finish_reason": "length"}]},
        ]
    )
    with client_of(server) as client:
        assert ask(client, "How is the weather?") == "Sunny, 21 °C ☀️"
        assert "".join(texts(stream(client, "weather"))) == "Sunny, 21 °C ☀️"
        assert ask(client) == "first"
        completion = client.completions.create(model="script", prompt="hi")
        assert (completion.choices[0].text, completion.choices[0].finish_reason) == ("second", "length")
    assert server.num_replies == 4


def test_pieces_are_chunks(streamcore_server: StartServer) -> None:
    """A parser of chunks is tested with the cuts that its author chose, in the middle of a character, too."""
    server = streamcore_server([{"answer": {"pieces": ["<th", "ink", [0xE2, 0x82], [0xAC], "</think>"]}}])
    with client_of(server) as client:
        assert list(texts(stream(client))) == ["<th", "ink", "€", "</think>"]


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_error_status_is_the_sdks_exception(
    streamcore_server: StartServer, status: int, raised: type[openai.APIStatusError]
) -> None:
    """A program that catches the SDK's exceptions is tested with those that the real server causes."""
    error: Answer = {"error": {"status": status, "code": "a_word", "message": "what is wrong"}}
    server = streamcore_server([{"answer": error}])
    with client_of(server) as client, pytest.raises(raised, match="what is wrong") as caught:
        ask(client)
    assert (caught.value.status_code, caught.value.code) == (status, "a_word")
    assert server.num_replies == 1


def test_retries_are_counted(streamcore_server: StartServer) -> None:
    """Two failures and a success: the SDK tries three times, and the test can see that."""
    busy: Answer = {"error": {"status": 429, "code": "busy", "message": "later", "retry_after_s": 1}}
    server = streamcore_server([{"answers": [busy, busy, {"text": "at last"}]}])
    with client_of(server, max_retries=2) as client:
        assert ask(client) == "at last"
    assert server.num_replies == 3


def test_retry_after_is_sent(streamcore_server: StartServer) -> None:
    """A client that honours `Retry-After` needs one to honour."""
    busy: Answer = {"error": {"status": 503, "code": "busy", "message": "later", "retry_after_s": 17}}
    server = streamcore_server([{"answer": busy}])
    with client_of(server) as client, pytest.raises(openai.InternalServerError) as caught:
        ask(client)
    assert caught.value.response.headers["retry-after"] == "17"


@pytest.mark.parametrize("after_tokens", [0, 2])
def test_error_event_is_raised_in_the_stream(streamcore_server: StartServer, after_tokens: int) -> None:
    """An error after the headers reaches the program as an exception, after the text that came before it."""
    server = streamcore_server(
        [
            {
                "answer": {
                    "pieces": ["a", "b", "c"],
                    "fault": {"kind": "error", "after_tokens": after_tokens, "message": "out of memory"},
                }
            }
        ]
    )
    seen: list[str] = []
    with client_of(server) as client, pytest.raises(openai.APIError, match="out of memory"):
        seen.extend(iter(texts(stream(client))))
    with client_of(server) as client:
        chunks = texts(stream(client))
        assert [next(chunks) for _ in range(after_tokens)] == ["a", "b"][:after_tokens]
        with pytest.raises(openai.APIError, match="out of memory"):
            next(chunks)


def test_cut_connection_is_raised(streamcore_server: StartServer) -> None:
    """A connection that breaks off is no end of an answer: the program must not take what it has for the whole.

    Before its third version the SDK raises in a stream what httpx has raised.
    """
    server = streamcore_server(
        [{"answer": {"pieces": ["a", "b", "c"], "fault": {"kind": "cut", "after_tokens": 2}}}]
    )
    with client_of(server) as client:
        chunks = texts(stream(client))
        assert [next(chunks), next(chunks)] == ["a", "b"]
        with pytest.raises((openai.APIConnectionError, httpx.RemoteProtocolError)):
            next(chunks)
        with pytest.raises(openai.APIConnectionError):
            ask(client)
    assert server.num_replies == 2


def test_cut_is_logged_as_the_servers_doing() -> None:
    """Who looks for a fault in his client must not read in the log that it was the client that left."""
    body = {"model": "demo", "messages": [{"role": "user", "content": "cut"}]}
    with run_server(f"script:{EXAMPLE}") as server:
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(f"{server.url}/v1/chat/completions", json=body)
        assert "the client has left" not in server.read_output_until("the server has cut the connection")


def test_cut_whole_answer_is_tried_again(streamcore_server: StartServer) -> None:
    """The SDK asks again for a whole answer that broke off."""
    server = streamcore_server([{"answers": [{"fault": {"kind": "cut"}}, {"text": "ok"}]}])
    with client_of(server, max_retries=1) as client:
        assert ask(client) == "ok"
    assert server.num_replies == 2


def test_hang_runs_into_the_read_timeout(streamcore_server: StartServer) -> None:
    """An answer that hangs sends nothing, not even comments: the client's own timeout must end it."""
    server = streamcore_server(
        [{"answer": {"pieces": ["a", "b"], "fault": {"kind": "hang", "after_tokens": 1}}}]
    )
    with client_of(server, timeout=2.0) as client:
        chunks = texts(stream(client))
        assert next(chunks) == "a"
        with pytest.raises((openai.APITimeoutError, httpx.ReadTimeout)):
            next(chunks)
        with pytest.raises(openai.APITimeoutError):
            ask(client)


def test_delays_are_kept(streamcore_server: StartServer) -> None:
    """A client's timeout is tested by an answer that comes too late for it; a stream would be kept alive by comments."""
    server = streamcore_server([{"answer": {"text": "late", "first_token_delay_ms": 86_400_000}}])
    with client_of(server, timeout=0.2) as client, pytest.raises(openai.APITimeoutError):
        ask(client)


def test_impatient_client_gets_a_late_stream(streamcore_server: StartServer) -> None:
    """A read timeout is about silence: comments must come soon enough for one that is shorter than a long prompt takes."""
    server = streamcore_server([{"answer": {"text": "late", "first_token_delay_ms": 1500}}])
    with client_of(server, timeout=0.9) as client:
        assert "".join(texts(stream(client))) == "late"


def test_slow_answer_arrives_whole(streamcore_server: StartServer) -> None:
    """A delay between tokens loses none, while another answer runs through at once."""
    server = streamcore_server(
        [
            {"when": {"equals": "slow"}, "answer": {"pieces": list("abcdef"), "token_delay_ms": 15}},
            {"answer": {"text": "quick"}},
        ]
    )
    with client_of(server) as client:
        slow = texts(stream(client, "slow"))
        assert next(slow) == "a"
        assert ask(client) == "quick"
        assert "".join(slow) == "bcdef"


def test_keys_and_models_are_asked_for() -> None:
    """Names and keys are those of the program under test, so that it need not be changed for it."""
    with scripted_server([{"answer": {"text": "ok"}}], models=["gpt-4o"], api_keys=["k1"]) as server:
        with client_of(server) as client, pytest.raises(openai.AuthenticationError):
            ask(client, model="gpt-4o")
        with OpenAI(base_url=server.base_url, api_key="k1", max_retries=0) as client:
            assert ask(client, model="gpt-4o") == "ok"
            assert [model.id for model in client.models.list()] == ["gpt-4o"]
            with pytest.raises(openai.NotFoundError):
                ask(client, model="gpt-5")


def test_mistake_in_a_rule_is_named() -> None:
    """A rule without content is an error that names its place."""
    rules: list[Rule] = [{"answer": {"text": "a"}, "when": {"regex": "("}}]
    with pytest.raises(ConfigError, match=r"`rules\[0\].when.regex`: is not a regular expression"):  # noqa: SIM117
        with scripted_server(rules):
            pass


def test_rule_for_a_model_that_is_not_served_is_refused() -> None:
    """Such a rule is never reached: the test that it was written for would test something else."""
    rules: list[Rule] = [{"when": {"model": "gpt-4"}, "answer": {"text": "a"}}]
    with pytest.raises(ConfigError, match=r"`rules\[0\].when.model`: `gpt-4` is not among"):  # noqa: SIM117
        with scripted_server(rules, models=["gpt-4o"]):
            pass


def test_mistake_in_a_file_is_named(tmp_path: Path) -> None:
    """So is one in a file, with the name of the file."""
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"rules": [{"answer": {"txt": "a"}}]}))
    with pytest.raises(ConfigError, match=r"script.json: `rules\[0\].answer.txt`: unknown field"):  # noqa: SIM117
        with scripted_server(path):
            pass


def test_example_of_the_documentation_is_served() -> None:
    """The command and the file that the documentation shows must work as they stand."""
    with (
        run_server(f"script:{EXAMPLE}") as server,
        OpenAI(base_url=f"{server.url}/v1", api_key="none") as client,
    ):
        assert ask(client, "Hello", model="demo") == "Hello! How can I help you?"
        assert ask(client, "How is the weather?", model="demo") == "Sunny, 21 °C ☀️"
        assert [model.id for model in client.models.list()] == ["gpt-4o-mini", "demo"]


def test_options_hold_for_a_script_too() -> None:
    """A web page is tested with the origins that it will be served from, a client with the queue that it will meet."""
    origin = "https://chat.example"
    arguments = (f"script:{EXAMPLE}", "--allowed-origins", origin, "--max-waiting-requests", "1")
    with run_server(*arguments) as server:
        answer = httpx.get(f"{server.url}/v1/models", headers={"origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin
        body = {"model": "demo", "prompt": ["a", "b"]}
        refusal = httpx.post(f"{server.url}/v1/completions", json=body)
        assert refusal.status_code == 400, "two do not fit into a queue of one, now or later"
        assert "limit is 1" in refusal.json()["error"]["message"]


def test_head_request_is_logged_as_answered() -> None:
    """A monitor that asks with HEAD must not fill the log with clients that have left."""
    with run_server(f"script:{EXAMPLE}") as server:
        assert httpx.head(f"{server.url}/v1/models").status_code == 200
        assert "HEAD /v1/models request_id=" in server.read_output_until("HEAD")


def test_script_that_is_given_up_is_no_success() -> None:
    """The exit status must show that the server has failed."""
    config = ServeConfig(model=Path(f"script:{EXAMPLE}"))
    with open_server(config, None) as serving:
        serving.server.fail("the scripted runner has panicked")
        with pytest.raises(RunnerError, match="the scripted runner has panicked"):
            serving.run()


def test_clients_are_not_told_what_the_runner_died_of() -> None:
    """The text of an exception has paths in it; `/health` would show them to every client."""

    def die() -> None:
        raise OSError("/home/somebody/model.safetensors")

    with open_server(ServeConfig(model=Path(f"script:{EXAMPLE}")), None) as serving:
        with pytest.raises(OSError, match="somebody"):
            replace(serving, run_steps=die).run()
        assert serving.server.failure == "the model runner failed"


def test_missing_torch_is_one_line() -> None:
    """A user without torch is asked to install it, and sees no traceback."""
    code = "import sys; sys.modules['torch'] = None; from streamcore.cli import main; sys.exit(main(['serve', '--port', '0']))"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    lines = [
        line
        for line in ended.stderr.splitlines()
        if line.startswith("streamcore: torch is missing; install it")
    ]
    assert len(lines) == 1
    assert "Traceback" not in ended.stderr


def test_version_needs_no_installation() -> None:
    """A checkout on PYTHONPATH has no package metadata."""
    manifest = (EXAMPLE.parents[1] / "Cargo.toml").read_text()
    assert f'version = "{_core.__version__}"' in manifest


@pytest.mark.parametrize(
    ("arguments", "status", "named"),
    [
        (["script:nowhere.json"], 1, "script nowhere.json cannot be read"),
        (["--model", "script:nowhere.json"], 1, "script nowhere.json cannot be read"),
        (["script:"], 2, "`script:` names no file"),
        (["a", "--model", "b"], 2, "the model is given twice"),
        (["a", "b"], 2, "unexpected argument `b`, only one MODEL can be given"),
        ([f"script:{EXAMPLE}", "--max-num-seqs", "100000000"], 1, "follow from `--max-num-seqs`"),
        ([f"script:{EXAMPLE}", "--device", "cpu"], 2, "`--device` has no meaning with a script"),
        (["--tool-call-parser", "hermes2"], 2, "one of auto, none, hermes, "),
        (["--tool-call-parser", "hermes2"], 2, ", did you mean `hermes`?"),
        (
            ["--reasoning-parser", "qwen"],
            2,
            "`--reasoning-parser` is `qwen`, it must be one of auto, none, qwen3, ",
        ),
    ],
)
def test_wrong_command_is_one_line(arguments: list[str], status: int, named: str) -> None:
    """A typing error is answered with one line that helps."""
    command = [sys.executable, "-m", "streamcore", "serve", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == status
    assert len(ended.stderr.splitlines()) == 1
    assert named in ended.stderr


def test_server_needs_no_torch() -> None:
    """The wheel without its dependencies suffices to test clients."""
    code = (
        "import sys, urllib.request, streamcore.pytest_plugin\n"
        "from streamcore.testing import scripted_server\n"
        "with scripted_server([{'answer': {'text': 'ok'}}]) as server:\n"
        "    urllib.request.urlopen(server.base_url + '/models').read()\n"
        "foreign = {'torch', 'tokenizers', 'safetensors', 'numpy', 'transformers', 'jinja2'} & sys.modules.keys()\n"
        "assert not foreign, foreign\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
