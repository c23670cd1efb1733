"""Pictures of forecasts and evidence: one palette, units on the axes, one sentence on how to read each.

Every function returns a `Picture`, which is saved as PNG on a white card (MLflow) or as SVG in the colour of the text
around it (the report, light or dark). Only Figure objects are used, never pyplot: nothing is shared between calls.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from forecasting.quantiles import level_of, levels_in

INK = "#6e7781"  # readable on white and on black; replaced by the colour of the text around it in SVG
BLUE, ORANGE, GREEN, PURPLE, PINK = (
    "#2f86c9",
    "#d9822b",
    "#2a9d76",
    "#a56cc1",
    "#c2607a",
)  # for colour-blind readers too
COLOURS = {"GRU": BLUE, "LSTM": GREEN, "RNN": PURPLE, "drift": ORANGE, "random_walk": INK}  # the same in every picture
MOST_SERIES = 60  # in one ranking
Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Picture:
    """A figure, what it is called and how to read it.

    Attributes
    ----------
    title : str
    reading : str
        One sentence: what is drawn and what would be good.
    figure : matplotlib.figure.Figure
    """

    title: str
    reading: str
    figure: Figure

    def png(self) -> bytes:
        """The picture on a white card, with its title and how to read it."""
        title = self.figure.suptitle(self.title, x=0.01, ha="left", size=12, weight="bold", color="#24292f")
        reading = self.figure.supxlabel(self.reading, x=0.01, ha="left", size=8.5, color=INK, wrap=True)
        for text in (title, reading):
            text.set(visible=True, in_layout=True, parse_math=False)
        content = self._saved("png", dpi=160, facecolor="white")
        for text in (title, reading):
            text.set(visible=False, in_layout=False)
        return content

    def svg(self) -> str:
        """The drawing alone, as an ``<svg>`` element without a background, in the colour of the text around it."""
        text = self._saved(
            "svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        ).decode()
        return text[text.index("<svg") :].replace(INK, "currentColor")

    def _saved(self, kind: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        with warnings.catch_warnings(), mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": self.title}):
            warnings.filterwarnings("ignore", message="Glyph")  # a name in a script the font does not have
            self.figure.savefig(buffer, format=kind, **options)
        return buffer.getvalue()


def fans(prices: pl.DataFrame, forecasts: pl.DataFrame, series: Sequence[str], sessions: int = 60) -> Picture:
    """The last prices of a few series and the forecast that follows, with its 50 % and 90 % intervals.

    Parameters
    ----------
    prices : polars.DataFrame
        Panel with ``close``; more series and rows than needed are fine.
    forecasts : polars.DataFrame
        Forecast table, one origin per series.
    series : sequence of str
        Which to draw, one small chart each.
    sessions : int
        How many last sessions to draw before the forecast.
    """
    columns = min(3, len(series))
    rows = math.ceil(len(series) / columns)
    figure, charts = _figure(rows, columns, height=2.1)
    intervals = bands(forecasts)
    for chart in charts[len(series) :]:
        chart.set_visible(False)
    for chart, name in zip(charts, series, strict=False):
        past = prices.filter(pl.col("series_id") == name).sort("time").tail(sessions)
        ahead = forecasts.filter(pl.col("series_id") == name).sort("step")
        times = pl.concat([past["time"].tail(1), ahead["time"].cast(past["time"].dtype)]).to_numpy()
        last = past["close"].tail(1)

        def from_last(column: str, last: pl.Series = last, ahead: pl.DataFrame = ahead) -> np.ndarray:
            return np.concatenate([last.to_numpy(), ahead[column].to_numpy()])

        for low, high in intervals:
            chart.fill_between(times, from_last(low), from_last(high), color=BLUE, alpha=0.25, linewidth=0)
        chart.plot(past["time"].to_numpy(), past["close"].to_numpy(), color=INK, linewidth=1.1)
        chart.plot(times, from_last("forecast"), color=BLUE, linewidth=1.6)
        chart.set_title(_short(name), loc="left", size=9, color=INK, parse_math=False)
        chart.xaxis.set_major_locator(AutoDateLocator(minticks=2, maxticks=4))
        chart.xaxis.set_major_formatter(ConciseDateFormatter(chart.xaxis.get_major_locator()))
        chart.xaxis.get_offset_text().set(color=INK, size=7.5)
        chart.yaxis.set_major_locator(MaxNLocator(4))
    for chart in charts[::columns]:
        chart.set_ylabel("price")
    widths = " and ".join(reversed(promises(intervals)))
    shades = f"; the shades should hold {widths} of what comes" if intervals else ""
    reading = f"Thin line: the last {sessions} prices. Blue: the forecast's median{shades}."
    return Picture("Forecasts, from the calmest to the wildest of these series", reading, figure)


def skill_by_step(summary: pl.DataFrame, models: Sequence[str]) -> Picture:
    """CRPS skill against the random walk for each step ahead, with 95 % intervals.

    Parameters
    ----------
    summary : polars.DataFrame
        ``evaluate(...).summary``; its rows of group "step" are used.
    models : sequence of str
        Which models to draw.
    """
    figure, (chart,) = _figure(1, 1, height=2.9)
    for place, name in enumerate(models):
        rows = summary.filter((pl.col("group") == "step") & (pl.col("model") == name)).sort("step")
        shift = (place - (len(models) - 1) / 2) * 0.12
        _dots(chart, rows["step"].to_numpy() + shift, rows, _colour(name), label=_label(name))
    _zero(chart, "the random walk")
    chart.xaxis.set_major_locator(MaxNLocator(integer=True))
    chart.set_xlabel("sessions ahead")
    chart.set_ylabel("CRPS skill, %")
    _legend(chart)
    reading = "Above the line is better than the random walk; an interval (95 %) that crosses it proves nothing."
    return Picture("Skill by step", reading, figure)


def skill_by_series(summary: pl.DataFrame, model: str) -> Picture:
    """Series ranked by the model's CRPS skill against the random walk, with 95 % intervals.

    Parameters
    ----------
    summary : polars.DataFrame
        ``evaluate(...).summary``; its rows of group "series" are used.
    model : str
        The model to rank by.
    """
    rows = summary.filter((pl.col("group") == "series") & (pl.col("model") == model) & pl.col("skill").is_finite())
    rows = rows.sort("skill")
    left_out = max(0, len(rows) - MOST_SERIES)
    if left_out:
        rows = pl.concat([rows.head(MOST_SERIES // 2), rows.tail(MOST_SERIES // 2)])
    figure, (chart,) = _figure(1, 1, height=0.9 + 0.19 * len(rows))
    places = np.arange(len(rows))
    for colour, chosen in ((BLUE, rows["skill"] >= 0), (ORANGE, rows["skill"] < 0)):
        _dots(chart, places[chosen.to_numpy()], rows.filter(chosen), colour, flat=True)
    _zero(chart, "the random walk", flat=True)
    chart.set_yticks(places, [_short(name) for name in rows["series_id"]])
    for label in chart.get_yticklabels():
        label.set_parse_math(False)
    chart.set_ylim(-0.7, len(rows) - 0.3)
    chart.set_xlabel("CRPS skill, %")
    chart.grid(visible=False, axis="y")
    middle = f" {left_out} series between the best and the worst are not drawn." if left_out else ""
    reading = f"Right of the line (blue) is better than the random walk, left of it (orange) worse; bars: 95 %.{middle}"
    return Picture(f"Skill by series, {_label(model)}", reading, figure)


def coverage_by_step(summary: pl.DataFrame, models: Sequence[str], nominal: float) -> Picture:
    """Share of truths inside the outermost interval, for each step ahead.

    Parameters
    ----------
    summary : polars.DataFrame
        ``evaluate(...).summary``; its rows of group "step" are used.
    models : sequence of str
        Which models to draw.
    nominal : float
        The share that was promised, 0.9 with the default quantiles.
    """
    figure, (chart,) = _figure(1, 1, height=2.7)
    for name in models:
        rows = summary.filter((pl.col("group") == "step") & (pl.col("model") == name)).sort("step")
        chart.plot(rows["step"], 100 * rows["coverage"], "o-", color=_colour(name), markersize=4, label=_label(name))
    chart.axhline(100 * nominal, color=INK, linewidth=1, linestyle="--")
    low, high = chart.get_ylim()
    chart.set_ylim(min(low, 100 * nominal - 5), max(high, 100 * nominal + 5))
    chart.xaxis.set_major_locator(MaxNLocator(integer=True))
    chart.set_xlabel("sessions ahead")
    chart.set_ylabel("truths inside, %")
    _legend(chart)
    reading = f"On the dashed line the {100 * nominal:.0f} % interval holds what it promises; below it is too narrow."
    return Picture("Coverage by step", reading, figure)


def reliability(shares: pl.DataFrame) -> Picture:
    """How far each quantile is from what it promises.

    Parameters
    ----------
    shares : polars.DataFrame
        ``model``, ``level`` and ``share``, the share of truths at or below that quantile.
    """
    figure, (chart,) = _figure(1, 1, height=2.7)
    for name in shares["model"].unique(maintain_order=True):
        rows = shares.filter(pl.col("model") == name).sort("level")
        difference = 100 * (rows["share"] - rows["level"])
        chart.plot(100 * rows["level"], difference, "o-", color=_colour(name), markersize=3.5, label=_label(name))
    _zero(chart, "as promised")
    low, high = chart.get_ylim()
    chart.set_ylim(min(low, -3), max(high, 3))
    chart.set_xlabel("quantile, %")
    chart.set_ylabel("truths below it,\nminus promised, points")
    _legend(chart)
    reading = "On the line a quantile holds as many truths below it as it promises; above it, more."
    return Picture("Reliability of the quantiles", reading, figure)


def learning_curves(curves: Mapping[str, pl.DataFrame]) -> Picture:
    """Training and validation loss of each candidate, epoch by epoch.

    Parameters
    ----------
    curves : mapping
        Model name to its ``learning_curve_``: ``epoch``, ``train_loss``, ``validation_loss``.
    """
    figure, charts = _figure(1, len(curves), height=2.6, sharey=True)
    for chart, (name, curve) in zip(charts, curves.items(), strict=True):
        colour = _colour(name)
        chart.plot(curve["epoch"], curve["train_loss"], color=INK, linewidth=1.1, linestyle="--")
        chart.plot(curve["epoch"], curve["validation_loss"], color=colour, linewidth=1.6)
        if curve["validation_loss"].is_finite().any():
            best = curve.filter(pl.col("validation_loss").is_finite()).sort("validation_loss").head(1)
            chart.plot(best["epoch"], best["validation_loss"], "o", color=colour, markersize=5)
        chart.set_title(_label(name), loc="left", size=9, color=INK, parse_math=False)
        chart.set_xlabel("epoch")
        chart.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    charts[0].set_ylabel("pinball loss, scaled")
    reading = (
        "Dashed: training rows. Colour: validation rows; at the dot they are forecast best, and its weights are kept."
    )
    return Picture("Learning curves", reading, figure)


def calm_to_wild(prices: pl.DataFrame, series: Sequence[str], most: int = 6) -> list[str]:
    """At most `most` of the series, evenly spaced from the calmest to the wildest by mean absolute change of late."""
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
    places = np.linspace(0, len(ranked) - 1, min(most, len(ranked))).round().astype(int)
    return [ranked[place] for place in np.unique(places)]


def bands(forecasts: pl.DataFrame) -> list[tuple[str, str]]:
    """Names of the lower and upper columns of the widest interval and of the one nearest to 50 %, widest first."""
    levels = levels_in(forecasts.columns)
    below, above = [level for level in levels if level < 0.5], [level for level in levels if level > 0.5]
    pairs = list(zip(below, reversed(above), strict=False))
    if not pairs:
        return []
    half = min(pairs, key=lambda pair: abs(pair[1] - pair[0] - 0.5))
    return [(f"q{low!r}", f"q{high!r}") for low, high in dict.fromkeys([pairs[0], half])]


def promises(intervals: Sequence[tuple[str, str]]) -> list[str]:
    """What intervals should hold: "90 %", "50 %"."""
    return [f"{100 * (level_of(high) - level_of(low)):.0f} %" for low, high in intervals]


def _figure(rows: int, columns: int, height: float, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure 8 inches wide with small charts of the given height, unused places empty."""
    figure = Figure(figsize=(8, height * rows + 0.3), layout="constrained")
    charts = list(figure.subplots(rows, columns, squeeze=False, sharey=sharey).flat)
    for chart in charts:
        chart.patch.set_visible(False)
        chart.tick_params(colors=INK, labelsize=8, length=3)
        chart.grid(color=INK, alpha=0.18, linewidth=0.6)
        chart.set_axisbelow(True)
        for side, spine in chart.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(INK)
        for label in (chart.xaxis.label, chart.yaxis.label):
            label.set(color=INK, size=8.5)
    return figure, charts


def _dots(
    chart: Axes, places: np.ndarray, rows: pl.DataFrame, colour: str, label: str = "", flat: bool = False
) -> None:
    """Skill in per cent with its 95 % interval at the given places, upright or lying flat."""
    skill, error = 100 * rows["skill"].to_numpy(), 100 * Z_95 * rows["skill_se"].fill_null(float("nan")).to_numpy()
    x, y = (skill, places) if flat else (places, skill)
    bars: dict[str, Any] = {"xerr" if flat else "yerr": error}
    chart.errorbar(x, y, **bars, fmt="o", color=colour, markersize=4, elinewidth=1.2, capsize=0, label=label or None)


def _zero(chart: Axes, meaning: str, flat: bool = False) -> None:
    """The line of no difference, named."""
    if flat:
        chart.axvline(0, color=INK, linewidth=1)
        chart.annotate(meaning, (0, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", size=8, color=INK)
    else:
        chart.axhline(0, color=INK, linewidth=1)
        place = ("axes fraction", "data")
        chart.annotate(
            meaning, (1, 0), (4, 0), xycoords=place, textcoords="offset points", va="center", size=8, color=INK
        )


def _legend(chart: Axes) -> None:
    if len(chart.get_legend_handles_labels()[1]) > 1:
        above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2, "ncols": 4}
        chart.legend(frameon=False, fontsize=8, labelcolor=INK, handlelength=1.2, **above)


def _colour(model: str) -> str:
    return COLOURS.get(model, PINK)


def _label(model: str) -> str:
    return model.replace("_", " ")


def _short(name: object, most: int = 26) -> str:
    text = " ".join(str(name).split())
    return text if len(text) <= most else text[: most - 1] + "…"
