"""`streamcore serve`: from settings to a running server and its end.

torch is imported only once the port and the model folder are known to be usable, so that what is wrong with them
is told at once.
"""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from streamcore import _core
from streamcore.config import ServeConfig
from streamcore.errors import ConfigError
from streamcore.models.folder import check_model_folder

DEMO_MODEL = Path(__file__).parent / "demo_model"


def serve(config: ServeConfig, started: float, log_filter: str = "info") -> int:
    """Serve until a signal ends it; returns the exit status.

    Args:
        config: the settings.
        started: when the program was started, by `time.monotonic()`, in seconds.
        log_filter: which lines are logged: a level, or `crate=level` pairs separated by commas.

    Raises:
        ConfigError: an option cannot work with this model or device.
        ModelLoadError: the model folder cannot be used.
        OSError: the address cannot be bound.
    """
    try:
        _core.init_logging(config.log_format, log_filter)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    listener = _bind(config)
    folder = check_model_folder(config.model or DEMO_MODEL)
    text = _core.TextModel(folder.path)
    has_chat_template = text.has_chat_template

    from streamcore.runner.launch import load_runner, run_steps

    engine_config, runner = load_runner(config, folder)
    names = config.served_model_name or (("demo",) if config.model is None else (folder.path.resolve().name,))
    server = _core.Server(
        listener,
        text,
        engine_config,
        served_model_names=list(names),
        vocab_size=folder.config.vocab_size,
        api_keys=list(config.api_key),
        allowed_origins=list(config.allowed_origins),
        max_waiting_requests=config.max_waiting_requests,
    )
    try:
        with _drain_on_signal(server, config.shutdown_timeout):
            _announce(server, names[0], _example(names[0], has_chat_template, bool(config.api_key)), started)
            run_steps(server, engine_config, runner)
    # A panic in Rust is not an `Exception`; the clients must hear of it all the same.
    except BaseException as error:
        server.fail(f"the model runner failed: {error}")
        raise
    finally:
        server.shutdown()
    _core.log("info", "stopped")
    return 0


def _bind(config: ServeConfig) -> _core.Listener:
    """Bind before anything is loaded, so that a port in use is known at once."""
    try:
        return _core.Listener(config.host, config.port)
    except OSError as error:
        raise OSError(f"cannot listen on {config.host}:{config.port}: {error}") from error


@contextmanager
def _drain_on_signal(server: _core.Server, timeout_s: float) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM begin a drain; a second signal ends it at once."""

    def drain(_signal: int, _frame: FrameType | None) -> None:
        nonlocal timeout_s
        server.drain(timeout_s)
        if timeout_s > 0:
            _core.log(
                "info", f"running requests have up to {timeout_s:g} s to finish; once more ends them now"
            )
        timeout_s = 0.0

    previous = {number: signal.signal(number, drain) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _example(name: str, has_chat_template: bool, needs_key: bool) -> tuple[str, str]:
    """A path and what follows it in a `curl` line that tries the model; a key is not shown, only its place."""
    if has_chat_template:
        path, ask = "/v1/chat/completions", '"messages": [{"role": "user", "content": "Tell me a joke"}]'
    else:
        _core.log("warning", "the model has no chat template: only /v1/completions can be used")
        path, ask = "/v1/completions", '"prompt": "Once upon a time"'
    headers = "-H 'Content-Type: application/json'" + (" -H 'Authorization: Bearer KEY'" if needs_key else "")
    return path, f"""{headers} -d '{{"model": "{name}", "stream": true, {ask}}}'"""


def _announce(server: _core.Server, name: str, example: tuple[str, str], started: float) -> None:
    """Tell where the server is and how to try it: on standard output, which holds nothing else."""
    host, port = server.address
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    _core.log("info", f"serving {name} at {url}")
    path, rest = example
    took_s = time.monotonic() - started
    sys.stdout.write(f"Ready at {url} after {took_s:.1f} s. Try:\n\n  curl -N {url}{path} {rest}\n\n")
    sys.stdout.flush()
