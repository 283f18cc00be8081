"""A scripted model: everything is the real thing but the answers.

The tokenizer and the chat template are the demo model's. Nothing here needs torch, so it works and
starts at once where nothing but the wheel is installed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from streamcore import _core
from streamcore.config import engine_config_of
from streamcore.errors import ConfigError, RunnerError

DEMO_MODEL = Path(__file__).parent / "demo_model"
MAX_MODEL_LEN = 1 << 17
MAX_NUM_SEQS = 256
_BLOCK_SIZE = 256
_MAX_NUM_BATCHED_TOKENS = 1 << 14
_MAX_WAIT_S = 1.0


@dataclass(frozen=True)
class ScriptedModel:
    """A script with the text model that it was read for."""

    script: _core.Script
    text: _core.TextModel


def read_script(path: Path, *, keeps_requests: bool = False, **parsers: str) -> ScriptedModel:
    """Reads a script from a file; `keeps_requests` and `parsers` as in `_core.Script`.

    Raises:
        ConfigError: it cannot be read, or says something that cannot be done; names the place.
    """
    try:
        return parse_script(path.read_text(encoding="utf-8"), keeps_requests=keeps_requests, **parsers)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"script {path} cannot be read: {error}") from error
    except ConfigError as error:
        raise ConfigError(
            f"script {path}: {error}", "docs/testing-clients.md says what a script may say"
        ) from error


def parse_script(json: str, *, keeps_requests: bool = False, **parsers: str) -> ScriptedModel:
    """Reads a script; `keeps_requests` and `parsers` as in `_core.Script`.

    Raises:
        ConfigError: it says something that cannot be done; names the place.
    """
    text = _core.TextModel(DEMO_MODEL)
    try:
        return ScriptedModel(_core.Script(json, text, keeps_requests=keeps_requests, **parsers), text)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def engine_config(max_model_len: int | None, max_num_seqs: int | None) -> _core.EngineConfig:
    """Limits of an engine that has no memory to care for: nothing is ever preempted.

    Raises:
        ConfigError: the engine cannot work with them.
    """
    max_model_len = max_model_len or MAX_MODEL_LEN
    max_num_seqs = max_num_seqs or MAX_NUM_SEQS
    return engine_config_of(
        block_size=_BLOCK_SIZE,
        num_blocks=max_num_seqs * -(-max_model_len // _BLOCK_SIZE),
        max_num_batched_tokens=max(_MAX_NUM_BATCHED_TOKENS, max_num_seqs),
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
    )


def served_names(model: ScriptedModel, given: Sequence[str]) -> list[str]:
    """The names that are given, else those of the script, else "script".

    Raises:
        ConfigError: a rule is for a model of another name.
    """
    names = list(given) or model.script.served_model_names or ["script"]
    try:
        model.script.check_served(names)
    except ValueError as error:
        raise ConfigError(f"script: {error}") from error
    return names


def start_server(
    model: ScriptedModel,
    listener: _core.Listener | None,
    *,
    served_model_names: Sequence[str] = (),
    api_keys: Sequence[str] = (),
    max_model_len: int | None = None,
    max_num_seqs: int | None = None,
    priority_keys: Sequence[int] = (),
    allowed_origins: Sequence[str] = (),
    max_waiting_requests: int | None = None,
    max_stored_responses: int | None = None,
    trace_file: Path | None = None,
    reasoning_field: str = "both",
) -> _core.Server:
    """Begins to answer; `start_player` must follow.

    Args:
        model: taken over by the server.
        listener: taken over by the server; None: requests come by `Server.open` alone.
        served_model_names: as in `served_names`.
        api_keys: keys that open the API; none: it is open to all.
        max_model_len: most tokens of one request, prompt and answer.
        max_num_seqs: most answers at once.
        priority_keys: numbers of those, counted from 1, whose `priority` counts among the requests
            of all keys.
        allowed_origins: web pages that may use the API.
        max_waiting_requests: most requests in the queue; more get 429.
        max_stored_responses: most responses that are kept; 0 keeps none.
        trace_file: new file for a trace.
        reasoning_field: as in `_core.Server`.
    """
    return _core.Server(
        listener,
        model.text,
        engine_config(max_model_len, max_num_seqs),
        served_model_names=served_names(model, served_model_names),
        vocab_size=model.script.vocab_size,
        api_keys=list(api_keys),
        priority_keys=list(priority_keys),
        allowed_origins=list(allowed_origins),
        max_waiting_requests=max_waiting_requests,
        max_stored_responses=max_stored_responses,
        script=model.script,
        trace_file=trace_file,
        reasoning_field=reasoning_field,
    )


def start_player(server: _core.Server) -> Thread:
    """Plays the script in a thread of its own, until the server has stopped."""
    player = Thread(target=server.run_script, name="streamcore-script", daemon=True)
    player.start()
    return player


def play(server: _core.Server) -> None:
    """Plays the script, and waits until the server has stopped.

    Raises:
        RunnerError: the script could not be played to its end.
    """
    player = start_player(server)
    # A signal that comes just before a wait does not end it, so no wait is long.
    while player.is_alive():
        player.join(_MAX_WAIT_S)
    if (failure := server.failure) is not None:
        raise RunnerError(failure)
