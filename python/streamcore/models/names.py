"""Names of tensors in folders that wrap a language model in a multimodal one."""

from collections.abc import Iterator

_PREFIXES = {
    "model.language_model.": "model.",
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
    "model.lm_head.": "lm_head.",
    "language_model.": "model.",
}
_OTHER_PARTS = (
    "vision_tower.",
    "visual.",
    "multi_modal_projector.",
    "embed_vision.",
    "audio_tower.",
    "embed_audio.",
)


def text_name(name: str) -> str | None:
    """The name of a tensor as a folder without a wrapper has it; None for one of another part of a
    multimodal model.
    """
    if name.removeprefix("model.").startswith(_OTHER_PARTS):
        return None
    for prefix, plain in _PREFIXES.items():
        if name.startswith(prefix):
            return plain + name.removeprefix(prefix)
    return name


def published_names(layer: str) -> Iterator[str]:
    """The names that a layer may have in a file, its plain one first: the other way round."""
    yield layer
    for prefix, plain in _PREFIXES.items():
        if f"{layer}.".startswith(plain):
            yield (prefix + f"{layer}.".removeprefix(plain)).removesuffix(".")
