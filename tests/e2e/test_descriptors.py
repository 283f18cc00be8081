"""If one of these fails, a client that opens connections and sends nothing keeps all others out."""

import resource
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from tests.server_process import ServerProcess, run_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the limits of a process")

LIMITED = """
import resource, sys
from streamcore import cli
resource.setrlimit(resource.RLIMIT_NOFILE, tuple(map(int, sys.argv.pop(1).split(":"))))
sys.exit(cli.main())
"""
SCRIPT = "script:" + str(Path(__file__).parents[2] / "docs" / "script.example.json")


def connect(server: ServerProcess) -> socket.socket:
    url = httpx.URL(server.url)
    assert url.port is not None
    return socket.create_connection((url.host, url.port), timeout=60)


def test_silent_connections_keep_nobody_out() -> None:
    """More silent connections than the process may have descriptors: `/health` is answered, and the log says so once."""
    with run_server(SCRIPT, program=("-c", LIMITED, "96:96")) as server, ExitStack() as crowd:
        for _ in range(200):
            crowd.enter_context(connect(server))
        for _ in range(50):
            assert httpx.get(f"{server.url}/health", timeout=20).status_code == 200
        assert server.stop() == 0
    assert server.output.count("until there is room again") == 1
    assert "could not be accepted" in server.output


def test_every_descriptor_is_taken_that_the_system_allows() -> None:
    """The usual soft limit of 1024 is less than one server can serve, and is rarely raised."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with run_server(SCRIPT, program=("-c", LIMITED, f"64:{most}")) as server:
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
    [line] = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == [str(most)] * 2
