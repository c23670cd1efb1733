"""A Prefect server as a child process that cannot outlive its parent.

Prefect can start one itself for a flow run, but that server stays when the run is killed, and it schedules nothing.
This one reads a pipe that its parent holds. When the parent ends, in whatever way, the pipe closes and the server ends,
too. It starts while the parent is still importing.

    python -m tidecast.flows.scheduling.prefect_server --port 4200 [--schedules]
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tidecast.flows import safe_output
from tidecast.flows.errors import TidecastError
from tidecast.flows.scheduling.server_guard import OwnPagesOnly, named_origins, own_origins

HOST = "127.0.0.1"
DEFAULT_PORT = 4200
START_SECONDS = 120.0


class ServerError(TidecastError):
    """Prefect's server did not start."""


def free_port(wanted: int | None = None) -> int:
    """Return `wanted` if no program listens there, else any free port of this machine.

    Parameters
    ----------
    wanted : int, optional
        None: any.

    Raises
    ------
    ServerError
        There is no free port.
    """
    for port in (wanted, 0):
        if port is None:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise ServerError("Prefect's server must have a free port on this machine, found none. Free one and run again.")


def is_up(url: str) -> bool:
    """Whether a Prefect API answers at `url` (…/api).

    Parameters
    ----------
    url : str
    """
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


class Server:
    """A server that is starting or running; `wait()` returns the address of its API.

    Parameters
    ----------
    port : int
    process : subprocess.Popen
        The server's.
    log : Path
        File with its output, for messages.
    """

    def __init__(self, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url = f"http://{HOST}:{port}/api"
        self._process = process
        self._log = log

    def wait(self, seconds: float = START_SECONDS) -> str:
        """Return the API's address, once it answers.

        Parameters
        ----------
        seconds : float, default=START_SECONDS

        Raises
        ------
        ServerError
            The process ends, or does not answer within `seconds`.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise ServerError(f"Prefect's server must start, but it ended at once. Read {self._log}.")
            if is_up(self.url):
                return self.url
            time.sleep(0.1)
        raise ServerError(
            f"Prefect's server must start within {seconds:.0f} s, but there is no reply. Read {self._log}."
        )

    def stop(self) -> None:
        """End the process; kill it after 10 seconds."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def starting(folder: Path, port: int | None = None, schedules: bool = False) -> Iterator[Server]:
    """Start a server while the body runs, and stop it afterwards.

    Parameters
    ----------
    folder : Path
        For the server's log.
    port : int, optional
        Default: any free one.
    schedules : bool
        Whether all services and the web interface run; else only what one flow run needs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    number = port if port is not None else free_port()
    command = [sys.executable, "-m", "tidecast.flows.scheduling.prefect_server", "--port", str(number)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--schedules"] if schedules else command,
            stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(_path()),
                "PREFECT_SERVER_API_HOST": HOST,  # where its own pages look for it
                "PREFECT_SERVER_API_PORT": str(number),
            },
        )  # fmt: skip
    server = Server(number, process, log)
    try:
        yield server
    finally:
        server.stop()


def _path() -> list[str]:
    """PYTHONPATH for a child process: this package first, then the user's entries."""
    here = str(Path(__file__).parents[3])  # the folder that holds tidecast/, also where that is a link
    return [here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]


def _end_with_parent() -> None:
    """Wait for the pipe on standard input to close, then end this process."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)  # uvicorn closes its connections
    time.sleep(5)
    os._exit(0)


def main() -> None:
    """Serve until the parent ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--schedules", action="store_true")
    options = parser.parse_args()
    threading.Thread(target=_end_with_parent, daemon=True).start()

    safe_output.logs()
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import PREFECT_SERVER_CORS_ALLOWED_ORIGINS, temporary_settings

    named = named_origins(PREFECT_SERVER_CORS_ALLOWED_ORIGINS.value())
    origins = [*own_origins(options.port), *named]
    with temporary_settings({PREFECT_SERVER_CORS_ALLOWED_ORIGINS: ",".join(origins)}):
        app = create_app(ephemeral=not options.schedules, final=True)
        uvicorn.run(
            OwnPagesOnly(app, origins),
            host=HOST, port=options.port, log_level="error", lifespan="on", timeout_graceful_shutdown=2,
        )  # fmt: skip


if __name__ == "__main__":
    main()
