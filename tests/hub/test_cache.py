"""If one of these fails, a server in an aeroplane does not start, or one on the ground asks for what it has."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.hub.command import Machine
from tests.hub.models import LARGE, MIB, MODEL, SMALL, split
from tests.hub.server import Hub

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def folder(hub: Hub, machine: Machine) -> Path:
    """The snapshot of a model that was downloaded; the hub has forgotten that it was asked."""
    hub.add("org/name", split(*SHARDS))
    found = machine.serve("org/name").folder
    hub.requests.clear()
    return found


def as_another_program_leaves_it(machine: Machine, name: str = "org/name") -> None:
    """Take away what only streamcore writes."""
    shutil.rmtree(machine.storage(name) / ".streamcore")


@pytest.mark.parametrize("offline", ["0", "1"])
def test_cached_model_needs_no_hub(offline: str, folder: Path, hub: Hub, machine: Machine) -> None:
    """Restarts must not depend on another server, nor change what is served."""
    hub.add("org/name", MODEL)
    assert machine.serve("org/name", HF_HUB_OFFLINE=offline).folder == folder
    assert hub.requests == []


def test_cache_of_another_program_is_served(folder: Path, hub: Hub, machine: Machine) -> None:
    """`hf download` was here: offline it is taken as it is, online the list of files says whether it is whole, once."""
    as_another_program_leaves_it(machine)
    assert machine.serve("org/name", HF_HUB_OFFLINE="1").folder == folder
    assert hub.requests == []
    assert machine.serve("org/name").folder == folder
    assert [request.method for request in hub.requests if "/org/name" in request.path] == ["GET"]
    hub.requests.clear()
    assert machine.serve("org/name").folder == folder
    assert hub.requests == []


@pytest.mark.parametrize(
    "missing", ["config.json", "tokenizer.json", SHARDS[1], "model.safetensors.index.json"]
)
@pytest.mark.parametrize("is_ours", [True, False])
def test_missing_file_is_named_offline_and_fetched_online(
    missing: str, is_ours: bool, folder: Path, hub: Hub, machine: Machine
) -> None:
    """A download was interrupted, by us or by another program."""
    (folder / missing).resolve().unlink()
    (folder / missing).unlink()
    if not is_ours:
        as_another_program_leaves_it(machine)
    named = "model.safetensors" if missing.endswith("index.json") and not is_ours else missing
    assert machine.serve("org/name", HF_HUB_OFFLINE="1").complaint == (
        f"org/name is not whole in the cache {machine.cache}, which lacks `{named}`, and `HF_HUB_OFFLINE` is set; "
        "unset `HF_HUB_OFFLINE` to have it downloaded"
    )
    assert machine.serve("org/name").folder == folder
    assert hub.fetched() == [missing]
    assert (folder / missing).read_bytes() == split(*SHARDS)[missing]


@pytest.mark.parametrize(
    "missing", ["chat_template.jinja", "generation_config.json", "tokenizer_config.json"]
)
def test_file_that_a_model_can_do_without_is_missed_too(
    missing: str, folder: Path, hub: Hub, machine: Machine
) -> None:
    """Without its template a model would be served and answer wrongly."""
    (folder / missing).unlink()
    assert f"which lacks `{missing}`" in machine.serve("org/name", HF_HUB_OFFLINE="1").complaint
    assert machine.serve("org/name").folder == folder
    assert (folder / missing).read_bytes() == SMALL[missing]


def test_interrupted_download_is_not_whole_offline(hub: Hub, machine: Machine) -> None:
    """The list of what is needed is kept before the first byte comes."""
    hub.add("org/name", MODEL)
    hub.faults.statuses["cdn/model.safetensors"] = 500
    assert machine.serve("org/name").status == 1
    complaint = machine.serve("org/name", HF_HUB_OFFLINE="1").complaint
    # Other files come beside it, and may not be there yet either.
    assert "`model.safetensors`, and" in complaint


def test_offline_without_a_cache(hub: Hub, machine: Machine) -> None:
    """One sentence says what there is not, and what to do."""
    hub.add("org/name", MODEL)
    for name in ("org/name", "org/name@v1", "org/name@" + "0" * 40):
        assert machine.serve(name, HF_HUB_OFFLINE="1").complaint == (
            f"there is no folder {name}, no {name} in the cache {machine.cache}, and `HF_HUB_OFFLINE` is set; "
            "unset `HF_HUB_OFFLINE` to have it downloaded"
        )
    assert hub.requests == []


def test_unreachable_hub_is_no_reason_to_end(folder: Path, hub: Hub, machine: Machine) -> None:
    """The cache of another program looks whole, and no hub can be asked: it is served, with a line that says so."""
    as_another_program_leaves_it(machine)
    for status in (401, 404, 429, 503):
        hub.faults.statuses["*"] = status
        ended = machine.serve("org/name")
        assert ended.folder == folder
        assert " WARN " in ended.errors
        assert "org/name is served as it is in the cache" in ended.errors
    hub.close()
    ended = machine.serve("org/name")
    assert ended.folder == folder
    assert "cannot be reached" in ended.errors


def test_commit_of_the_cache_is_completed_not_replaced(folder: Path, hub: Hub, machine: Machine) -> None:
    """What is missing comes from the commit that is there, whatever the branch is now."""
    (folder / SHARDS[0]).unlink()
    hub.add("org/name", MODEL)
    assert machine.serve("org/name").folder == folder


def test_branch_that_was_begun_anew(folder: Path, hub: Hub, machine: Machine) -> None:
    """The commit that the cache has half of is gone from the hub: the branch is what it is now."""
    (folder / SHARDS[0]).unlink()
    hub.repositories.clear()
    commit = hub.add("org/name", MODEL)
    assert machine.serve("org/name").folder.name == commit
    assert machine.serve("org/name", HF_HUB_OFFLINE="1").folder.name == commit


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME"])
def test_cache_is_where_the_environment_says(
    variable: str, hub: Hub, machine: Machine, tmp_path: Path
) -> None:
    """Others have put it on the large disk."""
    hub.add("org/name", MODEL)
    found = machine.serve("org/name", **{variable: str(tmp_path / "large")}).folder
    assert found.is_relative_to(tmp_path / "large")
    assert not machine.storage("org/name").exists()


def test_huggingface_hub_takes_it_for_its_own(folder: Path, hub: Hub, machine: Machine) -> None:
    """Other programs find what we have downloaded, and their tools list it without a warning."""
    program = """
import sys
from huggingface_hub import hf_hub_download, scan_cache_dir, try_to_load_from_cache
print(hf_hub_download("org/name", "config.json"))
info = scan_cache_dir()
print([repo.repo_id for repo in info.repos], [str(warning) for warning in info.warnings])
"""
    command = [sys.executable, "-c", program]
    environment = machine.environment(HF_HUB_OFFLINE="1")
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == [str(folder / "config.json"), "['org/name'] []"]


@pytest.fixture(scope="module")
def own_mounts() -> list[str]:
    """A command that runs a shell which may mount, for itself alone."""
    for options in ([], ["--user", "--map-root-user"]):
        command = ["unshare", *options, "--mount", "--propagation", "private"]
        try:
            subprocess.run([*command, "true"], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return [*command, "sh", "-ec"]
    pytest.skip("this machine lets no program mount")


def read_only(machine: Machine) -> str:
    """The cache as a volume that is mounted read-only, for the command behind it."""
    return (
        f'mount --bind {machine.home} {machine.home}; mount -o remount,bind,ro {machine.home}; exec "$0" "$@"'
    )


@pytest.mark.parametrize("is_ours", [True, False])
def test_whole_model_is_served_from_a_cache_that_cannot_be_written(
    is_ours: bool, folder: Path, machine: Machine, own_mounts: list[str]
) -> None:
    """A volume of models is mounted read-only into containers."""
    if not is_ours:
        as_another_program_leaves_it(machine)
    assert machine.serve("org/name", within=[*own_mounts, read_only(machine)]).folder == folder


def test_cache_that_cannot_be_written_is_named(
    hub: Hub, folder: Path, machine: Machine, own_mounts: list[str]
) -> None:
    """Another model, and what is missing of one, needs room in the cache."""
    hub.add("org/other", MODEL)
    (folder / SHARDS[0]).unlink()
    for name in ("org/other", "org/name"):
        assert machine.serve(name, within=[*own_mounts, read_only(machine)]).complaint == (
            f"{name} cannot be written to the cache {machine.cache}: Read-only file system; "
            "set `HF_HUB_CACHE` to a folder that can be written"
        )


def test_full_disk(hub: Hub, machine: Machine, own_mounts: list[str]) -> None:
    """Another program takes the room in the middle of the download; what came stays."""
    hub.add("org/name", MODEL | {"model.safetensors": bytes(3 << 20)})
    machine.cache.mkdir(parents=True)
    # The list of files says less, so that it is tried.
    hub.faults.sizes["model.safetensors"] = 1000
    small = f'mount -t tmpfs -o size=1m tmpfs {machine.cache}; exec "$0" "$@"'
    complaint = machine.serve("org/name", within=[*own_mounts, small]).complaint
    assert complaint.startswith(
        f"org/name cannot be written to the cache {machine.cache}: No space left on device; make room"
    )


def test_disk_that_is_too_small(hub: Hub, machine: Machine) -> None:
    """It is said before hours have been spent."""
    hub.add("org/name", MODEL)
    hub.faults.sizes["model.safetensors"] = 10**18
    complaint = machine.serve("org/name").complaint
    assert complaint.startswith(
        f"org/name needs 1000000000.00 GB, the disk of the cache {machine.cache} has "
    )
    assert hub.fetched() == []


def test_room_is_needed_for_the_rest_alone(
    hub: Hub, machine: Machine, own_mounts: list[str], tmp_path: Path
) -> None:
    """Most of a model is there, and the disk has room for what is missing, not for all of it once more."""
    hub.add("org/name", LARGE)
    content = LARGE["model.safetensors"]
    part = tmp_path / f"{hashlib.sha256(content).hexdigest()}.incomplete"
    part.write_bytes(content[: 20 * MIB])
    blobs = machine.storage("org/name") / "blobs"
    machine.cache.mkdir(parents=True)
    mount = f"mount -t tmpfs -o size=30m tmpfs {machine.cache}; mkdir -p {blobs}; cp {part} {blobs}"
    ended = machine.serve("org/name", within=[*own_mounts, f'{mount}; exec "$0" "$@"'])
    assert ended.folder.is_relative_to(machine.cache)
    assert [request.headers.get("range") for request in hub.requests if request.server == "cdn"] == [
        f"bytes={20 * MIB}-"
    ]


def test_cache_that_is_a_file(hub: Hub, machine: Machine, tmp_path: Path) -> None:
    """A variable that names a file."""
    hub.add("org/name", MODEL)
    (tmp_path / "file").write_text("")
    complaint = machine.serve("org/name", HF_HUB_CACHE=str(tmp_path / "file")).complaint
    assert complaint.startswith(f"org/name cannot be written to the cache {tmp_path / 'file'}: ")
