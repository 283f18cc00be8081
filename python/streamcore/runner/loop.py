"""The step loop: plan, launch, collect, complete."""

from collections import deque

from streamcore import _core
from streamcore.errors import RunnerError
from streamcore.runner.faults import explained_faults
from streamcore.runner.model_runner import ModelRunner

# How long the loop waits for work before it looks for signals again.
_IDLE_WAIT_S = 0.1


def run_steps(server: _core.Server, runner: ModelRunner, decode_s: float | None = None) -> None:
    """Carry out plans until the server has stopped, as many in flight as the device takes.

    Args:
        decode_s: what a step of one token takes, in seconds, for a server that gives up steps that
            hang; None: it waits for every step.

    Raises:
        RunnerError: a step took so long that the server has given up, or the device has failed or
            has no memory left.
    """
    with explained_faults("a step"):
        _run_steps(server, runner, decode_s)
    if (failure := server.failure) is not None:
        raise RunnerError(failure)


def _run_steps(server: _core.Server, runner: ModelRunner, decode_s: float | None) -> None:
    in_flight: deque[_core.StepPlan] = deque()
    if decode_s is not None:
        server.watch(decode_s)
    while in_flight or not server.is_stopped:
        plan = server.next_step(runner.loan, 0.0 if in_flight else _IDLE_WAIT_S)
        if plan is not None:
            runner.launch(plan)
            in_flight.append(plan)
        if in_flight and (plan is None or len(in_flight) == runner.depth):
            output = runner.collect()
            server.complete_step(in_flight.popleft().id, *output.places())
