"""Secrets planted where users keep them are in no file of the state folder, no database and no output."""

import base64
import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from tidecast.flows.cli.main import tidecast
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.scheduling.prefect_server import free_port
from tidecast.flows.warehouse.warehouse import Warehouse

ROOT = Path(__file__).resolve().parents[3]
PASSWORD, PIN, FIXED = "plant/ed pass+word", "planted-pin-4711", "planted-by-name"
PATIENCE = 400  # seconds, on a busy machine; an idle one needs 40


def ways(secret):
    """A secret as files may hold it."""
    raw = secret.encode()
    basic = base64.b64encode(b"me:" + raw), base64.b64encode(raw).rstrip(b"=")
    return {raw, quote(secret).encode(), quote(secret, safe="").encode(), *basic}


@pytest.fixture
def environ(sandbox, empty_prefect_db):
    """The environment of a panel whose source wants a key, and whose MLflow server is down."""
    handler = functools.partial(_Silent, directory=str(sandbox.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        prefect = sandbox.workspace.state_folder.prefect
        prefect.mkdir(parents=True)
        shutil.copyfile(empty_prefect_db, prefect / "prefect.db")
        ours = {f"TIDECAST_{name.upper()}": _text(value) for name, value in sandbox.settings.items()}
        yield {
            "PATH": os.environ["PATH"],
            "HOME": str(sandbox.folder),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "MLFLOW_TRACKING_URI": f"http://me:{quote(PASSWORD, safe='')}@127.0.0.1:{free_port()}",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "AWS_SECRET_ACCESS_KEY": FIXED,
            "PRICES_PIN": PIN,
            "TIDECAST_SOURCE": f"http://127.0.0.1:{server.server_port}/prices.csv?key=${{PRICES_PIN}}",
            **ours,
        }
        server.shutdown()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def _text(value):
    return ",".join(value) if isinstance(value, tuple) else str(value)


def test_no_secret_is_in_any_output_file_or_database_after_runs_that_fail(environ, sandbox, monkeypatch):
    home = StateFolder(sandbox.folder / "home")
    command = [sys.executable, "-m", "tidecast", "run", "--debug", "--home", str(home.path)]
    done = subprocess.run(command, env=environ, cwd=sandbox.folder, capture_output=True, text=True, timeout=PATIENCE)
    monkeypatch.chdir(sandbox.folder)
    monkeypatch.setattr("tidecast.flows.cli.options.enter", lambda *arguments: None)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    said = [done, *(CliRunner().invoke(tidecast, [name, "--home", str(home.path)]) for name in ("doctor", "show"))]
    printed = "\n".join(f"{process.stdout}\n{process.stderr}" for process in said)
    assert "MLflow must answer at ${MLFLOW_TRACKING_URI}" in printed
    assert "Traceback" in done.stderr
    assert done.returncode == 3  # published, but steps failed
    assert Warehouse(home.warehouse_uri).forecasts().height  # published all the same
    files = {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    database = b"".join(content for path, content in files.items() if path.name.startswith("prefect.db"))
    assert b"MLflow must answer at ${MLFLOW_TRACKING_URI}" in database
    for secret in (PASSWORD, PIN, FIXED):
        for way in ways(secret):
            assert way not in printed.encode(), way
            assert [path for path, content in files.items() if way in content] == [], way
