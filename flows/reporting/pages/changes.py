"""What changed since the session before: champion, series, prices against the forecast, widths, corrections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from tidecast.flows.reporting.model_names import with_article
from tidecast.flows.reporting.pages.number_text import capital, named, number, signed_percent
from tidecast.forecasting.plotting.tables import bands, promises
from tidecast.forecasting.tables.quantiles import level_of

MOST_ROWS = 5
"""Series in each list of largest changes."""

MOST_NAMED = 12


@dataclass(frozen=True)
class Before:
    """The session published before, as stored.

    Attributes
    ----------
    as_of : date
    champion, version : str
        The model that forecast it.
    forecasts : polars.DataFrame
        The published table of that session.
    """

    as_of: date
    champion: str
    version: str
    forecasts: pl.DataFrame


def changes_by_series(now: pl.DataFrame, before: pl.DataFrame, last: pl.DataFrame, positive: bool) -> pl.DataFrame:
    """Compare today's forecasts and prices with the forecasts of the session before.

    Parameters
    ----------
    now, before : polars.DataFrame
        Forecast tables of one session each.
    last : polars.DataFrame
        ``series_id``, ``close`` and ``time`` of each series' last price.
    positive : bool
        Whether prices move by log returns.

    Returns
    -------
    polars.DataFrame
        A row per series of both tables: ``width_ratio``, today's width of the outermost interval over the one before
        (mean over common steps of width ÷ √step, relative to the median where prices are positive; null without
        intervals); ``reach``, how far the newest price lies from the earlier median for its session, in half widths of
        the outermost interval (beyond ±1 it is outside); ``outside``, the same as true or false; ``away``, the distance
        as a share of the median (in price units where prices need not be positive). Null where the earlier table has no
        forecast for the session.
    """
    schema: dict[str, pl.DataType] = {
        "series_id": now["series_id"].dtype, "width_ratio": pl.Float64(), "reach": pl.Float64(),
        "outside": pl.Boolean(), "away": pl.Float64(),
    }  # fmt: skip
    spans = bands(now)
    if not spans or not set(spans[0]) <= set(before.columns):
        return pl.DataFrame(schema=schema)
    low, high = (pl.col(name) for name in spans[0])
    width = ((high / low).log() if positive else high - low) / pl.col("step").sqrt()
    both = now.select("series_id", "step", now=width).join(
        before.select("series_id", "step", before=width), on=["series_id", "step"]
    )
    widths = both.group_by("series_id").agg(width_ratio=pl.col("now").mean() / pl.col("before").mean())
    truth = before.join(last, on=["series_id", "time"])
    near, far = (low, pl.col("forecast")), (pl.col("forecast"), high)
    above = pl.col("close") >= pl.col("forecast")
    half = pl.when(above).then(far[1] - far[0]).otherwise(near[1] - near[0])
    reach = truth.select(
        "series_id", reach=pl.when(half > 0).then((pl.col("close") - pl.col("forecast")) / half),
        outside=(pl.col("close") < low) | (pl.col("close") > high),
        away=(pl.col("close") - pl.col("forecast")) / (pl.col("forecast") if positive else 1.0),
    )  # fmt: skip
    ratio = pl.when(pl.col("width_ratio").is_finite() & (pl.col("width_ratio") > 0)).then("width_ratio")
    joined = widths.with_columns(ratio.alias("width_ratio")).join(reach, on="series_id", how="left")
    return joined.unique("series_id").select(list(schema)).sort("series_id")


def changes_section(
    before: Before, champion: str, version: str, now: pl.DataFrame, by_series: pl.DataFrame,
    corrected: pl.DataFrame | None, positive: bool,
) -> dict[str, Any]:  # fmt: skip
    """Return what changed since the session before, as text.

    Parameters
    ----------
    before : Before
    champion, version : str
        Of today.
    now : polars.DataFrame
        Today's forecast table.
    by_series : polars.DataFrame
        As of `changes_by_series`.
    corrected : polars.DataFrame or None
        ``series_id``, ``time``, ``before`` and ``close`` of the prices that this session corrected.
    positive : bool
        Whether prices move by log returns.

    Returns
    -------
    dict
        ``since``; ``facts``, pairs of subject and statement; ``moves`` and ``widths``, rows of the largest changes;
        ``corrected``, rows.
    """
    today, earlier = (set(table["series_id"].unique().to_list()) for table in (now, before.forecasts))
    came, went = sorted(today - earlier), sorted(earlier - today)
    facts = [("Champion", _champion_text(before, champion, version))]
    if came or went:
        came_text = f"new: {named(came, MOST_NAMED)}" if came else ""
        went_text = f"no longer forecast: {named(went, MOST_NAMED)}" if went else ""
        facts.append(("Series", capital("; ".join(filter(None, (came_text, went_text)))) + "."))
    else:
        facts.append(("Series", f"The same {len(today):,} as before."))
    facts += _prices_text(now, by_series)
    rows = [] if corrected is None else corrected.sort("series_id", "time").to_dicts()
    return {
        "since": before.as_of,
        "promise": promises(bands(now))[0] if bands(now) else "",
        "facts": facts,
        "moves": _largest_moves(by_series, positive),
        "widths": _largest_widths(by_series),
        "n_corrected": len(rows),
        "corrected": [
            {"series": row["series_id"], "time": row["time"],
             "before": f"{row['before']:.6g}", "after": f"{row['close']:.6g}"}
            for row in rows[:MOST_NAMED]
        ],
    }  # fmt: skip


def _champion_text(before: Before, champion: str, version: str) -> str:
    if (before.champion, before.version) == (champion, version):
        return f"{capital(with_article(champion))}{_version(version)}, as before."
    new = f"{with_article(champion)}{_version(version)}"
    return f"{capital(new)}. Before: {with_article(before.champion)}{_version(before.version)}."


def _version(version: str) -> str:
    return f", version {version}" if version else ""


def _prices_text(now: pl.DataFrame, by_series: pl.DataFrame) -> list[tuple[str, str]]:
    """How many newest prices lie outside the interval that was forecast for them, and how many were to be expected."""
    known = by_series.drop_nulls("outside")
    if known.is_empty():
        return []
    low, high = bands(now)[0]
    share = 1 - (level_of(high) - level_of(low))
    outside, promise = int(known["outside"].sum()), promises(bands(now))[0]
    expected = share * known.height
    usual = f"{expected:.0f}" if expected >= 1 else f"{expected:.1f}"
    verb = "lies" if outside == 1 else "lie"
    found = f"{outside:,} of {known.height:,} {verb} outside the {promise} interval forecast before"
    return [("Newest prices", f"{found}; about {usual} were to be expected.")]


def _largest_moves(by_series: pl.DataFrame, positive: bool) -> list[dict[str, str]]:
    rows = by_series.drop_nulls("reach").filter(pl.col("reach").abs() > 0.5)
    rows = rows.sort(pl.col("reach").abs(), "series_id", descending=[True, False]).head(MOST_ROWS)
    return [{"series": row["series_id"], "text": _move_text(row, positive)} for row in rows.to_dicts()]


def _move_text(row: Mapping[str, Any], positive: bool) -> str:
    """How far a price lies from its median, in per cent and in reaches of the interval on that side."""
    away = signed_percent(row["away"], 1) if positive else f"{row['away']:+.4g}".replace("-", "−")
    return f"{away}, {number(abs(row['reach']), 1)} ×"


def _largest_widths(by_series: pl.DataFrame) -> list[dict[str, str]]:
    rows = by_series.drop_nulls("width_ratio").filter((pl.col("width_ratio") - 1).abs() >= 0.02)
    rows = rows.sort(pl.col("width_ratio").log().abs(), "series_id", descending=[True, False]).head(MOST_ROWS)
    return [{"series": row["series_id"], "text": signed_percent(row["width_ratio"] - 1)} for row in rows.to_dicts()]
