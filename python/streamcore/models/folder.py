"""Checks a model folder completely before anything is started.

Nothing here needs torch or reads weights, so a wrong or half-downloaded folder is refused at once,
with everything that is wrong with it in one message.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from streamcore.errors import ModelLoadError
from streamcore.models.config import DecoderConfig, Dtype
from streamcore.models.declare import declare
from streamcore.models.elsewhere import explain_folder, refuse_file
from streamcore.models.families import Family
from streamcore.models.hub.name import hint_for
from streamcore.models.opening import open_config, text_name
from streamcore.models.tensor_files import (
    DTYPE_BYTES,
    FileError,
    TensorInfo,
    check_present,
    read_header,
    read_json_object,
    weight_files,
)

_DTYPES: Mapping[str, Dtype] = {"F64": "float32", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_MAX_NAMES = 3
_HEAD = "lm_head.weight"

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder in Hugging Face layout that was found complete."""

    path: Path
    family: Family
    config: DecoderConfig
    tensors: Mapping[str, TensorInfo]
    """Every tensor that the family declares, with the file that holds it."""
    dtype: Dtype
    """The checkpoint's precision: as config.json names it, else that of the weights."""
    is_wrapped: bool
    """Whether the language model is one part of a multimodal model."""

    @property
    def num_parameters(self) -> int:
        """Numbers in all weights together."""
        return sum(info.num_elements for info in self.tensors.values())


def check_model_folder(path: Path) -> ModelFolder:
    """Checks that a folder holds everything that serving it needs, by its names, headers and sizes.

    Raises:
        ModelLoadError: names all that is missing, incomplete or not supported.
    """
    if not path.exists():
        raise ModelLoadError(f"model folder {path} does not exist", hint_for(path))
    try:
        if not path.is_dir():
            raise refuse_file(path)
        return _check(path)
    except OSError as error:
        raise ModelLoadError(f"model folder {path} cannot be read: {error}") from error


def _check(path: Path) -> ModelFolder:
    if not (path / "config.json").exists() and (explanation := explain_folder(path)) is not None:
        raise ModelLoadError(f"model folder {path} {explanation[0]}", explanation[1])
    problems: list[str] = []
    opened, is_wrapped, hint = _check_config(path, problems)
    found = _check_files(path, problems)
    if opened is not None and is_wrapped and found is not None:
        # What the two levels of the file say of tied embeddings may differ; the weights decide.
        opened = opened[0], replace(opened[1], tie_word_embeddings=_HEAD not in found)
    shapes = declare(*opened)[0] if opened is not None else {}
    if opened is not None and found is not None:
        problems += _compare(shapes, found)
    _check_tokenizer(path, problems)
    if problems or opened is None or found is None:
        raise ModelLoadError(
            f"model folder {path} cannot be loaded: " + "; ".join(problems), hint or _hint(problems)
        )
    tensors = {name: found[name] for name in shapes}
    dtype = opened[1].dtype or _DTYPES[next(iter(tensors.values())).dtype]
    return ModelFolder(path, *opened, tensors, dtype, is_wrapped)


def _hint(problems: Iterable[str]) -> str | None:
    text = " ".join(problems)
    if "git-lfs pointer" in text:
        return "run `git lfs pull` in the folder"
    if "ever loaded" in text:
        return "convert the weights to safetensors"
    if "incomplete" in text or "is missing" in text or "broken link" in text:
        return "the download may not have finished: fetch the folder again"
    return None


def _check_config(
    path: Path, problems: list[str]
) -> tuple[tuple[Family, DecoderConfig] | None, bool, str | None]:
    """What config.json says, whether its language model is wrapped, and a hint where it cannot be
    used.
    """
    try:
        raw = read_json_object(path / "config.json")
        return open_config(raw), "text_config" in raw, None
    except FileError as problem:
        problems.append(f"config.json {problem}")
    except ModelLoadError as error:
        problems.append(str(error))
        return None, False, error.hint
    return None, False, None


def _check_files(path: Path, problems: list[str]) -> Mapping[str, TensorInfo] | None:
    """The tensors of all weight files by their plain names; None unless all files are whole."""
    try:
        files = weight_files(path)
    except FileError as problem:
        problems.append(str(problem))
        return None
    found: dict[str, TensorInfo] = {}
    num_problems = len(problems)
    for file, expected in files.items():
        try:
            header = read_header(file)
        except FileError as problem:
            problems.append(f"{file.name} {problem}")
            continue
        if absent := expected - header.keys():
            problems.append(f"{file.name} lacks {_names(absent)}, which the index places there")
        for name, info in header.items():
            if (plain := text_name(name)) is None:
                continue
            if plain in found and found[plain].name != name:
                problems.append(f"the weights hold `{plain}` twice, as `{found[plain].name}` and `{name}`")
            found[plain] = info
    return found if len(problems) == num_problems else None


def _compare(shapes: Shapes, found: Mapping[str, TensorInfo]) -> list[str]:
    problems = []
    if absent := shapes.keys() - found.keys():
        problems.append(f"the weights lack {_names(absent)}")
    # A tensor without a place would change the result if it were used: the model is of another kind
    # than it says.
    if unknown := {name for name in found.keys() - shapes.keys() if not _is_redundant(name)}:
        problems.append(f"the weights hold {_names(unknown)}, which config.json does not account for")
    known = {name: info for name, info in found.items() if name in shapes}
    if foreign := {info.dtype for info in known.values()} - DTYPE_BYTES.keys():
        problems.append(
            f"the weights have dtype {', '.join(sorted(foreign))}, supported are {', '.join(DTYPE_BYTES)}"
        )
    wrong = [
        f"`{name}` has shape {list(info.shape)}, config.json asks for {list(shapes[name])}"
        for name, info in sorted(known.items())
        if info.shape != shapes[name]
    ]
    return problems + wrong[:_MAX_NAMES] + _more(wrong)


def _is_redundant(name: str) -> bool:
    """Tables that old checkpoints carry along, and an output layer that is tied to the embedding."""
    return name.endswith(".rotary_emb.inv_freq") or name == _HEAD


def _check_tokenizer(path: Path, problems: list[str]) -> None:
    """The server reads the tokenizer; here only what a broken download leaves is looked for."""
    tokenizer = path / "tokenizer.json"
    try:
        check_present(tokenizer)
        with tokenizer.open("rb") as file:
            file.seek(max(tokenizer.stat().st_size - 64, 0))
            complete = file.read().rstrip().endswith(b"}")
    except FileError as problem:
        problems.append(f"tokenizer.json {problem}")
        return
    if not complete:
        problems.append("tokenizer.json is incomplete: it ends within its JSON")


def _names(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join([f"`{name}`" for name in names[:_MAX_NAMES]] + _more(names))


def _more(items: list[str]) -> list[str]:
    return [f"and {len(items) - _MAX_NAMES} more"] if len(items) > _MAX_NAMES else []
