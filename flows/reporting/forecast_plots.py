"""Pictures of forecasts, and of skill against the random walk."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from tidecast.features.transformers.streaming import tail_of
from tidecast.flows.reporting.figure import Picture
from tidecast.flows.reporting.model_names import readable
from tidecast.forecasting.plotting.canvas import new_figure, price_axis, short, title, zero
from tidecast.forecasting.plotting.fan import Fan, draw_fan
from tidecast.forecasting.plotting.palette import BLUE, ORANGE, PLAIN
from tidecast.forecasting.plotting.scores import draw_dots, draw_skill
from tidecast.forecasting.plotting.tables import bands, promises

MAX_SERIES = 60  # in one ranking

MOVES = 63
"""Changes that a series is ranked by."""


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
        own = pl.col("series_id") == name
        past = prices.filter(own).select("time", price="close").sort("time")
        ahead = forecasts.filter(own)
        fan = Fan.of(past, ahead.with_columns(pl.col("time").cast(past["time"].dtype)), sessions)
        draw_fan(chart, fan, PLAIN, most_dates=2 if columns == 3 else 3)
        title(chart, name)
        price_axis(chart)
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
    draw_skill(chart, summary, {name: readable(name) for name in models})
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
        draw_dots(chart, positions[chosen.to_numpy()], rows.filter(chosen), colour, flat=True)
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
    """A selection of series, evenly spaced in the order of their mean absolute change over the last `MOVES` rows.

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
    moves = (pl.col("close").diff().abs() / pl.col("close").abs()).tail(MOVES).mean()
    newest = tail_of(prices.select("series_id", "time", "close"), None, MOVES + 1)
    ranked = (
        newest.filter(pl.col("series_id").is_in(list(series)))
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
