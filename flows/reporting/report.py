"""The report of a session as one page: the forecasts, how good they are, and where they come from.

The page is one HTML file that loads nothing: styles, pictures, data and one script are inside, and its policy allows
nothing else. Without the script it can be read too: it then shows some series as pictures and the first as a table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup, escape

from tidecast.flows.reporting import forecast_plots as plots
from tidecast.flows.reporting.calibration_plots import coverage_by_step
from tidecast.flows.reporting.figure import Picture
from tidecast.flows.reporting.model_names import readable, with_article
from tidecast.flows.reporting.pages.changes import Before, changes_by_series, changes_section
from tidecast.flows.reporting.pages.files import PageNote, links_html, write_whole
from tidecast.flows.reporting.pages.number_text import capital, digits_of, number
from tidecast.flows.reporting.pages.series_json import evenly, series_json
from tidecast.flows.reporting.pages.series_section import MOST_ROWS, most_worth_a_look, series_section
from tidecast.flows.reporting.pages.series_table import (
    CORRECTED,
    IN_FINDING,
    NEW,
    PEGGED,
    newest_rows,
    pegged_series,
    series_table,
)
from tidecast.flows.reporting.pages.template import fill, finished, script_hash
from tidecast.flows.reporting.watch_section import WatchData, watch_section
from tidecast.forecasting.evaluation.decision import skill_text
from tidecast.forecasting.evaluation.dm_test import compare
from tidecast.forecasting.tables.names import CRPS, RANDOM_WALK, loss_in
from tidecast.forecasting.tables.quantiles import levels_in

SOURCES = {  # bundled prices, with the credit that each publisher asks for
    "ecb": "Euro foreign exchange reference rates, bundled. Source: ECB statistics",
    "eia": "Energy spot prices, bundled. Source: U.S. Energy Information Administration",
}
Z_95 = 1.959963984540054
TOO_FEW = " (too few yet for an interval)"
MAX_STEPS = 5  # in the table of forecasts


LONGEST_NOTED = 200
"""Bytes of a series' name in a page's note, which must fit into the page's head."""


@dataclass(frozen=True)
class ReportData:
    """The content of a report: plain tables and values.

    Attributes
    ----------
    as_of : date
        Session of the forecasts.
    champion, version, run_id : str
        Model that forecasts ("GRU", "random_walk"), its registered version and training run; the last two are empty
        when the random walk replaces a missing champion.
    trained_through : date
    decision : mapping
        ``outcome``, ``reason``, ``verdict`` and ``decision`` (numbers, or None), as in ``Champion.decision``.
    gate_as_of : date or None
        Session of the gate behind the champion.
    evidence : polars.DataFrame or None
        ``evaluate(...).summary`` of that gate.
    forecasts : polars.DataFrame
        The published table of `as_of`.
    prices : polars.DataFrame
        Prices known at `as_of`.
    scores : polars.DataFrame
        All published forecasts whose truth is known.
    counts : mapping
        ``rows_in``, ``rows_stored``, ``rows_corrected``, ``rows_unchanged``, ``rows_quarantined`` of this run.
    quarantined : mapping
        Number of rows per broken rule.
    flagged : mapping
        Number of rows (or sessions, series, values) per rule that flagged stored data.
    left_out : mapping
        From a reason to the series that were not forecast for it.
    missing_ahead : str
        A sentence on future covariates that are missing for the sessions ahead.
    source, settings_digest : str
    table_versions, versions : mapping
        Versions of the tables read, and of the software.
    positive : bool
        Whether prices move by log returns.
    live : bool
        Whether the forecasts were issued in time and count in the track record.
    decided : str
        When, how and by whom the champion was promoted; empty without a registered champion.
    quoted : int
        Series that have a price of the last sessions: the headline says when some of them have no forecast.
    watched : WatchData or None
        Findings, the live record, widths, drift; None where nothing was watched.
    before : Before or None
        The session published before; None for the first.
    flags : polars.DataFrame or None
        ``series_id`` and ``rule`` of this session's flags.
    corrected : polars.DataFrame or None
        ``series_id``, ``time``, ``before`` and ``close`` of the stored prices that this session corrected.
    """

    as_of: date
    champion: str
    version: str
    run_id: str
    trained_through: date
    decision: Mapping[str, Any]
    gate_as_of: date | None
    evidence: pl.DataFrame | None
    forecasts: pl.DataFrame
    prices: pl.DataFrame
    scores: pl.DataFrame
    counts: Mapping[str, int]
    quarantined: Mapping[str, int]
    left_out: Mapping[str, Sequence[str]]
    source: str
    settings_digest: str
    table_versions: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    positive: bool = True
    live: bool = True
    flagged: Mapping[str, int] = field(default_factory=dict)
    decided: str = ""
    missing_ahead: str = ""
    quoted: int = 0
    watched: WatchData | None = None
    before: Before | None = None
    flags: pl.DataFrame | None = None
    corrected: pl.DataFrame | None = None


def write_report(path: Path, data: ReportData) -> Path:
    """Write the report in one step, so that a kill leaves no partial file. The same data give the same bytes.

    Parameters
    ----------
    path : Path
        File to write; its folder is created.
    data : ReportData

    Returns
    -------
    Path
        `path`.
    """
    return write_whole(path, render(data))


def render(data: ReportData) -> str:
    """Return the page as HTML, without secrets. The links to other days are set when the index is written.

    Parameters
    ----------
    data : ReportData

    Returns
    -------
    str
    """
    recent = newest_rows(data.prices)
    pegged = pegged_series(recent, data.forecasts, data.positive)
    last = recent.group_by("series_id", maintain_order=True).last().select("series_id", "close", "time")
    changes = None
    if data.before is not None:
        changes = changes_by_series(data.forecasts, data.before.forecasts, last, data.positive)
    watched = data.watched
    series = series_table(
        data.forecasts, recent, data.left_out, changes, None if watched is None else watched.widths,
        None if watched is None else watched.record, _marks(data, pegged),
    )  # fmt: skip
    page = fill(
        "report.html",
        data=data,
        headline=_headline(data),
        source=SOURCES.get(data.source, data.source),
        series=series_section(series, data.forecasts, recent),
        changes=None if changes is None else _changes(data, changes),
        pegged=pegged,
        table=forecast_table(data.forecasts, last, MOST_ROWS),
        evidence=None if data.evidence is None else _evidence(data, data.evidence),
        record=track_record(data.scores) if watched is None or watched.record.is_empty() else [],
        watched=None if watched is None else watch_section(watched),
        late=data.scores.filter(~pl.col("live")).height,
        note=_note(data, series).to_json(),
        links=Markup(links_html(None, None)),
        script_hash=script_hash(),
    )
    return finished(page, series_json(series, data.forecasts, recent))


def _marks(data: ReportData, pegged: Sequence[str]) -> pl.DataFrame:
    """Marks of series that this session's tables and findings give them."""
    before = None if data.before is None else set(data.before.forecasts["series_id"])
    new = () if before is None else [name for name in data.forecasts["series_id"].unique() if name not in before]
    findings = () if data.watched is None else data.watched.findings
    series = {
        PEGGED: pegged,
        NEW: new,
        CORRECTED: () if data.corrected is None else data.corrected["series_id"],
        IN_FINDING: [name for finding in findings for name in finding.get("series", ())],
    }
    rows = [(str(name), mark) for mark, names in series.items() for name in names]
    if data.flags is not None:
        flagged = data.flags.select("series_id", "rule").drop_nulls().unique()
        rows += [(name, f"flagged: {rule.replace('_', ' ')}") for name, rule in flagged.iter_rows()]
    return pl.DataFrame(rows, schema={"series_id": pl.String, "mark": pl.String}, orient="row")


def _changes(data: ReportData, by_series: pl.DataFrame) -> dict[str, Any]:
    assert data.before is not None
    return changes_section(
        data.before, data.champion, data.version, data.forecasts, by_series, data.corrected, data.positive
    )


def _note(data: ReportData, series: pl.DataFrame) -> PageNote:
    """Facts of the page that the index and Prefect's pages show."""
    findings = None if data.watched is None else tuple(str(finding["state"]) for finding in data.watched.findings)
    names = most_worth_a_look(series)["series_id"].cast(pl.String)
    return PageNote(findings, tuple(names.filter(names.str.len_bytes() <= LONGEST_NOTED)))


def forecast_table(forecasts: pl.DataFrame, prices: pl.DataFrame, most: int | None = None) -> dict[str, Any]:
    """The table of forecasts as text: per series the last price, then median and intervals of up to five steps.

    Parameters
    ----------
    forecasts : polars.DataFrame
        Forecast table of one session.
    prices : polars.DataFrame
        Panel with ``close``.
    most : int, optional
        Series in the table, the first by name. None: all.

    Returns
    -------
    dict
        ``sessions``: column heads; ``promises``: nominal coverage of the intervals, widest first ("90 %");
        ``rows``: per series ``series``, ``last``, ``late`` (its origin, when earlier than the newest) and ``cells``
        (``median`` and ``spans``, widest first).
    """
    names = forecasts["series_id"].unique().sort()
    newest, last_step = forecasts["origin"].max(), forecasts["step"].max()
    usual = forecasts.filter(pl.col("origin") == newest)
    forecasts = forecasts if most is None else forecasts.filter(pl.col("series_id").is_in(names.head(most).implode()))
    steps = evenly(forecasts["step"].unique().sort().to_list(), MAX_STEPS)
    levels = levels_in(forecasts.columns)
    bands = plots.bands(forecasts)
    last = prices.sort("time").group_by("series_id").agg(pl.col("close").last())
    closes = dict(last.iter_rows())
    rows = []
    for (series,), part in forecasts.filter(pl.col("step").is_in(steps)).group_by("series_id", maintain_order=True):
        digits = _digits(part.filter(pl.col("step") == steps[0]), closes[series])
        cells = []
        for row in part.sort("step").iter_rows(named=True):
            spans = [f"{number(row[low], digits)} – {number(row[high], digits)}" for low, high in bands]
            cells.append({"median": number(row["forecast"], digits), "spans": spans, "time": row["time"]})
        origin = part["origin"][0]
        late = origin if origin < newest else None
        rows.append({"series": series, "late": late, "last": number(closes[series], digits), "cells": cells})
    dates = dict(usual.select("step", "time").unique().iter_rows())
    return {
        "sessions": [{"step": step, "time": dates.get(step)} for step in steps],
        "promises": plots.promises(bands),
        "all_steps": len(steps) == forecasts["step"].n_unique(),
        "levels": len(levels),
        "n_series": len(names),
        "last_step": last_step,
        "rows": sorted(rows, key=lambda row: str(row["series"])),
    }


def track_record(scores: pl.DataFrame) -> list[dict[str, Any]]:
    """Scores of published live forecasts, per model and together.

    Parameters
    ----------
    scores : polars.DataFrame
        All published forecasts whose truth is known.

    Returns
    -------
    list of dict
        ``model``, ``forecasts``, ``origins``, ``first``, ``last``, ``skill`` with its 95 % interval for a cell of a
        table, ``against``, the same with its units, ``coverage`` in per cent. Empty while no truth is known.
    """
    live = scores.filter(pl.col("live"))
    if live.is_empty():
        return []
    loss = loss_in(live.columns)
    against = f"{loss}_random_walk"
    parts = [("all published forecasts", live)] if live["model"].n_unique() > 1 else []
    parts += [(with_article(str(name)), part) for (name,), part in live.group_by("model", maintain_order=True)]
    records = []
    for name, part in parts:
        by_origin = part.group_by("as_of").agg(pl.col(loss, against).mean()).sort("as_of")
        horizon = part.select(pl.col("step").max()).item()
        covered = part.select(pl.col("covered").cast(pl.Float64).mean()).item()
        found = compare(by_origin[loss].to_numpy(), by_origin[against].to_numpy(), horizon)
        records.append(
            {
                "model": name,
                "forecasts": part.height,
                "origins": by_origin.height,
                "first": by_origin["as_of"].min(),
                "last": by_origin["as_of"].max(),
                "skill": _skill(found.skill, found.low, found.high, TOO_FEW),
                "against": _skill(found.skill, found.low, found.high, TOO_FEW, unit=True),
                "coverage": "–" if covered is None else f"{100 * covered:.1f}",
            }
        )
    return records


def _skill(skill: float | None, low: float | None, high: float | None, if_unknown: str = "", unit: bool = False) -> str:
    """Skill with its 95 % interval, for a cell or, with `unit`, a line; `if_unknown` replaces an unknown interval."""
    if skill is None:
        return "–"
    return skill_text(skill, low, high, unit) + (if_unknown if low is None else "")


def _headline(data: ReportData) -> dict[str, Any]:
    """The published model, the reason, and the two lines of the verdict."""
    verdict = data.decision.get("verdict")
    numbers = data.decision.get("decision") or {}
    is_walk = data.champion == RANDOM_WALK
    published = f"{capital(with_article(data.champion))} is published"
    forecast = data.forecasts["series_id"].n_unique()
    if forecast < data.quoted:
        published += f" for {forecast:,} of {data.quoted:,} quoted series"
    if is_walk and numbers:
        published += ": no model earned it"
    reason = str(data.decision.get("reason", ""))
    for repeated in (  # the headline says it already
        f"{data.champion} is published: ",
        "No model earned it: the random walk is published. ",
        "The random walk is published. ",
    ):
        reason = reason.removeprefix(repeated)
    return {
        "published": published,
        "is_walk": is_walk,
        "reason": capital(reason),
        "verdict": _verdict_lines(verdict or ""),
        "numbers": numbers,
    }


def _verdict_lines(verdict: str) -> list[tuple[str, str]]:
    """Subject and statement of each line. Former versions had other subjects, and a standard error after "±"."""
    former = {"Centre": "Median", "Spread": "Distribution"}
    lines = [line.partition(" ") for line in re.sub(r" ± [0-9.]+", "", verdict).splitlines()]
    return [(former.get(subject, subject), statement) for subject, _, statement in lines]


def _evidence(data: ReportData, summary: pl.DataFrame) -> dict[str, Any]:
    """Pictures and text about the gate's folds."""
    numbers = data.decision.get("decision") or {}
    summary = _with_intervals(summary)
    models = summary.filter(pl.col("group") == "pooled")["model"].to_list()
    others = [name for name in models if name != RANDOM_WALK]
    candidate = numbers.get("candidate") or others[0]
    series = summary.filter((pl.col("group") == "series") & (pl.col("model") == candidate))
    worse = series.filter(pl.col("skill") < 0).sort("skill")
    surely = worse.filter(pl.col("skill_high") < 0)
    levels = levels_in(data.forecasts.columns)
    loss = loss_in(summary.columns)
    pooled = summary.filter(pl.col("group") == "pooled").sort(loss, nulls_last=True)
    return {
        "candidate": candidate,
        "loss": loss.upper() if loss == CRPS else loss,
        "models": [
            {
                "model": readable(row["model"]),
                "loss": _digits4(row[loss]),
                "mae": _digits4(row["mae"]),
                "skill": _skill(row["skill"], row["skill_low"], row["skill_high"]),
                "coverage": "–" if row["coverage"] is None else f"{100 * row['coverage']:.1f}",
            }
            for row in pooled.iter_rows(named=True)
        ],
        "n_series": series.height,
        "worse": worse["series_id"].to_list(),
        "surely_worse": surely["series_id"].to_list(),
        "pictures": [
            _inline(plots.skill_by_step(summary, others)),
            _inline(coverage_by_step(summary, models, max(levels) - min(levels))),
            _inline(plots.skill_by_series(summary, candidate)),
        ],
    }


def _with_intervals(summary: pl.DataFrame) -> pl.DataFrame:
    """The summary with intervals of skill, which earlier versions of Tidecast did not store: there, of the error."""
    if "skill_low" in summary.columns:
        return summary
    error = Z_95 * pl.col("skill_se")
    return summary.with_columns(skill_low=pl.col("skill") - error, skill_high=pl.col("skill") + error)


def _inline(picture: Picture) -> dict[str, Any]:
    """A picture for the page. Its SVG is safe to include, because matplotlib escapes every name in it."""
    svg = picture.svg().replace("<svg ", f'<svg role="img" aria-label="{escape(picture.title)}" ', 1)
    return {"title": picture.title, "reading": picture.reading, "svg": Markup(svg)}


def _digits(first: pl.DataFrame, last: float) -> int:
    """Decimals that show two digits of the narrow interval's width; without intervals, six digits of the price."""
    bands = plots.bands(first)
    width = float(first[bands[-1][1]][0] - first[bands[-1][0]][0]) if bands else 0.0
    return digits_of(width, last)


def _digits4(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
