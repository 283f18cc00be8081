"""Names of models at the Hugging Face Hub, such as `org/name` and `org/name@revision`."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

_WORD = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REPOSITORY = rf"{_WORD}/{_WORD}"
# A branch, a tag, a commit or `refs/pr/1`; it becomes the name of a file in the cache.
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,94}"
_REVISION = rf"{_PART}(?:/{_PART}){{0,9}}"
_NAME = re.compile(rf"(?P<repository>{_REPOSITORY})(?:@(?P<revision>{_REVISION}))?")
_LINK = re.compile(rf"(?:hf|https?):/+(?:[^/]+\.[^/]+/+)?(?P<repository>{_REPOSITORY})(?:/.*)?")
_QUANTISED = re.compile(rf"{_REPOSITORY}:[A-Za-z0-9_.-]+")

_FORMS = "a model is a folder, a GGUF file, or a repository of the Hugging Face Hub with a name like org/name"


@dataclass(frozen=True, slots=True)
class RepositoryName:
    """A repository of models, perhaps with the revision that is meant."""

    repository: str
    """`org/name`."""
    revision: str | None = None
    """A branch, a tag or a commit; None: the branch `main`."""

    def __str__(self) -> str:
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"

    @property
    def served(self) -> tuple[str, ...]:
        """The names that requests may use."""
        return tuple(dict.fromkeys((self.repository, str(self))))


def parse_name(path: Path) -> RepositoryName | None:
    """Reads a path as the name of a repository; returns None where it can only be a path."""
    match = _NAME.fullmatch(path.as_posix())
    if match is None or ".." in match[0] or "--" in match["repository"]:
        return None
    return (
        None
        if match["repository"].lower().endswith((".git", ".gguf"))
        else RepositoryName(**match.groupdict())
    )


def hint_for(path: Path) -> str:
    """Suggests what was meant by a path that neither exists nor is a name."""
    text = path.as_posix()
    if link := _LINK.fullmatch(text):
        return f"did you mean `{link['repository']}`?"
    if _QUANTISED.fullmatch(text):
        return "download the GGUF file that is meant, and serve it by its path"
    if "@" in text and parse_name(Path(text.partition("@")[0])) is not None:
        return "a revision is a branch, a tag or a commit, as in org/name@main"
    near = near_model(path)
    return _FORMS if near is None else f"did you mean `{near}`?"


def near_model(path: Path) -> Path | None:
    """Finds the folder or GGUF file beside a path whose name is most like it, if any is."""
    near = difflib.get_close_matches(path.name, _neighbours(path), n=1)
    return path.with_name(near[0]) if near else None


def _neighbours(path: Path) -> list[str]:
    """The folders and GGUF files beside a path."""
    try:
        return [entry.name for entry in path.parent.iterdir() if entry.is_dir() or entry.suffix == ".gguf"]
    except (OSError, ValueError):
        return []
