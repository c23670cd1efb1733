"""How far fits are that run side by side, in this process or in others: each notes the share of its epochs."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    shares : ndarray or str
        Of all fits that count, or the file that holds them, for fits in other processes.
    place : int or None
        Of this one; None if it does not count.
    """

    shares: np.ndarray | str
    place: int | None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note the epochs of the body, and its end."""
        with heard_by(self._note):
            yield
        self._note(1.0)

    def _note(self, share: float) -> None:
        if self.place is None:
            return
        if not isinstance(self.shares, str):
            self.shares[self.place] = share
            return
        try:
            with open(self.shares, "r+b") as file:
                file.seek(4 * self.place)
                file.write(np.float32(share).tobytes())
        except OSError:  # a worker of another machine does not see the file: its fits count when they end
            return


class Fits:
    """Fits that run side by side, as one work. Where some are networks, only these count: others take no time.

    Parameters
    ----------
    what : str
        Name of the work, for the log.
    models : sequence of forecaster
        One for each fit.
    """

    def __init__(self, what: str, models: Sequence[Any]) -> None:
        counted = [k for k, model in enumerate(models) if takes_epochs(model)] or list(range(len(models)))
        self._places = {k: place for place, k in enumerate(counted)}
        self._all = not any(map(takes_epochs, models))
        self._work, self._ended = Work(what, len(counted)), 0
        self.shares: np.ndarray | str = np.zeros(len(counted), np.float32)

    def note(self, index: int) -> FitNote:
        """Return where fit number `index` notes how far it is; passed to its task.

        Parameters
        ----------
        index : int
            From 0.
        """
        return FitNote(self.shares, self._places.get(index))

    def one_ended(self, model: Any) -> None:
        """Count a fit whose result is here.

        Parameters
        ----------
        model : forecaster
            What was fitted.
        """
        self._ended += self._all or takes_epochs(model)

    def look(self) -> None:
        """Log how far all are, if that is due."""
        shares = np.fromfile(self.shares, np.float32) if isinstance(self.shares, str) else self.shares
        self._work.at(max(float(shares.sum()), float(self._ended)))


def takes_epochs(model: Any) -> bool:
    """Whether a model is a network, which takes longer than others by far.

    Parameters
    ----------
    model : forecaster
    """
    return hasattr(model, "max_epochs")


@contextmanager
def fits_of(what: str, models: Sequence[Any], apart: bool) -> Iterator[Fits]:
    """Log how far fits are while the body runs.

    Parameters
    ----------
    what : str
        Name of the work, for the log.
    models : sequence of forecaster
        One for each fit.
    apart : bool
        Whether they run in other processes.
    """
    fits, ended = Fits(what, models), threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_EVERY):
            with suppress(OSError):  # somebody tidied up the folder for temporary files
                fits.look()

    with _in_a_file(fits) if apart else nullcontext():
        thread = threading.Thread(target=copy_context().run, args=(look,), daemon=True, name="time-left")
        thread.start()
        try:
            yield fits
        finally:
            ended.set()
            thread.join()


@contextmanager
def _in_a_file(fits: Fits) -> Iterator[None]:
    """Hold the shares in a file, deleted also if this process is killed. Without a disk for it, only ends count."""
    try:
        folder = tempfile.mkdtemp(prefix=PREFIX)
    except OSError:
        yield
        return
    resource_tracker.register(folder, "folder")
    try:
        path = Path(folder) / "shares"
        np.asarray(fits.shares).tofile(path)
        fits.shares = str(path)
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        resource_tracker.unregister(folder, "folder")
