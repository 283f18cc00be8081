"""If one of these fails, a client that this machine cannot install hides the results of all others."""

import sys
from pathlib import Path

import pytest
from tests.clients import run
from tests.clients.run import Client, NotInstalledError


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
    """Whoever reads why must read pip's error, not the advice that follows it."""
    monkeypatch.setattr(run, "ENVIRONMENTS", tmp_path)
    client = Client("openai-newest", "openai-newest/check.py")
    client.folder.mkdir()
    said = "print('Collecting a\\nERROR: No matching distribution\\n\\n[notice] upgrade pip'); raise SystemExit(1)"
    with pytest.raises(NotInstalledError, match=r"^ERROR: No matching distribution$"):
        client.install_step([sys.executable, "-c", said])
    assert not client.is_installed()
