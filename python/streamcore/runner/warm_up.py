"""Runs a few steps before there are requests, by a real engine."""

import time

from streamcore import _core
from streamcore.runner.model_runner import ModelRunner

_PROMPT_LEN = 16
_NUM_DECODES = 3


def warm_up(runner: ModelRunner, config: _core.EngineConfig) -> float:
    """Answer a short request, so that the first real one does not pay for what torch sets up once.

    The engine is its own. The server's engine writes rows and blocks before it has them read, so
    nothing of this request is left for it.

    Returns:
        what the last step, a decode where a sequence is long enough for one, took, in seconds.
    """
    engine = _core.Scheduler(config)
    num_drawn = min(1 + _NUM_DECODES, config.max_seq_len - 1)
    prompt_len = min(_PROMPT_LEN, config.max_seq_len - num_drawn)
    engine.add_request(0, [0] * prompt_len, max_tokens=num_drawn, temperature=1.0)
    elapsed_s = 0.0
    while (plan := engine.next_step(runner.loan)) is not None:
        started = time.monotonic()
        output = runner.execute(plan)
        elapsed_s = time.monotonic() - started
        engine.complete_step(plan.id, *output.places())
    return elapsed_s
