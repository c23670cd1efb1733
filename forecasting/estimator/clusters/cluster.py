"""A cluster that fits run on: what engines have in common, and workers that would compute something else refused."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from joblib.parallel import ParallelBackendBase

from tidecast.features.error_text import shorten
from tidecast.forecasting.estimator.panel_reference import PanelReference

LIBRARIES = ("numpy", "polars", "pandas", "scikit-learn", "scipy", "torch", "joblib", "cloudpickle", "deltalake")
"""Whose versions must be the same everywhere."""

FEWEST_TASKS = 2
"""Tasks that joblib starts at a time on a cluster, at least. With one, it would run them all in this process."""


class EngineError(RuntimeError):
    """The engine cannot be used: the message says what must hold, what was found, and what to do."""


class Cluster(ABC):
    """Worker processes, on this machine or others.

    Parameters
    ----------
    place : str
        Host and port of the process that knows them all.
    """

    library: ClassVar[str]
    """The engine's own distribution, whose version must be the same everywhere."""

    def __init__(self, place: str) -> None:
        self.place = place

    @property
    @abstractmethod
    def n_workers(self) -> int:
        """Number of tasks that run at a time."""

    @abstractmethod
    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """Call a function on every worker, or once on every machine of workers alike.

        Parameters
        ----------
        function : callable
        *arguments

        Returns
        -------
        dict of str to any
            By the worker's name; an exception where it failed, and nothing of a worker that has just ended.
        """

    @abstractmethod
    def held(self, panel: Any) -> PanelReference:
        """Return a reference to a panel that workers get from this process.

        Parameters
        ----------
        panel : polars or pandas DataFrame
        """

    @abstractmethod
    def backend(self, panel: PanelReference) -> ParallelBackendBase:
        """Return joblib's backend for tasks that carry this reference.

        Parameters
        ----------
        panel : PanelReference
        """

    def check_workers(self) -> None:
        """Refuse workers that would compute other numbers than this process.

        Raises
        ------
        EngineError
            No worker was found, or a worker's versions differ from those of this process.
        """
        here, others = installed(self.library), self.everywhere(installed, self.library)
        for name, there in others.items():
            if not isinstance(there, dict):
                raise EngineError(
                    f"Each worker of {self.place} must have Tidecast installed as here; {name} says {there!r}. Install "
                    "the same version there."
                )
            other = [f"{what} {there.get(what)}, here {here[what]}" for what in here if there.get(what) != here[what]]
            if other:
                raise EngineError(
                    f"Workers must have the versions of this process, or tables would differ: {name} has "
                    f"{'; '.join(other)}. Install the same ones there."
                )

    def is_shared(self, folder: str | None) -> bool:
        """Whether all workers see a folder of this machine.

        Parameters
        ----------
        folder : str or None
            None: the folder for temporary files.
        """
        try:
            with tempfile.NamedTemporaryFile(prefix="tidecast-", dir=folder) as file:
                return _all_say_yes(self.everywhere(os.path.exists, file.name))
        except OSError:
            return False

    def sees(self, panel: PanelReference) -> bool:
        """Whether all workers can read the panel of a reference.

        Parameters
        ----------
        panel : PanelReference
        """
        return _all_say_yes(self.everywhere(panel.is_seen))

    def check_seen(self, path: str, what: str) -> None:
        """Refuse a file that a worker does not see.

        Parameters
        ----------
        path : str
        what : str
            What it is, for the error.

        Raises
        ------
        EngineError
            Naming the workers.
        """
        seen = self.everywhere(os.path.exists, os.path.abspath(path))
        if missing := sorted(worker for worker, found in seen.items() if found is not True):
            raise EngineError(
                f"{what} must lie where every worker sees it: {path} is not there for {shorten(missing)}. Put it into "
                "a shared folder, or set engine to 'processes'."
            )


def _all_say_yes(answers: dict[str, Any]) -> bool:
    """Whether there are workers, and all say yes."""
    return bool(answers) and all(answer is True for answer in answers.values())


def ended(what: str, place: str) -> EngineError:
    """Return the error for a cluster that ended while fits ran on it.

    Parameters
    ----------
    what : str
        The process that knows all workers: "scheduler".
    place : str
        Its host and port.
    """
    return EngineError(
        f"The {what} at {place} must run until the fits are done, but it ended, and what they had done is lost. Start "
        "it and its workers again, then run the same command again, or set engine to 'processes'."
    )


def installed(library: str) -> dict[str, str]:
    """Versions of what numbers depend on, of this process; of Tidecast, a digest of its code.

    Parameters
    ----------
    library : str
        The engine's own distribution.
    """
    found = {"Python": ".".join(platform.python_version_tuple()[:2]), "Tidecast's code": code_digest()}
    return found | {name: metadata.version(name) for name in (*LIBRARIES, library)}


def code_digest() -> str:
    """Fingerprint of the code of Tidecast: workers read tables, compute features and forecast, besides fitting."""
    root, total = Path(__file__).parents[3], hashlib.sha256()
    for package in ("features", "forecasting", "flows"):
        for path in sorted((root / package).rglob("*.py")):
            total.update(path.relative_to(root).as_posix().encode())
            total.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return total.hexdigest()[:12]
