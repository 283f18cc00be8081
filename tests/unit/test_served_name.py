"""If one of these fails, clients must ask for a model by a name that its user has never seen."""

import os
from pathlib import Path

import pytest

from streamcore.serve import name_of

REVISION = "0123abcd0123abcd0123abcd0123abcd0123abcd"


@pytest.fixture
def snapshots(tmp_path: Path) -> Path:
    """The folder of the revisions of a model in a Hugging Face cache."""
    folder = tmp_path / "hub" / "models--org--some-model" / "snapshots"
    (folder / REVISION).mkdir(parents=True)
    return folder


def test_folder_of_the_cache_has_the_name_of_the_model(
    snapshots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder itself is called by revision."""
    assert name_of(snapshots / REVISION) == "org/some-model"
    assert name_of(Path(f"{snapshots}/{REVISION}/./")) == "org/some-model"
    (snapshots / "main").symlink_to(REVISION)
    assert name_of(snapshots / "main") == "org/some-model"
    monkeypatch.chdir(snapshots)
    assert name_of(Path(REVISION)) == "org/some-model"
    monkeypatch.chdir(REVISION)
    assert name_of(Path()) == "org/some-model"
    old = snapshots.parents[1] / "models--gpt2" / "snapshots" / REVISION
    old.mkdir(parents=True)
    assert name_of(old) == "gpt2"


def test_link_has_its_own_name(snapshots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who made it chose the name, wherever it leads; a link above it says nothing."""
    (tmp_path / "my-model").symlink_to(snapshots / REVISION)
    assert name_of(tmp_path / "my-model") == "my-model"
    assert name_of(Path(f"{tmp_path}/my-model/")) == "my-model"
    (tmp_path / "revisions").symlink_to(snapshots)
    assert name_of(tmp_path / "revisions" / REVISION) == "org/some-model"
    monkeypatch.chdir(tmp_path)
    assert name_of(Path("my-model")) == "my-model"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Qwen3-8B-Q4_K_M.gguf", "Qwen3-8B-Q4_K_M"),
        ("Llama-3.3-70B-00001-of-00003.gguf", "Llama-3.3-70B"),
        ("Llama-3.3-70B-00002-of-00003.gguf", "Llama-3.3-70B"),
        ("M.GGUF", "M"),
        (".gguf", ".gguf"),
        ("sha256-0123", "sha256-0123"),
    ],
)
def test_files_have_their_name_without_its_end(file: str, name: str, snapshots: Path) -> None:
    """Of a repository with files of many sizes, its name would not say which was served."""
    path = snapshots / REVISION / file
    path.touch()
    assert name_of(path) == name


def test_place_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.` and `..` are somewhere, the root is nowhere, and bytes that are no text cannot be asked for."""
    folder = tmp_path / "model" / "within"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert (name_of(Path()), name_of(Path("."))) == ("within", "within")
    assert (name_of(Path("..")), name_of(Path("../../model"))) == ("model", "model")
    assert name_of(folder / ".." / "within") == "within"
    assert name_of(Path("/")) == "model"
    assert name_of(Path(os.fsdecode(b"/caf\xe9"))) == "caf\ufffd"


def test_other_folders_called_snapshots(tmp_path: Path) -> None:
    """Only the layout of the cache is one."""
    assert name_of(tmp_path / "snapshots" / "monday") == "monday"
    assert name_of(tmp_path / "models--a--b" / "weights") == "weights"
