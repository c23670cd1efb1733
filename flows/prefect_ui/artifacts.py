"""Artifacts of a day's run: a summary, a table of forecasts, a picture, and a link to the model's run in MLflow.

Prefect keeps those of one key together, so each panel has a page per kind with its history, newest first. Nothing in
them holds a secret: every text is redacted.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from tidecast.features.error_text import counted
from tidecast.flows.redaction import redact
from tidecast.flows.reporting.forecast_plots import fans
from tidecast.flows.reporting.model_names import readable
from tidecast.flows.reporting.pages.files import note_of
from tidecast.flows.steps.day import Day, shortfalls_text
from tidecast.flows.warehouse.schema import quantile_columns

MOST_ROWS = 100
"""Series in the table of forecasts; Prefect sends the whole table to the browser."""

MOST_PICTURES = 6
"""Series in the picture."""

SESSIONS = 60
"""Prices before the forecast in the picture."""


def show_day(day: Day, panel: str, mlflow_url: str | None) -> None:
    """Create the artifacts of a day whose forecasts are published.

    Parameters
    ----------
    day : Day
    panel : str
        The panel's name on Prefect's pages: lower-case letters, digits and hyphens.
    mlflow_url : str or None
        Page of the run that trained the model. None: no link.
    """
    issued = day.workspace.warehouse.forecasts(day.as_of)
    create_markdown_artifact(key=f"{panel}-day", markdown=summary(day, issued), description=f"{day.as_of}")
    first = note_of(day.report).series if day.report is not None else ()
    rows, about = table(issued, first)
    create_table_artifact(key=f"{panel}-forecasts", table=rows, description=f"{day.as_of}: {about}")
    create_image_artifact(key=f"{panel}-picture", image_url=picture(day, issued, first), description=f"{day.as_of}")
    if mlflow_url is not None:
        text = f"The training of {champion(day.row)}"
        create_link_artifact(key=f"{panel}-model", link=redact(mlflow_url), link_text=text, description=text)


def summary(day: Day, issued: pl.DataFrame) -> str:
    """Return what happened on a day, as Markdown.

    Parameters
    ----------
    day : Day
    issued : polars.DataFrame
        The session's forecasts.
    """
    row, found = day.row, day.ingested
    late = "" if issued["live"].all() else " They were issued late and stay out of the track record."
    steps = issued["step"].n_unique()
    lines = [
        f"# {day.as_of}",
        f"Forecasts of {issued['series_id'].n_unique()} series for {counted(steps, 'session')} "
        f"are published, by {champion(row)}.{late}",
    ]
    decision = day.champion.decision if day.champion is not None else {}
    if verdict := decision.get("verdict") or decision.get("reason"):
        lines += [f"> {line}" for line in str(verdict).splitlines()]
    if (reason := str(decision.get("reason") or "")) and reason != verdict:
        lines += ["", readable(reason)]
    in_quarantine = sum(found.quarantined.values())
    facts = {
        "Prices": f"{counted(found.rows_in, 'row')} read: {found.stored:,} new, {found.corrected:,} corrected, "
        f"{found.unchanged:,} known, {in_quarantine:,} in quarantine",
        **{f"Quarantine, {rule}": counted(count, "row") for rule, count in sorted(found.quarantined.items())},
        "Model": champion(row),
        "Training": str(row["training"]),
        "Report": str(day.report or ""),
    }
    for reason, names in (day.forecasts.left_out if day.forecasts is not None else {}).items():
        facts[f"Left out, {reason}"] = f"{len(names)} series"
    facts["Missing"] = day.forecasts.missing_ahead if day.forecasts is not None else ""
    facts["Past sessions"] = shortfalls_text(day.made_up)
    lines += ["", "| | |", "|---|---|", *(f"| {_cell(name)} | {_cell(text)} |" for name, text in facts.items() if text)]
    if day.problems:
        lines += ["", "## Failed", *(f"- {_cell(problem)}" for problem in day.problems)]
    return redact("\n".join(lines))


def table(issued: pl.DataFrame, first: Sequence[str] = ()) -> tuple[list[dict[str, Any]], str]:
    """Return a row for each series, at most `MOST_ROWS`, and a sentence on what they are.

    Parameters
    ----------
    issued : polars.DataFrame
        The session's forecasts.
    first : sequence of str
        The series most worth a look, in the order of the report. Of too many series, these come first.
    """
    quantiles = quantile_columns(issued)
    last = issued["step"].max()
    wanted = {"median": "forecast"} | ({"low": quantiles[0], "high": quantiles[-1]} if quantiles else {})
    ends = issued.filter(pl.col("step").is_in([1, last])).sort("series_id", "step")
    names = ends["series_id"].unique(maintain_order=True).to_list()
    chosen = names if len(names) <= MOST_ROWS else _ordered(names, first)[:MOST_ROWS]
    rows = []
    for series_id in chosen:
        row = {"series": redact(str(series_id))}
        for step in ends.filter(pl.col("series_id") == series_id).iter_rows(named=True):
            which = f"step {step['step']}"
            row[f"{which}, session"] = str(step["time"])
            row |= {f"{which}, {name}": f"{step[column]:.6g}" for name, column in wanted.items()}
        rows.append(row)
    interval = f", with the quantiles {quantiles[0][1:]} and {quantiles[-1][1:]}" if quantiles else ""
    which = ", those most worth a look first" if first else " by name"
    some = "the series" if len(rows) == 1 else f"all {len(rows)} series"
    if len(names) > len(rows):
        some = f"{len(rows)} of {len(names):,} series{which}"
    return rows, f"first and last step of {some}{interval}."


def picture(day: Day, issued: pl.DataFrame, first: Sequence[str] = ()) -> str:
    """Return a picture of some forecasts after the last prices, as an address that holds the PNG itself.

    Parameters
    ----------
    day : Day
    issued : polars.DataFrame
        The session's forecasts.
    first : sequence of str
        The series most worth a look, in the order of the report; the others follow by name.
    """
    series = _ordered(issued["series_id"].unique().sort().to_list(), first)[:MOST_PICTURES]
    prices = day.workspace.warehouse.closes(day.as_of).filter(pl.col("series_id").is_in(series))
    drawn = replace(fans(prices, issued, series, SESSIONS), title=f"Forecasts of {day.as_of}")
    return "data:image/png;base64," + base64.b64encode(drawn.png()).decode()


def champion(row: dict[str, Any]) -> str:
    """Return the model that made a session's forecasts, as text.

    Parameters
    ----------
    row : dict
        Of the table `runs`.
    """
    version = f", version {row['champion_version']}" if row["champion_version"] else ""
    return f"{readable(str(row['champion']))}{version}, trained through {row['trained_through']}"


def _ordered(names: Sequence[str], first: Sequence[str]) -> list[str]:
    """The names, those of `first` in its order before the others."""
    there = set(names)
    ahead = [name for name in first if name in there]
    return [*ahead, *(name for name in names if name not in set(ahead))]


def _cell(text: str) -> str:
    """Text for a cell of a table in Markdown: one line, nothing that Markdown or HTML would read as its own."""
    plain = " ".join(text.split()).replace("\\", "\\\\")
    return re.sub(r"([|<>\[\]*_`#])", r"\\\1", plain)
