"""How far fits are that run side by side, in this process or in others: each notes the share of its epochs."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib.externals.loky.backend import resource_tracker

from tidecast.forecasting.estimator.time_left import Work, heard_by

LOOK_EVERY = 1.0
"""Seconds between two looks at the fits of other processes."""

PREFIX = "tidecast-fits-"
"""Of a folder in which processes note how far their fits are."""


@dataclass(frozen=True)
class FitNote:
    """Where a fit among several notes how far it is.

    Parameters
    ----------
    place : ndarray or str
        Shares of all fits, or the file that holds them, for fits in other processes.
    index : int
        Of the fit.
    """

    place: np.ndarray | str
    index: int

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note the epochs of the body, and its end."""
        with heard_by(self._note):
            yield
        self._note(1.0)

    def _note(self, share: float) -> None:
        if not isinstance(self.place, str):
            self.place[self.index] = share
            return
        try:
            with open(self.place, "r+b") as file:
                file.seek(4 * self.index)
                file.write(np.float32(share).tobytes())
        except OSError:  # a worker of another machine does not see the file: its fits count when they end
            return


class Fits:
    """Fits that run side by side, as one work.

    Parameters
    ----------
    place : ndarray or str
        As for `FitNote`.
    work : Work
    """

    def __init__(self, place: np.ndarray | str, work: Work) -> None:
        self._place, self._work, self._ended = place, work, 0

    def note(self, index: int) -> FitNote:
        """Return where fit number `index` notes how far it is; passed to its task.

        Parameters
        ----------
        index : int
            From 0.
        """
        return FitNote(self._place, index)

    def one_ended(self) -> None:
        """Count a fit whose result is here."""
        self._ended += 1

    def look(self) -> None:
        """Log how far all are, if that is due."""
        shares = self._place if not isinstance(self._place, str) else np.fromfile(self._place, np.float32)
        self._work.at(max(float(shares.sum()), float(self._ended)))


@contextmanager
def fits_of(what: str, total: int, apart: bool) -> Iterator[Fits]:
    """Log how far fits are while the body runs.

    Parameters
    ----------
    what : str
        Name of the work, for the log.
    total : int
        Number of fits.
    apart : bool
        Whether they run in other processes.
    """
    work, shares = Work(what, total, "fits"), np.zeros(total, np.float32)
    with _file_of(shares) if apart else _itself(shares) as place:
        fits, ended = Fits(place, work), threading.Event()

        def look() -> None:
            while not ended.wait(LOOK_EVERY):
                with suppress(OSError):  # somebody tidied up the folder for temporary files
                    fits.look()

        thread = threading.Thread(target=copy_context().run, args=(look,), daemon=True, name="time-left")
        thread.start()
        try:
            yield fits
        finally:
            ended.set()
            thread.join()


@contextmanager
def _itself(shares: np.ndarray) -> Iterator[np.ndarray | str]:
    yield shares


@contextmanager
def _file_of(shares: np.ndarray) -> Iterator[np.ndarray | str]:
    """A file, deleted at the end, also if this process is killed; without a disk for it, only ends are counted."""
    try:
        folder = tempfile.mkdtemp(prefix=PREFIX)
    except OSError:
        yield shares
        return
    resource_tracker.register(folder, "folder")
    try:
        path = Path(folder) / "shares"
        shares.tofile(path)
        yield str(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        resource_tracker.unregister(folder, "folder")
