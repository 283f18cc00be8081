"""An OpenAI-compatible streaming server for language models, and its parts for programs.

    LLM, SamplingParams    the model without a server, `docs/llm.md`
    Scheduler              continuous batching for a runner of one's own, `docs/embedding.md`

They are imported when they are asked for, and so are the modules of which programs use more; torch
is imported when a model is loaded.
"""

# Type checkers know the name. `typing` itself would hold up the command, in which a signal is lost
# until it is prepared.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from streamcore.llm import LLM, SamplingParams
    from streamcore.scheduler import Scheduler

__all__ = ["LLM", "SamplingParams", "Scheduler"]

_MODULES = {"LLM": "streamcore.llm", "SamplingParams": "streamcore.llm", "Scheduler": "streamcore.scheduler"}
_PUBLIC_MODULES = ("asgi", "errors", "llm", "scheduler", "step", "testing")


def __getattr__(name: str) -> object:
    if name not in _MODULES and name not in _PUBLIC_MODULES:
        raise AttributeError(f"module `streamcore` has no attribute `{name}`")
    from importlib import import_module

    if name in _PUBLIC_MODULES:
        return import_module(f"streamcore.{name}")
    attribute: object = getattr(import_module(_MODULES[name]), name)
    return attribute


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
