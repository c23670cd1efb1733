"""Skill by step against the random walk, and reliability of the quantiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tidecast.features.error_text import meant, shorten
from tidecast.features.frames import Frame, to_polars
from tidecast.forecasting.evaluation.metrics import Evaluation
from tidecast.forecasting.plotting.canvas import Figure, legend, new_figure, zero
from tidecast.forecasting.plotting.palette import PLAIN, Theme, colours_of, theme_of
from tidecast.forecasting.plotting.tables import quantile_shares, to_draw
from tidecast.forecasting.tables.names import CRPS, RANDOM_WALK, loss_in


def plot_skill(evaluation: Evaluation, *, models: Sequence[str] | None = None, dark: bool = False) -> Figure:
    """Draw the skill of each model against the random walk by step, with 95 % intervals.

    Above the line is better than the random walk. An interval that crosses the line is no evidence.

    Parameters
    ----------
    evaluation : Evaluation
        Result of `evaluate`.
    models : sequence of str, optional
        Models to draw; by default all but the random walk.
    dark : bool, default=False
        Draw for a dark page.

    Returns
    -------
    Figure
        A matplotlib figure; a notebook shows it. Change its ``axes``, or save it with ``savefig``.

    Raises
    ------
    ValueError
        A model is not in the evaluation, or none has a skill.
    """
    summary = to_polars(evaluation.summary)
    known = summary.filter((pl.col("group") == "step") & pl.col("skill").is_not_null() & pl.col("skill").is_finite())
    names = known["model"].unique(maintain_order=True).to_list()
    wanted = [name for name in names if name != RANDOM_WALK] if models is None else list(models)
    if unknown := [name for name in wanted if name not in names]:
        hint = meant(unknown[0], names)
        raise ValueError(f"models must have a skill; {shorten(unknown)} has none. Choose from {shorten(names)}.{hint}")
    if not wanted:
        raise ValueError(
            f"plot_skill needs a model and the {RANDOM_WALK} on the same origins, found no skill. Evaluate a table "
            "from backtest, or one with both models."
        )
    theme = theme_of(dark)
    figure, (chart,) = new_figure(1, 1, height=3.4, theme=theme)
    loss = "CRPS" if loss_in(summary.columns) == CRPS else "Pinball"
    draw_skill(chart, known, {name: name for name in wanted}, f"{loss} skill, %\n(bars: 95 % intervals)", theme)
    return figure


def draw_skill(
    chart: Axes, summary: pl.DataFrame, models: Mapping[str, str], label: str = "CRPS skill, %", theme: Theme = PLAIN
) -> None:
    """Draw skill by step with 95 % intervals.

    Parameters
    ----------
    chart : Axes
    summary : polars.DataFrame
        ``evaluate(...).summary``; its rows of group "step" are used.
    models : mapping of str to str
        From a model's name in the table to its name in the legend.
    label : str
        Of the vertical axis.
    theme : Theme, default=PLAIN
    """
    colours = colours_of(list(models), theme)
    for position, (name, shown) in enumerate(models.items()):
        rows = summary.filter((pl.col("group") == "step") & (pl.col("model") == name)).sort("step")
        shift = (position - (len(models) - 1) / 2) * min(0.12, 0.6 / len(models))
        draw_dots(chart, rows["step"].to_numpy() + shift, rows, colours[name], label=shown)
    zero(chart, "the random walk", theme=theme)
    chart.xaxis.set_major_locator(MaxNLocator(integer=True))
    chart.set_xlabel("sessions ahead")
    chart.set_ylabel(label)
    legend(chart, theme)
    if len(models) == 1 and theme is not PLAIN:
        chart.set_title(next(iter(models.values())), loc="left", size=9, color=theme.ink, parse_math=False)


def draw_dots(
    chart: Axes, positions: np.ndarray, rows: pl.DataFrame, colour: str, label: str = "", flat: bool = False
) -> None:
    """Draw skill in per cent with its 95 % interval at each position.

    Parameters
    ----------
    chart : Axes
    positions : ndarray of shape (n_rows,)
    rows : polars.DataFrame
        ``skill``, ``skill_low`` and ``skill_high``, as shares.
    colour, label : str
    flat : bool, default=False
        Draw along the horizontal axis.
    """
    skill = 100 * rows["skill"].to_numpy()
    ends = 100 * rows.select(pl.col("skill_low", "skill_high").fill_null(float("nan"))).to_numpy().T
    error = np.abs(ends - skill)
    x, y = (skill, positions) if flat else (positions, skill)
    bars: dict[str, Any] = {"xerr" if flat else "yerr": error}
    chart.errorbar(x, y, **bars, fmt="o", color=colour, markersize=4, elinewidth=1.2, capsize=0, label=label or None)


def plot_reliability(
    table: Frame, prices: Frame, *, models: Sequence[str] | None = None, target: str | None = None, dark: bool = False
) -> Figure:
    """Draw the share of truths below each quantile less its level, and the histogram of truths among quantiles (PIT).

    Left: on the line, a quantile has as many truths at or below it as its level says. Right: a flat line at 1 is good,
    high ends mean that the intervals are too narrow, a high middle that they are too wide.

    Parameters
    ----------
    table : polars or pandas DataFrame
        A forecast table with many origins, such as `backtest` returns.
    prices : polars or pandas DataFrame
        The panel, with the origins and the truths.
    models : sequence of str, optional
        Models to draw; by default all.
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
        The tables do not fit together, a model is not in the table, or no forecast has come true.
    """
    found = to_draw(prices, table, target)
    names = found.forecasts["model"].unique(maintain_order=True).to_list()
    wanted = names if models is None else list(models)
    if unknown := [name for name in wanted if name not in names]:
        hint = meant(unknown[0], names)
        raise ValueError(
            f"models must be in the forecast table, not so {shorten(unknown)}. Choose from {shorten(names)}.{hint}"
        )
    forecasts = found.forecasts.filter(pl.col("model").is_in(wanted))
    shares = quantile_shares(forecasts, found.prices.rename({"price": "close"}))
    if shares.drop_nulls().is_empty():
        raise ValueError(
            "A forecast must have come true, found none. Give prices that reach the forecast sessions, with truths."
        )
    theme = theme_of(dark)
    figure, (gaps, pit) = new_figure(1, 2, height=3.2, width=9, theme=theme)
    draw_reliability(gaps, pit, shares, {name: name for name in wanted}, theme)
    return figure


def draw_reliability(
    gaps: Axes, pit: Axes, shares: pl.DataFrame, models: Mapping[str, str], theme: Theme = PLAIN
) -> None:
    """Draw each quantile's distance from its nominal level, and the histogram of truths among the quantiles (PIT).

    Parameters
    ----------
    gaps, pit : Axes
    shares : polars.DataFrame
        ``model``, ``level`` and ``share``, from `quantile_shares`.
    models : mapping of str to str
        From a model's name in the table to its name in the legend.
    theme : Theme, default=PLAIN

    References
    ----------
    Gneiting, Balabdaoui and Raftery (2007), Probabilistic forecasts, calibration and sharpness, JRSS B 69, section 3.1
    (PIT histograms); doi:10.1111/j.1467-9868.2007.00587.x.
    """
    colours = colours_of(list(models), theme)
    for name, shown in models.items():
        rows = shares.filter((pl.col("model") == name) & pl.col("share").is_not_null()).sort("level")
        difference = 100 * (rows["share"] - rows["level"])
        colour = colours[name]
        gaps.plot(100 * rows["level"], difference, "o-", color=colour, markersize=3, linewidth=1.2, label=shown)
        edges = np.array([0.0, *rows["level"], 1.0])
        density = np.diff([0.0, *rows["share"], 1.0]) / np.diff(edges)
        pit.stairs(density, 100 * edges, baseline=None, color=colour, linewidth=1.4)
    zero(gaps, "", theme=theme)
    at_least(gaps, -3, 3)
    pit.axhline(1, color=theme.ink, linewidth=1, linestyle="--")
    at_least(pit, 0.5, 1.5)
    gaps.set_xlabel("quantile, %")
    gaps.set_ylabel("truths below it,\nminus nominal, points")
    pit.set_xlabel("position of the truth among the quantiles, %")
    pit.set_ylabel("truths per expected truth")
    legend(gaps, theme)


def at_least(chart: Axes, low: float, high: float) -> None:
    """Make the vertical axis include these values, so that noise does not look large.

    Parameters
    ----------
    chart : Axes
    low, high : float
    """
    bottom, top = chart.get_ylim()
    chart.set_ylim(min(low, bottom), max(high, top))
