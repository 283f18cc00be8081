"""A GGUF file as a model folder would be: a config.json, tensors, and files of text."""

import difflib
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamcore.errors import ModelLoadError
from streamcore.models.config import DecoderConfig
from streamcore.models.fields import shown
from streamcore.models.gguf.architectures import ARCHITECTURES, Architecture
from streamcore.models.gguf.blocks import PLAIN_TYPES, StoredTensor, check_library
from streamcore.models.gguf.files import GgufFiles, read_files
from streamcore.models.gguf.metadata import Metadata
from streamcore.models.gguf.tensors import Finder, Shape
from streamcore.models.gguf.text_files import text_folder
from streamcore.models.gguf.vocabulary import Vocabulary, read_vocabulary
from streamcore.models.tensor_files import TensorInfo

_ARCHITECTURE = "general.architecture"


@dataclass(frozen=True, slots=True)
class GgufModel:
    """A model in one GGUF file or in several."""

    files: GgufFiles
    architecture: Architecture
    config_json: Mapping[str, Any]
    """What its metadata say, in the words of a config.json."""
    vocabulary: Vocabulary

    def find(self, config: DecoderConfig, shapes: Mapping[str, Shape]) -> Mapping[str, TensorInfo]:
        """The tensors that a family declares.

        Raises:
            ModelLoadError: names the tensors that are missing, of another shape or of no known
                part.
        """
        found, problems = Finder(self.architecture, config, self.files.tensors).find(shapes)
        if problems:
            raise _error(self.files.path, problems)
        return found

    def text_folder(self) -> AbstractContextManager[Path]:
        """The files of a model folder that have to do with text, for the length of a
        `with` block.
        """
        return text_folder(self.files.metadata, self.vocabulary)

    @property
    def types(self) -> str:
        """The types that its numbers are stored in, those of most bytes first."""
        sizes: Counter[str] = Counter()
        for tensor in self.files.tensors.values():
            sizes[tensor.type] += tensor.num_bytes
        return ", ".join(name for name, _ in sizes.most_common())

    @property
    def title(self) -> str | None:
        """What the log calls its format; None where no number has to be widened out of a block."""
        is_plain = all(tensor.type in PLAIN_TYPES for tensor in self.files.tensors.values())
        return None if is_plain else f"GGUF ({self.types})"


def open_gguf(path: Path) -> GgufModel:
    """Reads all but the weights.

    Raises:
        ModelLoadError: names all that is missing, damaged or not supported.
    """
    files = read_files(path)
    architecture = _architecture(path, files.metadata)
    check_library()
    embedding = files.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise _error(path, ["it lacks the matrix `token_embd.weight`"])
    name = str(files.metadata[_ARCHITECTURE])
    problems: list[str] = []
    metadata = Metadata(name, files.metadata, files.tensors)
    settings = architecture.settings(metadata)
    metadata.refuse_unread()
    if metadata.problems:
        problems.append("its metadata " + ", ".join(metadata.problems))
    vocabulary = read_vocabulary(files.metadata, embedding.shape[0], problems)
    if problems or vocabulary is None:
        raise _error(path, problems)
    config_json = {**settings, "dtype": _dtype(files.tensors)}
    return GgufModel(files, architecture, config_json, vocabulary)


def _architecture(path: Path, metadata: Mapping[str, Any]) -> Architecture:
    name = metadata.get(_ARCHITECTURE)
    architecture = ARCHITECTURES.get(name) if isinstance(name, str) else None
    if architecture is not None:
        return architecture
    found = f"no `{_ARCHITECTURE}`" if name is None else f"the architecture {shown(name)}"
    nearest = difflib.get_close_matches(str(name), ARCHITECTURES, n=1, cutoff=0.7)
    raise ModelLoadError(
        f"model {path} is a GGUF file with {found}, supported are {', '.join(ARCHITECTURES)}",
        f"the nearest name is {nearest[0]}: a model of that architecture can be served" if nearest else None,
    )


def _dtype(tensors: Mapping[str, StoredTensor]) -> str:
    """In which precision a model is at home: that of its matrices; where these are quantised, that
    of nearly all models that are quantised.
    """
    types = {tensor.type for tensor in tensors.values() if len(tensor.shape) > 1}
    if types <= {"F32"}:
        return "float32"
    return "float16" if types <= {"F16", "F32"} else "bfloat16"


def _error(path: Path, problems: list[str]) -> ModelLoadError:
    return ModelLoadError(f"model {path} cannot be loaded: " + "; ".join(problems))
