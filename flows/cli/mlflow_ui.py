"""Serve MLflow's pages for a state folder, with one worker and no job runner."""

import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path
from typing import IO

from rich.console import Console

from tidecast.flows.cli.terminal import facts
from tidecast.flows.config.mlflow_yml import load_mlflow_config
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import TidecastError
from tidecast.flows.scheduling.prefect_server import free_port
from tidecast.flows.tracking.store import MlflowStore
from tidecast.flows.tracking.training_runs import Tracking

START_SECONDS = 120.0


def serve_ui(out: Console, home: StateFolder, browse: bool = False) -> None:
    """Print the address of the pages, and serve them until stopped; a tracking server of the user's own serves itself.

    Parameters
    ----------
    out : Console
    home : StateFolder
    browse : bool
        Whether to open the pages in the browser.

    Raises
    ------
    TidecastError
        Nothing was logged yet, the port is taken, or the server does not start.
    """
    config, _ = load_mlflow_config(Path.cwd(), os.environ)
    store = MlflowStore(home, config, os.environ)
    where = store.where
    if where.is_local and not home.mlflow_db.exists():
        raise TidecastError(f"There must be a training to look at, found none in {home.path}. Start with: tidecast run")
    page = Tracking(store).page()
    command = where.ui_command
    if command is None:
        facts(out, [("MLflow", page)])
        if browse:
            webbrowser.open(page)
        return
    if free_port(config.ui.port) != config.ui.port:
        raise TidecastError(
            f"The port {config.ui.port} of MLflow's pages must be free, but it is taken, perhaps by the same pages. "
            "Stop the program that listens there, or set ui.port in mlflow.yml."
        )
    out.print("Starting MLflow's pages (some seconds) …")
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, env=os.environ | where.ui_environ, stdout=log, stderr=log)
        try:
            _wait(server, where.ui_url, log)
            facts(out, [("MLflow", page), ("", "Stop with Ctrl-C.")])
            if browse:
                webbrowser.open(page)
            while server.poll() is None:  # not wait(): polars' handler of Ctrl-C does not interrupt it
                time.sleep(0.2)
        except KeyboardInterrupt:
            out.print("Stopped.")
        finally:
            server.terminate()
            server.wait()


def _wait(server: "subprocess.Popen[bytes]", url: str, log: IO[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            log.seek(0)
            output = log.read().decode(errors="replace").strip().splitlines() or ["it printed nothing"]
            raise TidecastError(
                f"MLflow's pages must start at {url}, but the server ended: {output[-1]}. Free the port, or set "
                "ui.port in mlflow.yml."
            )
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise TidecastError(
        f"MLflow's pages must start within {START_SECONDS:.0f} s at {url}, but there is no reply. Try again."
    )
