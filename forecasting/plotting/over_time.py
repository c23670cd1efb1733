"""A backtest over time: forecasts of one step against the truths, and where the truths left the interval."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from tidecast.features.error_text import check_whole, counted
from tidecast.features.frames import Frame
from tidecast.forecasting.plotting.canvas import Figure, legend_above, new_figure, price_axis, short, title
from tidecast.forecasting.plotting.fan import SHADE, date_text, legend_of
from tidecast.forecasting.plotting.palette import BLUE, ORANGE, Theme, theme_of
from tidecast.forecasting.plotting.tables import bands, chosen, one_model, promises, to_draw

MAX_SERIES = 6


def plot_backtest(
    table: Frame,
    prices: Frame,
    *,
    step: int = 1,
    series: Any = None,
    model: str | None = None,
    unit: str | None = None,
    target: str | None = None,
    dark: bool = False,
) -> Figure:
    """Draw the forecasts of one step against the truths, and mark the truths outside the widest interval.

    The horizontal axis counts the series' sessions. A line breaks where the series paused, and where folds leave
    sessions without a forecast.

    Parameters
    ----------
    table : polars or pandas DataFrame
        A forecast table with many origins, such as `backtest` returns.
    prices : polars or pandas DataFrame
        The panel, with the origins and the truths.
    step : int, default=1
        The step to draw, in sessions ahead.
    series : str, int or list of them, optional
        Series to draw, at most 6; by default the first 6 of the table, and the figure says how many there are.
    model : str, optional
        Which model of the table; by default the only one that is not the random walk.
    unit : str, optional
        Unit of the target, for the vertical axis.
    target : str, optional
        The column that was forecast; by default as the table's note says, else "close".
    dark : bool, default=False
        Draw for a dark page.

    Returns
    -------
    Figure
        A matplotlib figure; a notebook shows it. Change its ``axes``, or save it with ``savefig``.

    Raises
    ------
    TypeError, ValueError
        The tables do not fit together, no forecast of that step has come true, or a setting is impossible.
    """
    check_whole("step", step, at_least=1)
    found = to_draw(prices, table, target)
    forecasts = one_model(found.forecasts, model)
    of_step = forecasts.filter(pl.col("step") == step)
    known = of_step.join(found.prices, on=["series_id", "time"], how="semi", maintain_order="left")
    if known.is_empty():
        longest = forecasts["step"].max()
        raise ValueError(
            f"A forecast of step {step} must have come true, found none in a table of steps up to {longest!r}. Choose "
            "another step, or give prices that reach the forecast sessions."
        )
    names, note = chosen(known["series_id"].unique(maintain_order=True).to_list(), series, MAX_SERIES)
    theme, label = theme_of(dark), f"{found.target}, {unit}" if unit else found.target
    strips = bool(bands(known))
    parts = 2 if strips else 1
    figure, charts = new_figure(
        parts * len(names), 1, height=1.75 if strips else 2.4, heights=[4, 1] * len(names) if strips else None,
        width=9, theme=theme,
    )  # fmt: skip
    for place, name in enumerate(names):
        rows = _rows(found.of(name)[0], known.filter(pl.col("series_id") == name))
        chart = charts[parts * place]
        _draw_forecasts(chart, rows, theme)
        title(chart, f"{short(name, 60)}, {counted(step, 'session')} ahead", theme, 90)
        price_axis(chart, label)
        lowest = charts[parts * place + parts - 1]
        if strips:
            chart.tick_params(labelbottom=False)
            lowest.sharex(chart)
            _draw_strip(lowest, rows, theme)
        _write_dates(lowest, rows)
    charts[-1].set_xlabel("session")
    legend_above(figure, legend_of(bands(known), theme, truth=False, prices="truth"), theme)
    if note:
        figure.supxlabel(note, x=0.01, ha="left", size=8.5, color=theme.ink)
    return figure


def _rows(prices: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Every session from the first forecast to the last, with a `place`; null where there is no forecast."""
    between = prices.filter(pl.col("time").is_between(known["time"].min(), known["time"].max()))
    forecasts = known.drop("series_id", "model").unique("time", keep="last", maintain_order=True)
    rows = between.join(forecasts, on="time", how="left").sort("time").with_row_index("place")
    after_pause = rows.filter(pl.col("segment").diff() > 0)
    gaps = after_pause.select(place=pl.col("place").cast(pl.Float64) - 0.5)  # between two sessions
    rows = rows.with_columns(pl.col("place").cast(pl.Float64))
    return pl.concat([rows, gaps], how="diagonal").sort("place")


def _draw_forecasts(chart: Axes, rows: pl.DataFrame, theme: Theme) -> None:
    columns = rows.select(pl.selectors.float().fill_null(float("nan")))
    for low, high in bands(rows):
        chart.fill_between(rows["place"], columns[low], columns[high], color=BLUE, alpha=SHADE, linewidth=0)
    chart.plot(rows["place"], columns["price"], color=theme.prices, linewidth=1.1)
    known = ~np.isnan(columns["forecast"].to_numpy())
    alone = known & ~np.append(False, known[:-1]) & ~np.append(known[1:], False)
    chart.plot(
        rows["place"], columns["forecast"], color=BLUE, linewidth=1.2, marker="o", markersize=2.5,
        markevery=np.flatnonzero(alone).tolist(),
    )  # fmt: skip


def _draw_strip(chart: Axes, rows: pl.DataFrame, theme: Theme) -> None:
    """Draw a short blue line for each truth inside the widest interval, a tall orange one for each outside."""
    low, high = bands(rows)[0]
    known = rows.filter(pl.col("price").is_not_null() & pl.col(low).is_not_null() & pl.col(high).is_not_null())
    inside = known.filter(pl.col("price").is_between(pl.col(low), pl.col(high)))
    outside = known.filter(~pl.col("price").is_between(pl.col(low), pl.col(high)))
    chart.vlines(inside["place"], 0, 0.35, color=BLUE, linewidth=0.8)
    chart.vlines(outside["place"], 0, 1, color=ORANGE, linewidth=1.3)
    chart.set_ylim(0, 1.05)
    chart.set_yticks([])
    chart.grid(visible=False)
    chart.spines["left"].set_visible(False)
    share = f"{100 * len(inside) / len(known):.1f} %" if len(known) else "none"
    text = f"{share} of {len(known)} truths inside the {promises([(low, high)])[0]} interval; orange: outside"
    chart.set_title(text, loc="left", size=8, color=theme.ink, pad=3)


def _write_dates(chart: Axes, rows: pl.DataFrame) -> None:
    known = rows.drop_nulls("time")
    apart = max(1, math.ceil(len(known) / 6))
    marked = known.gather_every(apart)
    chart.set_xticks(marked["place"], [date_text(time) for time in marked["time"]])
