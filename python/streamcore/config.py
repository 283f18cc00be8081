"""Every setting of `streamcore serve`, in one place.

The command line, its help and `docs/configuration.md` are derived from these fields.
"""

import difflib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from streamcore import _core
from streamcore.errors import ConfigError

_SUFFIXES = {
    "": 1,
    **{letter.lower(): 1000**power for power, letter in enumerate("KMGT", start=1)},
    **{letter.lower() + "i": 1024**power for power, letter in enumerate("KMGT", start=1)},
}


_TOOL_CALL_PARSERS, _REASONING_PARSERS = _core.parser_names()

_SCRIPT = "script:"
# Where a server listens, which is not asked of those that have no socket of their own.
SOCKET_SETTINGS = ("host", "port", "uds", "root_path", "ssl_keyfile", "ssl_certfile")
# A script needs no device.
_OF_DEVICES = (
    "device",
    "dtype",
    "quantize",
    "quantize_activations",
    "max_num_batched_tokens",
    "target_itl_ms",
    "kv_cache_memory_bytes",
    "kv_cache_dtype",
    "block_size",
)


def parse_bytes(text: str) -> int:
    """Read a number of bytes: `4000000000`, `4G` (powers of 1000) or `4GiB` (powers of 1024).

    Raises:
        ConfigError: it is not one of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgt]i?)?b?", text.strip().lower())
    if match is None:
        raise ConfigError(f"`{text}` is not a number of bytes such as 4000000000, 4G or 4GiB")
    return int(float(match[1]) * _SUFFIXES[match[2] or ""])


def expanded(path: Path) -> Path:
    """The path with the home that a `~` at its beginning stands for; a shell does not see one
    behind `=` or `:`.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        # A home that there is not: a file may be called so.
        return path


def path_of_model(text: str) -> Path:
    """Read the path or the name of a model.

    `./` at the beginning, or `/` at the end, says that a text is a path. A `Path` drops both, so
    that it is made absolute here.
    """
    path = expanded(Path(text))
    is_path = text.startswith("./") or text.endswith("/")
    return path.absolute() if is_path and not text.startswith(_SCRIPT) else path


def did_you_mean(text: str, known: Collection[str]) -> str:
    """The end of a message about a word that is not known; empty if it is like none that is."""
    close = difflib.get_close_matches(text, known, n=1)
    return f", did you mean `{close[0]}`?" if close else ""


def check_api_keys(keys: Iterable[str], source: str) -> None:
    """Refuse keys that no request can carry, in words that do not show them.

    Raises:
        ConfigError: a key is empty, or no header can hold it.
    """
    for key in keys:
        if not key:
            raise ConfigError(f"{source} is empty")
        if key.endswith(("\n", "\r")):
            raise ConfigError(
                f"{source} ends with a line break, which no header can carry: a file usually ends with one, leave it out"
            )
        if key != key.strip(" \t"):
            raise ConfigError(f"{source} begins or ends with a space, which no header can carry")
        if re.search(r"[^\t\x20-\x7e\x80-\ud7ff\ue000-\U0010ffff]", key):
            raise ConfigError(
                f"{source} has a character in it that no header can carry, such as a line break"
            )


def _option(default: Any, text: str, **extra: Any) -> Any:
    return field(default=default, metadata={"help": text, **extra})


class _Devices(tuple[str, ...]):
    """Names of devices; the last one stands for every number."""

    __slots__ = ()

    def __contains__(self, value: object) -> bool:
        is_numbered = isinstance(value, str) and re.fullmatch(r"cuda:\d{1,3}", value) is not None
        return is_numbered or value in self[:-1]


@dataclass(frozen=True)
class ServeConfig:
    """The settings of one server; None means: work it out and say what was chosen."""

    model: Path | None = _option(
        None,
        "folder of a model in Hugging Face layout, a GGUF file, or the name of a repository such as org/name or "
        "org/name@revision, or `script:FILE` for scripted answers; nothing: the demo model",
    )
    host: str = _option("127.0.0.1", "address to listen on")
    port: int = _option(8000, "port to listen on; 0 takes a free one", least=0, most=65535)
    uds: Path | None = _option(
        None, "path of a Unix domain socket to listen on, in the place of host and port"
    )
    root_path: str | None = _option(
        None, "path such as /llm under which a proxy serves the routes, whether it takes it away or not"
    )
    ssl_keyfile: Path | None = _option(
        None, "PEM file of the private key of `--ssl-certfile`; else it is in the same file"
    )
    ssl_certfile: Path | None = _option(
        None, "PEM file of a certificate and those that lead to it: clients must then use https://"
    )
    served_model_name: tuple[str, ...] = _option(
        (),
        "name of the model in requests and answers, several are allowed; else that of the folder or the GGUF file, or the "
        "repository's in a Hugging Face cache",
    )
    api_key: tuple[str, ...] = _option(
        (),
        "key that requests must carry, several are allowed; else those in `STREAMCORE_API_KEY`, which other users of the "
        "machine cannot read; else the server is open to all who reach it",
    )
    priority_keys: tuple[str, ...] = _option(
        (),
        "number of an API key, counted from 1, whose `priority` counts among the requests of all keys, several are allowed; "
        "else it orders those of its own key alone",
    )
    allowed_origins: tuple[str, ...] = _option(
        (),
        "origin such as https://chat.example whose pages may use the API in a browser, * for all; else none",
    )
    device: str = _option("auto", "where the model runs", choices=_Devices(("auto", "cpu", "cuda", "cuda:N")))
    dtype: str = _option(
        "auto",
        "type of weights and activations",
        choices=("auto", "bfloat16", "float16", "float32"),
    )
    quantize: str = _option(
        "none",
        "what weights are rounded to as they are loaded, on the CPU: int8, or int4 with the output matrix in 8 bits; folders "
        "and files in few bits run as they are without it",
        choices=("none", "int8", "int4"),
    )
    quantize_activations: str = _option(
        "none",
        "what activations are rounded to, by group, before they meet weights of 4 or 8 bits, on the CPU",
        choices=("none", "int8"),
    )
    max_model_len: int | None = _option(
        None, "most tokens of one request, prompt and output; else what the model allows", least=1
    )
    max_num_seqs: int | None = _option(
        None, "most requests that run at once; else 128 on the CPU, 256 on a GPU", least=1
    )
    max_waiting_requests: int = _option(
        2048, "most requests that wait for their first step; more get 429", least=1
    )
    max_stored_responses: int = _option(
        1000, "most responses that are kept in memory for /v1/responses; 0 keeps none", least=0
    )
    max_num_batched_tokens: int | None = _option(
        None, "most tokens in one step; else 768 on the CPU, 8192 on a GPU", least=1
    )
    target_itl_ms: float | None = _option(
        None,
        "milliseconds that streams should wait for a token while prompts are computed, 0 for as long as a step takes; else "
        "100, or five times what a step without prompts takes where that is longer",
        least=0,
        most=86_400_000,
    )
    kv_cache_memory_bytes: int | None = _option(
        None, "memory for the KV cache, such as 4GiB; else by what is free", least=1, is_bytes=True
    )
    kv_cache_dtype: str = _option(
        "auto",
        "type of the KV cache; auto: that of the model; fp8: a half of that of bfloat16",
        choices=("auto", "fp8"),
    )
    block_size: int = _option(16, "tokens in one block of the KV cache", least=1, most=1024)
    shutdown_timeout: float = _option(
        30.0, "seconds that running requests may go on after Ctrl-C, SIGTERM or SIGHUP", least=0, most=86400
    )
    tool_call_parser: str = _option(
        "auto",
        "format in which the model writes calls of tools; auto: by its chat template; none: calls are text",
        choices=tuple(_TOOL_CALL_PARSERS),
    )
    reasoning_parser: str = _option(
        "auto",
        "format in which the model writes its reasoning; auto: by its chat template; none: reasoning is text",
        choices=tuple(_REASONING_PARSERS),
    )
    reasoning_field: str = _option(
        "both",
        "field of an answer that has the reasoning; both: one for clients that know either name",
        choices=("both", "reasoning", "reasoning_content"),
    )
    trace_file: Path | None = _option(
        None, "new file for a trace of every request, plan and token, prompts included; else none is made"
    )
    log_format: str = _option(
        "text", "form of the log and of all else that is written", choices=("text", "json")
    )

    @property
    def script(self) -> Path | None:
        """The file of a scripted model, if `model` is `script:FILE`."""
        name = str(self.model)
        return Path(name.removeprefix(_SCRIPT)) if name.startswith(_SCRIPT) else None

    def __post_init__(self) -> None:
        """Check each range, and expand each path.

        Raises:
            ConfigError: names the option, its value and the limit.
        """
        self._expand_paths()
        check_api_keys(self.api_key, "`--api-key`")
        if self.script == Path():
            raise ConfigError("`script:` names no file, it must be like script:answers.json")
        if self.root_path is not None and not re.fullmatch(r"(/[^/?#\s]+)*/?", self.root_path):
            raise ConfigError(f"`--root-path` is `{self.root_path}`, it must be like /llm")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ConfigError("`--ssl-keyfile` is given without `--ssl-certfile`")
        for number in self.priority_keys:
            if not re.fullmatch(r"[1-9][0-9]{0,8}", number):
                raise ConfigError(
                    f"`--priority-keys` is `{number}`, it must be the number of a key, from 1 on"
                )
        for origin in self.allowed_origins:
            if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin):
                raise ConfigError(f"`{origin}` is not an origin, which is like https://chat.example")
        for setting in fields(self):
            if self.script and setting.name in _OF_DEVICES and getattr(self, setting.name) != setting.default:
                option = "--" + setting.name.replace("_", "-")
                raise ConfigError(f"`{option}` has no meaning with a script")
            value = getattr(self, setting.name)
            option = "--" + setting.name.replace("_", "-")
            choices = setting.metadata.get("choices")
            if choices and value not in choices:
                hint = did_you_mean(str(value), choices)
                raise ConfigError(f"`{option}` is `{value}`, it must be one of {', '.join(choices)}{hint}")
            least, most = setting.metadata.get("least"), setting.metadata.get("most")
            if value is None:
                continue
            if least is not None and not value >= least:
                raise ConfigError(f"`{option}` is {value}, it must be at least {least}")
            if most is not None and not value <= most:
                raise ConfigError(f"`{option}` is {value}, it must be at most {most}")

    def _expand_paths(self) -> None:
        for setting in fields(self):
            path = getattr(self, setting.name)
            if not isinstance(path, Path):
                continue
            if setting.name == "model" and self.script is not None:
                path = Path(f"{_SCRIPT}{expanded(self.script)}") if self.script != Path() else path
            object.__setattr__(self, setting.name, expanded(path))


def with_keys_of_environment(config: ServeConfig) -> ServeConfig:
    """The settings with the keys in `STREAMCORE_API_KEY`, separated by commas, if there are none
    yet.

    Raises:
        ConfigError: the variable is there, and one of its keys is empty: a server with keys must
            not be open.
    """
    config = _with_keys(config)
    num_keys = len(config.api_key)
    for number in config.priority_keys:
        if int(number) > num_keys:
            raise ConfigError(f"`--priority-keys` is {number}, there are {num_keys} API keys")
    return config


def _with_keys(config: ServeConfig) -> ServeConfig:
    text = os.environ.get("STREAMCORE_API_KEY")
    if config.api_key or text is None:
        return config
    keys = tuple(key.strip() for key in text.split(","))
    if "" in keys:
        raise ConfigError(
            "`STREAMCORE_API_KEY` has an empty key", "unset it to let in all who reach the server"
        )
    check_api_keys(keys, "a key in `STREAMCORE_API_KEY`")
    return replace(config, api_key=keys)


def engine_config_of(**limits: Any) -> _core.EngineConfig:
    """The limits of an engine, as `_core.EngineConfig` takes them.

    Raises:
        ConfigError: they make no sense together.
    """
    try:
        return _core.EngineConfig(**limits)
    except (ValueError, OverflowError) as error:
        hint = "the engine's limits follow from `--max-num-seqs`, `--max-num-batched-tokens` and `--max-model-len`"
        raise ConfigError(str(error), hint) from error


def config_of(
    model: str | os.PathLike[str] | None, settings: Mapping[str, Any], *, without: Collection[str] = ()
) -> ServeConfig:
    """The settings of a program, which are those of the command line with underscores in their
    names.

    Args:
        model: as in `ServeConfig`.
        settings: by name; where several values are allowed one is enough, and a number of bytes may
            be text such as "4GiB".
        without: names that have no meaning where this is called.

    Raises:
        ConfigError: a name is unknown, or a value is not possible.
    """
    known = {
        setting.name: setting for setting in fields(ServeConfig) if setting.name not in (*without, "model")
    }
    values: dict[str, Any] = {"model": None if model is None else _model(model)}
    for name, value in settings.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(f"unknown setting `{name}`", f"did you mean `{close[0]}`?" if close else None)
        values[name] = _converted(known[name], value)
    return ServeConfig(**values)


def _converted(setting: Field[Any], value: Any) -> Any:
    """A value as `ServeConfig` has it; its range is checked there."""
    name, default = setting.name, setting.default
    if value is None and default in (None, ()):
        return default
    if default == ():
        return _texts(name, (value,) if isinstance(value, str) else value)
    if setting.type == Path | None:
        return _path(name, value)
    if isinstance(default, str) or setting.type == str | None:
        return _checked(name, value, str, "text")
    if isinstance(value, str) and setting.metadata.get("is_bytes"):
        return parse_bytes(value)
    if setting.type in (float, float | None):
        return float(_checked(name, value, Real, "a number"))
    return int(_checked(name, value, Integral, "a whole number"))


def _texts(name: str, values: Any) -> tuple[str, ...]:
    if not isinstance(values, Iterable):
        raise ConfigError(f"`{name}` is {values!r}, it must be text or a list of texts")
    return tuple(_checked(name, value, str, "text") for value in values)


def _model(value: Any) -> Path:
    if isinstance(value, str):
        return path_of_model(value)
    path = expanded(_path("model", value))
    # A program that gives a `Path` means no name.
    return path if str(path).startswith(_SCRIPT) else path.absolute()


def _path(name: str, value: Any) -> Path:
    return Path(_checked(name, value, (str, os.PathLike), "a path"))


def _checked(name: str, value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    # Python takes a truth value for a number.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ConfigError(f"`{name}` is {value!r}, it must be {what}")
    return value
