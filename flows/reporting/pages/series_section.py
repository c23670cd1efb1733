"""The series of a page without its script: pictures of those most worth a look, and the marks to filter by."""

from __future__ import annotations

from typing import Any

import polars as pl
from markupsafe import Markup

from tidecast.flows.reporting.pages.number_text import digits_of, number, signed_percent
from tidecast.flows.reporting.pages.series_json import HISTORY
from tidecast.flows.reporting.pages.series_table import NARROW, WIDE, mark_order
from tidecast.flows.reporting.pages.sparklines import fan_svg
from tidecast.forecasting.plotting.tables import bands, promises

MOST_CARDS = 24
"""Series drawn without the script, and on a page of pictures with it."""

MOST_ROWS = 50
"""Series in the table without the script."""


def series_section(table: pl.DataFrame, forecasts: pl.DataFrame, recent: pl.DataFrame) -> dict[str, Any]:
    """Return cards of the series most worth a look, and what the section says of all.

    Parameters
    ----------
    table : polars.DataFrame
        As of `series_table`.
    forecasts : polars.DataFrame
        The published table of the session.
    recent : polars.DataFrame
        As of `newest_rows`.

    Returns
    -------
    dict
        ``n_series``, ``n_forecast``, ``promise`` of the outermost interval ("90 %", or None); ``history``; ``cards``
        with ``series``, ``svg``, ``last``, ``span``, ``median``, ``time`` and ``about``; ``marks``.
    """
    intervals = bands(forecasts)
    first = most_worth_a_look(table)
    wanted = first["series_id"].implode()
    of_first = pl.col("series_id").is_in(wanted)
    steps = forecasts.filter(of_first).sort("step").partition_by("series_id", as_dict=True)
    past = recent.filter(of_first).partition_by("series_id", as_dict=True)
    return {
        "n_series": table.height,
        "n_forecast": table["reason"].null_count(),
        "promise": promises(intervals)[0] if intervals else None,
        "history": HISTORY,
        "cards": [_card(row, steps[row["series_id"],], past[row["series_id"],], intervals) for row in first.to_dicts()],
        "marks": mark_order(table),
    }


def most_worth_a_look(table: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the forecast series that pictures show, the one most worth a look first.

    Parameters
    ----------
    table : polars.DataFrame
        As of `series_table`.
    """
    return table.filter(pl.col("reason").is_null()).sort("rank", "series_id").head(MOST_CARDS)


def _card(
    row: dict[str, Any], steps: pl.DataFrame, past: pl.DataFrame, intervals: list[tuple[str, str]]
) -> dict[str, Any]:
    """A picture of one series, and its numbers as text."""
    last = row["last"]
    narrow = float(steps[intervals[-1][1]][0] - steps[intervals[-1][0]][0]) if intervals else 0.0
    digits = digits_of(narrow, last)
    end = steps.row(-1, named=True)
    spans = [(steps[low].to_list(), steps[high].to_list()) for low, high in intervals]
    svg = fan_svg(past["close"].tail(HISTORY).to_list(), steps["step"].to_list(), steps["forecast"].to_list(), spans)
    about = [mark for mark in row["marks"] if mark not in (WIDE, NARROW)]
    if row["ratio"] is not None:
        about.insert(0, f"width {signed_percent(row['ratio'] - 1)}")
    low, high = intervals[0] if intervals else ("forecast", "forecast")
    return {
        "series": row["series_id"],
        "svg": Markup(svg),
        "last": number(last, digits),
        "median": number(end["forecast"], digits),
        "span": f"{number(end[low], digits)} – {number(end[high], digits)}" if intervals else "",
        "time": end["time"],
        "about": ", ".join(about),
    }
