"""The trials of a study that several processes share: who takes which, what a dead one leaves, which are hopeless.

Nothing here locks a study. A trial's number is given out once by the storage, and everything follows from the order of
the numbers: who is one too many, and who of two with the same settings steps back.
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
"""What a trial carries beside its settings: whose it is, when that one was last alive, whether they are the model's
own, the number of the dead one whose it tries again, that it is none (one too many, or settings drawn twice), why it
failed, and what a fit on the whole panel would cost."""

FIRST_FOLD = 10_000
"""Reports below are of epochs, those from here on of folds."""

FEWEST_PEERS = 5
KEPT = 0.75
"""A trial is hopeless when it is worse than so many of at least `FEWEST_PEERS` whole ones at the same place."""

MOST_DRAWS = 30
BEATS_EVERY = 60.0  # seconds, at least, between two signs of life
SILENT = 1800.0
"""Seconds without a sign of life after which a worker on another host, whose lock cannot be seen, is taken for dead."""
UNMARKED = timedelta(seconds=15)  # a trial is marked with its worker at once, or the worker has died
GOING = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)


def open_storage(storage: str | os.PathLike[str] | None) -> BaseStorage:
    """A journal file, a database by its URL, or, for None, memory."""
    if storage is None:
        return InMemoryStorage()
    if "://" in os.fspath(storage):
        return RDBStorage(os.fspath(storage))
    path = Path(storage).expanduser().absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(path), WholeLines(path)))


class WholeLines(JournalFileOpenLock):
    """A journal's lock, which the kernel releases however a process ends.

    What a killed process left of a line is cut off, so that the next one begins where a line begins.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path, self._lock = path, FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        """Wait for the lock, and leave the journal with whole lines."""
        self._lock.acquire()
        with open(self._path, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            if size and file.read() != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Let others write."""
        self._lock.release()


class Worker:
    """A process at work on a study: alive as long as it holds the lock on a file of its own."""

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
        """Whether the worker of that name is, or was, on this host."""
        return name.startswith(f"{socket.gethostname()}:")

    @staticmethod
    def is_dead(name: str) -> bool:
        """Whether the worker of that name, on this host, has ended."""
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
    """Hands out a study's trials to one worker, each with settings that no other trial has.

    The model's own settings come first; a trial whose process died comes again, with the same settings.

    Parameters
    ----------
    study : Study
    space : SearchSpace
    n_trials : int or None
        Trials of the whole study, those of other processes and earlier calls included.
    seed : int
        With the same one, one worker alone draws the same settings, also when it was killed in between.
    worker : Worker
    """

    def __init__(self, study: Study, space: SearchSpace, n_trials: int | None, seed: int, worker: Worker) -> None:
        self.study, self.space, self.n_trials, self.seed, self.worker = study, space, n_trials, seed, worker

    def next(self) -> tuple[Trial, dict[str, Any]] | None:
        """A trial and its settings; None when the study has all its trials, or the space no further settings."""
        for draw in range(MOST_DRAWS):
            self.take_over()
            position = len(looked_at(self.study))
            if self._is_full(position):
                return None
            self.study.sampler = optuna.samplers.TPESampler(seed=self._seed_of(position, draw))
            trial = self.study.ask()
            trial.set_user_attr(WORKER, self.worker.name)
            if self._is_full(sum(other.number < trial.number for other in looked_at(self.study))):
                self._step_back(trial)
                return None
            settings = self.space(trial)
            if not self._is_taken(trial):
                return trial, {} if OWN in trial.user_attrs else settings
            self._step_back(trial)
        return None

    def enqueue_own(self) -> None:
        """Let the first trial of a new study be of the model's own settings."""
        if not self.study.get_trials(deepcopy=False):
            self.study.enqueue_trial(self.space.own, user_attrs={OWN: True})

    def is_waiting(self) -> bool:
        """Whether a trial of another process on this host is under way, and may have to be taken over."""
        self.take_over()
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return any(Worker.is_here(trial.user_attrs.get(WORKER, "")) for trial in running)

    def take_over(self) -> None:
        """Let what dead workers have begun be tried again."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if _is_left(trial):
                self.give_back(trial.number)

    def give_back(self, number: int) -> None:
        """End a trial that came to nothing, and let its settings be tried again; those are noted before it ends."""
        trial = self.study.get_trials(deepcopy=False)[number]
        settings = settings_of(trial)
        if settings:
            own = {OWN: True} if OWN in trial.user_attrs else {}
            self.study.enqueue_trial(settings, user_attrs={RETRIES: number, **own})
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # another process did it meanwhile
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _step_back(self, trial: Trial) -> None:
        trial.set_user_attr(NONE, True)
        self.study.tell(trial, state=TrialState.FAIL)

    def _is_full(self, taken: int) -> bool:
        return self.n_trials is not None and taken >= self.n_trials

    def _seed_of(self, position: int, draw: int) -> int:
        return int(np.random.SeedSequence([self.seed, position, draw]).generate_state(1)[0])

    def _is_taken(self, trial: Trial) -> bool:
        """Whether another trial has these settings: whichever was drawn steps back, else that with the larger number.

        Both know their own settings before they look, so one of two sees the other, whichever comes first.
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
    """Whether a running trial's worker is dead: by its lock, or where that cannot be seen by its silence."""
    worker, begun = trial.user_attrs.get(WORKER), trial.datetime_start or datetime.now()
    if worker is None:
        return datetime.now() - begun > UNMARKED
    if Worker.is_here(worker):
        return Worker.is_dead(worker)
    return bool(time.time() - trial.user_attrs.get(BEAT, begun.timestamp()) > SILENT)


def settings_of(trial: FrozenTrial) -> dict[str, Any]:
    """The settings of a trial, also of one that waits."""
    return dict(trial.params or trial.system_attrs.get("fixed_params", {}))


def looked_at(study: Study) -> list[FrozenTrial]:
    """The trials that count: under way, whole, pruned or failed; not those that came to nothing and are tried again."""
    return [
        trial for trial in study.get_trials(deepcopy=False)
        if trial.state in GOING[1:] or (trial.state == TrialState.FAIL and ERROR in trial.user_attrs)
    ]  # fmt: skip


def is_hopeless(study: Study, step: int, value: float) -> bool:
    """Whether a report is worse than three quarters of what whole trials had reported at the same place."""
    whole = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    peers = [at for other in whole if (at := _reported(other, step)) is not None]
    return len(peers) >= FEWEST_PEERS and value > float(np.quantile(peers, KEPT))


def _reported(trial: FrozenTrial, step: int) -> float | None:
    """What a trial reported there, or last before: the epochs of one may have ended early."""
    first = FIRST_FOLD if step >= FIRST_FOLD else 0
    steps = [at for at in trial.intermediate_values if first <= at <= step]
    return trial.intermediate_values[max(steps)] if steps else None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's line for every trial."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
