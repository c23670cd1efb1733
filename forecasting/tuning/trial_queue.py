"""The trials of a study shared by several processes: assignment, recovery after a death, and pruning.

No study is locked. The storage assigns each trial number once, and everything follows from the order of numbers: which
trial is one too many, and which of two with the same settings withdraws.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from tidecast.forecasting.tuning.search_space import SearchSpace

WORKER, BEAT, OWN, RETRIES, NONE, ERROR, COST = "worker", "beat", "own", "retries", "none", "error", "cost"
"""Attributes of a trial besides its settings: its worker, the worker's last sign of life, whether the settings are the
model's own, the number of the trial that it repeats, that it does not count (one too many, or settings drawn twice),
the reason of a failure, and the cost of a fit on the whole panel."""

FIRST_FOLD = 10_000
"""Smaller steps of reports are epochs; steps from here on are folds."""

FEWEST_PEERS = 5
KEPT = 0.75
"""A trial is hopeless if it is worse than this share of at least `FEWEST_PEERS` complete ones at the same point."""

MOST_DRAWS = 30
BEATS_EVERY = 60.0  # least seconds between two signs of life
SILENT = 1800.0
"""Seconds without a sign of life until a worker on another host, whose lock cannot be seen, counts as dead."""
UNMARKED = timedelta(seconds=15)  # a trial is marked with its worker at once, or the worker has died
GOING = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)


def open_storage(storage: str | os.PathLike[str] | None) -> BaseStorage:
    """Open a journal file, a database by its URL, or, for None, memory.

    Parameters
    ----------
    storage : str or path or None
        A path, an address of a database, or None.
    """
    if storage is None:
        return InMemoryStorage()
    if "://" in os.fspath(storage):
        return RDBStorage(os.fspath(storage))
    path = Path(storage).expanduser().absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(path), WholeLines(path)))


class WholeLines(JournalFileOpenLock):
    """A journal's lock, which the kernel releases however a process ends.

    It removes the partial line of a killed process, so that the next one starts at the beginning of a line.

    Parameters
    ----------
    path : Path
        The journal.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path, self._lock = path, FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        """Wait for the lock, and remove a partial line from the journal."""
        self._lock.acquire()
        with open(self._path, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if size and file.read() != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()


class Worker:
    """A process that works on a study; it is alive while it holds the lock on its own file."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{uuid.uuid4().hex}"
        self._lock = FileLock(_lock_of(self.name))

    def __enter__(self) -> Worker:
        self._lock.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()
        _lock_of(self.name).unlink(missing_ok=True)

    @staticmethod
    def is_here(name: str) -> bool:
        """Whether the worker of that name is, or was, on this host.

        Parameters
        ----------
        name : str
            As `name` of a `Worker`.
        """
        return name.startswith(f"{socket.gethostname()}:")

    @staticmethod
    def is_dead(name: str) -> bool:
        """Whether the worker of that name, on this host, has ended.

        Parameters
        ----------
        name : str
            As `name` of a `Worker` of this host.
        """
        path = _lock_of(name)
        if not path.exists():
            return True
        try:
            with FileLock(path, timeout=0):
                path.unlink(missing_ok=True)
                return True
        except Timeout:
            return False


def _lock_of(worker: str) -> Path:
    return Path(tempfile.gettempdir()) / f"tidecast-worker-{worker.rpartition(':')[2]}.lock"


class Queue:
    """Gives a study's trials to one worker, each with settings that no other trial has.

    The model's own settings come first. A trial whose process died is repeated with the same settings.

    Parameters
    ----------
    study : Study
    space : SearchSpace
    n_trials : int or None
        Trials of the whole study, including those of other processes and earlier calls.
    seed : int
        With the same seed a single worker draws the same settings, even if it was killed in between.
    worker : Worker
    """

    def __init__(self, study: Study, space: SearchSpace, n_trials: int | None, seed: int, worker: Worker) -> None:
        self.study, self.space, self.n_trials, self.seed, self.worker = study, space, n_trials, seed, worker

    def next(self) -> tuple[Trial, dict[str, Any]] | None:
        """Return a trial and its settings; None if the study has all its trials, or the space no new settings."""
        for draw in range(MOST_DRAWS):
            self.take_over()
            position = len(looked_at(self.study))
            if self._is_full(position):
                return None
            self.study.sampler = optuna.samplers.TPESampler(seed=self._seed_of(position, draw))
            trial = self.study.ask()
            trial.set_user_attr(WORKER, self.worker.name)
            if self._is_full(sum(other.number < trial.number for other in looked_at(self.study))):
                self._withdraw(trial)
                return None
            settings = self.space(trial)
            if not self._is_taken(trial):
                return trial, {} if OWN in trial.user_attrs else settings
            self._withdraw(trial)
        return None

    def enqueue_own(self) -> None:
        """Make the model's own settings the first trial of a new study."""
        if not self.study.get_trials(deepcopy=False):
            self.study.enqueue_trial(self.space.own, user_attrs={OWN: True})

    def is_waiting(self) -> bool:
        """Whether another process on this host runs a trial, which may have to be taken over."""
        self.take_over()
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return any(Worker.is_here(trial.user_attrs.get(WORKER, "")) for trial in running)

    def take_over(self) -> None:
        """Repeat the trials of dead workers."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if _is_left(trial):
                self.give_back(trial.number)

    def give_back(self, number: int) -> None:
        """End an interrupted trial and enqueue its settings again; they are stored before it ends.

        Parameters
        ----------
        number : int
            Of the trial.
        """
        trial = self.study.get_trials(deepcopy=False)[number]
        settings = settings_of(trial)
        if settings:
            own = {OWN: True} if OWN in trial.user_attrs else {}
            self.study.enqueue_trial(settings, user_attrs={RETRIES: number, **own})
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # another process did it meanwhile
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _withdraw(self, trial: Trial) -> None:
        trial.set_user_attr(NONE, True)
        self.study.tell(trial, state=TrialState.FAIL)

    def _is_full(self, taken: int) -> bool:
        return self.n_trials is not None and taken >= self.n_trials

    def _seed_of(self, position: int, draw: int) -> int:
        return int(np.random.SeedSequence([self.seed, position, draw]).generate_state(1)[0])

    def _is_taken(self, trial: Trial) -> bool:
        """Whether another trial has these settings. The drawn one withdraws, else the one with the larger number.

        Both have their settings before they look, so at least one of the two sees the other.
        """
        trials = self.study.get_trials(deepcopy=False)
        mine = trials[trial.number]
        dead = {other.user_attrs[RETRIES] for other in trials if RETRIES in other.user_attrs}
        others = [
            other for other in trials
            if other.number not in {*dead, mine.number} and (other.state in GOING or ERROR in other.user_attrs)
            and mine.params.items() <= settings_of(other).items()
        ]  # fmt: skip
        was_enqueued = bool(mine.system_attrs.get("fixed_params"))
        return any(other.number < mine.number or not was_enqueued for other in others)


def _is_left(trial: FrozenTrial) -> bool:
    """Whether a running trial's worker is dead: by its lock, or if that cannot be seen, by its silence."""
    worker, begun = trial.user_attrs.get(WORKER), trial.datetime_start or datetime.now()
    if worker is None:
        return datetime.now() - begun > UNMARKED
    if Worker.is_here(worker):
        return Worker.is_dead(worker)
    return bool(time.time() - trial.user_attrs.get(BEAT, begun.timestamp()) > SILENT)


def settings_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return the settings of a trial, even of a waiting one.

    Parameters
    ----------
    trial : FrozenTrial
    """
    return dict(trial.params or trial.system_attrs.get("fixed_params", {}))


def looked_at(study: Study) -> list[FrozenTrial]:
    """Return the trials that count: running, complete, pruned or failed, but not interrupted ones.

    Parameters
    ----------
    study : Study
    """
    return [
        trial for trial in study.get_trials(deepcopy=False)
        if trial.state in GOING[1:] or (trial.state == TrialState.FAIL and ERROR in trial.user_attrs)
    ]  # fmt: skip


def is_hopeless(study: Study, step: int, value: float) -> bool:
    """Whether a report is worse than three quarters of the complete trials' reports at the same point.

    Parameters
    ----------
    study : Study
    step : int
        The point of the report: a trial's reports are numbered in turn.
    value : float
        The reported loss.
    """
    whole = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    peers = [at for other in whole if (at := _reported(other, step)) is not None]
    return len(peers) >= FEWEST_PEERS and value > float(np.quantile(peers, KEPT))


def _reported(trial: FrozenTrial, step: int) -> float | None:
    """Return a trial's report at this step, or the last one before, because its epochs may have ended early."""
    first = FIRST_FOLD if step >= FIRST_FOLD else 0
    steps = [at for at in trial.intermediate_values if first <= at <= step]
    return trial.intermediate_values[max(steps)] if steps else None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's log line for every trial."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
