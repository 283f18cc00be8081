"""Write the generated pages and stubs: `python docs/generate.py` rewrites them, `--check` fails
when one is out of date.
"""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from generate_stubs import core_tables, step_table

from streamcore import _core
from streamcore.config import ServeConfig

DOCS = Path(__file__).parent

_INTRODUCTION = """# Configuration

Generated from `python/streamcore/config.py` by `make docs`; do not edit.

`streamcore serve [MODEL] [OPTIONS]`. Nothing has to be given: what is not said is worked out, and the log says what was chosen.
`streamcore info` shows without a model what would be: processor, devices and their memory, the kernels that are built
for them, device and dtype.

| option | value | default | |
|---|---|---|---|
"""

_VARIABLES = """
## Environment variables

| variable | |
|---|---|
| `STREAMCORE_API_KEY` | keys, separated by commas, if `--api-key` gives none; an empty one is an error |
| `STREAMCORE_LOG` | which lines are logged, such as `info`, `warning` or `streamcore_server=debug`; default `info` |
| `HF_HUB_OFFLINE` | 1: a model that is named is served from the Hugging Face cache or not at all |
| `HF_HUB_CACHE`, `HF_HOME` | where that cache is; else `~/.cache/huggingface/hub` |
| `HF_TOKEN` | the token for gated and private repositories; else what `hf auth login` has kept |
| `HF_ENDPOINT` | the address of another hub than https://huggingface.co |
| `NO_COLOR` | any value but the empty one: no colours |
| `OMP_NUM_THREADS` | how many threads compute on the CPU; else one for each physical core |

The variables that begin with `HF_` are read by `huggingface_hub`, which reads more of them.
A proxy is named as for other programs (`HTTPS_PROXY`).
"""


def _value(setting: Any) -> str:
    if choices := setting.metadata.get("choices"):
        return ", ".join(f"`{choice}`" for choice in choices)
    least, most = setting.metadata.get("least"), setting.metadata.get("most")
    if least is None:
        return ""
    return f"{least} to {most}" if most is not None else f"at least {least}"


def configuration() -> str:
    """The page about settings."""
    rows = []
    for setting in fields(ServeConfig):
        option = "`MODEL`" if setting.name == "model" else f"`--{setting.name.replace('_', '-')}`"
        default = "" if setting.default in (None, ()) else f"`{setting.default}`"
        rows.append(f"| {option} | {_value(setting)} | {default} | {setting.metadata['help']} |\n")
    return _INTRODUCTION + "".join(rows) + _VARIABLES


_METRICS = """# Metrics

Generated from `rust/server/src/metrics/table.rs` by `make docs`; do not edit.

`GET /metrics` shows them in the text format of Prometheus. Where vLLM has the same thing, it stands there a second
time under vLLM's name, with the label `model_name`, for the dashboards that exist. A histogram has the usual
`_bucket`, `_sum` and `_count`.

| metric | type | vLLM's name | |
|---|---|---|---|
"""


def metrics() -> str:
    """The page about metrics."""
    rows = []
    for name, kind, alias, text in _core.metrics_reference():
        rows.append(f"| `{name}` | {kind} | {f'`{alias}`' if alias else ''} | {text} |\n")
    return _METRICS + "".join(rows)


_PACKAGE = Path("..") / "python" / "streamcore"
PAGES = {
    "configuration.md": configuration,
    "metrics.md": metrics,
    _PACKAGE / "_core_tables.pyi": core_tables,
    _PACKAGE / "step_table.pyi": step_table,
}


def main(arguments: list[str]) -> int:
    """Write or check every page; returns the exit status."""
    stale = [name for name, page in PAGES.items() if _read(DOCS / name) != page()]
    if "--check" in arguments:
        for name in stale:
            sys.stderr.write(f"docs/{name} is out of date: run `make docs`\n")
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(PAGES[name]())
    return 0


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
