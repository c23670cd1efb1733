"""Pictures of calibration: coverage of intervals and quantiles against their nominal levels."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import MaxNLocator

from tidecast.flows.reporting.figure import Picture
from tidecast.flows.reporting.model_names import readable
from tidecast.forecasting.plotting.canvas import legend, new_figure
from tidecast.forecasting.plotting.palette import INK, colour_of
from tidecast.forecasting.plotting.scores import at_least, draw_reliability


def coverage_by_step(summary: pl.DataFrame, models: Sequence[str], nominal: float) -> Picture:
    """Share of truths inside the outermost interval, for each step ahead.

    Parameters
    ----------
    summary : polars.DataFrame
        ``evaluate(...).summary``; its rows of group "step" are used.
    models : sequence of str
        Models to draw.
    nominal : float
        Nominal coverage of that interval, as a share; 0.9 with the default quantiles.

    Returns
    -------
    Picture
    """
    figure, (chart,) = new_figure(1, 1, height=2.7)
    for name in models:
        rows = summary.filter((pl.col("group") == "step") & (pl.col("model") == name)).sort("step")
        chart.plot(
            rows["step"], 100 * rows["coverage"], "o-", color=colour_of(name), markersize=4, label=readable(name)
        )
    _draw_nominal(chart, nominal)
    chart.xaxis.set_major_locator(MaxNLocator(integer=True))
    chart.set_xlabel("sessions ahead")
    chart.set_ylabel("truths inside, %")
    legend(chart)
    reading = f"On the dashed line the {100 * nominal:.0f} % interval has its nominal coverage; below it is too narrow."
    return Picture(named("Coverage by step", models), reading, figure)


def coverage_over_time(over_time: pl.DataFrame, by_volatility: pl.DataFrame, nominal: float) -> Picture:
    """Share of truths inside the outermost interval, by month and by volatility.

    Parameters
    ----------
    over_time : polars.DataFrame
        Result of `tidecast.flows.reporting.calibration_tables.coverage_over_time`.
    by_volatility : polars.DataFrame
        Result of `tidecast.flows.reporting.calibration_tables.coverage_by_volatility`.
    nominal : float
        Nominal coverage of that interval, as a share; 0.9 with the default quantiles.

    Returns
    -------
    Picture
    """
    figure, (months, thirds) = new_figure(1, 2, height=2.7, sharey=True, widths=(5, 3))
    models = over_time["model"].unique(maintain_order=True).to_list()
    for position, name in enumerate(models):
        rows = over_time.filter(pl.col("model") == name).sort("time")
        months.plot(
            rows["time"].to_numpy(), 100 * rows["coverage"], "o-", color=colour_of(name), markersize=3, linewidth=1.2,
            label=readable(name),
        )  # fmt: skip
        rows = by_volatility.filter(pl.col("model") == name).sort("third")
        shift = (position - (len(models) - 1) / 2) * 0.14
        thirds.plot(rows["third"] + shift, 100 * rows["coverage"], "o", color=colour_of(name), markersize=6)
    for chart in (months, thirds):
        _draw_nominal(chart, nominal)
    months.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=7))
    months.xaxis.set_major_formatter(ConciseDateFormatter(months.xaxis.get_major_locator()))
    months.xaxis.get_offset_text().set(color=INK, size=7.5)
    months.set_xlabel("month of the origin")
    months.set_ylabel("truths inside, %")
    thirds.set_xticks([0, 1, 2], ["lowest\nthird", "middle\nthird", "highest\nthird"])
    thirds.set_xlim(-0.5, 2.5)
    thirds.set_xlabel("volatility at the origin, of each series")
    legend(months)
    reading = (
        f"On the dashed line the {100 * nominal:.0f} % interval has its nominal coverage. Good coverage stays near the "
        "line in every month and at every volatility."
    )
    return Picture(named("Coverage over time and by volatility", models), reading, figure)


def reliability(shares: pl.DataFrame) -> Picture:
    """Difference of each quantile from its nominal level, and the histogram of truths among the quantiles (PIT).

    Parameters
    ----------
    shares : polars.DataFrame
        ``model``, ``level`` and ``share``, the share of truths at or below that quantile.

    Returns
    -------
    Picture

    References
    ----------
    Gneiting, Balabdaoui and Raftery (2007), Probabilistic forecasts, calibration and sharpness, JRSS B 69, section 3.1
    (PIT histograms); doi:10.1111/j.1467-9868.2007.00587.x.
    """
    figure, (gaps, pit) = new_figure(1, 2, height=2.8)
    names = shares["model"].unique(maintain_order=True).to_list()
    draw_reliability(gaps, pit, shares, {name: readable(name) for name in names})
    reading = (
        "Left: on the line, the share of truths below a quantile equals its level. Right (PIT): a flat line at 1 is "
        "good, high ends mean too narrow, a high middle means too wide."
    )
    return Picture(named("Reliability of the quantiles", names), reading, figure)


def named(title: str, models: Sequence[str]) -> str:
    """Return a title that names the model where there is only one, because a single line has no legend.

    Parameters
    ----------
    title : str
    models : sequence of str
        Those in the picture.
    """
    return f"{title}, {readable(models[0])}" if len(models) == 1 else title


def _draw_nominal(chart: Axes, nominal: float) -> None:
    """Draw the dashed line of the nominal coverage, with 5 points of room."""
    chart.axhline(100 * nominal, color=INK, linewidth=1, linestyle="--")
    at_least(chart, 100 * nominal - 5, 100 * nominal + 5)
