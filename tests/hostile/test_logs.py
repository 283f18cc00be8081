"""If this fails, a client without a key writes lines of its own into the log, or turns around what stands in it."""

import pytest
from tests.hostile.clients import SCRIPT, connect, status
from tests.server_process import run_server

#: Right to left, an escape sequence's beginning in one character, a line separator.
HARMFUL = "\u202e\x9b\u2028"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_path_is_written_out_where_a_terminal_would_obey_it(form: str) -> None:
    """A path may have any byte from 0x80 on in it, as it is."""
    with run_server(SCRIPT, "--log-format", form) as server, connect(server) as client:
        request = f"GET /v1/a{HARMFUL}b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        client.sendall(request.encode())
        assert status(client) in (400, 404)
        assert server.stop() == 0
    assert not set(server.output) & set(HARMFUL)
    assert "GET /v1/a" in server.output
