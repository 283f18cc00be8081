"""If one of these fails, a secret is where it must not be."""

import json
from pathlib import Path

import pytest
from tests.hub.command import Machine
from tests.hub.models import LARGE, MIB, MODEL
from tests.hub.server import Hub

TOKEN = "hf_" + "Secret" * 5


@pytest.fixture
def private(hub: Hub) -> None:
    """A model that only the account of the token may read."""
    hub.known_tokens = {TOKEN}
    hub.add("org/name", LARGE, readers=frozenset({TOKEN}))


@pytest.mark.usefixtures("private")
def test_token_is_sent_to_the_hub_alone(hub: Hub, machine: Machine) -> None:
    """The servers where large files lie belong to others: they must not get it, also not after a cut."""
    hub.faults.cuts["model.safetensors"] = [15 * MIB]
    machine.serve("org/name", HF_TOKEN=TOKEN).folder  # noqa: B018
    ours = [request for request in hub.requests if "/org/name" in request.path]
    assert {request.headers.get("authorization") for request in ours if request.server == "hub"} == {
        f"Bearer {TOKEN}"
    }
    large = [request for request in ours if request.server == "cdn"]
    assert len(large) == 2
    assert not any(TOKEN in str(request) for request in large)


@pytest.mark.usefixtures("private")
@pytest.mark.parametrize("fault", [None, "list", "file", "damaged", "unreachable", "wrong"])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_token_is_in_no_output(fault: str | None, log_format: str, hub: Hub, machine: Machine) -> None:
    """Logs are read by many; and the loudest log is what a user is asked for who has a question."""
    if fault == "list":
        hub.faults.statuses["*"] = 500
    if fault == "file":
        hub.faults.statuses["config.json"] = 500
    if fault == "damaged":
        hub.faults.wrong["config.json"] = b"x" * len(MODEL["config.json"])
    if fault == "unreachable":
        hub.close()
    if fault == "wrong":
        hub.known_tokens = set()
    loud = {"STREAMCORE_LOG": "debug", "HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug"}
    ended = machine.serve("org/name", "--log-format", log_format, HF_TOKEN=TOKEN, **loud)
    assert ended.status == (0 if fault is None else 1)
    assert TOKEN not in ended.output + ended.errors
    assert not any(TOKEN.encode() in path.read_bytes() for path in machine.home.rglob("*") if path.is_file())


@pytest.mark.parametrize("fault", [None, "list", "no hub", "unreachable", "wrong"])
def test_password_of_a_mirror_is_in_no_output(fault: str | None, hub: Hub, machine: Machine) -> None:
    """The address of a mirror may have a name and a password before its host."""
    hub.add("org/name", MODEL)
    endpoint = hub.address.replace("//", "//reader:pass-word@")
    if fault == "list":
        hub.faults.statuses["*"] = 500
    if fault == "no hub":
        hub.faults.is_no_hub = True
    if fault == "unreachable":
        hub.close()
    if fault == "wrong":
        endpoint += "x"
    ended = machine.serve("org/name", HF_ENDPOINT=endpoint)
    assert ended.status == (0 if fault is None else 1)
    assert "Traceback" not in ended.errors
    assert "pass-word" not in ended.errors


@pytest.mark.parametrize("token", ["hf_é", "hf_a\tb", "hf_a\x7f"])
def test_token_that_no_header_can_carry(token: str, hub: Hub, machine: Machine) -> None:
    """It is refused in words that do not show it."""
    complaint = machine.serve("org/name", HF_TOKEN=token).complaint
    assert complaint == (
        "the token in `HF_TOKEN` has a character in it that no header can carry; copy it again; a token begins with hf_"
    )
    assert not any("/org/name" in request.path for request in hub.requests)


@pytest.mark.usefixtures("private")
def test_token_is_not_in_the_title_of_the_process(hub: Hub, machine: Machine) -> None:
    """Every user of the machine can read the command lines of all."""
    hub.faults.held["model.safetensors"] = 15 * MIB
    with machine.start("org/name", HF_TOKEN=TOKEN) as process:
        assert hub.is_holding.wait(60)
        for name in ("cmdline", "comm", "status"):
            assert TOKEN.encode() not in Path(f"/proc/{process.pid}/{name}").read_bytes()
        process.kill()
        process.communicate()


@pytest.mark.parametrize("fault", [None, "cut", "list", "damaged"])
def test_every_line_is_json(fault: str | None, hub: Hub, machine: Machine) -> None:
    """The libraries that make the requests have warnings and progress bars of their own."""
    hub.add("org/name", LARGE)
    if fault == "cut":
        hub.faults.cuts["model.safetensors"] = [15 * MIB]
    if fault == "list":
        hub.faults.statuses["*"] = 503
    if fault == "damaged":
        hub.faults.wrong["config.json"] = b"x" * len(LARGE["config.json"])
    ended = machine.serve("org/name", "--log-format", "json", HF_HUB_VERBOSITY="debug")
    assert ended.status == (0 if fault in (None, "cut") else 1)
    lines = [json.loads(line) for line in ended.errors.splitlines()]
    assert all({"timestamp", "level", "message"} <= line.keys() for line in lines)
    assert [line["level"] for line in lines if line["level"] != "INFO"] == (
        [] if ended.status == 0 else ["ERROR"]
    )
