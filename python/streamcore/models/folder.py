"""Checks a model folder completely before anything is started.

Nothing here needs torch or reads weights, so a wrong or half-downloaded folder is refused at once, with
everything that is wrong with it in one message.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from streamcore.errors import ModelLoadError
from streamcore.models.config import Dtype, ModelConfig, parse_config
from streamcore.models.elsewhere import explain_folder, refuse_file
from streamcore.models.layout import Layout
from streamcore.models.registry import find_family
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


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder in Hugging Face layout that was found complete."""

    path: Path
    config: ModelConfig
    layout: Layout
    tensors: Mapping[str, TensorInfo]
    """Every tensor of the layout, with the file that holds it."""
    dtype: Dtype
    """The checkpoint's precision: as config.json names it, else that of the weights."""

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
        hint = "download the model first: names are not looked up"
        raise ModelLoadError(f"model folder {path} does not exist", hint)
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
    config, layout, hint = _check_config(path, problems)
    found = _check_weights(path, layout, problems)
    _check_tokenizer(path, problems)
    if problems or config is None or layout is None:
        raise ModelLoadError(
            f"model folder {path} cannot be loaded: " + "; ".join(problems), hint or _hint(problems)
        )
    tensors = {name: found[name] for name in layout}
    dtype = config.dtype or _DTYPES[next(iter(tensors.values())).dtype]
    return ModelFolder(path, config, layout, tensors, dtype)


def _hint(problems: Iterable[str]) -> str | None:
    text = " ".join(problems)
    if "git-lfs pointer" in text:
        return "run `git lfs pull` in the folder"
    if "ever loaded" in text:
        return "convert the weights to safetensors"
    if "incomplete" in text or "is missing" in text or "broken link" in text:
        return "the download may not have finished: fetch the folder again"
    return None


def _check_config(path: Path, problems: list[str]) -> tuple[ModelConfig | None, Layout | None, str | None]:
    """What config.json says, and a hint where it cannot be used."""
    hint = None
    try:
        raw = read_json_object(path / "config.json")
        family = find_family(raw)
        config = parse_config(raw)
    except FileError as problem:
        problems.append(f"config.json {problem}")
    except ModelLoadError as error:
        problems.append(str(error))
        hint = error.hint
    else:
        return config, family.layout(config), None
    return None, None, hint


def _check_weights(path: Path, layout: Layout | None, problems: list[str]) -> dict[str, TensorInfo]:
    """The tensors of all weight files. The layout is compared only with files that are whole: else all would
    be missing.
    """
    try:
        files = weight_files(path)
    except FileError as problem:
        problems.append(str(problem))
        return {}
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
        found |= header
    if layout is not None and len(problems) == num_problems:
        problems += _compare(layout, found)
    return found


def _compare(layout: Layout, found: Mapping[str, TensorInfo]) -> list[str]:
    problems = []
    if absent := layout.keys() - found.keys():
        problems.append(f"the weights lack {_names(absent)}")
    # A tensor without a place would change the result if it were used: the model is of another kind than it
    # says.
    if unknown := {name for name in found.keys() - layout.keys() if not _is_redundant(name)}:
        problems.append(f"the weights hold {_names(unknown)}, which config.json does not account for")
    known = {name: info for name, info in found.items() if name in layout}
    if foreign := {info.dtype for info in known.values()} - DTYPE_BYTES.keys():
        problems.append(
            f"the weights have dtype {', '.join(sorted(foreign))}, supported are {', '.join(DTYPE_BYTES)}"
        )
    wrong = [
        f"`{name}` has shape {list(info.shape)}, config.json asks for {list(layout[name].shape)}"
        for name, info in sorted(known.items())
        if info.shape != layout[name].shape
    ]
    return problems + wrong[:_MAX_NAMES] + _more(wrong)


def _is_redundant(name: str) -> bool:
    """Tables that old checkpoints carry along, and an output layer that is tied to the embedding."""
    return name.endswith(".rotary_emb.inv_freq") or name == "lm_head.weight"


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
