"""The flows of a panel's deployments. A request to Prefect's API can choose a session, and nothing else that matters.

State folder and settings come from the process that runs them: its environment, pyproject.toml and the state folder. A
request that could set them could read any file and send any ``${VAR}`` to any address.
"""

import os
from collections.abc import MutableMapping
from datetime import date
from typing import Any

from prefect import flow
from prefect.client.schemas import State

from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.daily import daily_forecast
from tidecast.flows.maintenance import maintain_warehouse
from tidecast.flows.opening import parameters_refused
from tidecast.flows.prefect_ui.lost_runs import start_again
from tidecast.flows.prefect_ui.outcome import print_outcome
from tidecast.flows.prefect_ui.parameters import describes_parameters
from tidecast.flows.prefect_ui.run_names import first_name
from tidecast.flows.safe_output import fails_cleanly
from tidecast.flows.steps.day import Day
from tidecast.flows.tune import HOUR, TRIALS, tune_forecaster
from tidecast.forecasting.estimator.orphans import end_with

SERVED_BY = "_TIDECAST_SERVED_BY"
"""The process whose end ends a run, too: that of `tidecast schedule`. A worker's runs outlive the worker."""

_HOOKS: dict[str, Any] = {
    "on_completion": [print_outcome],
    "on_failure": [print_outcome],
    "on_cancellation": [print_outcome],
    "on_crashed": [print_outcome, start_again],
}


@flow(name=daily_forecast.name, flow_run_name=first_name, **_HOOKS)
@describes_parameters
@fails_cleanly
def scheduled_forecast(
    as_of: date | None = None, reissue: bool = False, home: Any = None, settings: Any = None
) -> Day | State[Day]:
    """Forecast the sessions after `as_of`, and publish; see `daily_forecast`.

    Parameters
    ----------
    as_of : date, optional
        The session to stand on. None: the session of the scheduled start time, after the missed ones before it.
    reissue : bool
        Replace the forecasts that were issued for `as_of`.
    home, settings : object, optional
        Refused: they are named so that a request with them fails with the reason. Prefect crashes on unknown names.

    Raises
    ------
    SettingsError
        `home` or `settings` is given.
    """
    if home is not None or settings is not None:
        raise parameters_refused()
    _end_with_schedule()
    return daily_forecast.fn(as_of=as_of, reissue=reissue)


@flow(name=tune_forecaster.name, flow_run_name=first_name, **_HOOKS)
@describes_parameters
@fails_cleanly
def scheduled_tuning(as_of: date | None = None, n_trials: int = TRIALS, timeout: float = HOUR) -> None:
    """Search for better settings; the next training tests what is found. See `tune_forecaster`.

    Parameters
    ----------
    as_of : date, optional
        The session to stand on. None: the newest one with prices.
    n_trials : int
        Trials in all.
    timeout : float
        Seconds for the search, at most.
    """
    _end_with_schedule()
    tune_forecaster.fn(as_of=as_of, n_trials=n_trials, timeout=timeout)


@flow(name=maintain_warehouse.name, flow_run_name=first_name, **_HOOKS)
@fails_cleanly
def scheduled_upkeep() -> dict[str, tuple[int, int]]:
    """Join small files of the tables and remove unused ones; see `maintain_warehouse`."""
    _end_with_schedule()
    return maintain_warehouse.fn()


def bind(home: StateFolder, environ: MutableMapping[str, str], pid: int) -> None:
    """Fix the state folder in the environment of the processes that a schedule starts for its runs.

    Parameters
    ----------
    home : StateFolder
    environ : mapping
        Two variables are set in it.
    pid : int
        Of the process that starts them.
    """
    environ["TIDECAST_HOME"] = str(home.path)
    environ[SERVED_BY] = str(pid)


def _end_with_schedule() -> None:
    """In a run that `tidecast schedule` started, end when it has ended."""
    if os.environ.get(SERVED_BY) == str(os.getppid()):
        end_with(os.getppid())
