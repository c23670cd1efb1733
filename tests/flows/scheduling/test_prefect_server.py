"""Waiting for a server: as long as it makes progress, and no longer."""

import re
import socket
import subprocess
import sys

import pytest

from tidecast.flows.scheduling.prefect_server import Server, ServerError, free_port, own_server

SLOW = """
import sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()

end = time.process_time() + 4  # a long start that works all the time
while time.process_time() < end:
    pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""
STUCK = "import time; time.sleep(600)"


def started(script, tmp_path):
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", script, str(port)], stdin=subprocess.PIPE)
    return Server(port, process, tmp_path / "server.log")


def test_a_server_that_is_slow_and_makes_progress_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("tidecast.flows.scheduling.prefect_server.SILENT_SECONDS", 0.5)
    said = []
    server = started(SLOW, tmp_path)
    try:
        assert server.wait(still=60, say=said.append) == server.url
    finally:
        server._process.kill()
        server.stop()
    assert len(said) == 1
    assert "still starting" in said[0]
    assert "PREFECT_API_URL=" in said[0]


def test_a_server_without_progress_is_given_up_and_a_running_one_is_advised(tmp_path):
    server = started(STUCK, tmp_path)
    try:
        with pytest.raises(ServerError, match=r"made no progress for 2 s.*PREFECT_API_URL="):
            server.wait(still=2)
    finally:
        server._process.kill()
        server.stop()


def test_the_advice_once_named_port_4200_though_something_else_listened_there(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr("tidecast.flows.scheduling.prefect_server.DEFAULT_PORT", port)
        advised = own_server()
    assert str(port) not in advised
    found = re.search(r"PREFECT_SERVER_API_PORT=(\d+) .*PREFECT_API_URL=http://127.0.0.1:(\d+)/api", advised)
    assert found is not None
    assert found[1] == found[2]
