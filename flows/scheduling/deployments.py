"""The deployments of a panel, defined once: for `tidecast schedule`, which serves them, and for `prefect deploy`.

| flow | when |
|---|---|
| daily-forecast | after each close of the panel's market; it trains when that is due |
| tune-forecaster | the first Saturday of the month |
| maintain-warehouse | the first Sunday of the month |

Their name is that of the panel, so several panels share a server.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron, RRule, Schedule

from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import SettingsError
from tidecast.flows.log import log
from tidecast.flows.prefect_ui.panel_names import panel_name
from tidecast.flows.scheduling import served_flow
from tidecast.flows.scheduling.market_times import Times, daily_times, monthly_times

TAG = "tidecast"


@dataclass(frozen=True)
class PanelDeployment:
    """One deployment of a panel.

    Attributes
    ----------
    flow : Flow
    name : str
        The panel's.
    description : str
        Markdown, shown on the deployment's page.
    tags : tuple of str
        That it is one of ours, the panel's id, and where its state folder is.
    times : Times
    """

    flow: Flow[..., Any]
    name: str
    description: str
    tags: tuple[str, ...]
    times: Times

    @property
    def full_name(self) -> str:
        """Name with the flow's, as Prefect's commands take it: "daily-forecast/rates-3fa85f"."""
        return f"{self.flow.name}/{self.name}"

    @property
    def entrypoint(self) -> str:
        """Where the flow is imported from."""
        return f"{served_flow.__name__}.{self.flow.fn.__name__}"

    @property
    def schedule(self) -> Schedule:
        """The times as Prefect's schedule."""
        if self.times.cron is not None:
            return Cron(self.times.cron, timezone=self.times.zone)
        assert self.times.rrule is not None
        return RRule(self.times.rrule, timezone=self.times.zone)


def deployments_of(home: StateFolder, settings: Settings, today: date) -> list[PanelDeployment]:
    """Return the deployments of a panel.

    Parameters
    ----------
    home : StateFolder
        Gets an id, if it has none.
    settings : Settings
    today : date
        Holidays are listed from this year on.
    """
    name, tags = panel_name(home), (TAG, panel_tag(home), place_tag(home))
    where = f"The panel in `{home.path}` on {socket.gethostname()}"
    return [
        PanelDeployment(
            served_flow.scheduled_forecast, name,
            f"{where}: takes in new prices, publishes forecasts, scores those that have come true, and trains when "
            f"that is due. It runs {(daily := daily_times(settings, today)).text}.",
            tags, daily,
        ),
        PanelDeployment(
            served_flow.scheduled_tuning, name,
            f"{where}: searches for better settings, which the next training tests.",
            tags, monthly_times(1, "SA", 4, settings, today),
        ),
        PanelDeployment(
            served_flow.scheduled_upkeep, name,
            f"{where}: joins small files of the tables, and removes unused ones.",
            tags, monthly_times(1, "SU", 4, settings, today),
        ),
    ]  # fmt: skip


def panel_tag(home: StateFolder) -> str:
    """Return the tag that marks a panel's deployments, whatever their name.

    Parameters
    ----------
    home : StateFolder
    """
    return f"panel {home.panel_id()}"


def place_tag(home: StateFolder) -> str:
    """Return the tag that says where the state folder is.

    Parameters
    ----------
    home : StateFolder
    """
    return f"{socket.gethostname()}:{home.path}"


def make_room(client: SyncPrefectClient, home: StateFolder, planned: Sequence[PanelDeployment]) -> None:
    """Refuse to overwrite a deployment of something else, and remove those that this panel had under an older name.

    Parameters
    ----------
    client : SyncPrefectClient
    home : StateFolder
    planned : sequence of PanelDeployment

    Raises
    ------
    SettingsError
        A deployment of that name belongs to something else, or another state folder with the same id is scheduled.
    """
    for one in planned:
        there = _read(client, one.full_name)
        if there is not None:
            _refuse_foreign(home, one, there)
    ours = DeploymentFilter.model_validate({"tags": {"all_": [panel_tag(home)]}})
    for there in client.read_deployments(deployment_filter=ours):
        if there.name != planned[0].name:
            client.delete_deployment(there.id)
            log.info(f"Removed the deployment {there.name}, which this panel had before its folder was renamed.")


def _read(client: SyncPrefectClient, full_name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(full_name)
    except ObjectNotFound:
        return None


def _refuse_foreign(home: StateFolder, planned: PanelDeployment, there: DeploymentResponse) -> None:
    if panel_tag(home) not in there.tags:
        raise SettingsError(
            f"The deployment {planned.full_name} must be this panel's, but the server has one of something else by "
            f"that name ({there.description or 'without a description'}). Rename the folder of the panel, or remove "
            f"the other: prefect deployment delete {planned.full_name}"
        )
    place = next((tag for tag in there.tags if ":" in tag), "")
    if place == place_tag(home):
        return
    host, _, path = place.partition(":")
    other = StateFolder(Path(path))
    if host == socket.gethostname() and (other.path / "panel_id").exists() and other.panel_id() == home.panel_id():
        raise SettingsError(
            f"A panel must be scheduled from one state folder, but {other.path} is scheduled with the same id: one of "
            f"them is a copy. To make {home.path} a panel of its own, remove {home.path / 'panel_id'}."
        )
    log.warning(f"This panel was scheduled at {place} before; {place_tag(home)} takes over.")
