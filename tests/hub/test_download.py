"""If one of these fails, a model is not what its makers have published, or costs its user the line twice."""

import hashlib
import os
import signal
import time
from pathlib import Path

import pytest
from tests.hub.command import Machine
from tests.hub.models import CHUNK, LARGE, MIB, MODEL, SMALL, split, weights
from tests.hub.server import Hub, Request

PART = f"bytes={CHUNK}-"


def ranges(hub: Hub, name: str = "model.safetensors") -> list[str | None]:
    """Which part of a file each request for its bytes has asked for."""
    return [
        request.headers.get("range")
        for request in hub.requests
        if request.method == "GET" and request.path.endswith(f"/{name}")
    ]


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if not path.is_dir()
    }


def wait_until_held(machine: Machine) -> None:
    """Wait until the hub holds back the rest of the weights, and what came is on the disk."""
    assert machine.hub.is_holding.wait(60)
    etag = hashlib.sha256(LARGE["model.safetensors"]).hexdigest()
    part = machine.storage("org/name") / "blobs" / f"{etag}.incomplete"
    deadline = time.monotonic() + 60
    while part.stat().st_size < CHUNK:
        assert time.monotonic() < deadline


def test_model_is_downloaded(hub: Hub, machine: Machine) -> None:
    """The snapshot is the repository's, and lies where every other program looks for it."""
    commit = hub.add("org/name", MODEL)
    ended = machine.serve("org/name")
    assert ended.folder == machine.storage("org/name") / "snapshots" / commit
    assert files_of(ended.folder) == MODEL
    assert (machine.storage("org/name") / "refs" / "main").read_text() == commit
    assert f"no folder org/name: looking for the repository of that name at {hub.address}" in ended.errors
    assert f"downloading 6 files of org/name, 0.00 GB, to {machine.cache}" in ended.errors
    assert not list(machine.home.rglob("*.incomplete"))


UNWANTED = [
    "README.md",
    ".gitattributes",
    "LICENSE.txt",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "consolidated.safetensors",
    "consolidated.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model.fp16.safetensors",
    "adapter_model.safetensors",
    "tf_model.h5",
    "flax_model.msgpack",
    "model.gguf",
    "modeling_custom.py",
    "tokenizer.py",
    "training_args.bin",
    "trainer_state.json",
    "optimizer.pt",
    "original/params.json",
    "original/consolidated.00.pth",
    "original/tokenizer.model",
    "onnx/model.onnx",
    "onnx/config.json",
    "onnx/model.safetensors",
    "additional_chat_templates/run.py",
    "assets/picture.png",
    "../outside.json",
    "/etc/outside.json",
    "a/../../outside.json",
]
WANTED = [
    *MODEL,
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "processor_config.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "tekken.json",
    "qwen.tiktoken",
    "additional_chat_templates/rag.jinja",
]


def test_only_what_is_needed_is_fetched(hub: Hub, machine: Machine) -> None:
    """No code, nothing pickled, no second form of the weights, and nothing that leads out of the folder."""
    hub.add("org/name", {name: name.encode() for name in [*WANTED, *UNWANTED]} | MODEL)
    folder = machine.serve("org/name").folder
    assert sorted(files_of(folder)) == sorted(WANTED)
    asked = {request.path.split("/", 5)[-1] for request in hub.requests if "/resolve/" in request.path}
    assert asked == set(WANTED)
    assert not list(machine.home.rglob("outside.json"))


def test_index_says_which_files_hold_the_weights(hub: Hub, machine: Machine) -> None:
    """Large models have many files, and others beside them of the same kind."""
    files = split("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    hub.add("org/name", files | {"consolidated.safetensors": b"x", "model-extra.safetensors": b"y"})
    assert files_of(machine.serve("org/name").folder) == files


@pytest.mark.parametrize("revision", ["main", "v1", "refs/pr/7", "commit"])
def test_revision(revision: str, hub: Hub, machine: Machine) -> None:
    """A branch, a tag, a pull request and a commit; each is found again without the hub."""
    old = hub.add("org/name", MODEL | {"config.json": b'{"old": 1}'}, "main", "v1", "refs/pr/7")
    if revision != "main":
        hub.add("org/name", MODEL, "main")
    name = f"org/name@{old if revision == 'commit' else revision}"
    assert machine.serve(name).folder.name == old
    hub.requests.clear()
    ended = machine.serve(name, HF_HUB_OFFLINE="1")
    assert (ended.folder / "config.json").read_text() == '{"old": 1}'
    assert hub.requests == []


def test_files_of_two_commits_are_kept_once(hub: Hub, machine: Machine) -> None:
    """A new chat template does not cost the weights again."""
    hub.add("org/name", MODEL, "v1")
    hub.add("org/name", MODEL | {"chat_template.jinja": b"new"}, "v2")
    machine.serve("org/name@v1")
    hub.requests.clear()
    assert (machine.serve("org/name@v2").folder / "chat_template.jinja").read_bytes() == b"new"
    assert hub.fetched() == ["chat_template.jinja"]


def test_cut_connection_is_gone_on_with(hub: Hub, machine: Machine) -> None:
    """Lines break off, and an hour of them must not be lost: only the bytes that are missing are asked for."""
    hub.add("org/name", LARGE)
    hub.faults.cuts["model.safetensors"] = [15 * MIB, 12 * MIB]
    assert files_of(machine.serve("org/name").folder) == LARGE
    assert ranges(hub) == [None, PART, f"bytes={2 * CHUNK}-"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_a_download(sent: signal.Signals, hub: Hub, machine: Machine) -> None:
    """In the middle of a file, at once and in one line; the next start goes on where it was."""
    hub.add("org/name", LARGE)
    hub.faults.held["model.safetensors"] = 15 * MIB
    with machine.start("org/name") as process:
        wait_until_held(machine)
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + sent
    said = [line for line in errors.splitlines() if line.startswith("streamcore: ")]
    assert said == [f"streamcore: ended by {sent.name}"]
    assert "Traceback" not in errors
    hub.release()
    hub.requests.clear()
    assert files_of(machine.serve("org/name").folder) == LARGE
    assert ranges(hub) == [PART]
    assert hub.fetched() == ["model.safetensors"]


def test_two_starts_share_one_download(hub: Hub, machine: Machine) -> None:
    """Two servers that start together must neither fetch all twice nor write into one file at once."""
    hub.add("org/name", LARGE)
    hub.faults.held["model.safetensors"] = 15 * MIB
    with machine.start("org/name") as first:
        wait_until_held(machine)
        with machine.start("org/name") as second:
            assert second.stderr is not None
            line = ""
            while "downloading 1 files" not in line:
                line = second.stderr.readline()
                assert line
            hub.release()
            results = [process.communicate(timeout=60) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], results
    folders = {output for output, _ in results}
    assert len(folders) == 1
    assert files_of(Path(folders.pop().removeprefix("found ").strip())) == LARGE
    assert ranges(hub) == [None]


def test_one_that_waits_for_another_can_be_ended(hub: Hub, machine: Machine) -> None:
    """The lock is held for as long as a file of many gigabytes takes."""
    hub.add("org/name", LARGE)
    hub.faults.held["model.safetensors"] = 15 * MIB
    with machine.start("org/name") as first:
        wait_until_held(machine)
        with machine.start("org/name") as second:
            assert second.stderr is not None
            while "downloading 1 files" not in second.stderr.readline():
                pass
            second.send_signal(signal.SIGTERM)
            assert second.wait(60) == 143
        first.kill()
        first.communicate()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_wrong_content_is_refused(name: str, hub: Hub, machine: Machine) -> None:
    """Of weights and of small files: a proxy, a broken disk or an attacker has changed a letter."""
    hub.add("org/name", MODEL)
    right = MODEL[name]
    hub.faults.wrong[name] = right[:5] + bytes([right[5] ^ 1]) + right[6:]
    complaint = machine.serve("org/name").complaint
    kind = "sha256" if name.endswith(".safetensors") else "sha1"
    assert complaint.startswith(f"download of org/name is damaged: `{name}` has the {kind} ")
    assert complaint.endswith(f"see {hub.address}/org/name")
    assert not (machine.storage("org/name") / "snapshots" / name).exists()
    hub.faults.wrong.clear()
    assert files_of(machine.serve("org/name").folder) == MODEL


def test_wrong_beginning_is_fetched_again(hub: Hub, machine: Machine) -> None:
    """What an earlier try has left may be of a disk that was full; one more try mends it."""
    hub.add("org/name", MODEL)
    machine.serve("org/name")
    blob = (machine.cache / machine.serve("org/name").folder / "model.safetensors").resolve()
    blob.with_name(f"{blob.name}.incomplete").write_bytes(b"wrong")
    blob.unlink()
    hub.requests.clear()
    assert files_of(machine.serve("org/name").folder) == MODEL
    assert ranges(hub) == ["bytes=5-", None]


@pytest.mark.parametrize("left", [24 * MIB, 25 * MIB])
def test_whole_beginning_is_taken_or_dropped(left: int, hub: Hub, machine: Machine) -> None:
    """A file that was complete when its program was ended is asked for no more; one that is too long is begun anew."""
    commit = hub.add("org/name", LARGE)
    machine.serve("org/name")
    blob = (machine.storage("org/name") / "snapshots" / commit / "model.safetensors").resolve()
    blob.unlink()
    blob.with_name(f"{blob.name}.incomplete").write_bytes(LARGE["model.safetensors"] + bytes(left - 24 * MIB))
    hub.requests.clear()
    assert files_of(machine.serve("org/name").folder) == LARGE
    assert ranges(hub) == ([] if left == 24 * MIB else [None])


def test_server_that_knows_no_ranges(hub: Hub, machine: Machine) -> None:
    """A mirror may send all of it again: nothing of it may stand in the file twice."""
    hub.add("org/name", LARGE)
    hub.faults.ignores_ranges = True
    hub.faults.cuts["model.safetensors"] = [15 * MIB]
    assert files_of(machine.serve("org/name").folder) == LARGE


def test_part_of_a_file_in_the_snapshot_is_replaced(hub: Hub, machine: Machine) -> None:
    """A copy of a cache that broke off leaves files that are too short, and links to nothing."""
    hub.add("org/name", MODEL)
    folder = machine.serve("org/name").folder
    (folder / "model.safetensors").resolve().write_bytes(b"short")
    (folder / "config.json").resolve().unlink()
    (folder / "tokenizer.json").unlink()
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.jinja").write_bytes(b"{")
    hub.requests.clear()
    assert files_of(machine.serve("org/name").folder) == MODEL
    assert sorted(hub.fetched()) == ["config.json", "model.safetensors"]


def test_list_without_sizes(hub: Hub, machine: Machine) -> None:
    """A mirror may know less of its files than the hub."""
    hub.add("org/name", MODEL)
    hub.faults.shows_blobs = False
    assert files_of(machine.serve("org/name").folder) == MODEL
    hub.requests.clear()
    assert files_of(machine.serve("org/name", HF_HUB_OFFLINE="1").folder) == MODEL


def test_progress_is_logged_where_there_is_no_terminal(hub: Hub, machine: Machine) -> None:
    """A log of a container shows that something is going on, without a line for each megabyte."""
    hub.add("org/name", LARGE)
    hub.faults.held["model.safetensors"] = 15 * MIB
    with machine.start("org/name") as process:
        assert process.stderr is not None
        line = ""
        while "downloading org/name 40 % of 0.03 GB" not in line:
            line = process.stderr.readline()
            assert line
        hub.release()
        _, errors = process.communicate(timeout=60)
    assert "downloading org/name 100 % of 0.03 GB" in errors
    assert "%|" not in errors


def test_progress_is_shown_on_a_terminal(hub: Hub, machine: Machine) -> None:
    """A line that rewrites itself, in the words of the one about weights."""
    pty = pytest.importorskip("pty", reason="this system has no terminals")
    hub.add("org/name", MODEL)
    ours, theirs = pty.openpty()
    with machine.start("org/name", stderr=theirs) as process:
        os.close(theirs)
        process.wait(60)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "\rdownloading org/name 100 % of 0.00 GB\r\n" in shown
    assert "it/s" not in shown


def test_line_of_the_terminal_is_ended_by_a_failure(hub: Hub, machine: Machine) -> None:
    """The error has a line of its own, not the rest of that of the progress."""
    pty = pytest.importorskip("pty", reason="this system has no terminals")
    hub.add("org/name", MODEL)
    hub.faults.statuses["cdn/model.safetensors"] = 500
    ours, theirs = pty.openpty()
    with machine.start("org/name", stderr=theirs) as process:
        os.close(theirs)
        assert process.wait(60) == 1
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "\rdownloading org/name" in shown
    assert f"\r\nstreamcore: {hub.cdn_address} answered 500" in shown


def test_resumed_by_address_that_is_signed_anew(hub: Hub, machine: Machine) -> None:
    """The address of a large file holds for an hour: the next one is asked for before it is used."""
    hub.add("org/name", LARGE)
    hub.faults.expired.append("model.safetensors")
    assert files_of(machine.serve("org/name").folder) == LARGE
    heads = [request for request in hub.requests if is_head_of_weights(request)]
    assert len(heads) >= 2


def is_head_of_weights(request: Request) -> bool:
    return request.method == "HEAD" and request.path.endswith("model.safetensors")


def test_many_files_at_once_fail_as_one(hub: Hub, machine: Machine) -> None:
    """Four files are on their way at a time: one that fails ends the others, with one line."""
    names = [f"model-0000{number}-of-00006.safetensors" for number in range(1, 7)]
    hub.add("org/name", split(*names))
    hub.faults.statuses[f"cdn/{names[2]}"] = 500
    ended = machine.serve("org/name")
    assert ended.complaint.startswith(f"{hub.cdn_address} answered 500 when it was asked for org/name")
    assert len([line for line in ended.errors.splitlines() if line.startswith("streamcore: ")]) == 1


def test_small_files_are_there_first(hub: Hub, machine: Machine) -> None:
    """What is wrong with a config.json is seen before hours of weights."""
    hub.add("org/name", {**SMALL, "model.safetensors": weights(24 * MIB)})
    hub.faults.held["model.safetensors"] = 15 * MIB
    with machine.start("org/name") as process:
        wait_until_held(machine)
        process.kill()
        process.communicate()
    (snapshot,) = (machine.storage("org/name") / "snapshots").iterdir()
    assert sorted(files_of(snapshot)) == sorted(SMALL)
