"""The watch in the daily flow: find what is wrong, replace a champion that is worse, send events."""

from dataclasses import dataclass
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from tidecast.flows.ingest.ingest import Ingested
from tidecast.flows.prefect_ui.run_names import run_links
from tidecast.flows.reporting.watch_section import WatchData
from tidecast.flows.safe_output import fails_cleanly
from tidecast.flows.steps import watching as steps
from tidecast.flows.steps.day import Problems
from tidecast.flows.watch.check import Checked, Watched, with_problems
from tidecast.flows.watch.events import announce
from tidecast.flows.workspace.workspace import Workspace


@dataclass(frozen=True)
class Seen:
    """What the watch of a session found and did.

    Attributes
    ----------
    watched : Watched or None
        None where watching failed.
    page : WatchData or None
        Its part of the report.
    demoted : bool
        Whether the champion lost its place.
    """

    watched: Watched | None = None
    page: WatchData | None = None
    demoted: bool = False


def look_around(workspace: Workspace, ingested: Ingested, now: datetime, problems: Problems) -> Seen:
    """Watch a session in the daily flow. A failure is noted and stops nothing.

    Parameters
    ----------
    workspace : Workspace
    ingested : Ingested
    now : datetime
        With a time zone.
    problems : Problems
        Failures so far.
    """
    with problems.noted("watching"):
        return watch(workspace, ingested, now)
    return Seen()


def tell(workspace: Workspace, seen: Seen, problems: Problems) -> None:
    """Send what was found, and what failed in this run, as events.

    Parameters
    ----------
    workspace : Workspace
    seen : Seen
    problems : Problems
        Failures so far.
    """
    if seen.watched is not None:
        with problems.noted("sending events"):
            announce_findings(workspace, with_problems(seen.watched.checked, problems))


@task(cache_policy=NO_CACHE)
@fails_cleanly
def watch(workspace: Workspace, ingested: Ingested, now: datetime) -> Seen:
    """Tables → findings; a champion that is worse than the random walk loses its place.

    Parameters
    ----------
    workspace : Workspace
    ingested : Ingested
    now : datetime
        With a time zone.
    """
    watched, page = steps.watch_session(workspace, ingested, now)
    return Seen(watched, page, steps.demote_if_worse(workspace, watched, ingested, run_links()) is not None)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def announce_findings(workspace: Workspace, checked: Checked) -> int:
    """Findings → Prefect events.

    Parameters
    ----------
    workspace : Workspace
    checked : Checked
    """
    return announce(checked, workspace.state_folder.panel_id(), str(workspace.state_folder.path))
