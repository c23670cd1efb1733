"""The steps of the watch: note a look at the source, find what is wrong, replace a champion that is worse."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime

from tidecast.flows.ingest.ingest import Ingested
from tidecast.flows.log import log
from tidecast.flows.reporting.watch_section import WatchData
from tidecast.flows.steps.promote import Promoter
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.flows.watch.check import Watched, watch
from tidecast.flows.watch.known import known_at
from tidecast.flows.watch.rule_counts import rule_counts
from tidecast.flows.workspace.workspace import Workspace


def note_look(warehouse: Warehouse, found: Ingested, now: datetime) -> None:
    """Store when the source was looked at, and its newest session. A run of an earlier session is not a look.

    Parameters
    ----------
    warehouse : Warehouse
    found : Ingested
        The prices that were taken in.
    now : datetime
        With a time zone.
    """
    if found.as_of >= found.newest:
        warehouse.put_look(now.astimezone(UTC), found.newest_in_source)


def watch_session(workspace: Workspace, found: Ingested, now: datetime) -> tuple[Watched, WatchData]:
    """Return everything that is watched at a session, and its part of the report. Findings go to the log.

    Parameters
    ----------
    workspace : Workspace
    found : Ingested
        The prices that were taken in.
    now : datetime
        With a time zone.
    """
    note_look(workspace.warehouse, found, now)
    is_newest = found.as_of >= found.newest
    known = known_at(workspace.warehouse, workspace.settings, found.as_of)
    watched = watch(known, workspace.settings, now if is_newest else None)
    say_findings(watched)
    findings = tuple(finding.to_dict() for finding in watched.checked.findings)
    return watched, WatchData(findings, watched.record, watched.widths, watched.drift, rule_counts(known))


def say_findings(watched: Watched) -> None:
    """Write what was found to the log, a line each.

    Parameters
    ----------
    watched : Watched
    """
    for finding in watched.checked.findings:
        log.warning(f"{finding.what} Since {finding.since}. {finding.to_do}")


def demote_if_worse(
    workspace: Workspace, watched: Watched, found: Ingested, prefect: Mapping[str, str] | None = None
) -> str | None:
    """Replace a champion that is worse than the random walk; return the outcome, None if it keeps its place.

    Parameters
    ----------
    workspace : Workspace
    watched : Watched
    found : Ingested
        The prices that were taken in. An earlier session than the newest demotes nothing.
    prefect : mapping, optional
        ``id`` and, where it has one, ``url`` of the flow run.
    """
    evidence = watched.evidence
    if evidence is None or not evidence.is_worse or not workspace.settings.demote or found.as_of < found.newest:
        return None
    row = Promoter.of(workspace).demote(found.as_of, evidence, "the daily flow", prefect)
    return None if row is None else str(row["outcome"])


def watch_stored(workspace: Workspace, as_of: date, now: datetime) -> Watched:
    """Return everything that is watched at a session, without a look at the source.

    Parameters
    ----------
    workspace : Workspace
    as_of : date
    now : datetime
        With a time zone.
    """
    return watch(known_at(workspace.warehouse, workspace.settings, as_of), workspace.settings, now)
