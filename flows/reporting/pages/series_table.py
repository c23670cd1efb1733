"""One row for each series of a day: what its forecast says, how it changed, how past ones did, and what to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from tidecast.features.calendars.per_series import mark_long_periods
from tidecast.features.segments import series_starts
from tidecast.features.volatility import PEG_WINDOW, with_volatility
from tidecast.forecasting.plotting.tables import bands

NEWEST_ROWS = 2 * PEG_WINDOW
"""Prices of each series that a page reads: its history, and twice as many as show whether a series is pegged."""

WIDER, NARROWER = 1.25, 0.8
"""Ratios to the usual width from which a series is marked."""

WEIGHTS = {"in a finding": 4, "outside the earlier interval": 3, "corrected": 2, "pegged": -9, "not forecast": -20}
"""How much a mark makes a series worth a look; every other mark counts 1."""

PARTS = ("volatility", "network", "calibration")
LEFT_OUT, OUTSIDE, IN_FINDING, BEHIND, NEW, PEGGED, CORRECTED = (
    "not forecast", "outside the earlier interval", "in a finding", "behind", "new", "pegged", "corrected",
)  # fmt: skip
WIDE, NARROW = "wider than usual", "narrower than usual"
MARKS = (IN_FINDING, OUTSIDE, WIDE, NARROW, CORRECTED, NEW, BEHIND, PEGGED, LEFT_OUT)
"""Marks of series in the order in which the page offers them; rules that flagged a series come after the first."""


def newest_rows(prices: pl.DataFrame, most: int = NEWEST_ROWS) -> pl.DataFrame:
    """Return the newest priced rows of each series, without reading the others.

    Parameters
    ----------
    prices : polars.DataFrame
        Panel with ``close``, sorted by series_id and time.
    most : int, default=126
        Rows of each series.

    Returns
    -------
    polars.DataFrame
        Sorted alike.
    """
    rows = prices.filter(pl.col("close").is_not_null()) if prices["close"].null_count() else prices
    if rows.is_empty():
        return rows
    starts = series_starts(rows)
    ends = np.append(starts[1:], rows.height)
    first = np.maximum(starts, ends - most)
    picked = [np.arange(low, high) for low, high in zip(first, ends, strict=True)]
    return rows[np.concatenate(picked)]


def pegged_series(recent: pl.DataFrame, forecasts: pl.DataFrame, positive: bool) -> list[str]:
    """Return the series that are forecast but hardly move.

    Parameters
    ----------
    recent : polars.DataFrame
        As of `newest_rows`.
    forecasts : polars.DataFrame
        The published table of the session.
    positive : bool
        Whether prices move by log returns.
    """
    known = recent.join(forecasts.select("series_id").unique(), on="series_id", how="semi", maintain_order="left")
    rows = with_volatility(mark_long_periods(known), positive=positive)
    return rows.group_by("series_id", maintain_order=True).last().filter("pegged")["series_id"].to_list()


def series_table(
    forecasts: pl.DataFrame, recent: pl.DataFrame, left_out: Mapping[str, Sequence[str]], changes: pl.DataFrame | None,
    widths: pl.DataFrame | None, record: pl.DataFrame | None, marks: pl.DataFrame,
) -> pl.DataFrame:  # fmt: skip
    """Return a row for each series that is forecast or was left out, sorted by name.

    Parameters
    ----------
    forecasts : polars.DataFrame
        The published table of the session.
    recent : polars.DataFrame
        As of `newest_rows`.
    left_out : mapping
        From a reason to the series that were not forecast for it.
    changes : polars.DataFrame or None
        As of `changes_by_series`; None without an earlier session.
    widths : polars.DataFrame or None
        Widths against the usual ones, as the watch found them.
    record : polars.DataFrame or None
        The live record, as the watch found it.
    marks : polars.DataFrame
        ``series_id`` and ``mark``.

    Returns
    -------
    polars.DataFrame
        ``series_id``; ``last``, the last price, and ``moved``, its change since the one before as a share (in price
        units where that one was not positive); ``width``, the outermost interval of the last step as a share of the
        last price; ``ratio`` to the usual width with its three parts (logarithms); ``skill`` and ``coverage`` of all
        live days; ``marks``, a list; ``reason``, why it is not forecast; ``rank``, 0 for the series most worth a look:
        by its marks, then by the change of its width. Null where unknown.
    """
    names = forecasts["series_id"].unique()
    reasons = [(name, reason) for reason, series in left_out.items() for name in series]
    absent = pl.DataFrame(reasons, schema={"series_id": names.dtype, "reason": pl.String}, orient="row")
    absent = absent.unique("series_id", keep="first").filter(~pl.col("series_id").is_in(names.implode()))
    rows = pl.concat([names.to_frame(), absent], how="diagonal").sort("series_id")
    prices = recent.group_by("series_id").agg(last=pl.col("close").last(), before=pl.col("close").slice(-2, 1).first())
    change = pl.col("last") - pl.col("before")
    moved = pl.when(pl.col("before") > 0).then(change / pl.col("before")).otherwise(change)
    rows = rows.join(prices.with_columns(moved=moved).drop("before"), on="series_id", how="left")
    rows = rows.join(_interval_widths(forecasts), on="series_id", how="left")
    rows = rows.with_columns(width=pl.when(pl.col("last") > 0).then(pl.col("width") / pl.col("last")))
    rows = rows.join(_usual(widths, names.dtype), on="series_id", how="left")
    rows = rows.join(_record(record, names.dtype), on="series_id", how="left")
    own = [*_own_marks(rows, forecasts, changes), marks.select(pl.col("series_id").cast(names.dtype), "mark")]
    marked = pl.concat(own).unique().group_by("series_id").agg(pl.col("mark").sort().alias("marks"))
    rows = rows.join(marked, on="series_id", how="left").with_columns(pl.col("marks").fill_null([]))
    return _ranked(rows).sort("series_id")


def mark_order(table: pl.DataFrame) -> list[str]:
    """Return the marks that series have, in the order in which the page offers them.

    Parameters
    ----------
    table : polars.DataFrame
        As of `series_table`.
    """
    there = set(table["marks"].explode(empty_as_null=True).drop_nulls().to_list()) if table.height else set()
    rules = sorted(there - set(MARKS))
    ordered = [MARKS[0], *rules, *MARKS[1:]]
    return [mark for mark in ordered if mark in there]


def _ranked(rows: pl.DataFrame) -> pl.DataFrame:
    """Add `rank`: series with the weightiest marks first, then those whose width changed most."""
    weights = pl.element().replace_strict(WEIGHTS, default=1, return_dtype=pl.Int64)
    weight = pl.col("marks").list.eval(weights).list.sum()
    changed = pl.when(pl.col("ratio") > 0).then(pl.col("ratio").log().abs()).fill_null(0.0)
    rows = rows.sort(weight, changed, "series_id", descending=[True, True, False])
    return rows.with_columns(rank=pl.int_range(pl.len()))


def _interval_widths(forecasts: pl.DataFrame) -> pl.DataFrame:
    """The outermost interval at each series' last step, in price units."""
    spans = bands(forecasts)
    width = pl.col(spans[0][1]) - pl.col(spans[0][0]) if spans else pl.lit(None, pl.Float64)
    last = forecasts.filter(pl.col("step") == pl.col("step").max().over("series_id"))
    return last.select("series_id", width=width).unique("series_id")


def _usual(widths: pl.DataFrame | None, kind: pl.DataType) -> pl.DataFrame:
    wanted = ("ratio", *PARTS)
    if widths is None or not widths.width:
        return pl.DataFrame(schema={"series_id": kind, **dict.fromkeys(wanted, pl.Float64)})
    return widths.select(pl.col("series_id").cast(kind), *wanted)


def _record(record: pl.DataFrame | None, kind: pl.DataType) -> pl.DataFrame:
    if record is None or not record.width:
        return pl.DataFrame(schema={"series_id": kind, "skill": pl.Float64, "coverage": pl.Float64})
    of_series = record.filter(pl.col("group") == "series", pl.col("window") == "all")
    return of_series.select(pl.col("series_id").cast(kind), "skill", "coverage")


def _own_marks(rows: pl.DataFrame, forecasts: pl.DataFrame, changes: pl.DataFrame | None) -> list[pl.DataFrame]:
    """Marks that follow from the tables themselves."""
    late = forecasts.filter(pl.col("origin") < pl.col("origin").max())
    found = [
        rows.filter(pl.col("reason").is_not_null()).select("series_id", mark=pl.lit(LEFT_OUT)),
        late.select("series_id", mark=pl.lit(BEHIND)),
        rows.filter(pl.col("ratio") >= WIDER).select("series_id", mark=pl.lit(WIDE)),
        rows.filter(pl.col("ratio") <= NARROWER).select("series_id", mark=pl.lit(NARROW)),
    ]
    if changes is not None:
        found.append(changes.filter("outside").select("series_id", mark=pl.lit(OUTSIDE)))
    return found
