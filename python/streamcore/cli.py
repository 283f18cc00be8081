"""The command `streamcore`: the only reader of the command line.

Nothing here imports torch, so that `streamcore --help` answers at once.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from streamcore import _core, console
from streamcore.config import ServeConfig, did_you_mean, expanded, parse_bytes, path_of_model
from streamcore.errors import ConfigError, StreamcoreError
from streamcore.process import log_format_of
from streamcore.simulation.options import add_options

# As a shell says of a program that SIGPIPE has ended.
_READER_GONE = 141


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError
    return number


class _Parser(argparse.ArgumentParser):
    """Says what was wrong in one line and exits with 2. Options have one name: an abbreviation may
    mean another one tomorrow.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)
        # For the options of every command, which name what they do not understand.
        self.register("type", float, _finite)
        self.register("type", Path, _path)

    def error(self, message: str) -> NoReturn:
        console.complain(self.prog, f"{message} (try `{self.prog} --help`)")
        self.exit(2)

    def _print_message(self, message: str, _file: Any = None) -> None:
        """What help and version are written by."""
        console.write_output(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        hint = did_you_mean(str(value), list(action.choices))
        if not action.option_strings:
            raise argparse.ArgumentError(None, f"unknown command `{value}`{hint or _command_for(value)}")
        option, choices = action.option_strings[0], ", ".join(action.choices)
        message = f"`{option}` is `{value}`, it must be one of {choices}{hint}"
        raise argparse.ArgumentError(None, message)


def _command_for(value: str) -> str:
    """A hint for a model in the place of the command."""
    from streamcore.models.hub.name import parse_name

    is_model = _can_only_be_model(value) or parse_name(_path(value)) is not None
    return f", did you mean `streamcore serve {value}`?" if is_model else ""


def _can_only_be_model(value: str) -> bool:
    return value.startswith("script:") or value.endswith(".gguf") or _path(value).is_dir()


def _path(text: str) -> Path:
    return expanded(Path(text))


def _add_option(parser: argparse.ArgumentParser, setting: Field[Any]) -> None:
    help_text = setting.metadata["help"]
    if setting.name == "model":
        parser.add_argument("model", nargs="?", type=path_of_model, metavar="MODEL", help=help_text)
        parser.add_argument(
            "--model", dest="model_option", type=path_of_model, metavar="MODEL", help="the same"
        )
        return
    option = "--" + setting.name.replace("_", "-")
    if setting.default == ():
        # A repeated option adds its values: every API key that is named must be accepted.
        parser.add_argument(
            option, action="extend", nargs="+", default=[], metavar=_metavar(setting), help=help_text
        )
        return
    kind = _bytes if setting.metadata.get("is_bytes") else _KINDS.get(setting.type, int)
    choices = setting.metadata.get("choices")
    shown = "" if setting.default is None else f" (default: {setting.default})"
    parser.add_argument(
        option,
        type=str if isinstance(setting.default, str) else kind,
        choices=choices,
        default=setting.default,
        metavar=None if choices else _metavar(setting),
        help=help_text + shown,
    )


_KINDS: dict[Any, Callable[[str], Any]] = {
    float: float,
    float | None: float,
    str | None: str,
    Path | None: Path,
}


def _bytes(text: str) -> int:
    try:
        return parse_bytes(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _metavar(setting: Field[Any]) -> str:
    return setting.name.rsplit("_", 1)[-1].upper()


def _parsers() -> tuple[_Parser, dict[str, _Parser]]:
    """The parser of the whole command line, and those of its commands."""
    parser = _Parser(prog="streamcore", description="OpenAI-compatible streaming server for language models.")
    parser.add_argument("--version", action="version", version=f"streamcore {_core.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve a model", description="Serve a model over HTTP.")
    for setting in fields(ServeConfig):
        _add_option(serve, setting)
    text = "make the calls of a trace again and compare the plans"
    replay = commands.add_parser("replay", help=text, description=text.capitalize() + ".")
    replay.add_argument(
        "trace", type=Path, metavar="FILE", help="what `streamcore serve --trace-file FILE` wrote"
    )
    text = "run a load on the cost model of a device"
    about = "Run a load on the cost model of a device, faster than real time: see docs/simulation.md."
    simulate = commands.add_parser("simulate", help=text, description=about)
    add_options(simulate)
    text = "show what is installed here, what would run where, and why"
    about = f"{text.capitalize()}: ten lines, without a model."
    shown = commands.add_parser("info", help=text, description=about)
    return parser, {"serve": serve, "replay": replay, "simulate": simulate, "info": shown}


def _refuse_unknown(parser: _Parser, unknown: Sequence[str]) -> NoReturn:
    name = unknown[0].split("=")[0]
    if not name.startswith("-"):
        only = [
            f", only one {action.metavar} can be given"
            for action in parser._actions
            if not action.option_strings
        ]
        parser.error(f"unexpected argument `{unknown[0]}`" + "".join(only))
    known = [option for action in parser._actions for option in action.option_strings]
    parser.error(f"unknown option `{name}`{did_you_mean(name, known)}")


def _take_model_option(serve: _Parser, values: dict[str, Any]) -> None:
    """`--model MODEL` and `MODEL` are two spellings of one setting."""
    option = values.pop("model_option")
    if option is not None and values["model"] is not None:
        serve.error(f"the model is given twice, as `{values['model']}` and as `--model {option}`")
    values["model"] = option or values["model"]


def _refuse_swallowed_model(serve: _Parser, values: dict[str, Any]) -> None:
    """An option that takes several values would take the model, too, when that comes after it."""
    if values["model"] is not None:
        return
    for name, value in values.items():
        if isinstance(value, list) and len(value) > 1 and _can_only_be_model(value[-1]):
            option = "--" + name.replace("_", "-")
            serve.error(f"`{value[-1]}` was read as a value of `{option}`, put the model before the options")


def _serve_config(serve: _Parser, values: dict[str, Any]) -> ServeConfig:
    _take_model_option(serve, values)
    _refuse_swallowed_model(serve, values)
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        return ServeConfig(**values)
    except StreamcoreError as error:
        serve.error(str(error))


def _run(command: str, parser: _Parser, values: dict[str, Any], started: float) -> int:
    """Run one command; each imports what it needs, so that none waits for another."""
    if command == "replay":
        from streamcore.replay import replay

        return replay(**values)
    if command == "simulate":
        from streamcore.simulation import simulate

        return simulate(values)
    if command == "info":
        from streamcore.serve import explaining_imports

        with explaining_imports():
            from streamcore.info import info
        return info()
    config = _serve_config(parser, values)
    from streamcore.serve import serve

    return serve(config, started)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit status: 0 done, 1 the environment is at fault or a replay differs, 2 the command
        line is, 130 interrupted, 141 the reader of the output has gone.
    """
    started = time.monotonic()
    arguments = sys.argv[1:] if argv is None else list(argv)
    console.set_log_format(log_format_of(arguments))
    try:
        return _obey(arguments, started)
    except BrokenPipeError:
        return _READER_GONE
    except (StreamcoreError, OSError) as error:
        hint = getattr(error, "hint", None)
        console.complain("streamcore", f"{error}" + (f"; {hint}" if hint else ""))
        return 1
    except KeyboardInterrupt:
        return 130


def _obey(arguments: Sequence[str], started: float) -> int:
    parser, parsers = _parsers()
    known, unknown = parser.parse_known_args(arguments)
    values = vars(known)
    command = values.pop("command")
    if unknown:
        _refuse_unknown(parsers.get(command, parser), unknown)
    if command is None:
        parser.print_help()
        return 0
    return _run(command, parsers[command], values, started)
