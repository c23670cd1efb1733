"""Exponentially weighted volatility, the scale of every forecast."""

from __future__ import annotations

import numpy as np
import polars as pl

from tidecast.features.segments import segment_starts, series_starts

DECAY = 0.94
"""λ, the daily decay of RiskMetrics."""

EWMA_ROWS = 600
"""Changes after which older ones no longer count in an average with `DECAY`: 0.94⁶⁰⁰ is 7.6e-17, below rounding."""

PEG_WINDOW = 63
"""Changes that show whether a series is pegged: three months."""


def with_volatility(panel: pl.DataFrame, target: str = "close", positive: bool = True, season: int = 0) -> pl.DataFrame:
    """Add the columns `change`, `volatility` and `pegged` to a sorted panel.

    - `change`: log return from the row before, as a decimal (difference in price units when not `positive`); null on
      the first row of a series and after a break.
    - `volatility`: σ of one change, exponentially weighted with the row's own change included and bias corrected:
      n ← λn + r², d ← λd + 1, σ = √(n/d), restarted after a break. Null before the first change, 0 while all are 0.
    - `pegged`: no volatility, or fewer than half of the last 63 changes (of those there are) differ from 0; with a
      `season`, none of the changes of that many rows.

    A row without a target has no change and no volatility, is pegged, and does not affect the others.

    Parameters
    ----------
    panel : polars.DataFrame
        Sorted by `series_id` and `time`, as `check_panel` returns it.
    target : str, default="close"
        Column of prices.
    positive : bool, default=True
        Whether prices move by log returns rather than differences.
    season : int, default=0
        Rows of a season, if the panel has one: values may then stand still for hours, as the sun's output at night.

    Returns
    -------
    polars.DataFrame
        The panel with the three columns.

    References
    ----------
    J.P. Morgan/Reuters (1996), RiskMetrics – Technical Document, 4th ed., section 5.2; the divisor corrects its
    start-up bias.
    """
    moved = (pl.col("change") != 0).cast(pl.Float64)
    share_moved = moved.rolling_mean(season or PEG_WINDOW, min_samples=1).over("__tidecast_segment")
    is_moving = share_moved > 0 if season else share_moved >= 0.5
    return (
        with_changes(panel, target, positive)
        .with_columns(__tidecast_moving=is_moving)
        .with_columns(pegged=~((pl.col("volatility") > 0) & pl.col("__tidecast_moving")).fill_null(False))
        .drop("__tidecast_moving", "__tidecast_segment")
    )


def with_changes(
    panel: pl.DataFrame, target: str, positive: bool, starts: np.ndarray | None = None, decay: float = DECAY
) -> pl.DataFrame:
    """Add `change`, `volatility` and `__tidecast_segment` to a sorted panel, see `with_volatility` and `with_segments`.

    Parameters
    ----------
    panel : polars.DataFrame
    target : str
    positive : bool
    starts : ndarray of int64, optional
        Positions at which the series begin, if known.
    decay : float, default=0.94
        λ.
    """
    level = pl.col(target).log() if positive else pl.col(target)
    before = pl.col("__tidecast_segment").cum_max()  # rows without a target have number 0
    variance = (
        (pl.col("change") ** 2).ewm_mean(alpha=1 - decay, adjust=True, ignore_nulls=True).over("__tidecast_segment")
    )
    return (
        with_segments(panel, target, starts)
        .with_columns(change=pl.when(before == before.shift()).then(level - level.forward_fill().shift()))
        .with_columns(volatility=variance.sqrt())
    )


def with_segments(panel: pl.DataFrame, target: str, starts: np.ndarray | None = None) -> pl.DataFrame:
    """Add `__tidecast_segment` to a sorted panel: the number of the piece of a series between two breaks.

    Expressions over it never cross a series or a break. Rows without a target share number 0. If there are none, the
    numbers are marked as sorted, so that polars takes segments as slices and needs no hashes.

    Parameters
    ----------
    panel : polars.DataFrame
    target : str
    starts : ndarray of int64, optional
        Positions at which the series begin (`series_starts`), if known.
    """
    missing = panel[target].null_count()
    rows = panel.filter(pl.col(target).is_not_null()) if missing else panel
    starts = series_starts(rows) if starts is None or missing else starts
    begins = segment_starts(rows, starts)
    numbers = np.repeat(np.arange(1, len(begins) + 1, dtype=np.uint32), np.diff(begins, append=len(rows)))
    if not missing:
        return panel.with_columns(__tidecast_segment=pl.Series(numbers).set_sorted())
    segment = np.zeros(len(panel), dtype=np.uint32)
    segment[panel[target].is_not_null().to_numpy()] = numbers
    return panel.with_columns(__tidecast_segment=pl.Series(segment))
