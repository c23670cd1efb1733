"""Pictures of how networks learned, and of what they remember."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from matplotlib.ticker import MaxNLocator

from tidecast.flows.reporting.figure import Picture, label, legend, new_figure
from tidecast.forecasting.forecasters.diagnostics import plot_memory_profile
from tidecast.forecasting.forecasters.palette import INK, colour_of

SMALLEST = 1e-6  # of the largest influence: what is less is not drawn


def learning_curves(curves: Mapping[str, pl.DataFrame]) -> Picture:
    """Loss of each candidate on the rows held back, and on those of training, epoch by epoch.

    Parameters
    ----------
    curves : mapping
        Model name to its ``learning_curve_``: ``epoch``, ``train_loss``, ``validation_loss``.
    """
    figure, (held_back, training) = new_figure(1, 2, height=2.8)
    for name, curve in curves.items():
        for chart, loss in ((held_back, "validation_loss"), (training, "train_loss")):
            known = curve.filter(pl.col(loss).is_finite())
            chart.plot(known["epoch"], known[loss], "o-", color=colour_of(name), markersize=2.5, label=label(name))
        known = curve.filter(pl.col("validation_loss").is_finite()).sort("validation_loss", "epoch")
        if known.height:
            held_back.plot(known["epoch"][0], known["validation_loss"][0], "o", color=colour_of(name), markersize=7)
    for chart, rows in ((held_back, "rows held back"), (training, "training rows")):
        chart.set_title(rows, loc="right", size=9, color=INK)
        chart.set_xlabel("epoch (0: untrained, the random walk)")
        chart.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    held_back.set_ylabel("pinball loss, volatilities")
    legend(held_back)
    reading = (
        "The lower the better, and left counts: at the large dot the rows held back are forecast best, and its weights "
        "are kept; the two scales differ, as the rows do."
    )
    return Picture("Learning curves", reading, figure)


def memory(profiles: pl.DataFrame) -> Picture:
    """How much the inputs of each row before the origin move the forecast, one line a cell.

    Parameters
    ----------
    profiles : polars.DataFrame
        What `memory_profile` gives, of one model or of several below one another.
    """
    figure, (chart,) = new_figure(1, 1, height=3.0)
    plot_memory_profile(profiles, chart)
    if (own := chart.get_legend()) is not None:
        own.remove()
    legend(chart)
    highest = chart.get_ylim()[1]
    chart.set_ylim(max(chart.get_ylim()[0], highest * SMALLEST), highest)
    reading = (
        "How far a forecast moves when the inputs of one row do, by how long ago that row was (logarithmic scale): a "
        "line that falls fast forgets soon."
    )
    return Picture("What the networks remember", reading, figure)
