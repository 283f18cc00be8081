"""If one of these fails, the program is a nuisance to start or to stop."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from tests.server_process import ServerProcess, lines_until_cut, run_server

from streamcore import _core


def streamcore(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streamcore", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


SCRIPT = "script:" + str(Path(__file__).parents[2] / "docs" / "script.example.json")


def count_stream(server: ServerProcess, max_tokens: int) -> dict[str, object]:
    return {
        "model": "demo",
        "messages": [{"role": "user", "content": "Count from 1 to 1000"}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }


@pytest.mark.parametrize("sent_signal", [signal.SIGINT, signal.SIGTERM])
def test_running_stream_finishes_at_shutdown(sent_signal: signal.Signals) -> None:
    """A signal in the middle of an answer does not cut the answer, and the exit status is 0."""
    with run_server("--shutdown-timeout", "600") as server:
        url = f"{server.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=count_stream(server, 300), timeout=60) as response:
            lines = response.iter_lines()
            assert next(lines).startswith("data: ")
            statuses: list[int] = []
            stopper = threading.Thread(
                target=lambda: statuses.append(server.stop(sent_signal, timeout_s=250))
            )
            stopper.start()
            rest = [line for line in lines if line]
        stopper.join()
    assert rest[-1] == "data: [DONE]"
    assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    assert statuses == [0]


def test_deadline_ends_what_is_still_running() -> None:
    """A stream that outlasts the deadline ends with an error event; the program still exits with 0."""
    with run_server("--shutdown-timeout", "0") as server:
        url = f"{server.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=count_stream(server, 3000), timeout=60) as response:
            lines = response.iter_lines()
            next(lines)
            stopper = threading.Thread(target=server.stop)
            stopper.start()
            rest = lines_until_cut(lines)
        stopper.join()
    assert "error" in json.loads(rest[-1].removeprefix("data: "))
    assert server.process.returncode == 0


def test_port_in_use_is_one_line() -> None:
    """Two servers on one port: the second says so in one line, before it loads anything, and exits with 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = streamcore("serve", "--port", str(port))
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert str(port) in ended.stderr
    assert "in use" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--prot", "1"], "did you mean `--port`"),
        (["--port", "70000"], "at most 65535"),
        (["--port", "x"], "--port"),
        (["--max-num-seqs", "0"], "at least 1"),
        (["--kv-cache-memory-bytes", "much"], "`much` is not a number of bytes"),
        (["--shutdown-timeout", "86401"], "at most 86400"),
        (["--shutdown-timeout", "inf"], "--shutdown-timeout: invalid float value: 'inf'"),
        (["--target-itl-ms=-1"], "`--target-itl-ms` is -1.0, it must be at least 0"),
        (["--api", "sekret"], "unknown option `--api`, did you mean `--api-key`?"),
        (["--api-key", ""], "`--api-key` is empty"),
        (["--served-model-name", "a", "."], "put the model before the options"),
        (["--dtype", "int8"], "int8"),
        (["--dtype", "bfloat"], "did you mean `bfloat16`?"),
        (
            ["--api-key", "s3cret\n"],
            "`--api-key` ends with a line break, which no header can carry: a file usually",
        ),
        (["--api-key", "s3\ncret"], "`--api-key` has a character in it that no header can carry"),
        (["--api-key", "good", "s3cret\x7f"], "no header can carry"),
        (["--api-key", " s3cret"], "`--api-key` begins or ends with a space, which no header can carry"),
        (["--api-key", os.fsdecode(b"s3cret\xff")], "no header can carry"),
    ],
)
def test_wrong_option_is_one_line(arguments: list[str], named: str) -> None:
    """A typing error on the command line is answered with one line that helps, and status 2."""
    ended = streamcore("serve", *arguments)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert named in ended.stderr
    assert "s3cret" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["sevre"], "unknown command `sevre`, did you mean `serve`?"),
        (["--verison"], "unknown option `--verison`, did you mean `--version`?"),
        (["."], "unknown command `.`, did you mean `streamcore serve .`?"),
        ([SCRIPT], f"did you mean `streamcore serve {SCRIPT}`?"),
        (["simulate", "--device", "h10"], "did you mean `h100`?"),
    ],
)
def test_wrong_command_is_one_line(arguments: list[str], named: str) -> None:
    """A newcomer guesses; one line brings him to the command that he meant."""
    ended = streamcore(*arguments)
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1)
    assert named in ended.stderr


def test_no_command_is_a_question() -> None:
    """The name of the program alone shows what it can do, as `--help` does."""
    alone, asked = streamcore(), streamcore("--help")
    assert (alone.returncode, alone.stdout, alone.stderr) == (0, asked.stdout, "")
    assert "serve a model" in alone.stdout


def test_missing_model_is_one_line(tmp_path: Path) -> None:
    """A wrong path is named, and nothing is started."""
    ended = streamcore("serve", str(tmp_path / "nowhere"))
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "nowhere" in ended.stderr


def test_help_needs_no_torch() -> None:
    """`--help` must not wait seconds for torch to be imported."""
    code = "import sys, streamcore.cli as c\ntry: c.main(['serve', '--help'])\nexcept SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules"
    assert (
        subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
    )


def test_start_says_what_was_chosen() -> None:
    """The first lines tell device, dtype, blocks and model, and a command to try that works as it stands."""
    with run_server() as server:
        # The log is written by a thread of its own, and to another stream: the last line of the
        # start is still last.
        before = server.output.split("Ready at")[0]
        assert [word for word in ("device", "dtype", "blocks", "serving demo at") if word not in before] == []
        server.read_output_until("}'\n")
        command = re.search(r"^  (curl .*)$", server.output, re.MULTILINE)
        assert command is not None
        answer = subprocess.run(
            command[1], shell=True, capture_output=True, text=True, timeout=60, check=True
        )
    assert answer.stdout.rstrip().endswith("data: [DONE]")


def test_keys_of_the_environment_guard_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """All users of a machine can read command lines; keys given otherwise must work, and stay secret."""
    monkeypatch.setenv("STREAMCORE_API_KEY", "s3cret, 0ther\n")
    monkeypatch.setenv("STREAMCORE_LOG", "debug")
    with run_server(SCRIPT) as server, httpx.Client(base_url=server.url) as client:
        for key, status in ((None, 401), ("s3cret", 200), ("0ther", 200), ("s3cret, 0ther", 401)):
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            assert client.get("/v1/models", headers=headers).status_code == status
        assert "Authorization: Bearer KEY" in server.output
        server.stop()
    assert not [key for key in ("s3cret", "0ther") if key in server.output]


def test_key_of_the_environment_that_no_header_can_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would lock all out, and nothing would say why; what it is must not be said."""
    monkeypatch.setenv("STREAMCORE_API_KEY", "good,s3c\nret")
    ended = streamcore("serve", "--port", "0", SCRIPT)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert "a key in `STREAMCORE_API_KEY` has a character in it that no header can carry" in ended.stderr
    assert "s3c" not in ended.stderr


@pytest.mark.parametrize("keys", ["", " ", "a,,b", "a,"])
def test_empty_key_in_the_environment_opens_nothing(keys: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that was not filled in must not become a server without keys."""
    monkeypatch.setenv("STREAMCORE_API_KEY", keys)
    ended = streamcore("serve", "--port", "0", SCRIPT)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "`STREAMCORE_API_KEY` has an empty key" in ended.stderr


def test_example_has_a_place_for_the_key_but_not_the_key() -> None:
    """The command to try must not be refused for want of a header, and a secret must not be printed."""
    with run_server("--api-key", "s3cret") as server:
        assert "Authorization: Bearer KEY" in server.output
        assert "s3cret" not in server.output


def test_context_that_the_memory_shortens_is_a_warning() -> None:
    """A request that the model allows is refused for want of memory: the log says what would hold it, the answer why."""
    with run_server("--kv-cache-memory-bytes", "200KiB") as server:
        assert "WARN the KV cache shortens the context to 96 of 4096 tokens" in server.output
        needed = re.search(r"`(--kv-cache-memory-bytes) (\d+MiB)` would hold all of it", server.output)
        assert needed is not None
        assert "`--max-model-len 96` takes it as it is" in server.output
        body = {"model": "demo", "prompt": "Count", "max_tokens": 500}
        answer = httpx.post(f"{server.url}/v1/completions", json=body)
        assert answer.status_code == 400
        message = answer.json()["error"]["message"]
        assert "this model's maximum context length is 96 tokens, as many as the KV cache holds" in message
    with run_server(needed[1], needed[2]) as server:
        assert "shortens" not in server.output
        assert httpx.post(f"{server.url}/v1/completions", json=body).status_code == 200


def test_development_build_says_so() -> None:
    """What a build with checks takes for a token must not be taken for the server's speed."""
    with run_server(SCRIPT) as server:
        assert ("WARN this is a development build" in server.output) == (not _core.is_release)


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell leaves the `~` in `--option=~/file` and in `script:~/file` as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "script.json").write_text('{"rules": [{"answer": {"text": "ok"}}]}')
    with run_server("script:~/script.json", "--trace-file=~/a.trace") as server:
        server.stop()
    assert (tmp_path / "a.trace").exists()
    assert streamcore("replay", "~/a.trace").returncode == 0
    assert streamcore("simulate", "--trace=~/a.trace").stderr == "streamcore: the load has no requests\n"
    assert "model folder" in (missing := streamcore("serve", "~/missing").stderr)
    assert str(tmp_path / "missing") in missing
