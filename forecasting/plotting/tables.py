"""Tables behind figures: prices and forecasts checked alike, the series that are drawn, intervals, shares of truths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tidecast.features.calendars.per_series import mark_long_periods
from tidecast.features.error_text import meant, near_match, shorten
from tidecast.features.frame_notes import note_of
from tidecast.features.frames import Frame, to_polars
from tidecast.features.panel import PanelSchema, check_panel
from tidecast.features.segments import breaks
from tidecast.forecasting.evaluation.scored_rows import at_sessions, checked_forecasts
from tidecast.forecasting.tables.check import quantiles_by_level
from tidecast.forecasting.tables.facts import NOTE, USUAL
from tidecast.forecasting.tables.names import RANDOM_WALK
from tidecast.forecasting.tables.quantiles import level_of, levels_in, quantile_columns
from tidecast.forecasting.tables.types import KEYS


@dataclass(frozen=True)
class ToDraw:
    """Prices and forecasts whose keys have equal types.

    Attributes
    ----------
    prices : polars.DataFrame
        ``series_id``, ``time``, ``price``, and ``segment``: the number of pauses of the series up to the row. Sorted.
    forecasts : polars.DataFrame
        Forecast table with ``model``.
    target : str
        The column that was forecast.
    """

    prices: pl.DataFrame
    forecasts: pl.DataFrame
    target: str

    @property
    def series(self) -> list[Any]:
        """Series with a forecast, in the order of the table."""
        return self.forecasts["series_id"].unique(maintain_order=True).to_list()

    def of(self, series_id: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the prices and the forecasts of one series.

        Parameters
        ----------
        series_id : str or int
        """
        own = pl.col("series_id") == series_id
        return self.prices.filter(own), self.forecasts.filter(own)


def to_draw(prices: Frame, forecasts: Frame, target: str | None = None, truth: Frame | None = None) -> ToDraw:
    """Check prices and forecasts.

    Parameters
    ----------
    prices : polars or pandas DataFrame
        The panel, with a row at each origin.
    forecasts : polars or pandas DataFrame
        A forecast table.
    target : str, optional
        The column that was forecast; by default as the table's note says, else "close".
    truth : polars or pandas DataFrame, optional
        Newer rows of the panel; they count where `prices` has no row.

    Returns
    -------
    ToDraw

    Raises
    ------
    TypeError, ValueError
        As `check_panel` and `checked_forecasts`, and for an origin without a row in `prices`.
    """
    name = str(target or note_of(forecasts, NOTE, {}).get("target", USUAL["target"]))
    panel = _checked_prices(prices, name)
    if truth is not None:
        more = _checked_prices(truth, name).with_columns(pl.col("time").cast(panel.schema["time"]))
        panel = pl.concat([panel, more], how="diagonal_relaxed").unique(["series_id", "time"], keep="first")
        panel = panel.sort("series_id", "time")
    table = checked_forecasts(to_polars(forecasts), panel)
    table = table.select("model", *KEYS, "time", pl.col(quantiles_by_level(table.columns)).fill_nan(None))
    panel = mark_long_periods(at_sessions(panel, table))
    at_origin = panel.select("series_id", origin="time")
    unknown = table.join(at_origin, on=["series_id", "origin"], how="anti")
    if len(unknown):
        series = unknown["series_id"].unique(maintain_order=True).to_list()
        raise ValueError(
            f"Every origin must have a row with a price in prices; those of {shorten(series)} have none, first "
            f"{unknown['origin'][0]}. Give the panel that was forecast from."
        )
    known = panel.select("series_id", "time", price=name, segment=breaks(panel).over("series_id"))
    return ToDraw(known, table, name)


def _checked_prices(prices: Frame, target: str) -> pl.DataFrame:
    panel = check_panel(prices, PanelSchema(positive=False), target)  # a figure shows any price
    return panel.select("series_id", "time", target, *({"calendar"} & {*panel.columns}))


def chosen(known: Sequence[Any], series: Any, most: int) -> tuple[list[Any], str]:
    """Return the series to draw, and a note if they are not all.

    Parameters
    ----------
    known : sequence
        Series with a forecast.
    series : str, int, sequence of them or None
        What the caller wants; None: the first of `known`.
    most : int
        Number of series that a figure holds.

    Returns
    -------
    series : list
    note : str
        Empty if all of them are drawn.

    Raises
    ------
    ValueError
        One of them has no forecast, none is left, or they are too many.
    """
    if not len(known):
        raise ValueError("forecast must have at least one row, found none. Forecast a series first.")
    if series is None:
        cut = list(known[:most])
        return cut, f"{most} of {len(known)} series; series=[…] chooses others" if len(cut) < len(known) else ""
    wanted = list(dict.fromkeys([series] if isinstance(series, str | int) else series))
    if unknown := [name for name in wanted if name not in set(known)]:
        meant = near_match(str(unknown[0]), [str(name) for name in known])
        raise ValueError(
            f"series must have a forecast; {shorten(unknown)} {'has' if len(unknown) == 1 else 'have'} none."
            + (f" Did you mean {meant!r}?" if meant else f" Choose from {shorten(list(known))}.")
        )
    if not 1 <= len(wanted) <= most:
        raise ValueError(
            f"series must name 1 to {most} series for one figure, got {len(wanted)}. Draw several figures."
        )
    return wanted, ""


def one_model(forecasts: pl.DataFrame, model: str | None) -> pl.DataFrame:
    """Return the forecasts of one model.

    Parameters
    ----------
    forecasts : polars.DataFrame
        Forecast table with ``model``.
    model : str, optional
        By default the only one, the random walk aside.

    Raises
    ------
    ValueError
        The table has no such model, or several to choose from.
    """
    names = forecasts["model"].unique(maintain_order=True).to_list()
    others = [name for name in names if name != RANDOM_WALK] or names
    if model is None and len(others) > 1:
        raise ValueError(f"model must be named for a table of several models, found {shorten(others)}. Choose one.")
    if model is not None and model not in names:
        hint = meant(model, names)
        raise ValueError(f"model must be in the forecast table, got {model!r}. Choose from {shorten(names)}.{hint}")
    return forecasts.filter(pl.col("model") == (model or others[0])) if names else forecasts


def bands(forecasts: pl.DataFrame) -> list[tuple[str, str]]:
    """Columns of the widest interval and of the one nearest to 50 %.

    Parameters
    ----------
    forecasts : polars.DataFrame
        Forecast table.

    Returns
    -------
    list of (str, str)
        Lower and upper quantile column, the widest interval first; empty without quantiles on both sides.
    """
    levels = levels_in(forecasts.columns)
    below, above = [level for level in levels if level < 0.5], [level for level in levels if level > 0.5]
    pairs = list(zip(below, reversed(above), strict=False))
    if not pairs:
        return []
    half = min(pairs, key=lambda pair: abs(pair[1] - pair[0] - 0.5))
    return [(f"q{low!r}", f"q{high!r}") for low, high in dict.fromkeys([pairs[0], half])]


def promises(intervals: Sequence[tuple[str, str]]) -> list[str]:
    """Nominal coverage of intervals as text: "90 %", "50 %".

    Parameters
    ----------
    intervals : sequence of tuple
        Columns of the lower and the upper quantile of each, such as ("q0.05", "q0.95").
    """
    return [f"{100 * (level_of(high) - level_of(low)):.0f} %" for low, high in intervals]


def quantile_shares(forecasts: pl.DataFrame, prices: pl.DataFrame) -> pl.DataFrame:
    """Share of truths at or below each quantile.

    Parameters
    ----------
    forecasts : polars.DataFrame
        Forecast table with ``model``.
    prices : polars.DataFrame
        Panel with ``close``; forecasts without a price there are left out.

    Returns
    -------
    polars.DataFrame
        ``model``, ``level``, ``share``.
    """
    return shares_below([truths_below(forecasts, prices)])


def truths_below(forecasts: pl.DataFrame, prices: pl.DataFrame) -> pl.DataFrame:
    """Count the truths at or below each quantile.

    Parameters
    ----------
    forecasts, prices
        As for `quantile_shares`.

    Returns
    -------
    polars.DataFrame
        ``model``, ``level``, ``below``, and ``known``, the number of forecasts that have a truth.
    """
    columns = [*quantile_columns(levels_in(forecasts.columns)), "forecast"]
    quantiles = pl.col(columns).cast(pl.Float64).fill_nan(None)  # NaN is greater than every number in polars
    truths = prices.select("series_id", "time", truth="close")
    known = forecasts.join(truths, on=["series_id", "time"], how="inner")
    is_below = known.group_by("model", maintain_order=True)
    below, counted = (
        is_below.agg(counts).unpivot(index="model", variable_name="column", value_name=name)
        for name, counts in (("below", (quantiles >= pl.col("truth")).sum()), ("known", quantiles.count()))
    )
    level = pl.col("column").map_elements(level_of, return_dtype=pl.Float64).alias("level")
    return below.with_columns(counted["known"]).select("model", level, "below", "known")


def shares_below(counts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the shares of all forecasts, from the counts of some of them each.

    Parameters
    ----------
    counts : sequence of polars.DataFrame
        At least one, from `truths_below`.

    Returns
    -------
    polars.DataFrame
        As from `quantile_shares`.
    """
    total = pl.concat(counts).group_by("model", "level", maintain_order=True).agg(pl.col("below", "known").sum())
    share = pl.when(pl.col("known") > 0).then(pl.col("below") / pl.col("known"))
    return total.select("model", "level", share.alias("share"))
