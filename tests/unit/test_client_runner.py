"""If one of these fails, a client that this machine cannot install hides the results of all others."""

import sys
from pathlib import Path

import pytest
from tests.clients import run
from tests.clients.run import LOCKS, Client, NotInstalledError


def test_client_that_cannot_be_installed_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine without npm runs the other clients, and says why this one did not run."""
    monkeypatch.setattr(run, "ENVIRONMENTS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run.run(Client("openai-node", "openai-node/check.mjs"), demo=None)  # type: ignore[arg-type]
    assert (result.word, result.num_checks) == ("skipped", 0)
    assert "skipped, because it cannot be installed here: [Errno 2]" in capsys.readouterr().out


def test_reason_is_the_installers_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of the reason must see pip's error, not the advice that follows it."""
    monkeypatch.setattr(run, "ENVIRONMENTS", tmp_path)
    client = Client("openai-newest", "openai-newest/check.py")
    client.folder.mkdir()
    said = "print('Collecting a\\nERROR: No matching distribution\\n\\n[notice] upgrade pip'); raise SystemExit(1)"
    with pytest.raises(NotInstalledError, match=r"^ERROR: No matching distribution$"):
        client.install_step([sys.executable, "-c", said])
    assert not client.is_installed()


@pytest.mark.parametrize("client", run.CLIENTS, ids=lambda client: client.name)
def test_client_is_installed_from_its_lock(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that is installed by its pins alone brings another httpx, and another result, each month."""
    monkeypatch.setattr(run, "ENVIRONMENTS", tmp_path)
    client.folder.mkdir()
    commands = client.installation()
    for pins in client.pins:
        lock = pins.with_name(LOCKS[pins.name])
        if pins.suffix == ".json":
            assert ["npm", "ci"] in [command[:2] for command in commands]
            assert (client.folder / lock.name).read_bytes() == lock.read_bytes()
        elif pins.suffix == ".toml":
            assert all("--locked" in command for command in commands)
        else:
            locked = next(command for command in commands if "install" in command)
            assert locked[-3:] == ["--no-deps", "-r", str(lock)]


def test_environment_is_made_again_when_the_lock_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `make update` the clients must run with what the locks say now."""
    monkeypatch.setattr(run, "ENVIRONMENTS", tmp_path / "environments")
    monkeypatch.setattr(run, "HERE", tmp_path)
    client = Client("some", "some/check.py")
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "requirements.txt").write_text("openai==3.54.0\n")
    lock = tmp_path / "some" / "locked.txt"
    lock.write_text("openai==3.54.0 --hash=sha256:00\n")
    client.folder.mkdir(parents=True)
    (client.folder / "pins").write_text(client.digest())
    assert client.is_installed()
    lock.write_text("openai==3.54.0 --hash=sha256:11\n")
    assert not client.is_installed()
