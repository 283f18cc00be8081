"""Says what a path holds that is no model folder, and what its owner can do."""

from collections.abc import Collection
from pathlib import Path

from streamcore.errors import ModelLoadError

_FOLDER = "a model is a folder with config.json, tokenizer.json and .safetensors files, or a GGUF file"
_DOWNLOAD = "download the folder of safetensors files that it was made from"

_SUFFIXES = {
    ".safetensors": (
        "is a file of weights",
        "name the folder that holds it, with its config.json and tokenizer.json",
    ),
    ".json": (
        "is a JSON file",
        "name the folder that holds a model; scripted answers are served as script:FILE",
    ),
    **dict.fromkeys(
        (".bin", ".pt", ".pth", ".ckpt"),
        ("is a file of pickled weights, which are never loaded", _DOWNLOAD),
    ),
    **dict.fromkeys(
        (".zip", ".gz", ".tar", ".tgz", ".xz", ".zst"), ("is an archive", "unpack it and name the folder")
    ),
    ".onnx": ("is an ONNX file", _DOWNLOAD),
}
"""What a file is by the end of its name, and what can be done."""

_MARKS = {
    "adapter_config.json": (
        "holds a LoRA adapter, not a model",
        "merge it into its base model, and serve the result",
    ),
    "model_index.json": ("holds a diffusion pipeline, not a language model", None),
    "snapshots": ("is the cache of a repository", "name the folder of one version inside of `snapshots`"),
    "params.json": ("has its maker's own layout", "download the version in Hugging Face layout"),
}
"""What a folder without config.json is by a file in it, and what can be done."""


def refuse_file(path: Path) -> ModelLoadError:
    """The error for a path that is a file."""
    what, hint = _SUFFIXES.get(path.suffix.lower(), ("is a file, not a folder", None))
    return ModelLoadError(f"model {path} {what}: {_FOLDER}", hint)


def explain_folder(path: Path) -> tuple[str, str | None] | None:
    """What a folder without config.json is instead of a model, and a hint; None where that is not
    known.
    """
    return explain_names({entry.name for entry in path.iterdir()})


def explain_names(names: Collection[str]) -> tuple[str, str | None] | None:
    """What such a folder is by the names of its files, and a hint."""
    for mark, explanation in _MARKS.items():
        if mark in names:
            return explanation
    gguf = sorted(name for name in names if name.lower().endswith(".gguf"))
    if gguf:
        return "holds GGUF files, which are models themselves", f"name the file itself, such as {gguf[0]}"
    return None
