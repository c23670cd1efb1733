"""The fields of commands' JSON objects, from what their functions return."""

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from tidecast.flows.ingest.quarantine import waiting
from tidecast.flows.reporting.model_names import readable
from tidecast.flows.steps.day import Day
from tidecast.flows.training.decisions import made_champion
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.flows.watch.known import known_at
from tidecast.flows.watch.live_record import live_record
from tidecast.flows.workspace.workspace import Workspace

if TYPE_CHECKING:
    from tidecast.forecasting.tuning.result import TuningResult  # torch takes seconds

JSON_COLUMNS = ("checks", "compared", "policy", "rules", "table_versions")
"""Columns of `decisions` and `runs` that hold JSON; here they are objects."""


def day_fields(day: Day) -> dict[str, Any]:
    """Return the fields of ``run``.

    Parameters
    ----------
    day : Day
    """
    workspace, found, row = day.workspace, day.ingested, day.row
    issued = workspace.warehouse.forecasts(day.as_of)
    return {
        "as_of": day.as_of,
        "outcome": day.outcome,
        "live": bool(issued["live"].any()),
        "prices": {
            "read": found.rows_in, "new": found.stored, "corrected": found.corrected, "known": found.unchanged,
            "in_quarantine": sum(found.quarantined.values()), "in_quarantine_by_rule": found.quarantined,
        },
        "champion": champion_fields(row) | {"verdict": day_verdict(day) or None},
        "series_quoted": row["series_live"],
        "series_forecast": row["series_forecast"],
        "steps": issued["step"].n_unique(),
        "left_out": day.forecasts.left_out if day.forecasts is not None else {},
        "shortfall": day.shortfall or None,
        "problems": day.problems,
        "forecasts": f"{workspace.warehouse.uri}/forecasts",
        "report": day.report or workspace.state_folder.reports / f"{day.as_of}.html",
    }  # fmt: skip


def day_verdict(day: Day) -> str:
    """Return why the model of a session is champion; empty if the day did not look, or found another champion.

    Parameters
    ----------
    day : Day
    """
    champion = day.champion
    if champion is None or (champion.version or None) != day.row["champion_version"]:
        return ""
    return verdict_text(champion.decision)


def verdict_text(decision: dict[str, Any]) -> str:
    """Return the two lines of a gate, or the reason where none was held.

    Parameters
    ----------
    decision : dict
        As `decision_details` returns it.
    """
    return str(decision.get("verdict") or decision.get("reason") or "")


def champion_fields(row: dict[str, Any]) -> dict[str, Any]:
    """Return which model made a session's forecasts.

    Parameters
    ----------
    row : dict
        Of `runs`.
    """
    return {
        "name": readable(str(row["champion"])), "version": row["champion_version"] or None,
        "trained_through": row["trained_through"],
    }  # fmt: skip


def session_fields(workspace: Workspace, row: dict[str, Any], forecasts: pl.DataFrame, verdict: str) -> dict[str, Any]:
    """Return the fields of ``show``.

    Parameters
    ----------
    workspace : Workspace
    row : dict
        Of `runs`.
    forecasts : polars.DataFrame
        Of that session.
    verdict : str
        Why its model is champion; empty where that is not known.
    """
    decided = made_champion(workspace.warehouse.decisions(), row["champion_version"])
    return {
        "as_of": row["as_of"],
        "run": parsed(row),
        "champion": champion_fields(row) | {"verdict": verdict or None},
        "decision": parsed(decided) if decided is not None else None,
        "record": record_fields(workspace),
        "report": workspace.state_folder.reports / f"{row['as_of']}.html",
        "forecasts": forecasts.drop("year"),
    }


def record_fields(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the live record up to the newest session, one object a window; empty while nothing has come true.

    Parameters
    ----------
    workspace : Workspace
    """
    as_of = workspace.warehouse.newest_session()
    if as_of is None or workspace.settings.calendar is None:
        return []
    return pooled(live_record(known_at(workspace.warehouse, workspace.settings, as_of)))


def pooled(record: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the pooled lines of a live record; none without scores.

    Parameters
    ----------
    record : polars.DataFrame
        As `live_record` returns it.
    """
    if not record.width:
        return []
    return record.filter(group="pooled").drop("group", "model", "step", "series_id").to_dicts()


def parsed(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a table without the column year, its JSON as objects.

    Parameters
    ----------
    row : dict
        Of `decisions` or `runs`.
    """
    read = {name: json.loads(value) if name in JSON_COLUMNS and value else value for name, value in row.items()}
    return {name: value for name, value in read.items() if name != "year"}


def quarantine_fields(warehouse: Warehouse, **rows: Any) -> dict[str, Any]:
    """Return the fields of ``quarantine``.

    Parameters
    ----------
    warehouse : Warehouse
    **rows : object
        Rules, series and days that choose the rows, as `waiting` takes them.
    """
    found = waiting(warehouse, **rows)
    counts = dict(found["rule"].value_counts(sort=True).iter_rows())
    return {"count": found.height, "by_rule": counts, "decided": warehouse.repairs().height,
            "waiting": found.drop("year", strict=False)}  # fmt: skip


def tuning_fields(found: "TuningResult") -> dict[str, Any]:
    """Return the fields of ``tune``.

    Parameters
    ----------
    found : TuningResult
    """
    trials = [
        {"number": trial.number, "state": trial.state, "settings": trial.settings, "loss": trial.value,
         "skill": trial.skill, "seconds": trial.seconds, "why": trial.why or None}
        for trial in found.trials
    ]  # fmt: skip
    states = {state: found.count(state) for state in ("complete", "pruned", "failed")}
    best = {"number": found.number, "settings": found.settings, "loss": found.value, "skill": found.skill}
    return {"metric": found.metric, "random_walk": found.random_walk, "best": best, "counts": states, "trials": trials}
