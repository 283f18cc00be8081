"""Everything streamcore raises on purpose.

    StreamcoreError
    ├── ConfigError        an option or a combination of options cannot work
    ├── ModelLoadError     a model folder is incomplete, damaged or of an unsupported kind
    ├── RunnerError        the step loop was given up, and every request with it
    └── TraceError         a trace cannot be read, or the engine does not do again what it says

Each message is one sentence that names what was wrong; `hint`, when there is one, says what to do about it.
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
        self.hint = hint
        # So that it stands under the message where a traceback is shown; Python 3.10 has no such place.
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
