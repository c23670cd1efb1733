"""Tuning: trials on rolling origins, in parallel, and a forecaster refit with the best settings."""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from joblib import Parallel, delayed
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sklearn.base import clone

from tidecast.features.error_text import check_whole, meant
from tidecast.features.frames import Frame, to_polars
from tidecast.forecasting.backtesting.fold_by_fold import check_agreement, with_random_walk
from tidecast.forecasting.estimator.engine import check_seen, n_workers, on_engine
from tidecast.forecasting.estimator.orphans import EndsWithParent
from tidecast.forecasting.estimator.panel_reference import PanelReference, opened
from tidecast.forecasting.estimator.threads import one_thread
from tidecast.forecasting.evaluation.splits import RollingOrigin
from tidecast.forecasting.network.progress import Epoch
from tidecast.forecasting.tuning.budget import Budget, Cost
from tidecast.forecasting.tuning.objective import METRICS, TrialScorer, judge, refit
from tidecast.forecasting.tuning.result import TrialRecord, TuningResult, trials_of
from tidecast.forecasting.tuning.search_space import SearchSpace, Space
from tidecast.forecasting.tuning.trial_queue import (
    BEAT,
    BEATS_EVERY,
    COST,
    ERROR,
    FIRST_FOLD,
    OWN,
    Queue,
    Worker,
    is_hopeless,
    open_storage,
    quiet,
)

EVALUATION = "judged on"  # key in stored studies
LOOK_EVERY = 2.0  # seconds between two looks at what has changed
REFUSED = (ValueError, TypeError, ArithmeticError, RuntimeError, MemoryError)
"""Errors that fail a trial, for example settings that the panel or the machine is too small for."""


def tune(
    model: Any,
    panel: Frame,
    cv: RollingOrigin,
    search_space: Space | None = None,
    n_trials: int | None = 50,
    timeout: float | None = None,
    metric: str = "crps",
    *,
    storage: str | Path | None = None,
    study_name: str = "tidecast",
    n_jobs: int = 1,
    random_state: int = 0,
    on_change: Callable[[list[TrialRecord]], None] | None = None,
) -> TuningResult:
    """Search for settings with a small loss on the folds, and fit a model with the best of them on the whole panel.

    The model's own settings are the first trial. Optuna (TPE) draws the others, never the same settings twice. A trial
    is pruned if it is worse than three quarters of the others at the same point: by the validation loss of the first
    fold, epoch by epoch, and by the loss on the folds so far. All trials are evaluated on the same rows, those that the
    random walk forecasts.

    The best of many trials looks better than it is. Hold out origins that the search never sees, and test on them once:
    pass `tune` the panel up to them, and pass its result to `backtest` or to the gate.

    Parameters
    ----------
    model : forecaster, or Pipeline that ends in one
        Unfitted; it is cloned.
    panel : polars or pandas DataFrame
        The prices; the search sees all of them.
    cv : RollingOrigin
        The folds to evaluate on.
    search_space : mapping or callable, optional
        Optuna's distributions, or lists of choices, by the name of a setting; or a function of a trial that returns
        settings by name. By default the forecaster's `search_space`, and features that the panel allows.
        ``cell`` is a setting as well ("rnn", "lstm", "gru"; all: `tidecast.forecasting.network.cell_registry.CELLS`).
    n_trials : int or None, default=50
        Total trials of the study, including those of other processes and earlier calls.
    timeout : float, optional
        Seconds for everything, including the last fit. Training stops between two epochs. Time is reserved for the last
        fit, as long as the trials took; if it must be stopped as well, there is a warning.
    metric : {"crps", "mae"}, default="crps"
        Loss, pooled as in `evaluate`; with quantiles other than the default, "crps" is their mean pinball loss.
    storage : path or URL, optional
        A journal file (created if missing), or a database URL as in SQLAlchemy. A killed search resumes from it, and
        several processes can share it. By default nothing is stored.
    study_name : str, default="tidecast"
        Name of the study in the storage.
    n_jobs : int, default=1
        Processes, as in joblib. On a cluster (`open_engine`): one for each worker, which must all see the storage.
    random_state : int, default=0
        With one process and no timeout, the same seed gives the same trials, even if the search was killed in between.
    on_change : callable, optional
        Called with a list of all `TrialRecord`, some seconds after one of them changed; in its own thread.

    Returns
    -------
    TuningResult

    Raises
    ------
    TypeError, ValueError
        An argument is impossible, the study in the storage was evaluated differently, or the time was over before one
        trial was complete.

    Examples
    --------
    >>> import numpy as np
    >>> import polars as pl
    >>> from tidecast.forecasting.forecasters.baselines import SeasonalNaive
    >>> days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 6, 30), eager=True)
    >>> steps = 0.01 * np.random.default_rng(0).normal(size=len(days))
    >>> prices = pl.DataFrame({"series_id": "a", "time": days, "close": np.exp(steps.cumsum())})
    >>> model = SeasonalNaive(horizon=2, lookback=30)
    >>> found = tune(model, prices, RollingOrigin(n_splits=2, horizon=2, stride=10), {"season": [1, 5, 7]}, n_trials=3)
    >>> found.looked_at, found.settings
    (3, {'season': 1})
    """
    begun = time.time()
    _check_arguments(n_trials, timeout, metric, random_state, on_change)
    _check_folds(model, cv)
    space = SearchSpace(model, search_space, to_polars(panel))
    scorer = TrialScorer(model, panel, cv, space.longest_lookback, metric)
    search = Search(space, scorer, n_trials, random_state, Budget(begun, timeout))
    with quiet():
        with _location_of(storage, n_workers(n_jobs)) as location:
            study = optuna.create_study(storage=open_storage(location), study_name=study_name, load_if_exists=True)
            _check_evaluated_alike(study, space, scorer)
            with _reporting_changes(study, scorer.loss, on_change):
                if n_workers(n_jobs) == 1:
                    search.work(study)
                else:
                    _work_together(search, location, study_name, n_jobs)
            study = study if location == storage else _in_memory(study)
        return _found(study, search)


@dataclass(frozen=True)
class Search:
    """State shared by the processes of a search.

    Parameters
    ----------
    space : SearchSpace
    scorer : TrialScorer
    n_trials : int or None
    seed : int
    budget : Budget
    """

    space: SearchSpace
    scorer: TrialScorer
    n_trials: int | None
    seed: int
    budget: Budget

    def work(self, study: Study) -> None:
        """Run trials until there are no more, or no time is left.

        Parameters
        ----------
        study : Study
            Shared with other workers.
        """
        with Worker() as worker, one_thread(linear_algebra=True), suppress(_OutOfTime):
            queue = Queue(study, self.space, self.n_trials, self.seed, worker)
            queue.enqueue_own()
            while self.time_left(study) > 0:
                taken = queue.next()
                if taken is not None:
                    self._try(queue, *taken)
                elif queue.is_waiting():  # if another process dies, its trial must be repeated
                    time.sleep(0.2)
                else:
                    return

    def time_left(self, study: Study, own: Cost | None = None) -> float:
        """Seconds until the last fit must begin; without a best trial yet, as costly as the running trial.

        Parameters
        ----------
        study : Study
        own : Cost, optional
            Cost of the running trial.
        """
        best = _best(study)
        return self.budget.left(_cost_of(best) if best else own or Cost())

    def _try(self, queue: Queue, trial: Trial, settings: dict[str, Any]) -> None:
        """Run one trial, from its settings to its end."""
        study, listener = queue.study, _Listener(self, queue.study, trial)
        try:
            share = judge(self.space.configured(settings), self.scorer, listener.on_epoch, listener.on_fold)
            study.tell(trial, share * self.scorer.loss, skip_if_finished=True)
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        except (
            optuna.exceptions.UpdateFinishedTrialError
        ):  # another worker took this one for dead and repeats the trial
            return
        except REFUSED as error:
            trial.set_user_attr(ERROR, " ".join(str(error).split()) or type(error).__name__)
            study.tell(trial, state=TrialState.FAIL)
            if OWN in trial.user_attrs:  # if the model's own settings fail, others will
                raise
        except BaseException:
            queue.give_back(trial.number)
            raise


class _OutOfTime(Exception):
    """The remaining time is needed for the last fit."""


class _Listener:
    """Reports a trial's epochs and folds to the study, and ends the trial when it is hopeless or out of time."""

    def __init__(self, search: Search, study: Study, trial: Trial) -> None:
        self.search, self.study, self.trial = search, study, trial
        self.costs: list[Cost] = []
        self._last: float | None = None  # when the epoch before ended
        self._untrained = self._best = math.nan
        self._beat = time.time()

    def on_epoch(self, k: int, epoch: Epoch) -> None:
        now, loss = time.time(), epoch.validation_loss
        if k == 0 and loss is not None:
            if epoch.epoch == 0:
                self._untrained = self._best = loss
            elif math.isfinite(self._untrained):
                self._best = min(self._best, loss)
                self._report(epoch.epoch, self._best / self._untrained)
        if now - self._beat > BEATS_EVERY:
            self.trial.set_user_attr(BEAT, now)
            self._beat = now
        took = 0.0 if self._last is None or epoch.epoch == 0 else now - self._last
        self._last = now
        self._check_time(took)

    def on_fold(self, k: int, share: float, cost: Cost) -> None:
        self.costs.append(cost)
        self.trial.set_user_attr(COST, asdict(Cost.most(self.costs)))
        self._report(FIRST_FOLD + k + 1, share)
        if k + 1 < len(self.search.scorer.folds):
            self._check_time(0.0)

    def _report(self, step: int, share: float) -> None:
        value = share * self.search.scorer.loss
        self.trial.report(value, step)
        is_last = step == FIRST_FOLD + len(self.search.scorer.folds)
        if not is_last and OWN not in self.trial.user_attrs and is_hopeless(self.study, step, value):
            raise optuna.TrialPruned

    def _check_time(self, needed: float) -> None:
        if self.search.time_left(self.study, Cost.most(self.costs)) < needed:
            raise _OutOfTime


def _work_together(search: Search, location: str | Path | None, study_name: str, n_jobs: int) -> None:
    """Run the search in every process of the engine."""
    if location is not None and "://" not in str(location):
        check_seen(location, "The journal of a search")
    with on_engine(search.scorer.panel, n_jobs) as panel:
        work, sent = delayed(EndsWithParent(_work)), replace(search, scorer=search.scorer.with_panel(None))
        Parallel(batch_size=1)(work(sent, panel, location, study_name) for _ in range(n_workers(n_jobs)))


def _work(search: Search, panel: PanelReference, storage: str, study_name: str) -> None:
    """`Search.work` in a process of its own."""
    search = replace(search, scorer=search.scorer.with_panel(opened(panel)))
    with quiet():
        search.work(optuna.load_study(study_name=study_name, storage=open_storage(storage)))


class NoWholeTrial(ValueError):
    """The time of a search was over before one trial was complete.

    Parameters
    ----------
    study_name : str
    begun : int
        Trials that were begun.
    """

    def __init__(self, study_name: str, begun: int) -> None:
        super().__init__(
            f"The search must have time for one whole trial, timeout was over before. {study_name!r} has {begun} "
            "trials that were begun, none of them complete. Raise timeout, or lower the folds or max_epochs."
        )
        self.begun = begun


def _best(study: Study) -> FrozenTrial | None:
    """The complete trial with the smallest loss; of equals the oldest."""
    whole = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return min(whole, key=lambda trial: (trial.value, trial.number), default=None)


def _cost_of(trial: FrozenTrial) -> Cost:
    """Cost of a fit on the whole panel with a trial's settings."""
    return Cost(**trial.user_attrs.get(COST, {}))


def _found(study: Study, search: Search) -> TuningResult:
    """Refit the best trial's model on the whole panel; return it with all trials."""
    best, scorer = _best(study), search.scorer
    if best is None:
        begun = sum(trial.state != "waiting" for trial in trials_of(study, scorer.loss))
        raise NoWholeTrial(study.study_name, begun)
    settings = {} if OWN in best.user_attrs else search.space(optuna.trial.FixedTrial(best.params))
    return TuningResult(
        model=refit(search.space.configured(settings), scorer.panel, search.budget, _cost_of(best)),
        study=study,
        settings=dict(best.params),
        number=best.number,
        value=float(best.value or math.nan),
        random_walk=scorer.loss,
        metric=scorer.metric,
        trials=trials_of(study, scorer.loss),
    )


@contextmanager
def _location_of(storage: str | Path | None, n_jobs: int) -> Iterator[str | Path | None]:
    """Location of the study: `storage`, memory (None), or for several processes a temporary file."""
    if storage is not None or n_jobs == 1:
        yield storage
        return
    with tempfile.TemporaryDirectory(prefix="tidecast-tuning-") as folder:
        yield Path(folder) / "study.journal"


def _in_memory(study: Study) -> Study:
    """Copy a study out of its temporary file."""
    copy = optuna.create_study(study_name=study.study_name)
    copy.add_trials(study.get_trials(deepcopy=False))
    return copy


@contextmanager
def _reporting_changes(
    study: Study, random_walk: float, on_change: Callable[[list[TrialRecord]], None] | None
) -> Iterator[None]:
    """While the body runs, call `on_change` after changes, every `LOOK_EVERY` seconds and once at the end."""
    if on_change is None:
        yield
        return
    done, failures = threading.Event(), list[BaseException]()

    def look() -> None:
        before: tuple[TrialRecord, ...] = ()
        is_last = False
        while not is_last:
            is_last = done.wait(LOOK_EVERY)
            seen = trials_of(study, random_walk)
            if seen != before:
                on_change(list(seen))
            before = seen

    def safely() -> None:
        try:
            look()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=safely, name="tidecast-tuning", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if failures:
        raise failures[0]


def _check_evaluated_alike(study: Study, space: SearchSpace, scorer: TrialScorer) -> None:
    """Refuse a study whose trials were evaluated differently."""
    evaluation = {"model": clone(space.model).__repr__(N_CHAR_MAX=100_000), **scorer.description()}
    before = study.user_attrs.get(EVALUATION)
    if before is None:
        study.set_user_attr(EVALUATION, evaluation)
    elif before != evaluation:
        other = " and ".join(name for name in evaluation if evaluation[name] != before.get(name))
        raise ValueError(
            f"Trials of one study must be evaluated alike; {study.study_name!r} was made with another {other}. Give "
            f"another study_name or storage, or the {other} that it was made with."
        )


def _check_folds(model: Any, cv: Any) -> None:
    if not isinstance(cv, RollingOrigin):
        raise TypeError(f"cv must be a RollingOrigin, got {cv!r}.")
    check_agreement(with_random_walk(model), cv)


def _check_arguments(n_trials: Any, timeout: Any, metric: Any, random_state: Any, on_change: Any) -> None:
    if n_trials is None and timeout is None:
        raise ValueError("n_trials and timeout are both None, so a search would never end. Give one of them.")
    if n_trials is not None:
        check_whole("n_trials", n_trials, at_least=1)
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float)):
        raise TypeError(f"timeout must be a number of seconds or None, got {timeout!r}.")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout must be above 0 seconds, got {timeout!r}.")
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}.{meant(metric, METRICS)}")
    check_whole("random_state", random_state, at_least=0)
    if on_change is not None and not callable(on_change):
        raise TypeError(f"on_change must be a function of a list of trials, got {on_change!r}.")
