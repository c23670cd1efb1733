"""Online calibration: widen or narrow the published distribution by what its newest intervals covered.

The factors are a fold over the forecasts that have come true, from the first to the newest. Nothing is kept between
runs, so a rerun gives the same factors.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tidecast.forecasting.tables.quantiles import levels_in, quantile_columns

RATE = 0.05
"""Step size γ: how much the logarithm of a factor changes per session and per unit of missed coverage."""

NARROWEST, WIDEST = 0.8, 1.5
"""Limits of a factor."""


def misses(forecasts: pl.DataFrame, positive: bool = True) -> pl.DataFrame:
    """Return how far each truth lies from the median, in half-widths of the outermost interval.

    1 is the edge of the interval, on the truth's side of the median.

    Parameters
    ----------
    forecasts : polars.DataFrame
        Forecasts before online calibration, with ``truth``: series_id, origin, time, step, forecast, quantiles.
    positive : bool, default=True
        Whether prices move by log returns rather than differences.

    Returns
    -------
    polars.DataFrame
        The forecasts with ``miss``; null where the interval has no width.
    """
    low, *_, high = quantile_columns(levels_in(forecasts.columns))
    level = pl.Expr.log if positive else (lambda column: column)
    median, truth = level(pl.col("forecast")), level(pl.col("truth"))
    edge = pl.when(truth > median).then(level(pl.col(high))).otherwise(level(pl.col(low)))
    miss = (truth - median) / (edge - median)
    return forecasts.with_columns(miss=pl.when(edge != median).then(miss))


def width_factors(missed: pl.DataFrame, days: list[date], nominal: float, rate: float = RATE) -> pl.DataFrame:
    """Return the factor of each step on each day, from what was known by then.

    Adaptive conformal inference, per step, pooled over series: after each session, log f ← log f + γ (α̂ − α), where α̂
    is the share of the session's truths outside the interval widened by f, and α is nominal. f starts at 1 and stays
    between 0.8 and 1.5.

    Parameters
    ----------
    missed : polars.DataFrame
        As of `misses`: time, step, miss.
    days : list of date
        In rising order. A factor of a day uses truths of sessions up to it.
    nominal : float
        Coverage that is wanted, such as 0.9.
    rate : float, default=0.05
        γ.

    Returns
    -------
    polars.DataFrame
        as_of, step, factor.

    References
    ----------
    Gibbs and Candès (2021), Adaptive conformal inference under distribution shift, NeurIPS 34, equation 2
    (arXiv:2106.00193). Angelopoulos, Candès and Tibshirani (2023), Conformal PID control for time series prediction,
    NeurIPS 36 (arXiv:2307.16895): the update of a width rather than of a level is their quantile tracking.
    """
    tables = []
    for (step,), rows in missed.drop_nulls("miss").group_by("step", maintain_order=True):
        sessions = rows.group_by("time").agg("miss").sort("time")
        factors = _fold([np.asarray(found) for found in sessions["miss"].to_list()], nominal, rate)
        known = sessions["time"].search_sorted(pl.Series(days, dtype=pl.Date), side="right").to_numpy()
        tables.append(pl.DataFrame({"as_of": days, "step": step, "factor": factors[known]}))
    schema = {"as_of": pl.Date(), "step": pl.Int64(), "factor": pl.Float64()}
    columns = [pl.col(name).cast(kind) for name, kind in schema.items()]
    return pl.concat([table.select(columns) for table in tables]) if tables else pl.DataFrame(schema=schema)


def _fold(misses_of_sessions: list[NDArray[np.float64]], nominal: float, rate: float) -> NDArray[np.float64]:
    """Factor before the first session, after it, and after each later one."""
    log_factor, found = 0.0, [1.0]
    limits = np.log([NARROWEST, WIDEST])
    for missed in misses_of_sessions:
        outside = float(np.mean(missed > found[-1]))
        log_factor = float(np.clip(log_factor + rate * (outside - (1 - nominal)), *limits))
        found.append(float(np.exp(log_factor)))
    return np.array(found)


def rescaled(forecasts: pl.DataFrame, factors: pl.DataFrame, positive: bool = True) -> pl.DataFrame:
    """Return forecasts with their quantiles moved away from the median, or towards it, by the factors.

    Parameters
    ----------
    forecasts : polars.DataFrame
        With ``as_of`` and ``step``.
    factors : polars.DataFrame
        As of `width_factors`; a step without a factor keeps its quantiles.
    positive : bool, default=True
        Whether prices move by log returns rather than differences.
    """
    median, factor = pl.col("forecast"), pl.col("__factor")
    joined = forecasts.join(
        factors.rename({"factor": "__factor"}), on=["as_of", "step"], how="left", maintain_order="left"
    ).with_columns(pl.col("__factor").fill_null(1.0))
    moved = [
        (median * (pl.col(name) / median) ** factor if positive else median + (pl.col(name) - median) * factor)
        .alias(name)
        for name in quantile_columns(levels_in(forecasts.columns))
    ]  # fmt: skip
    return joined.with_columns(moved).drop("__factor")
