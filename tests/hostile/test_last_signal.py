"""If this fails, an impatient second Ctrl-C makes a crash of a server that has ended well, and an orchestrator reports it."""

import signal

import pytest
from tests.hostile.clients import SCRIPT
from tests.server_process import run_server

#: Sends itself a signal when the interpreter has taken its handlers down.
LAST = """
import os, signal, sys
from streamcore import cli

class Last:
    def __del__(self, kill=os.kill, process=os.getpid(), number=int(sys.argv.pop(1))):
        kill(process, number)

last = Last()
sys.exit(cli.main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_in_the_last_moment_changes_nothing(number: signal.Signals) -> None:
    """The status says how the drain ended, whatever comes between that and the end of the process."""
    with run_server(SCRIPT, program=("-c", LAST, str(int(number)))) as server:
        assert server.stop() == 0
    assert "stopped" in server.output
