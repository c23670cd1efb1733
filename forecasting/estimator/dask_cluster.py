"""A Dask cluster that fits run on: connect, and refuse workers that would compute something else."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import tempfile
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from tidecast.features.error_text import shorten

LIBRARIES = ("numpy", "polars", "pandas", "scikit-learn", "scipy", "torch", "joblib", "cloudpickle", "distributed")
"""Whose versions must be the same everywhere."""

WAIT = 10.0
"""Seconds that a scheduler has to answer, and a cluster without workers to start one."""


LOGS = ("distributed", "distributed.client")
"""Loggers of Dask, each of which it gives a level of its own."""

CLOSING = 2.0
"""Seconds that the connection may take to close."""


class EngineError(RuntimeError):
    """The engine cannot be used: the message says what must hold, what was found, and what to do."""


@contextmanager
def dask_client(place: str) -> Iterator[Any]:
    """Connect to a scheduler, check its workers, and disconnect at the end.

    Parameters
    ----------
    place : str
        Host and port of the scheduler.

    Yields
    ------
    distributed.Client

    Raises
    ------
    EngineError
        Dask is not installed, the scheduler does not answer, or ends before the body, it has no worker, or its workers
        are not alike.
    """
    try:
        from distributed import Client  # optional, and takes a second to load
    except ImportError:
        raise EngineError(
            f"The engine dask://{place} must find Dask installed, it did not. Install it here and on the workers: "
            'pip install "tidecast[dask]"'
        ) from None
    try:
        with _quiet():
            client = Client(f"tcp://{place}", timeout=WAIT, set_as_default=False, name="tidecast")
    except OSError:
        raise EngineError(
            f"A Dask scheduler must answer at {place}; no reply within {WAIT:g} s. Start one with: dask scheduler "
            f"--port {place.rpartition(':')[2]} or set engine to 'processes'."
        ) from None
    with _quiet():
        try:
            check_workers(client, place)
            yield client
        except (Exception, CancelledError) as error:
            if isinstance(error, EngineError) or client.status == "running":
                raise
            raise EngineError(
                f"The scheduler at {place} must run until the fits are done, but it ended, and what they had done is "
                "lost. Start it and its workers again, then run the same command again, or set engine to 'processes'."
            ) from error
        finally:
            client.close(timeout=CLOSING)


def check_workers(client: Any, place: str) -> None:
    """Refuse workers that would compute other numbers than this process.

    Parameters
    ----------
    client : distributed.Client
    place : str
        Host and port of the scheduler, for errors.

    Raises
    ------
    EngineError
        There is no worker, one has several threads, or one has other versions than this process.
    """
    if not client.ncores():
        try:  # a cluster that grows on demand starts one for a task
            client.submit(os.getpid, pure=False).result(timeout=WAIT)
        except TimeoutError:
            raise no_worker(place, WAIT) from None
    if shared := sorted(name for name, threads in client.ncores().items() if threads != 1):
        raise EngineError(
            f"Each worker of {place} must have one thread, because a fit's numbers depend on the threads of its "
            f"process; more have {shorten(shared)}. Start them with --nthreads 1, and --nworkers for their number."
        )
    here, others = installed(), client.run(installed, on_error="return")
    for name, there in others.items():
        if isinstance(there, OSError):  # it has just ended
            continue
        if not isinstance(there, dict):
            raise EngineError(
                f"Each worker of {place} must have Tidecast installed as here; {name} says {there!r}. Install the same "
                "version there."
            )
        if other := [f"{what} {there.get(what)}, here {here[what]}" for what in here if there.get(what) != here[what]]:
            raise EngineError(
                f"Workers must have the versions of this process, or tables would differ: {name} has "
                f"{'; '.join(other)}. Install the same ones there."
            )


def no_worker(place: str, seconds: float) -> EngineError:
    """Return the error for a cluster without workers.

    Parameters
    ----------
    place : str
        Host and port of the scheduler.
    seconds : float
        Time that it had to start one.
    """
    return EngineError(
        f"The scheduler at {place} must have a worker; it had none within {seconds:g} s. Start some with: "
        f"dask worker {place} --nworkers 2 --nthreads 1"
    )


def installed() -> dict[str, str]:
    """Versions of what numbers depend on, of this process; of Tidecast, a digest of its code."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2]), "Tidecast's code": code_digest()}
    return found | {name: metadata.version(name) for name in LIBRARIES}


def code_digest() -> str:
    """Fingerprint of the code of features and forecasters."""
    root, total = Path(__file__).parents[2], hashlib.sha256()
    for package in ("features", "forecasting"):
        for path in sorted((root / package).rglob("*.py")):
            total.update(path.relative_to(root).as_posix().encode())
            total.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return total.hexdigest()[:12]


def is_shared(client: Any, folder: str | None) -> bool:
    """Whether all workers see a folder of this machine.

    Parameters
    ----------
    client : distributed.Client
    folder : str or None
        None: the folder for temporary files.
    """
    try:
        with tempfile.NamedTemporaryFile(prefix="tidecast-", dir=folder) as file:
            return all(client.run(os.path.exists, file.name, on_error="ignore").values())
    except OSError:
        return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what Dask logs about connections that end."""
    logs = [logging.getLogger(name) for name in LOGS]
    before = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for log, level in zip(logs, before, strict=True):
            log.setLevel(level)
