"""The flow that `tidecast schedule` serves. A request to Prefect's API can choose its session, and nothing else.

State folder and settings come from the process that serves the schedule: its environment, pyproject.toml and the
state folder. A request that could set them could read any file and send any ``${VAR}`` to any address.
"""

from collections.abc import MutableMapping
from datetime import date
from typing import Any

from prefect import flow
from prefect.client.schemas import State

from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.daily import daily_forecast, parameters_refused, print_outcome
from tidecast.flows.safe_output import fails_cleanly
from tidecast.flows.steps.day import Day

ENTRYPOINT = "tidecast.flows.scheduling.served_flow.scheduled_forecast"


@flow(name=daily_forecast.name, on_completion=[print_outcome], on_failure=[print_outcome])
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
    return daily_forecast.fn(as_of=as_of, reissue=reissue)


def bind(home: StateFolder, environ: MutableMapping[str, str]) -> None:
    """Fix the state folder, and which flow runs, in the environment of the processes that Prefect starts for a run.

    Prefect runs the entry point that its database names unless the environment names one; a request can change the
    database.

    Parameters
    ----------
    home : StateFolder
    environ : mapping
        Two variables are set in it.
    """
    environ["TIDECAST_HOME"] = str(home.path)
    environ["PREFECT__FLOW_ENTRYPOINT"] = ENTRYPOINT
