"""From settings to a running server and its end; `streamcore serve` is one way there,
`streamcore.asgi` the other.

torch is imported only once the port and the model folder are known to be usable, so that what is
wrong with them is said at once.
"""

import atexit
import gc
import json
import os
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from streamcore import _core, console
from streamcore.config import ServeConfig, with_keys_of_environment
from streamcore.errors import ConfigError
from streamcore.models.folder import ModelFolder, check_model_folder
from streamcore.models.gguf import name_of_file
from streamcore.models.hub import FoundModel, Reporter, find_model
from streamcore.models.progress import logged_progress, terminal_progress
from streamcore.process import ending_signals
from streamcore.scripted import DEMO_MODEL, play, read_script, served_names, start_server

_CACHED = "models--"
"""What the folder of a model in a Hugging Face cache begins with; `--` stands for the slash in its
name.
"""


def serve(config: ServeConfig, started: float) -> int:
    """Serve until a signal ends it; returns the exit status.

    Args:
        config: the settings.
        started: when the program was started, by `time.monotonic()`, in seconds.

    Raises:
        ConfigError: an option cannot work with this model or device, or a variable of the
            environment makes no sense.
        ModelLoadError: the model folder cannot be used.
        OSError: the address cannot be bound.
    """
    config = with_keys_of_environment(config)
    init_logging(config)
    console.log_what_libraries_say()
    _raise_descriptor_limit()
    listener = _bind(config)
    with open_server(config, listener) as serving:
        _drain_on_signal(serving.server, config.shutdown_timeout)
        warn_of_development_build()
        _announce(serving, listener.url, config, started)
        serving.run()
    _ignore_signals()
    _core.log("info", "stopped")
    return 0


def _raise_descriptor_limit() -> None:
    """Each connection takes a descriptor: have as many as the system allows, not only as many as
    are usual (1024).
    """
    if sys.platform == "win32":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS says that there is no limit, and then refuses more than the second number.
    for wanted in (most, 10240):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        except (ValueError, OSError):
            continue
        return


def init_logging(config: ServeConfig, default: str = "info") -> None:
    """Send the log to standard error; `STREAMCORE_LOG` says which lines, else `default`.

    Raises:
        ConfigError: the variable cannot be understood.
    """
    try:
        _core.init_logging(config.log_format, os.environ.get("STREAMCORE_LOG", default))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    atexit.register(_close_log_of, os.getpid())


def warn_of_development_build() -> None:
    """Say that what is measured here is not the server's speed."""
    if not _core.is_release:
        _core.log("warning", console.DEVELOPMENT_BUILD)


def _close_log_of(process: int) -> None:
    # The thread that writes it is not in a fork.
    if os.getpid() == process:
        _core.close_log()


@dataclass(frozen=True)
class Serving:
    """A server that answers, and the steps that must be run for it."""

    server: _core.Server
    name: str
    """The first name of the model."""
    has_chat_template: bool
    run_steps: Callable[[], None]
    question: str = "Tell me a joke"
    """What the model can be asked, for an example."""

    def run(self) -> None:
        """Carry out steps until the server has stopped. What ends them early is raised; clients
        learn no more than that.
        """
        try:
            self.run_steps()
        # A panic in Rust is not an `Exception`; the clients must hear of it all the same.
        except BaseException:
            self.fail()
            raise

    def fail(self) -> None:
        """End every request: the steps have failed. Why may name files of this machine, and
        `/health` asks for no key.
        """
        self.server.fail("the model runner failed")


@contextmanager
def open_server(
    config: ServeConfig,
    listener: _core.Listener | None,
    *,
    is_watched: bool = True,
    check: Callable[[], None] | None = None,
) -> Iterator[Serving]:
    """Load the model and answer requests for the length of a `with` block.

    Args:
        config: the settings.
        listener: where to listen; None: requests come by `Server.open` alone.
        is_watched: whether a model's steps are given up when they hang.
        check: called now and then while the model is loaded; what it raises ends that.

    Raises:
        ConfigError: an option cannot work with this model or device.
        ModelLoadError: the model folder cannot be used.
    """
    if config.trace_file is not None:
        _announce_trace(config.trace_file)
    if config.script is not None:
        serving = _open_script(config, config.script, listener)
    else:
        serving = _open_model(config, listener, is_watched, check)
    try:
        yield serving
    finally:
        serving.server.shutdown()


def _open_model(
    config: ServeConfig, listener: _core.Listener | None, is_watched: bool, check: Callable[[], None] | None
) -> Serving:
    found = (
        FoundModel(DEMO_MODEL) if config.model is None else find_model(config.model, _reporter(config, check))
    )
    folder = check_model_folder(found.path)
    with _without_collections():
        text = _read_text_beside_imports(config, folder)
        from streamcore.runner.load import load_runner
        from streamcore.runner.loop import run_steps

        loaded = load_runner(config, folder, check)
    has_chat_template = text.has_chat_template
    names = config.served_model_name or (("demo",) if config.model is None else _names_of(found))
    server = _core.Server(
        listener,
        text,
        loaded.engine_config,
        served_model_names=list(names),
        vocab_size=folder.config.vocab_size,
        api_keys=list(config.api_key),
        priority_keys=list(map(int, config.priority_keys)),
        allowed_origins=list(config.allowed_origins),
        max_waiting_requests=config.max_waiting_requests,
        max_stored_responses=config.max_stored_responses,
        trace_file=config.trace_file,
        traced_model=(names[0], folder.num_parameters, folder.config.kv_numbers_per_token),
        reasoning_field=config.reasoning_field,
    )
    steps = partial(run_steps, server, loaded.runner, loaded.decode_s if is_watched else None)
    return Serving(server, names[0], has_chat_template, steps)


def _read_text_beside_imports(config: ServeConfig, folder: ModelFolder) -> _core.TextModel:
    """Reads the tokenizer and the chat template, which is work in Rust, in a thread, and imports what
    runs models meanwhile, which is work in Python.
    """
    parsers = {"tool_call_parser": config.tool_call_parser, "reasoning_parser": config.reasoning_parser}
    with folder.text_files as text_files, ThreadPoolExecutor(1, "tokenizer") as beside:
        text = beside.submit(_core.TextModel, text_files, **parsers)
        with explaining_imports():
            import streamcore.runner.load
            import streamcore.runner.loop  # noqa: F401
        return text.result()


@contextmanager
def _without_collections() -> Iterator[None]:
    """Looks for no garbage while modules are imported and a model is loaded: nearly all of what is
    made then stays.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _reporter(config: ServeConfig, check: Callable[[], None] | None) -> Reporter:
    """Report the search for a model in the log, and a download on a terminal by a line that
    rewrites itself.
    """
    inform, activity = partial(_core.log, "info"), f"downloading {config.model}"
    shown = terminal_progress(activity=activity) if config.log_format == "text" else None
    progress = shown or logged_progress(inform, activity)
    end = shown.end if shown is not None else lambda: None
    return Reporter(inform, partial(_core.log, "warning"), progress, end, check or (lambda: None))


def _names_of(found: FoundModel) -> tuple[str, ...]:
    """The names of a model without `--served-model-name`."""
    return (name_of(found.path),) if found.repository is None else found.repository.served


def name_of(folder: Path) -> str:
    """The name of a model by its folder or GGUF file: that of a link is its own.

    Folders of a Hugging Face cache are called by revision; there it is the name of the repository.
    """
    # `.` and `..` are no names.
    path = folder.parent.resolve() / folder.name if folder.name not in ("", "..") else folder.resolve()
    repository = path.parent.parent.name
    if path.parent.name == "snapshots" and repository.startswith(_CACHED):
        return repository.removeprefix(_CACHED).replace("--", "/")
    # Bytes that are no text cannot be asked for.
    name = os.fsencode(path.name).decode(errors="replace") or "model"
    return name_of_file(name) if path.is_file() else name


def _open_script(config: ServeConfig, path: Path, listener: _core.Listener | None) -> Serving:
    """The same with a scripted model."""
    model = read_script(
        path, tool_call_parser=config.tool_call_parser, reasoning_parser=config.reasoning_parser
    )
    names = served_names(model, config.served_model_name)
    server = start_server(
        model,
        listener,
        served_model_names=names,
        api_keys=config.api_key,
        priority_keys=tuple(map(int, config.priority_keys)),
        max_model_len=config.max_model_len,
        max_num_seqs=config.max_num_seqs,
        allowed_origins=config.allowed_origins,
        max_waiting_requests=config.max_waiting_requests,
        max_stored_responses=config.max_stored_responses,
        trace_file=config.trace_file,
        reasoning_field=config.reasoning_field,
    )
    question = model.script.example(names[0]) or Serving.question
    return Serving(server, names[0], True, partial(play, server), question)


@contextmanager
def explaining_imports() -> Iterator[None]:
    """Wraps the import of what loads and runs models, and torch with it.

    Raises:
        ConfigError: torch, or something else that it needs, is not installed.
    """
    # torch reads it once. Idle OpenMP threads spin by default; they would take the cores from the
    # threads that serve sockets.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # torch runs without NumPy, which nothing here needs, and says so at every start.
    warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
    try:
        yield
    except ModuleNotFoundError as error:
        hint = "install it, README.md says how, or serve script:FILE, which needs nothing else"
        raise ConfigError(f"{error.name} is missing", hint) from error
    except (ImportError, OSError) as error:
        # As where `ulimit -v` leaves its libraries no room.
        raise ConfigError(f"torch cannot be imported: {error}") from error


def _announce_trace(path: Path) -> None:
    """Say before the model is loaded what is written, or that it cannot be."""
    if path.exists():
        raise ConfigError(f"trace file {path} exists already", "move it away, or name another one")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"trace file {path} is in a folder that does not exist")
    _core.log("warning", f"every prompt and every answer is written to {path}, as token ids")


def _bind(config: ServeConfig) -> _core.Listener:
    """Bind before anything is loaded, so that a port in use is known at once.

    Raises:
        ConfigError: the certificate or its key cannot be used.
        OSError: the address cannot be bound.
    """
    place = config.uds or f"{config.host}:{config.port}"
    try:
        at_path = config.uds and _core.Listener.at_path(config.uds)
        listener = at_path or _core.Listener(config.host, config.port)
    except OSError as error:
        raise OSError(f"cannot listen on {place}: {error}") from error
    if config.ssl_certfile is not None:
        try:
            listener = listener.with_tls(config.ssl_certfile, config.ssl_keyfile or config.ssl_certfile)
        except OSError as error:
            raise ConfigError(f"the certificate cannot be used: {error}") from error
    return listener if config.root_path is None else listener.under(config.root_path)


def _drain_on_signal(server: _core.Server, timeout_s: float) -> None:
    """Let Ctrl-C, SIGTERM and SIGHUP begin a drain; a second signal ends it at once."""

    def drain(_signal: int, _frame: FrameType | None) -> None:
        nonlocal timeout_s
        # At once: a second signal may come in the middle of this.
        patience_s, timeout_s = timeout_s, 0.0
        server.drain(patience_s)
        num_requests = server.num_requests
        if patience_s > 0 and num_requests > 0:
            left = "1 request has" if num_requests == 1 else f"{num_requests} requests have"
            _core.log("info", f"{left} up to {patience_s:g} s to finish; once more ends them now")

    for number in ending_signals():
        signal.signal(number, drain)


def _ignore_signals() -> None:
    """Ignore signals after a clean end: the interpreter removes its handlers too early."""
    for number in ending_signals():
        signal.signal(number, signal.SIG_IGN)


def _example(serving: Serving, needs_key: bool) -> tuple[str, str]:
    """A path and what follows it in a `curl` line that tries the model; a key is not shown, only
    its place.
    """
    body: dict[str, Any] = {"model": serving.name, "stream": True}
    if serving.has_chat_template:
        path, body["messages"] = "/v1/chat/completions", [{"role": "user", "content": serving.question}]
    else:
        _core.log("warning", "the model has no chat template: only /v1/completions can be used")
        path, body["prompt"] = "/v1/completions", "Once upon a time"
    headers = "-H 'Content-Type: application/json'" + (" -H 'Authorization: Bearer KEY'" if needs_key else "")
    return path, f"{headers} -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"


def _announce(serving: Serving, url: str, config: ServeConfig, started: float) -> None:
    """Tell where the server is and how to try it: on standard output, which holds nothing else,
    behind the log of the start.
    """
    place = url if config.uds is None else str(config.uds)
    path, rest = _example(serving, bool(config.api_key))
    to_socket = "" if config.uds is None else f"--unix-socket {shlex.quote(str(config.uds))} "
    _core.log("info", f"serving {serving.name} at {place}")
    _core.flush_log()
    message = f"Ready at {place} after {time.monotonic() - started:.1f} s"
    command = f"curl -N {to_socket}{url}{path} {rest}"
    if config.log_format == "json":
        text = _core.json_line("INFO", message, url=url, example=command)
    else:
        text = f"{message}. Try:\n\n  {command}\n\n"
    try:
        console.write_output(text)
    except OSError as error:
        _core.log("warning", f"the line that says so could not be written: {error}")
