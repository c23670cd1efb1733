"""Pictures of how far intervals and quantiles hold what they promise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import MaxNLocator

from tidecast.flows.reporting.figure import Picture, label, legend, new_figure, zero
from tidecast.forecasting.forecasters.palette import INK, colour_of


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
    figure, (chart,) = new_figure(1, 1, height=2.7)
    for name in models:
        rows = summary.filter((pl.col("group") == "step") & (pl.col("model") == name)).sort("step")
        chart.plot(rows["step"], 100 * rows["coverage"], "o-", color=colour_of(name), markersize=4, label=label(name))
    _promised(chart, nominal)
    chart.xaxis.set_major_locator(MaxNLocator(integer=True))
    chart.set_xlabel("sessions ahead")
    chart.set_ylabel("truths inside, %")
    legend(chart)
    reading = f"On the dashed line the {100 * nominal:.0f} % interval holds what it promises; below it is too narrow."
    return Picture("Coverage by step", reading, figure)


def coverage_over_time(over_time: pl.DataFrame, by_volatility: pl.DataFrame, nominal: float) -> Picture:
    """Share of truths inside the outermost interval, month by month, and in calm and in wild times.

    Parameters
    ----------
    over_time : polars.DataFrame
        What `tidecast.flows.reporting.calibration_tables.coverage_over_time` gives.
    by_volatility : polars.DataFrame
        What `tidecast.flows.reporting.calibration_tables.coverage_by_volatility` gives.
    nominal : float
        The share that was promised, 0.9 with the default quantiles.
    """
    figure, (months, thirds) = new_figure(1, 2, height=2.7, sharey=True, widths=(5, 3))
    models = over_time["model"].unique(maintain_order=True)
    for place, name in enumerate(models):
        rows = over_time.filter(pl.col("model") == name).sort("time")
        months.plot(
            rows["time"].to_numpy(), 100 * rows["coverage"], "o-", color=colour_of(name), markersize=3, linewidth=1.2,
            label=label(name),
        )  # fmt: skip
        rows = by_volatility.filter(pl.col("model") == name).sort("third")
        shift = (place - (len(models) - 1) / 2) * 0.14
        thirds.plot(rows["third"] + shift, 100 * rows["coverage"], "o", color=colour_of(name), markersize=6)
    for chart in (months, thirds):
        _promised(chart, nominal)
    months.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=7))
    months.xaxis.set_major_formatter(ConciseDateFormatter(months.xaxis.get_major_locator()))
    months.xaxis.get_offset_text().set(color=INK, size=7.5)
    months.set_xlabel("month of the origin")
    months.set_ylabel("truths inside, %")
    thirds.set_xticks([0, 1, 2], ["calmest\nthird", "middle\nthird", "wildest\nthird"])
    thirds.set_xlim(-0.5, 2.5)
    thirds.set_xlabel("volatility at the origin, of each series")
    legend(months)
    reading = (
        f"On the dashed line the {100 * nominal:.0f} % interval holds what it promises; a good one stays near it in "
        "every month, and in calm and wild times alike."
    )
    return Picture("Coverage over time and by volatility", reading, figure)


def reliability(shares: pl.DataFrame) -> Picture:
    """How far each quantile is from what it promises, and where between the quantiles the truths fell (PIT).

    Parameters
    ----------
    shares : polars.DataFrame
        ``model``, ``level`` and ``share``, the share of truths at or below that quantile.

    References
    ----------
    Gneiting, Balabdaoui and Raftery (2007), Probabilistic forecasts, calibration and sharpness, JRSS B 69, section 3.1
    (PIT histograms); doi:10.1111/j.1467-9868.2007.00587.x.
    """
    figure, (gaps, pit) = new_figure(1, 2, height=2.8)
    for name in shares["model"].unique(maintain_order=True):
        rows = shares.filter(pl.col("model") == name).sort("level")
        difference = 100 * (rows["share"] - rows["level"])
        colour = colour_of(name)
        gaps.plot(100 * rows["level"], difference, "o-", color=colour, markersize=3, linewidth=1.2, label=label(name))
        edges = np.array([0.0, *rows["level"], 1.0])
        density = np.diff([0.0, *rows["share"], 1.0]) / np.diff(edges)
        pit.stairs(density, 100 * edges, baseline=None, color=colour, linewidth=1.4)
    zero(gaps, "")
    _at_least(gaps, -3, 3)
    pit.axhline(1, color=INK, linewidth=1, linestyle="--")
    _at_least(pit, 0.5, 1.5)
    gaps.set_xlabel("quantile, %")
    gaps.set_ylabel("truths below it,\nminus promised, points")
    pit.set_xlabel("where the truth fell among the quantiles, %")
    pit.set_ylabel("truths per promised truth")
    legend(gaps)
    reading = (
        "Left, on the line a quantile holds as many truths below it as it promises. Right (PIT), a flat line at 1 is "
        "good, high at both ends is too narrow, high in the middle too wide."
    )
    return Picture("Reliability of the quantiles", reading, figure)


def _promised(chart: Axes, nominal: float) -> None:
    """The dashed line of what was promised, with 5 points of room."""
    chart.axhline(100 * nominal, color=INK, linewidth=1, linestyle="--")
    _at_least(chart, 100 * nominal - 5, 100 * nominal + 5)


def _at_least(chart: Axes, low: float, high: float) -> None:
    """Let the vertical axis show these values, whatever the numbers: noise must not look like much."""
    bottom, top = chart.get_ylim()
    chart.set_ylim(min(low, bottom), max(high, top))
