"""The search for a better recipe, a table of contents. The result is one more candidate of the next selection."""

import logging
from contextlib import suppress
from datetime import date

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from tidecast.features.error_text import counted
from tidecast.flows.config.settings import Settings
from tidecast.flows.log import log
from tidecast.flows.opening import held, open_workspace
from tidecast.flows.safe_output import fails_cleanly
from tidecast.flows.steps import search
from tidecast.flows.tracking.store import TrackingError
from tidecast.flows.tracking.tuning_runs import both
from tidecast.flows.training.search_problem import SearchProblem
from tidecast.flows.workspace.workspace import Workspace
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
    """Search for settings on rows that are older than any gate's on `as_of`, and store the best recipe in MLflow.

    The daily forecast may run at the same time. A search that was killed continues from its study.

    Parameters
    ----------
    as_of : date, optional
        The session to stand on. None: the newest one with prices.
    n_trials : int
        Trials in all, those before a kill included.
    timeout : float
        Seconds for the search, at most.
    home : str, optional
        The state folder. None: found as the command finds it.
    settings : Settings, optional
        None: loaded from the state folder, the environment and pyproject.toml.

    Raises
    ------
    Busy
        Another search is running.
    TidecastError
        There is too little history to test the result.
    """
    log.setLevel(logging.INFO)
    workspace = open_workspace(home, settings)
    with held(workspace.state_folder.tuning, "tidecast tune", workspace.state_folder):
        recover(workspace)
        problem = choose_problem(workspace, as_of)
        run_id = begin(workspace, problem)
        tuned = run_trials(workspace, problem, run_id, n_trials, timeout)
        finish(workspace, problem, run_id, tuned)
    return tuned


@task(cache_policy=NO_CACHE)
@fails_cleanly
def recover(workspace: Workspace) -> None:
    """End the runs that a killed search left RUNNING in MLflow.

    Parameters
    ----------
    workspace : Workspace
    """
    if ended := workspace.tuning_runs(log.info).end_running():
        log.info(f"Ended {counted(ended, 'run')}, left behind by a search that was killed.")


@task(cache_policy=NO_CACHE)
@fails_cleanly
def choose_problem(workspace: Workspace, as_of: date | None) -> SearchProblem:
    """The rows before the gate's, the folds, and the settings to try.

    Parameters
    ----------
    workspace : Workspace
    as_of : date or None
        None: the newest session.
    """
    problem = search.search_problem_of(workspace.warehouse, workspace.settings, as_of)
    log.info(f"Searching on prices up to {problem.looked_through}; newer ones are the gate's.")
    return problem


@task(cache_policy=NO_CACHE)
@fails_cleanly
def begin(workspace: Workspace, problem: SearchProblem) -> str:
    """The search's run in MLflow.

    Parameters
    ----------
    workspace : Workspace
    problem : SearchProblem

    Returns
    -------
    str
        Its id.
    """
    return workspace.tuning_runs(log.info).begin(problem)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def run_trials(
    workspace: Workspace, problem: SearchProblem, run_id: str, n_trials: int, timeout: float
) -> TuningResult:
    """Run the trials, each shown in MLflow while it runs.

    Parameters
    ----------
    workspace : Workspace
    problem : SearchProblem
    run_id : str
        Of the search.
    n_trials : int
        Trials in all.
    timeout : float
        Seconds, the last fit included.
    """
    runs = workspace.tuning_runs(log.warning)
    shown = runs.trials_of(run_id, problem)
    try:
        on_change = both(search.TrialLog(n_trials, log.info), shown)
        tuned = search.search(workspace.state_folder.tuning, problem, n_trials, timeout, on_change)
    except BaseException:
        with suppress(TrackingError):  # the first error matters more
            runs.end_running()
        raise
    if shown.failed is not None:
        raise shown.failed
    return tuned


@task(cache_policy=NO_CACHE)
@fails_cleanly
def finish(workspace: Workspace, problem: SearchProblem, run_id: str, tuned: TuningResult) -> None:
    """Store the result, for people and for the next training.

    Parameters
    ----------
    workspace : Workspace
    problem : SearchProblem
    run_id : str
        Of the search.
    tuned : TuningResult
    """
    workspace.tuning_runs(log.info).finish(run_id, problem, tuned)
