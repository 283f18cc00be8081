"""Checks a model folder completely before anything is started.

Nothing here needs torch or reads weights, so a wrong or half-downloaded folder is refused at once,
with everything that is wrong with it in one message.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from streamcore.errors import ModelLoadError
from streamcore.models.config import DecoderConfig, Dtype
from streamcore.models.declare import Declaration, Shapes, declare_files
from streamcore.models.elsewhere import explain_folder, refuse_file
from streamcore.models.families import Family
from streamcore.models.formats.plain import PLAIN, PlainMatrix, PlainStack
from streamcore.models.formats.stored import Entry, Format
from streamcore.models.gguf import GgufModel, GgufSource, is_gguf, open_gguf
from streamcore.models.hub.name import hint_for
from streamcore.models.names import text_name
from streamcore.models.opening import open_config, read_config
from streamcore.models.tensor_files import (
    FLOATS,
    FileError,
    Kept,
    TensorInfo,
    check_present,
    read_header,
    weight_files,
)

if TYPE_CHECKING:
    from streamcore.models.tensor_source import TensorSource

_DTYPES: Mapping[str, Dtype] = {"F64": "float32", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_MAX_NAMES = 3
_HEAD = "lm_head.weight"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder in Hugging Face layout, or a GGUF file, that was found complete."""

    path: Path
    family: Family
    config: DecoderConfig
    format: Format
    """How its weights are stored."""
    shapes: Shapes
    """Of what the model is computed with, by its name in a folder that is not quantised."""
    tensors: Mapping[str, TensorInfo]
    """Every tensor that is read, with the file that holds it."""
    matrix_dtypes: frozenset[str]
    """Of matrices as the format hands them out, in the words of safetensors."""
    dtype: Dtype
    """The checkpoint's precision: as config.json names it, else that of the weights."""
    kept: Mapping[str, tuple[Kept, int]]
    """The matrices that a kernel may multiply with as they are, by their names in `shapes`: their
    numbers, and how many bytes they take.
    """
    is_wrapped: bool
    """Whether the language model is one part of a multimodal model."""
    open_tensors: "Callable[[], TensorSource]"
    """Opens the files for reading."""
    gguf: GgufModel | None = None
    """The GGUF file in place of a folder, if it is one."""

    @property
    def text_files(self) -> AbstractContextManager[Path]:
        """The folder with the tokenizer and the templates, for the length of a `with` block."""
        return nullcontext(self.path) if self.gguf is None else self.gguf.text_folder()

    @property
    def num_parameters(self) -> int:
        """Numbers in all weights together, as they are computed with."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def num_bytes(self, itemsize: int, keeps: frozenset[Kept]) -> int:
        """Bytes of the weights in memory, about.

        Args:
            itemsize: of numbers that are widened.
            keeps: the numbers that are multiplied with as they are.
        """
        kept = {name: num_bytes for name, (numbers, num_bytes) in self.kept.items() if numbers in keeps}
        others = sum(math.prod(shape) for name, shape in self.shapes.items() if name not in kept)
        return others * itemsize + sum(kept.values())

    @property
    def num_file_bytes(self) -> int:
        """Bytes of all that is read."""
        return sum(info.num_bytes for info in self.tensors.values())


def check_model_folder(path: Path) -> ModelFolder:
    """Checks that a folder, or a GGUF file, holds everything that serving it needs, by its names,
    headers and sizes.

    Raises:
        ModelLoadError: names all that is missing, incomplete or not supported.
    """
    if not path.exists():
        raise ModelLoadError(f"model folder {path} does not exist", hint_for(path))
    try:
        if is_gguf(path):
            return _check_gguf(path)
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
    declared: Declaration | None = None
    if opened is not None and found is not None:
        if is_wrapped:
            # What the two levels of the file say of tied embeddings may differ; the weights decide.
            is_tied = not any(name.startswith("lm_head.") for name in found)
            opened = opened[0], replace(opened[1], tie_word_embeddings=is_tied), opened[2]
        declared = declare_files(*opened, found)
        problems += _compare(declared, opened[2], found)
    _check_tokenizer(path, problems)
    if problems or opened is None or found is None or declared is None:
        raise ModelLoadError(
            f"model folder {path} cannot be loaded: " + "; ".join(problems), hint or _hint(problems)
        )
    family, config, weight_format = opened
    if all(isinstance(stored, PlainMatrix | PlainStack) for stored in declared.matrices.values()):
        # Tools that widen a folder may leave its config.json as it was.
        weight_format = PLAIN
    tensors = {name: found[name] for name in declared.entries if name in found}
    dtype = config.dtype or _DTYPES[next(iter(tensors.values())).dtype]
    return ModelFolder(
        path,
        family,
        config,
        weight_format,
        declared.shapes,
        tensors,
        _matrix_dtypes(declared, tensors),
        dtype,
        _kept(declared, tensors),
        is_wrapped,
        _open_safetensors,
    )


def _open_safetensors() -> "TensorSource":
    from streamcore.models.tensor_source import SafetensorsSource

    return SafetensorsSource()


def _matrix_dtypes(declared: Declaration, tensors: Mapping[str, TensorInfo]) -> frozenset[str]:
    entries = declared.entries
    plain = {
        tensors[name].dtype
        for name, shape in declared.shapes.items()
        if len(shape) > 1 and name in entries and entries[name].dtypes == FLOATS
    }
    return frozenset(plain) | {
        stored.dtype({end: tensors[name + end].dtype for end in stored.entries if name + end in tensors})
        for name, stored in declared.matrices.items()
    }


def _kept(declared: Declaration, tensors: Mapping[str, TensorInfo]) -> Mapping[str, tuple[Kept, int]]:
    kept = {}
    for name, stored in declared.matrices.items():
        parts = [tensors[name + end] for end in stored.entries if name + end in tensors]
        numbers = stored.kept or next((part.kept for part in parts if part.kept), None)
        if numbers is not None:
            plain = name if name in declared.shapes else f"{name}.weight"
            kept[plain] = numbers, sum(part.num_bytes for part in parts)
    return kept


def _check_gguf(path: Path) -> ModelFolder:
    gguf = open_gguf(path)
    try:
        family, config, _ = open_config(gguf.config_json)
    except ModelLoadError as error:
        said = str(error).replace("config.json", "metadata, read as config.json,", 1)
        raise ModelLoadError(f"model {path} cannot be loaded: its {said}", error.hint) from error
    declared = declare_files(family, config, PLAIN, {})
    needed = {name: entry.shapes[0] for name, entry in declared.entries.items() if not entry.is_optional}
    tensors = gguf.find(config, needed)
    assert config.dtype is not None
    return ModelFolder(
        path,
        family,
        config,
        replace(PLAIN, title=gguf.title),
        declared.shapes,
        tensors,
        _matrix_dtypes(declared, tensors),
        config.dtype,
        _kept(declared, tensors),
        False,
        GgufSource,
        gguf,
    )


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
) -> tuple[tuple[Family, DecoderConfig, Format] | None, bool, str | None]:
    """What config.json says, whether its language model is wrapped, and a hint where it cannot be
    used.
    """
    try:
        raw = read_config(path)
        return open_config(raw), "text_config" in raw, None
    except FileError as problem:
        problems.append(str(problem))
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


def _compare(declared: Declaration, weight_format: Format, found: Mapping[str, TensorInfo]) -> list[str]:
    problems = []
    entries = declared.entries
    required = {name for name, entry in entries.items() if not entry.is_optional}
    if absent := required - found.keys():
        problems.append(f"the weights lack {_names(absent)}")
    # A tensor without a place would change the result if it were used: the model is of another kind
    # than it says.
    unknown = {name for name in found.keys() - entries.keys() if not _is_redundant(name, weight_format)}
    if unknown:
        problems.append(f"the weights hold {_names(unknown)}, which config.json does not account for")
    known = {name: info for name, info in sorted(found.items()) if name in entries}
    foreign = {name: info for name, info in known.items() if info.dtype not in entries[name].dtypes}
    stacks = [name for name in foreign if isinstance(declared.matrices.get(name), PlainStack)]
    problems += [
        f"`{name}` stacks the experts of a layer as {foreign[name].dtype}, supported are stacks of "
        f"{', '.join(FLOATS)} and of MXFP4, and experts one by one"
        for name in stacks[:1]
    ]
    for name in stacks:
        del foreign[name]
    plain = {info.dtype for name, info in foreign.items() if entries[name].dtypes == FLOATS}
    if plain:
        problems.append(
            f"the weights have dtype {', '.join(sorted(plain))}, supported are {', '.join(FLOATS)}"
        )
    wrong = [
        f"`{name}` has dtype {info.dtype}, {weight_format.title} asks for {' or '.join(entries[name].dtypes)}"
        for name, info in foreign.items()
        if entries[name].dtypes != FLOATS
    ]
    wrong += [
        f"`{name}` has shape {list(info.shape)}, config.json asks for {_shapes(entries[name])}"
        for name, info in known.items()
        if info.shape not in entries[name].shapes
    ]
    return problems + wrong[:_MAX_NAMES] + _more(wrong)


def _shapes(entry: Entry) -> str:
    return " or ".join(str(list(shape)) for shape in entry.shapes)


def _is_redundant(name: str, weight_format: Format) -> bool:
    """Tables that old checkpoints carry along, an output layer that is tied to the embedding, and
    what a format has for others.
    """
    last = name.rpartition(".")[2]
    return name.endswith(".rotary_emb.inv_freq") or name == _HEAD or last in weight_format.passed_over


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
