"""A fan: the last prices of a series, and the forecast that follows with its intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tidecast.features.error_text import check_whole, shorten
from tidecast.features.frames import Frame
from tidecast.forecasting.plotting.canvas import Figure, legend_above, new_figure, price_axis, title
from tidecast.forecasting.plotting.palette import BLUE, ORANGE, Theme, theme_of
from tidecast.forecasting.plotting.tables import bands, chosen, one_model, promises, to_draw

MAX_SERIES = 12
SESSIONS = 60
"""Prices before the forecast; a quarter."""

SHADE = 0.25
"""Opacity of an interval; the inner one lies on the outer one."""

PAUSE = 2
"""Sessions of room that a pause takes, whatever its length."""


@dataclass(frozen=True)
class Fan:
    """One series, ready to be drawn.

    Attributes
    ----------
    past : polars.DataFrame
        ``time``, ``price`` and ``segment`` of the last rows up to the origin, sorted.
    ahead : polars.DataFrame
        Forecast table from that origin, sorted by step.
    later : polars.DataFrame
        ``step`` and ``price`` of the steps whose truth is known.
    """

    past: pl.DataFrame
    ahead: pl.DataFrame
    later: pl.DataFrame

    @classmethod
    def of(cls, prices: pl.DataFrame, ahead: pl.DataFrame, sessions: int = SESSIONS) -> Fan:
        """Return the fan of one series.

        Parameters
        ----------
        prices : polars.DataFrame
            ``time``, ``price`` and, optionally, ``segment`` of the series.
        ahead : polars.DataFrame
            Its forecasts from one origin.
        sessions : int, default=60
            Prices before the forecast.
        """
        ahead = ahead.sort("step")
        if "segment" not in prices.columns:
            prices = prices.with_columns(segment=0)
        past = prices.filter(pl.col("time") <= ahead["origin"][0]).sort("time").tail(sessions)
        later = ahead.select("step", "time").join(prices.select("time", "price"), on="time", how="inner").sort("step")
        return cls(past.select("time", "price", "segment"), ahead, later.select("step", "price"))


def draw_fan(chart: Axes, fan: Fan, theme: Theme, most_dates: int = 3) -> list[tuple[str, str]]:
    """Draw one fan. The horizontal axis counts sessions from the origin, which is 0.

    Parameters
    ----------
    chart : Axes
    fan : Fan
    theme : Theme
    most_dates : int, default=3
        Dates on the horizontal axis.

    Returns
    -------
    list of (str, str)
        Columns of the intervals that are drawn, the widest first.
    """
    at_past, drawn_at, drawn = _places(fan.past)
    steps = np.array([0, *fan.ahead["step"]])
    last = fan.past["price"][-1]

    def from_last(column: str) -> np.ndarray:
        return np.array([last, *fan.ahead[column].fill_null(float("nan"))], dtype=float)

    intervals = [pair for pair in bands(fan.ahead) if not np.isnan(from_last(pair[0])[1:]).all()]
    for low, high in intervals:
        chart.fill_between(steps, from_last(low), from_last(high), color=BLUE, alpha=SHADE, linewidth=0)
    known = ~np.isnan(drawn)
    alone = known & ~np.append(False, known[:-1]) & ~np.append(known[1:], False)  # no line to a neighbour
    chart.plot(
        drawn_at, drawn, color=theme.prices, linewidth=1.1, marker="o", markersize=2.5,
        markevery=np.flatnonzero(alone).tolist(),
    )  # fmt: skip
    chart.plot(steps, from_last("forecast"), color=BLUE, linewidth=1.6)
    if len(fan.later):
        chart.plot(fan.later["step"], fan.later["price"], "o", color=ORANGE, markersize=3.2, zorder=4)
    _write_dates(chart, at_past, fan, most_dates)
    return intervals


def _places(past: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place of each past row, ending at 0; and places and prices with a gap of NaN in each pause."""
    extra = (PAUSE * (past["segment"] - past["segment"][-1])).to_numpy()
    places = np.arange(1 - len(past), 1) + extra
    breaks = np.flatnonzero(np.diff(past["segment"].to_numpy())) + 1
    prices = past["price"].to_numpy()
    return places, np.insert(places.astype(float), breaks, places[breaks] - 1.0), np.insert(prices, breaks, np.nan)


def _write_dates(chart: Axes, at_past: np.ndarray, fan: Fan, most: int) -> None:
    """Mark the origin and a few sessions before it, or after it if the forecast is longer than the past."""
    times = [*fan.past["time"], *fan.ahead["time"]]
    places = np.array([*at_past, *fan.ahead["step"]])
    span = int(places[-1] - places[0])
    apart = max(1, math.ceil(span / max(1, most)))
    apart = next((nice for nice in (1, 2, 5, 10, 15, 20, 25, 50, 100, 250, 500, 1000) if nice >= apart), apart)
    marked = {place: time for place, time in zip(places.tolist(), times, strict=True) if place % apart == 0}
    kept = sorted(marked, key=abs)[:most]  # the origin first
    chart.set_xticks(sorted(kept), [date_text(marked[place]) for place in sorted(kept)])


def date_text(time: Any) -> str:
    """Return a time as a tick shows it: a date, and the hour of bars on a line of its own.

    Parameters
    ----------
    time : date or datetime
    """
    return f"{time:%Y-%m-%d\n%H:%M}" if hasattr(time, "hour") else f"{time:%Y-%m-%d}"


def legend_of(intervals: Sequence[tuple[str, str]], theme: Theme, truth: bool, prices: str = "prices") -> list[Any]:
    """Return the legend's entries of a fan.

    Parameters
    ----------
    intervals : sequence of tuple
        Columns of the intervals that are drawn, the widest first.
    theme : Theme
    truth : bool
        Whether truths are drawn as dots.
    prices : str
        What the line of prices is called.
    """
    entries: list[Any] = [Line2D([], [], color=theme.prices, linewidth=1.1, label=prices)]
    entries.append(Line2D([], [], color=BLUE, linewidth=1.6, label="median"))
    for depth, promise in reversed(list(enumerate(promises(intervals), start=1))):
        seen = 1 - (1 - SHADE) ** depth  # the inner interval lies on the outer one
        entries.append(Patch(facecolor=BLUE, alpha=seen, linewidth=0, label=f"{promise} interval"))
    if truth:
        entries.append(Line2D([], [], color=ORANGE, marker="o", markersize=3.2, linewidth=0, label="truth"))
    return entries


def plot(
    prices: Frame,
    forecast: Frame,
    *,
    series: Any = None,
    history: int = SESSIONS,
    truth: Frame | None = None,
    unit: str | None = None,
    target: str | None = None,
    model: str | None = None,
    dark: bool = False,
) -> Figure:
    """Draw forecasts as fans on the last prices, one small chart a series.

    The horizontal axis counts sessions from the origin, so weekends and holidays take no room. A line breaks where a
    series paused. Prices of the forecast sessions, if known, are dots.

    Parameters
    ----------
    prices : polars or pandas DataFrame
        The panel that was forecast from; it may have more series and newer rows.
    forecast : polars or pandas DataFrame
        A forecast table with one origin a series.
    series : str, int or list of them, optional
        Series to draw, at most 12; by default the first 12 of the table, and the figure says how many there are.
    history : int, default=60
        Prices to draw before the forecast.
    truth : polars or pandas DataFrame, optional
        Newer rows of the panel, if `prices` lacks them.
    unit : str, optional
        Unit of the target, for the vertical axis: "units per euro".
    target : str, optional
        The column that was forecast; by default as the table's note says, else "close".
    model : str, optional
        Which model of a table of several.
    dark : bool, default=False
        Draw for a dark page.

    Returns
    -------
    Figure
        A matplotlib figure; a notebook shows it. Change its ``axes``, or save it with ``savefig``.

    Raises
    ------
    TypeError, ValueError
        The tables do not fit together, a series has several origins or no forecast, or a setting is impossible.

    Examples
    --------
    >>> import numpy as np, polars as pl
    >>> from tidecast.forecasting.plotting.fan import plot
    >>> times = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 5), eager=True)
    >>> prices = pl.DataFrame({"series_id": "a", "time": times, "close": [5.0, 6, 7, 6, 5]})
    >>> forecast = pl.DataFrame({"series_id": "a", "origin": times[2], "step": [1, 2], "time": times[3:],
    ...                          "forecast": [7.0, 7.0], "q0.1": [6.0, 5.5], "q0.9": [8.0, 8.5]})
    >>> plot(prices, forecast, unit="dollars").axes[0].get_ylabel()
    'close, dollars'
    """
    check_whole("history", history, at_least=1)
    found = to_draw(prices, forecast, target, truth)
    forecasts = one_model(found.forecasts, model)
    names, note = chosen(forecasts["series_id"].unique(maintain_order=True).to_list(), series, MAX_SERIES)
    forecasts = forecasts.filter(pl.col("series_id").is_in(names))
    _check_one_origin(forecasts)
    fans = [Fan.of(found.of(name)[0], forecasts.filter(pl.col("series_id") == name), history) for name in names]
    theme, label = theme_of(dark), f"{found.target}, {unit}" if unit else found.target
    return _small_multiples(names, fans, theme, label, note)


def _check_one_origin(forecasts: pl.DataFrame) -> None:
    several = forecasts.group_by("series_id", maintain_order=True).agg(pl.col("origin").n_unique())
    several = several.filter(pl.col("origin") > 1)
    if len(several):
        raise ValueError(
            f"plot draws one origin a series, found {several['origin'][0]} of "
            f"{shorten(several['series_id'].to_list())}. Filter the table to one, or draw all of them "
            "with plot_backtest."
        )


def _small_multiples(names: list[Any], fans: list[Fan], theme: Theme, label: str, note: str) -> Figure:
    columns = {1: 1, 2: 2, 4: 2}.get(len(names), 3)
    rows = math.ceil(len(names) / columns)
    width = {1: 7.0, 2: 8.5, 3: 11.0}[columns]
    figure, charts = new_figure(rows, columns, height=3.4 if columns == 1 else 2.5, width=width, theme=theme)
    intervals: list[tuple[str, str]] = []
    for chart, name, fan in zip(charts, names, fans, strict=False):
        found = draw_fan(chart, fan, theme, most_dates=5 if columns == 1 else 3)
        intervals = max(intervals, found, key=len)
        title(chart, name, theme, max_length=60 if columns == 1 else 32)
        price_axis(chart)
    for chart in charts[len(names) :]:
        chart.remove()
    for chart in charts[: len(names) : columns]:
        chart.set_ylabel(label, parse_math=False)
    for chart in charts[max(0, len(names) - columns) : len(names)]:
        chart.set_xlabel("session")
    entries = legend_of(intervals, theme, any(len(fan.later) for fan in fans))
    legend_above(figure, entries, theme)
    if note:
        figure.supxlabel(note, x=0.01, ha="left", size=8.5, color=theme.ink)
    return figure
