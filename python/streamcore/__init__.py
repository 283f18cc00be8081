"""An OpenAI-compatible streaming server for language models, and its parts for programs.

    LLM, SamplingParams    the model without a server, `docs/llm.md`
    Scheduler              continuous batching for a runner of one's own, `docs/embedding.md`

They are imported when they are asked for, and torch when a model is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamcore.llm import LLM, SamplingParams
    from streamcore.scheduler import Scheduler

__all__ = ["LLM", "SamplingParams", "Scheduler"]

_MODULES = {"LLM": "streamcore.llm", "SamplingParams": "streamcore.llm", "Scheduler": "streamcore.scheduler"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module `streamcore` has no attribute `{name}`")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
