"""Pictures of learning curves, and of how far back networks look."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from matplotlib.ticker import MaxNLocator

from tidecast.flows.reporting.figure import Picture
from tidecast.flows.reporting.model_names import readable
from tidecast.forecasting.forecasters.diagnostics import plot_memory_profile
from tidecast.forecasting.plotting.canvas import legend, new_figure
from tidecast.forecasting.plotting.palette import INK, colour_of

SMALLEST = 1e-6  # share of the largest influence below which nothing is drawn


def learning_curves(curves: Mapping[str, pl.DataFrame]) -> Picture:
    """Loss of each candidate on the validation rows and on the training rows, by epoch.

    Parameters
    ----------
    curves : mapping
        From a model's name to its ``learning_curve_``: ``epoch``, ``train_loss``, ``validation_loss``.

    Returns
    -------
    Picture
    """
    figure, (validation, training) = new_figure(1, 2, height=2.8)
    for name, curve in curves.items():
        for chart, loss in ((validation, "validation_loss"), (training, "train_loss")):
            finite = curve.filter(pl.col(loss).is_finite())
            chart.plot(finite["epoch"], finite[loss], "o-", color=colour_of(name), markersize=2.5, label=readable(name))
        finite = curve.filter(pl.col("validation_loss").is_finite()).sort("validation_loss", "epoch")
        if finite.height:
            validation.plot(finite["epoch"][0], finite["validation_loss"][0], "o", color=colour_of(name), markersize=7)
    for chart, rows in ((validation, "validation rows"), (training, "training rows")):
        chart.set_title(rows, loc="right", size=9, color=INK)
        chart.set_xlabel("epoch (0: untrained, the random walk)")
        chart.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    validation.set_ylabel("pinball loss, volatilities")
    legend(validation)
    reading = (
        "Lower is better. The left chart decides: the weights of the epoch with the large dot are kept. The scales "
        "differ, because the rows do."
    )
    return Picture("Learning curves", reading, figure)


def memory(profiles: pl.DataFrame) -> Picture:
    """Influence of the inputs of each row before the origin on the forecast, one line per cell.

    Parameters
    ----------
    profiles : polars.DataFrame
        Result of `memory_profile`, of one model or of several, concatenated.

    Returns
    -------
    Picture
    """
    figure, (chart,) = new_figure(1, 1, height=3.0)
    plot_memory_profile(profiles, chart)
    if (own := chart.get_legend()) is not None:
        own.remove()
    legend(chart)
    highest = chart.get_ylim()[1]
    chart.set_ylim(max(chart.get_ylim()[0], highest * SMALLEST), highest)
    reading = (
        "How far a forecast moves when the inputs of one row move, by the age of that row (logarithmic scale). A line "
        "that falls fast means a short memory."
    )
    return Picture("Memory of the networks", reading, figure)
