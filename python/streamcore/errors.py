"""Everything streamcore raises on purpose.

    StreamcoreError
    ├── ConfigError        an option or a combination of options cannot work
    ├── ModelLoadError     a model folder is incomplete, damaged or of an unsupported kind
    ├── RunnerError        the step loop was given up, and every request with it
    ├── TraceError         a trace cannot be read, or the engine does not do again what it says
    └── RequestError       a request to an `LLM` has no answer
        ├── InvalidRequestError    something in it cannot be done
        ├── QueueFullError         too many requests are waiting
        └── EngineFailedError      the engine failed, or was closed, before the answer was complete

Each message is one sentence that names what was wrong; `hint`, when there is one, says what to do
about it.
"""

import sys


class StreamcoreError(Exception):
    """Base class of the errors above.

    Args:
        message: one sentence without a full stop.
        hint: what the user can do about it, one sentence without a full stop.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        # So that it stands under the message where a traceback is shown; Python 3.10 has no such
        # place.
        if hint is not None and sys.version_info >= (3, 11):
            self.add_note(hint)


class ConfigError(StreamcoreError):
    """An option, or a combination of options, cannot work."""


class ModelLoadError(StreamcoreError):
    """A model folder is incomplete, damaged or of a kind that is not supported."""


class RunnerError(StreamcoreError):
    """The step loop was given up, and every request with it."""


class TraceError(StreamcoreError):
    """A trace cannot be read, or the engine does not do again what it says."""


class RequestError(StreamcoreError):
    """A request to an `LLM` has no answer. The errors are those of the HTTP API.

    Args:
        message: one sentence without a full stop.
        code: one word for programs, such as "context_length_exceeded"; None: the routes have not
            been asked.
        param: the field that is to blame, if one is.
    """

    index: int | None = None
    """Which of many prompts or conversations it was, from 0; None: there was one."""

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param

    def blame(self, index: int) -> None:
        """Say which of many requests it is about."""
        self.index = index
        self.args = (f"request {index}: {self.message}",)


class InvalidRequestError(RequestError, ValueError):
    """Something in a request cannot be done."""


class QueueFullError(RequestError):
    """Too many requests are waiting."""

    retry_after_s: float = 1.0
    """When a place should be free, in seconds."""


class EngineFailedError(RequestError):
    """The engine failed, or was closed, before the answer was complete."""
