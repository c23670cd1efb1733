"""Pictures of forecasts, and of skill against the random walk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import MaxNLocator

from tidecast.flows.reporting.figure import Picture, legend, new_figure, short, zero
from tidecast.flows.reporting.model_names import readable
from tidecast.forecasting.forecasters.palette import BLUE, INK, ORANGE, colour_of
from tidecast.forecasting.tables.quantiles import level_of, levels_in

MAX_SERIES = 60  # in one ranking


def fans(prices: pl.DataFrame, forecasts: pl.DataFrame, series: Sequence[str], sessions: int = 60) -> Picture:
    """The last prices of a few series and the forecast that follows, with its 50 % and 90 % intervals.

    Parameters
    ----------
    prices : polars.DataFrame
        Panel with ``close``; it may have more series and rows than are drawn.
    forecasts : polars.DataFrame
        Forecast table, one origin per series.
    series : sequence of str
        Series to draw, one small chart each.
    sessions : int
        Number of sessions to draw before the forecast.

    Returns
    -------
    Picture
    """
    columns = min(3, len(series))
    rows = math.ceil(len(series) / columns)
    figure, charts = new_figure(rows, columns, height=2.1)
    intervals = bands(forecasts)
    for chart in charts[len(series) :]:
        chart.set_visible(False)
    for chart, name in zip(charts, series, strict=False):
        past = prices.filter(pl.col("series_id") == name).sort("time").tail(sessions)
        steps = forecasts.filter(pl.col("series_id") == name).sort("step")
        times = pl.concat([past["time"].tail(1), steps["time"].cast(past["time"].dtype)]).to_numpy()
        last = past["close"].tail(1)

        def from_last(column: str, last: pl.Series = last, steps: pl.DataFrame = steps) -> np.ndarray:
            return np.concatenate([last.to_numpy(), steps[column].to_numpy()])

        for low, high in intervals:
            chart.fill_between(times, from_last(low), from_last(high), color=BLUE, alpha=0.25, linewidth=0)
        chart.plot(past["time"].to_numpy(), past["close"].to_numpy(), color=INK, linewidth=1.1)
        chart.plot(times, from_last("forecast"), color=BLUE, linewidth=1.6)
        chart.set_title(short(name), loc="left", size=9, color=INK, parse_math=False)
        chart.xaxis.set_major_locator(AutoDateLocator(minticks=2, maxticks=4))
        chart.xaxis.set_major_formatter(ConciseDateFormatter(chart.xaxis.get_major_locator()))
        chart.xaxis.get_offset_text().set(color=INK, size=7.5)
        chart.yaxis.set_major_locator(MaxNLocator(4))
    for chart in charts[::columns]:
        chart.set_ylabel("price")
    widths = " and ".join(reversed(promises(intervals)))
    shaded = f", shaded: its {widths} interval{'s' if len(intervals) > 1 else ''}" if intervals else ""
    reading = f"Thin line: the last {sessions} prices. Blue: the forecast's median{shaded}."
    return Picture("Forecasts, in order of volatility", reading, figure)


def skill_by_step(summary: pl.DataFrame, models: Sequence[str]) -> Picture:
    """CRPS skill against the random walk by step, with 95 % intervals.

    Parameters
    ----------
    summary : polars.DataFrame
        ``evaluate(...).summary``; its rows of group "step" are used.
    models : sequence of str
        Models to draw.

    Returns
    -------
    Picture
    """
    figure, (chart,) = new_figure(1, 1, height=2.9)
    for position, name in enumerate(models):
        rows = summary.filter((pl.col("group") == "step") & (pl.col("model") == name)).sort("step")
        shift = (position - (len(models) - 1) / 2) * 0.12
        _dots(chart, rows["step"].to_numpy() + shift, rows, colour_of(name), label=readable(name))
    zero(chart, "the random walk")
    chart.xaxis.set_major_locator(MaxNLocator(integer=True))
    chart.set_xlabel("sessions ahead")
    chart.set_ylabel("CRPS skill, %")
    legend(chart)
    reading = "Above the line is better than the random walk. A 95 % interval that crosses the line is no evidence."
    return Picture("Skill by step", reading, figure)


def skill_by_series(summary: pl.DataFrame, model: str) -> Picture:
    """Series ranked by the model's CRPS skill against the random walk, with 95 % intervals.

    Parameters
    ----------
    summary : polars.DataFrame
        ``evaluate(...).summary``; its rows of group "series" are used.
    model : str
        Model to rank by.

    Returns
    -------
    Picture
    """
    rows = summary.filter((pl.col("group") == "series") & (pl.col("model") == model) & pl.col("skill").is_finite())
    rows = rows.sort("skill")
    left_out = max(0, len(rows) - MAX_SERIES)
    if left_out:
        rows = pl.concat([rows.head(MAX_SERIES // 2), rows.tail(MAX_SERIES // 2)])
    figure, (chart,) = new_figure(1, 1, height=0.9 + 0.19 * len(rows))
    positions = np.arange(len(rows))
    for colour, chosen in ((BLUE, rows["skill"] >= 0), (ORANGE, rows["skill"] < 0)):
        _dots(chart, positions[chosen.to_numpy()], rows.filter(chosen), colour, flat=True)
    zero(chart, "the random walk", flat=True)
    chart.set_yticks(positions, [short(name) for name in rows["series_id"]])
    for tick_label in chart.get_yticklabels():
        tick_label.set_parse_math(False)
    chart.set_ylim(-0.7, len(rows) - 0.3)
    chart.set_xlabel("CRPS skill, %")
    chart.grid(visible=False, axis="y")
    middle = f" {left_out} series between the best and the worst are not drawn." if left_out else ""
    reading = f"Blue, right of the line: better than the random walk. Orange, left of it: worse. Bars: 95 %.{middle}"
    return Picture(f"Skill by series, {readable(model)}", reading, figure)


def calm_to_wild(prices: pl.DataFrame, series: Sequence[str], limit: int = 6) -> list[str]:
    """A selection of series, evenly spaced in the order of their mean absolute change over the last 63 rows.

    Parameters
    ----------
    prices : polars.DataFrame
        Panel with ``close``.
    series : sequence of str
        Series to choose from.
    limit : int
        Maximum number of series.

    Returns
    -------
    list of str
        The least volatile series first.
    """
    moves = (pl.col("close").diff().abs() / pl.col("close").abs()).tail(63).mean()
    ranked = (
        prices.filter(pl.col("series_id").is_in(list(series)))
        .sort("series_id", "time")
        .group_by("series_id", maintain_order=True)
        .agg(moves.alias("move"))
        .sort("move", "series_id")["series_id"]
        .to_list()
    )
    if not ranked:
        return []
    positions = np.linspace(0, len(ranked) - 1, min(limit, len(ranked))).round().astype(int)
    return [ranked[position] for position in np.unique(positions)]


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


def _dots(
    chart: Axes, positions: np.ndarray, rows: pl.DataFrame, colour: str, label: str = "", flat: bool = False
) -> None:
    """Draw skill in per cent with its 95 % interval at each position; `flat` draws along the horizontal axis."""
    skill = 100 * rows["skill"].to_numpy()
    ends = 100 * rows.select(pl.col("skill_low", "skill_high").fill_null(float("nan"))).to_numpy().T
    error = np.abs(ends - skill)
    x, y = (skill, positions) if flat else (positions, skill)
    bars: dict[str, Any] = {"xerr" if flat else "yerr": error}
    chart.errorbar(x, y, **bars, fmt="o", color=colour, markersize=4, elinewidth=1.2, capsize=0, label=label or None)
