"""The index of all days: who forecast, how that day's forecasts did, what was found.

It is made anew from tables and pages each time, and depends on nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tidecast.flows.redaction import redact
from tidecast.flows.reporting.model_names import readable
from tidecast.flows.reporting.pages.files import INDEX, PageNote, link_days, note_of, pages_in, write_whole
from tidecast.flows.reporting.pages.number_text import signed_percent
from tidecast.flows.reporting.pages.template import fill
from tidecast.forecasting.evaluation.decision import skill_text
from tidecast.forecasting.evaluation.dm_test import compare
from tidecast.forecasting.tables.names import RANDOM_WALK, loss_in

ROLLING = 63
"""Days of forecasts that the rolling skill counts, up to the row's own."""

FEWEST = 10
"""Days from which an interval is shown."""

CHART_DAYS = 504
CHART_WIDTH, CHART_HEIGHT = 800, 160


def write_index(
    folder: Path, runs: pl.DataFrame, scores: pl.DataFrame, decisions: pl.DataFrame, source: str = ""
) -> Path:
    """Link all pages with each other, and write the index of all days. The same tables and pages give the same bytes.

    Parameters
    ----------
    folder : Path
        Of the pages.
    runs, scores, decisions : polars.DataFrame
        Tables of the warehouse.
    source : str
        Where the prices come from, for the title.

    Returns
    -------
    Path
    """
    link_days(folder)
    notes = {day: note_of(path) for day, path in pages_in(folder).items()}
    rows = index_rows(runs, scores, decisions, notes)
    page = fill(
        "index.html", years=_by_year(rows), newest=rows[0] if rows else None, chart=_chart(rows), n_days=len(rows),
        rolling=ROLLING, source=source,
    )  # fmt: skip
    return write_whole(folder / INDEX, redact(page))


def index_rows(
    runs: pl.DataFrame, scores: pl.DataFrame, decisions: pl.DataFrame, notes: Mapping[date, PageNote]
) -> list[dict[str, Any]]:
    """Return a row for each session that was run or has a page, newest first.

    Parameters
    ----------
    runs, scores, decisions : polars.DataFrame
        Tables of the warehouse.
    notes : mapping
        Of the days that have a page.

    Returns
    -------
    list of dict
        ``day``, ``has_page``, ``champion``, ``verdict``, ``series``, ``skill`` of that day's forecasts as far as they
        came true, ``rolling`` as text and ``rolling_numbers`` (skill, low, high), ``findings``, ``status``.
    """
    live = _live_days(scores)
    verdicts = _verdicts(decisions)
    by_day = {row["as_of"]: row for row in runs.to_dicts()}
    rows = []
    for day in sorted({*by_day, *notes}, reverse=True):
        row = by_day.get(day, {})
        here = live.get(day, {})
        numbers = here.get("rolling")
        rows.append({
            "day": day,
            "has_page": day in notes,
            "champion": _champion(row),
            "verdict": _verdict(row, verdicts),
            "series": _series(row),
            "skill": "–" if here.get("skill") is None else signed_percent(here["skill"], 1),
            "rolling": _rolling_text(numbers),
            "rolling_numbers": numbers,
            "findings": _findings(notes.get(day)),
            "n_findings": len(found) if (found := notes.get(day, PageNote()).findings) else 0,
            "status": "a step failed" if row.get("status") == "failed" else "",
        })  # fmt: skip
    return rows


def _live_days(scores: pl.DataFrame) -> dict[date, dict[str, Any]]:
    """Skill of each day's live forecasts, and of the `ROLLING` days up to it."""
    live = scores.filter(pl.col("live")) if scores.width else scores
    if live.is_empty():
        return {}
    loss = loss_in(live.columns)
    walk = f"{loss}_random_walk"
    days = live.drop_nulls([loss, walk]).group_by("as_of").agg(pl.col(loss, walk).mean(), horizon=pl.col("step").max())
    days = days.sort("as_of")
    own, other, horizon = days[loss].to_numpy(), days[walk].to_numpy(), days["horizon"].to_list()
    found = {}
    for place, day in enumerate(days["as_of"].to_list()):
        window = slice(max(0, place + 1 - ROLLING), place + 1)
        found[day] = {
            "skill": 1 - own[place] / other[place] if other[place] > 0 else None,
            "rolling": _rolling(own[window], other[window], horizon[place]),
        }
    return found


def _rolling(own: np.ndarray, other: np.ndarray, horizon: int) -> tuple[float, float | None, float | None] | None:
    found = compare(own, other, horizon)
    if found.skill is None:
        return None
    return (found.skill, None, None) if len(own) < FEWEST else (found.skill, found.low, found.high)


def _rolling_text(numbers: tuple[float, float | None, float | None] | None) -> str:
    if numbers is None:
        return "–"
    skill, low, high = numbers
    return skill_text(skill, low, high, unit=False)


def _verdicts(decisions: pl.DataFrame) -> dict[str, str]:
    """Skill at the gate of each version's last decision."""
    rows = decisions.filter(pl.col("distribution_skill").is_not_null()) if decisions.width else decisions
    return {
        str(row["version"]): skill_text(
            row["distribution_skill"], row["distribution_low"], row["distribution_high"], unit=False
        )
        for row in rows.to_dicts()
    }


def _verdict(row: Mapping[str, Any], verdicts: Mapping[str, str]) -> str:
    """The gate's number, for a model that won it."""
    if not row or row.get("champion") in (None, RANDOM_WALK):
        return "–"
    return verdicts.get(str(row.get("champion_version") or ""), "–")


def _champion(row: Mapping[str, Any]) -> str:
    if not row.get("champion"):
        return "–"
    version = f" v{row['champion_version']}" if row.get("champion_version") else ""
    return f"{readable(str(row['champion']))}{version}"


def _series(row: Mapping[str, Any]) -> str:
    forecast, quoted = row.get("series_forecast"), row.get("series_live") or 0
    if forecast is None:
        return "–"
    return f"{forecast:,} of {quoted:,}" if forecast < quoted else f"{forecast:,}"


def _findings(note: PageNote | None) -> str:
    if note is None or note.findings is None:
        return "–"
    return ", ".join(dict.fromkeys(state.replace("_", " ") for state in note.findings)) or "none"


def _by_year(rows: list[dict[str, Any]]) -> list[tuple[int, list[dict[str, Any]]]]:
    years: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        years.setdefault(row["day"].year, []).append(row)
    return list(years.items())


def _chart(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The rolling skill of the newest days as points of a line and of the band around it, oldest first."""
    known = [(row["day"], *row["rolling_numbers"]) for row in rows[:CHART_DAYS] if row["rolling_numbers"]][::-1]
    known = [row for row in known if row[2] is not None and all(math.isfinite(value) for value in row[1:])]
    if len(known) < 2:
        return None
    low = min(0.0, *(row[2] for row in known))
    high = max(0.0, *(row[3] for row in known))
    size = (high - low) or 1.0

    def point(place: int, value: float) -> str:
        return f"{CHART_WIDTH * place / (len(known) - 1):.1f} {CHART_HEIGHT * (high - value) / size:.1f}"

    upper = [point(place, row[3]) for place, row in enumerate(known)]
    lower = [point(place, row[2]) for place, row in enumerate(known)][::-1]
    return {
        "line": "M" + "L".join(point(place, row[1]) for place, row in enumerate(known)),
        "band": "M" + "L".join([*upper, *lower]) + "Z",
        "zero": f"{CHART_HEIGHT * high / size:.1f}",
        "top": signed_percent(high, 1), "bottom": signed_percent(low, 1),
        "zero_share": round(100 * high / size, 1),
        "first": known[0][0], "last": known[-1][0],
        "now": skill_text(*known[-1][1:]),
        "width": CHART_WIDTH, "height": CHART_HEIGHT,
    }  # fmt: skip
