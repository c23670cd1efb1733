"""Waiting for a server: as long as it makes progress, and no longer."""

import subprocess
import sys

import pytest

from tidecast.flows.scheduling.prefect_server import Server, ServerError, free_port

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
