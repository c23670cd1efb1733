"""The search for a better recipe, a table of contents. What it finds is one more candidate of the next selection."""

import logging
from contextlib import suppress
from datetime import date

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import hold
from tidecast.flows.daily import open_place
from tidecast.flows.log import log
from tidecast.flows.safe_output import fails_cleanly
from tidecast.flows.steps import search
from tidecast.flows.tracking.store import TrackingError
from tidecast.flows.tracking.tuning_runs import both
from tidecast.flows.training.search_problem import SearchProblem
from tidecast.flows.workspace.workspace import Place
from tidecast.forecasting.tuning.result import TuningResult

TRIALS, HOUR = 50, 3600.0


@flow(name="tune-forecaster")
@fails_cleanly
def tune_forecaster(
    as_of: date | None = None,
    n_trials: int = TRIALS,
    timeout: float = HOUR,
    home: str | None = None,
    settings: Settings | None = None,
) -> TuningResult:
    """Search for settings on rows that are older than any gate's on `as_of`, and keep the best recipe in MLflow.

    The daily forecast may run beside it. Killed and run again, it goes on from its study.

    Parameters
    ----------
    as_of : date, optional
        The session to stand on. None: the newest that there are prices of.
    n_trials : int
        Trials in all, those before a kill included.
    timeout : float
        Seconds for the search.
    home : str, optional
        The state folder. None: found as the command finds it.
    settings : Settings, optional
        None: loaded from the state folder, the environment and pyproject.toml.

    Raises
    ------
    Busy
        Another search is at work.
    TidecastError
        There is too little history to test what it would find.
    """
    log.setLevel(logging.INFO)
    place = open_place(home, settings)
    with hold(place.home.tuning, "tidecast tune"):
        recover(place)
        ground = choose_problem(place, as_of)
        run_id = begin(place, ground)
        tuned = look(place, ground, run_id, n_trials, timeout)
        finish(place, ground, run_id, tuned)
    return tuned


@task(cache_policy=NO_CACHE)
@fails_cleanly
def recover(place: Place) -> None:
    """End what a killed search left RUNNING in MLflow."""
    if ended := place.tuning_runs(log.info).end_running():
        log.info(f"Ended {ended} runs, left behind by a search that was killed.")


@task(cache_policy=NO_CACHE)
@fails_cleanly
def choose_problem(place: Place, as_of: date | None) -> SearchProblem:
    """The rows before the gate's, the folds, and the settings to try."""
    ground = search.search_problem_of(place, as_of)
    log.info(f"Searching on prices up to {ground.looked_through}; what is newer is the gate's.")
    return ground


@task(cache_policy=NO_CACHE)
@fails_cleanly
def begin(place: Place, ground: SearchProblem) -> str:
    """The search's run in MLflow."""
    return place.tuning_runs(log.info).begin(ground)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def look(place: Place, ground: SearchProblem, run_id: str, n_trials: int, timeout: float) -> TuningResult:
    """Trial after trial, each shown as it runs."""
    runs = place.tuning_runs(log.warning)
    shown = runs.trials_of(run_id, ground)
    try:
        tuned = search.search(place, ground, n_trials, timeout, both(search.TrialLog(n_trials, log.info), shown))
    except BaseException:
        with suppress(TrackingError):  # why it ended matters more
            runs.end_running()
        raise
    if shown.failed is not None:
        raise shown.failed
    return tuned


@task(cache_policy=NO_CACHE)
@fails_cleanly
def finish(place: Place, ground: SearchProblem, run_id: str, tuned: TuningResult) -> None:
    """What was found, for people and for the next training."""
    place.tuning_runs(log.info).finish(run_id, ground, tuned)
