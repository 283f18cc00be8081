"""Which files of a repository are downloaded: safetensors, JSON, templates, tokenizer files.

No pickled weights, no code, no second form of the same weights.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from streamcore.errors import ModelLoadError
from streamcore.models.elsewhere import explain_names
from streamcore.models.hub.name import RepositoryName
from streamcore.models.tensor_files import INDEX, SINGLE, FileError, check_present, no_weights, weight_files

CONFIG = "config.json"
_NEEDED = (CONFIG, "tokenizer.json")
# Matched with the whole path: files in folders are left out, but for additional templates.
_SMALL = re.compile(
    r"[\w.-]+\.(?:json|jinja|tiktoken)|additional_chat_templates/[\w.-]+\.jinja"
    r"|(?:merges|vocab)\.txt|(?:tokenizer|tiktoken|spiece|sentencepiece\.bpe)\.model"
)
# Indices of other forms of the weights, and logs of a training.
_OTHER_JSON = re.compile(r".+\.index\.json|trainer_state\.json")


def small_files(names: Iterable[str]) -> list[str]:
    """Selects the files that are needed beside the weights."""
    return sorted(
        name
        for name in names
        if name == INDEX or (_SMALL.fullmatch(name) and not _OTHER_JSON.fullmatch(name))
    )


def is_split(names: Collection[str]) -> bool:
    """Whether an index says which files hold the weights."""
    return INDEX in names and SINGLE not in names


def weights_of(names: Collection[str], snapshot: Path) -> list[str]:
    """Selects the files of weights; the snapshot must hold the index if there is one.

    Raises:
        FileError: the index cannot be used; the message is a whole sentence.
    """
    if not is_split(names):
        return [SINGLE]
    return sorted(file.name for file in weight_files(snapshot))


def refuse_other_kinds(name: RepositoryName, names: Collection[str], address: str) -> None:
    """Refuses a repository that holds no loadable model, before anything is downloaded.

    Raises:
        ModelLoadError: says what the repository holds instead.
    """
    names = {file for file in names if "/" not in file}
    has_weights = SINGLE in names or INDEX in names
    gguf = sorted(file for file in names if file.lower().endswith(".gguf"))
    if gguf and not has_weights:
        hint = f"`hf download {name.repository} {gguf[0]}`, and serve the file by its path"
        raise ModelLoadError(f"repository {name} holds GGUF files, not .safetensors files", hint)
    if CONFIG not in names:
        what, hint_ = explain_names(names) or (f"has no {CONFIG}, so it holds no model that is known", None)
        raise ModelLoadError(f"repository {name} {what}", hint_ or f"see {address}")
    if not has_weights:
        hint = f"see {address}, or look for a repository that has the model as .safetensors files"
        raise ModelLoadError(f"repository {name} cannot be served: {no_weights(sorted(names))}", hint)
    if "tokenizer.json" not in names:
        hint = "save it once with `transformers`, whose fast tokenizers write the file, and serve that folder"
        raise ModelLoadError(f"repository {name} has no tokenizer.json", hint)


def missing_files(snapshot: Path) -> list[str]:
    """Lists the indispensable files that a snapshot lacks."""
    missing = [name for name in _NEEDED if not _is_present(snapshot / name)]
    try:
        files = [file.name for file in weight_files(snapshot)]
    except FileError:
        files = [SINGLE]
    except OSError:
        files = []
    return missing + [name for name in files if not _is_present(snapshot / name)]


def _is_present(path: Path) -> bool:
    try:
        check_present(path)
    except FileError:
        return False
    return True
