"""If one of these fails, a server that starts cannot be ended: a rollout waits for its container, a terminal for its prompt."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, Signals

import httpx
import pytest
from tests.server_process import run_server

STOPPING = Path(__file__).parent / "stopping"
SCRIPT = "script:" + str(Path(__file__).parents[2] / "docs" / "script.example.json")
STREAMCORE = [sys.executable, "-m", "streamcore"]

SERVE = ["serve", "--port", "0"]
SIMULATE = ["simulate", "--requests", "1"]
MOMENTS = {
    "the command line is imported": ("streamcore.cli", SERVE),
    "the options are defined": ("streamcore.cli:_parsers", SERVE),
    "a script is read": ("streamcore.serve:read_script", [*SERVE, SCRIPT]),
    "the port is bound": ("streamcore.serve:_bind", [*SERVE, SCRIPT]),
    "torch is imported": ("torch", SERVE),
    "the script's server takes requests": ("streamcore.serve:_drain_on_signal", [*SERVE, SCRIPT]),
    "a load is simulated": ("streamcore.simulation:combinations", SIMULATE),
    "a trace is replayed": ("streamcore.replay", ["replay", "no.trace"]),
}
"""What happens when the signal comes: where it is in the program, and the command line."""
MOMENTS_WITH_TORCH = {
    "safetensors is imported": ("safetensors", SERVE),
    "weights are read": ("streamcore.runner.load:load_model", SERVE),
    "the cache is allocated": ("streamcore.runner.load:allocate_kv_cache", SERVE),
    "the model is warmed up": ("streamcore.runner.load:warm_up", SERVE),
    "the model takes requests": ("streamcore.serve:_drain_on_signal", SERVE),
}
"""More of them, which take seconds each."""


def environment(place: str, *sent: Signals) -> dict[str, str]:
    numbers = ",".join(str(int(number)) for number in sent)
    return os.environ | {"PYTHONPATH": str(STOPPING), "STOP_AT": place, "STOP_BY": numbers}


def end_at(
    moment: tuple[str, list[str]], *sent: Signals, more: Sequence[str] = (), within: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command that gets signals at a moment of its start."""
    place, command = moment
    return subprocess.run(
        [*within, *STREAMCORE, *command, *more],
        env=environment(place, *sent),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_ended(ended: subprocess.CompletedProcess[str], sent: Signals) -> None:
    # The log has a thread of its own, whose lines may come before or after it.
    said = [line for line in ended.stderr.splitlines() if line.startswith("streamcore: ")]
    assert (ended.returncode, said) == (128 + sent, [f"streamcore: ended by {sent.name}"]), ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("sent", [SIGINT, SIGTERM, SIGHUP])
@pytest.mark.parametrize("moment", MOMENTS)
def test_signal_ends_the_start(moment: str, sent: Signals) -> None:
    """Before anything is served there is nothing to wait for: one line, and the status that a shell gives."""
    assert_ended(end_at(MOMENTS[moment], sent), sent)


@pytest.mark.parametrize(
    ("moment", "sent"),
    list(zip(MOMENTS_WITH_TORCH, [SIGINT, SIGTERM, SIGINT, SIGTERM, SIGINT], strict=True)),
)
def test_signal_ends_the_loading(moment: str, sent: Signals) -> None:
    """Weights take minutes, and foreign code loses exceptions: an impatient user must still get out."""
    assert_ended(end_at(MOMENTS_WITH_TORCH[moment], sent), sent)


@pytest.fixture(scope="module")
def own_namespace() -> list[str]:
    """A command that runs another as process 1, as a container does."""
    for options in ([], ["--user", "--map-root-user"]):
        command = ["unshare", *options, "--pid", "--fork", "--mount-proc"]
        try:
            subprocess.run([*command, "true"], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return command
    pytest.skip("this machine lets no program make a namespace")


@pytest.mark.parametrize("sent", [SIGINT, SIGTERM, SIGHUP])
@pytest.mark.parametrize("moment", MOMENTS)
def test_process_1_is_ended_too(moment: str, sent: Signals, own_namespace: list[str]) -> None:
    """The kernel drops what process 1 has no handler for: `docker stop` would wait for its ten seconds, then kill."""
    assert_ended(end_at(MOMENTS[moment], sent, within=own_namespace), sent)


def test_line_of_the_end_is_json_where_the_log_is() -> None:
    """A collector of logs reads lines of JSON and drops the rest."""
    ended = end_at(MOMENTS["torch is imported"], SIGTERM, more=["--log-format", "json"])
    line = json.loads(ended.stderr)
    assert (ended.returncode, line["level"], line["message"]) == (143, "INFO", "ended by SIGTERM")


def test_log_that_is_not_read_holds_up_no_end() -> None:
    """Where standard error is a full pipe, the line is lost, and the process still ends."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while os.write(writer, bytes(65536)):
            pass
    except BlockingIOError:
        os.set_blocking(writer, True)
    place, command = MOMENTS["torch is imported"]
    started = [*STREAMCORE, *command]
    with subprocess.Popen(started, env=environment(place, SIGTERM), stderr=writer) as process:
        assert process.wait(60) == 143
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("sent", [SIGINT, SIGTERM, SIGHUP])
def test_each_signal_begins_a_drain_once_it_is_served(sent: Signals) -> None:
    """A terminal that is closed ends a server as Ctrl-C does, and not in the middle of an answer."""
    with run_server(SCRIPT) as server:
        assert server.stop(sent) == 0
    assert "stopped" in server.output


def test_ignored_signal_stays_ignored() -> None:
    """`nohup`, and the shell of a script for its jobs in the background, mean it: Ctrl-C is for another program then."""
    ignoring = ["sh", "-c", 'trap "" INT HUP; exec "$0" "$@"']
    ended = end_at(MOMENTS["torch is imported"], SIGINT, SIGHUP, SIGTERM, within=ignoring)
    assert ended.stderr == "streamcore: ended by SIGTERM\n"
    started = [*ignoring, *STREAMCORE, *SERVE, SCRIPT]
    with subprocess.Popen(started, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[2]
        for sent in (SIGINT, SIGHUP):
            process.send_signal(sent)
        assert httpx.get(f"{url}/ready").status_code == 200
        process.send_signal(SIGTERM)
        assert process.wait(60) == 0


def test_signals_of_a_program_are_its_own() -> None:
    """Who uses `LLM` in a program has handlers of his own, or wants Python's."""
    code = """
import os, signal, sys
before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
from streamcore import LLM
with LLM(sys.argv[1]) as llm:
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    os.kill(os.getpid(), signal.SIGTERM)
"""
    ended = subprocess.run([sys.executable, "-c", code, SCRIPT], timeout=60, check=False)
    assert ended.returncode == -signal.SIGTERM
