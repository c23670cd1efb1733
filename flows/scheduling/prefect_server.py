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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tidecast.flows import safe_output
from tidecast.flows.errors import TidecastError
from tidecast.flows.scheduling.server_guard import OwnPagesOnly, named_origins, own_origins

HOST = "127.0.0.1"
DEFAULT_PORT = 4200
STILL_SECONDS = 180.0
"""A server that starts is given up when it made no progress for so long; a busy machine alone is no reason."""

SILENT_SECONDS = 20.0
"""Time after which the user hears that the server is still starting."""

LEAST_CPU = 1.0
"""CPU seconds within `STILL_SECONDS` that count as progress: a server that hangs uses less."""


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


PAGES_ASK = ("PREFECT_UI_API_URL", "PREFECT_SERVER_UI_API_URL")
"""Variables for the address that the server's pages ask: its own, whatever the user set for another server."""


def own_server() -> str:
    """Return the advice on how to use a server of one's own, with a port at which nothing listens yet."""
    port = free_port(DEFAULT_PORT)
    start = "prefect server start" if port == DEFAULT_PORT else f"PREFECT_SERVER_API_PORT={port} prefect server start"
    return f"start it with `{start}`, and set PREFECT_API_URL=http://{HOST}:{port}/api"


@dataclass(frozen=True)
class Progress:
    """What a starting server has done so far.

    Attributes
    ----------
    log_size : int
        Bytes in its log.
    cpu_seconds : float or None
        None where the system does not say.
    """

    log_size: int
    cpu_seconds: float | None

    def is_beyond(self, before: "Progress") -> bool:
        """Whether enough was done since then. Where the system does not count, a living process is taken to work.

        Parameters
        ----------
        before : Progress
        """
        if self.cpu_seconds is None or before.cpu_seconds is None:
            return True
        return self.log_size > before.log_size or self.cpu_seconds >= before.cpu_seconds + LEAST_CPU


def cpu_seconds(pid: int) -> float | None:
    """Return the CPU time of a process, in seconds; None where /proc does not say.

    Parameters
    ----------
    pid : int
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
        self._is_stopping = False

    def wait(self, still: float = STILL_SECONDS, say: Callable[[str], None] = lambda text: None) -> str:
        """Return the API's address, once it answers. It waits as long as the server makes progress.

        Parameters
        ----------
        still : float, default=STILL_SECONDS
            Seconds without progress after which the server is given up.
        say : callable, optional
            Called with a sentence when the start takes long.

        Raises
        ------
        ServerError
            The process ends, or makes no progress for `still` seconds.
        """
        begun = moved = time.monotonic()
        before, said = self._progress(), False
        while not is_up(self.url):
            now = time.monotonic()
            if self._process.poll() is not None:
                raise ServerError(f"Prefect's server must start, but it ended at once. Read {self._log}.")
            if (after := self._progress()).is_beyond(before):
                before, moved = after, now
            if now - moved > still:
                raise ServerError(
                    f"Prefect's server must start, but made no progress for {still:.0f} s. Read {self._log}. To use "
                    f"a server that runs already: {own_server()}"
                )
            if not said and now - begun > SILENT_SECONDS:
                say(f"Prefect's server is still starting; this machine seems busy. To save the start: {own_server()}")
                said = True
            time.sleep(0.1)
        return self.url

    def _progress(self) -> "Progress":
        size = self._log.stat().st_size if self._log.exists() else 0
        return Progress(size, cpu_seconds(self._process.pid))

    def when_ended(self, act: Callable[[], None]) -> None:
        """Call a function, in a thread, when the process ends before `stop` is called.

        Parameters
        ----------
        act : callable
        """

        def watch() -> None:
            while not self._is_stopping:
                if self._process.poll() is not None:
                    act()
                    return
                time.sleep(0.5)

        threading.Thread(target=watch, daemon=True, name="watch-server").start()

    def stop(self) -> None:
        """End the process; kill it after 10 seconds."""
        self._is_stopping = True
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
                **dict.fromkeys(PAGES_ASK, f"http://{HOST}:{number}/api"),
            },
        )  # fmt: skip
    server = Server(number, process, log)
    try:
        yield server
    except KeyboardInterrupt:
        process.kill()  # it would take seconds to close; its database survives a kill
        raise
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
