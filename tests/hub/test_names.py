"""If one of these fails, a path is looked for on the network, or a name is not."""

from pathlib import Path

import pytest

from streamcore.config import config_of, path_of_model
from streamcore.errors import ModelLoadError
from streamcore.models.folder import check_model_folder
from streamcore.models.hub import find_model
from streamcore.models.hub.name import RepositoryName, hint_for, parse_name


@pytest.mark.parametrize(
    ("text", "repository", "revision"),
    [
        ("org/name", "org/name", None),
        ("Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct", None),
        ("0x_a/b.c-d_e", "0x_a/b.c-d_e", None),
        ("org/name@main", "org/name", "main"),
        ("org/name@v1.0", "org/name", "v1.0"),
        ("org/name@refs/pr/3", "org/name", "refs/pr/3"),
        ("org/name@" + "0123abcd" * 5, "org/name", "0123abcd" * 5),
    ],
)
def test_names(text: str, repository: str, revision: str | None) -> None:
    """The forms in which models are published, and pinned."""
    name = parse_name(path_of_model(text))
    assert name == RepositoryName(repository, revision)
    assert str(name) == text
    assert name.served == ((repository,) if revision is None else (repository, text))


@pytest.mark.parametrize(
    "text",
    [
        "llama",
        "./org/name",
        "org/name/",
        "../org/name",
        "/org/name",
        "~/org/name",
        "org/name/more",
        "org//../name",
        "org/..",
        "-org/name",
        "org/.name",
        "org/name.",
        "org--x/name",
        "org/na--me",
        "org/a..b",
        "org/name.git",
        "org/na me",
        "org/näme",
        "org/name:Q4_K_M",
        "org/" + "n" * 97,
        "org/name@",
        "org/name@../x",
        "org/name@a/../b",
        "org/name@/x",
        "org/name@x/",
        "org/name@.x",
        "org/name@a b",
        "script:org/name",
        "models/llama-Q4_K_M.gguf",
        "models/llama.GGUF",
        "https://huggingface.co/org/name",
        "org\\name",
        "",
        "\0/x",
    ],
)
def test_what_is_no_name(text: str) -> None:
    """Each of them could lead out of the cache, or was meant as a path."""
    assert parse_name(path_of_model(text)) is None


def test_folder_that_exists_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of one's own must never be passed over for what a stranger has published."""
    monkeypatch.chdir(tmp_path)
    for made in ("org/name", "org/name@main"):
        Path(made).mkdir(parents=True)
        found = find_model(path_of_model(made))
        assert (found.path, found.repository) == (Path(made), None)
    Path("org/file").write_text("")
    Path("org/link").symlink_to("nowhere")
    for other in ("org/file", "org/link"):
        assert find_model(path_of_model(other)).repository is None


def test_path_of_a_program_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text may be a name; what a program has made a path of is one."""
    monkeypatch.chdir(tmp_path)
    assert config_of("org/name", {}).model == Path("org/name")
    assert config_of(Path("org/name"), {}).model == tmp_path / "org/name"
    assert config_of(Path("script:a.json"), {}).script == Path("a.json")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("https://huggingface.co/org/name", "did you mean `org/name`?"),
        ("https://huggingface.co/org/name/tree/main", "did you mean `org/name`?"),
        ("hf://org/name", "did you mean `org/name`?"),
        ("org/name:Q4_K_M", "download the GGUF file that is meant, and serve it by its path"),
        ("org/name@", "a revision is a branch, a tag or a commit, as in org/name@main"),
        ("org/name@../x", "a revision is a branch, a tag or a commit, as in org/name@main"),
        ("llma", "did you mean `llama`?"),
        ("./llma", "did you mean `{here}/llama`?"),
        ("./qwen-Q4_K.gguf", "did you mean `{here}/qwen-Q4_K_M.gguf`?"),
        (
            "quite-another",
            "a model is a folder, a GGUF file, or a repository of the Hugging Face Hub with a name like org/name",
        ),
        (
            "gone/away/far",
            "a model is a folder, a GGUF file, or a repository of the Hugging Face Hub with a name like org/name",
        ),
    ],
)
def test_hint(text: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is neither a folder nor a name was meant as one of them."""
    monkeypatch.chdir(tmp_path)
    Path("llama").mkdir()
    Path("qwen-Q4_K_M.gguf").touch()
    with pytest.raises(ModelLoadError, match="does not exist") as caught:
        check_model_folder(find_model(path_of_model(text)).path)
    assert caught.value.hint == hint.format(here=tmp_path)


def test_hint_without_a_neighbour() -> None:
    """A path with a zero byte in it has no folder to look into."""
    assert "org/name" in hint_for(Path("\0/x"))
