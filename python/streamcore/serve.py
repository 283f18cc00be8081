"""`streamcore serve`: from settings to a running server, and the loop that carries out steps."""

import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from streamcore import _core, kernels
from streamcore.config import ServeConfig
from streamcore.errors import ConfigError
from streamcore.models.folder import ModelFolder, check_model_folder
from streamcore.models.loader import load_model
from streamcore.models.progress import terminal_progress
from streamcore.runner.device import choose_device, choose_dtype
from streamcore.runner.kv_cache import allocate_kv_cache, choose_num_blocks
from streamcore.runner.limits import choose_batch, choose_max_model_len
from streamcore.runner.model_runner import ModelRunner, steps_in_flight
from streamcore.runner.plan import StepPlan
from streamcore.runner.threads import configure_threads

DEMO_MODEL = Path(__file__).parent / "demo_model"
# How long the engine thread waits for work before it looks for signals again.
_IDLE_WAIT_S = 0.1


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
    engine_config, runner = _load(config, folder)
    names = config.served_model_name or (("demo",) if config.model is None else (folder.path.resolve().name,))
    server = _core.Server(
        listener,
        text,
        engine_config,
        served_model_names=list(names),
        vocab_size=folder.config.vocab_size,
        api_keys=list(config.api_key),
    )
    try:
        with _drain_on_signal(server, config.shutdown_timeout):
            _announce(config, server, names[0], time.monotonic() - started)
            _run_steps(server, engine_config, runner)
    except (
        BaseException
    ) as error:  # A panic in Rust is not an `Exception`; the clients must hear of it all the same.
        server.fail(f"the model runner failed: {error}")
        raise
    finally:
        server.shutdown()
    return 0


def _bind(config: ServeConfig) -> _core.Listener:
    """Bind before anything is loaded, so that a port in use is known at once."""
    try:
        return _core.Listener(config.host, config.port)
    except OSError as error:
        raise OSError(f"cannot listen on {config.host}:{config.port}: {error}") from error


def _load(config: ServeConfig, folder: ModelFolder) -> tuple[_core.EngineConfig, ModelRunner]:
    """Choose device, dtype and limits, and bring the model there."""
    configure_threads()
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, folder, device)
    max_model_len = choose_max_model_len(config.max_model_len, folder.config)
    max_num_seqs, max_num_batched_tokens = choose_batch(
        device, config.max_num_seqs, config.max_num_batched_tokens
    )
    model = load_model(folder, device, dtype, max_model_len, terminal_progress())
    num_blocks = choose_num_blocks(
        folder.config,
        device,
        dtype,
        block_size=config.block_size,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        kv_cache_memory_bytes=config.kv_cache_memory_bytes,
    )
    engine_config = _core.EngineConfig(
        block_size=config.block_size,
        num_blocks=num_blocks,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        max_steps_in_flight=steps_in_flight(device),
    )
    caches = allocate_kv_cache(
        folder.config, device, dtype, block_size=config.block_size, num_blocks=num_blocks
    )
    runner = ModelRunner(model, caches, engine_config.step_columns(), device)
    runner.warm_up()
    _core.log("info", f"model {folder.path}, {folder.num_parameters / 1e6:.1f} M parameters")
    _core.log(
        "info", f"device {device}, dtype {str(dtype).removeprefix('torch.')}; {kernels.description(dtype)}"
    )
    _core.log(
        "info",
        f"KV cache {num_blocks} blocks of {config.block_size} tokens, context {engine_config.max_seq_len}, "
        f"up to {max_num_seqs} requests at once, {max_num_batched_tokens} tokens a step",
    )
    return engine_config, runner


@contextmanager
def _drain_on_signal(server: _core.Server, timeout_s: float) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM begin a drain; a second signal ends it at once."""

    def drain(_signal: int, _frame: FrameType | None) -> None:
        nonlocal timeout_s
        server.drain(timeout_s)
        timeout_s = 0.0

    previous = {number: signal.signal(number, drain) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _announce(config: ServeConfig, server: _core.Server, name: str, took_s: float) -> None:
    host, port = server.address
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    _core.log("info", f"serving {name} at {url}")
    if config.log_format == "json":
        return
    body = f'{{"model": "{name}", "stream": true, "messages": [{{"role": "user", "content": "Tell me a joke"}}]}}'
    curl = f"curl -N {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'"
    sys.stdout.write(f"Ready at {url} after {took_s:.1f} s. Try:\n\n  {curl}\n\n")
    sys.stdout.flush()


def _run_steps(server: _core.Server, engine_config: _core.EngineConfig, runner: ModelRunner) -> None:
    """Carry out plans until the server has stopped, as many in flight as the device takes."""
    lent = [_core.StepBuffers(engine_config, buffers.addresses()) for buffers in runner.all_buffers]
    in_flight: deque[StepPlan] = deque()
    while in_flight or not server.is_stopped:
        plan = server.next_step(lent[runner.turn], 0.0 if in_flight else _IDLE_WAIT_S)
        if plan is not None:
            runner.launch(plan)
            in_flight.append(plan)
        if in_flight and (plan is None or len(in_flight) == runner.depth):
            tokens = runner.collect()
            server.complete_step(in_flight.popleft().id, tokens.data_ptr(), tokens.numel())
