"""`streamcore simulate`: the engine at work on a device that exists only as a cost model. Nothing
here needs torch.
"""

import json
from typing import Any

from streamcore import _core
from streamcore.console import write_output
from streamcore.simulation.settings import choose_model, combinations, name_device
from streamcore.simulation.table import render, render_one, render_subject


def simulate(options: dict[str, Any]) -> int:
    """Run one simulation for each combination of the values that were given and print what they
    found.

    Args:
        options: those of `options.add_options`.

    Returns:
        The exit status.

    Raises:
        ConfigError: a setting cannot be.
        OSError: there is no such trace.
        TraceError: the trace cannot be read.
    """
    model = choose_model(options)
    subject = {"device": name_device(options), "model": model.name}
    runs = combinations(options, model)
    results = []
    for values, settings in runs:
        report = json.loads(_core.simulate(json.dumps(settings)))
        results.append((values, report))
        if options["json"]:
            write_output(json.dumps(subject | {"settings": settings, "report": report}) + "\n")
    if not options["json"]:
        told = render_one(results[0][1]) if len(results) == 1 else "\n" + render(results)
        write_output(render_subject(subject, runs[0][1]["device"]) + told)
    return 0
