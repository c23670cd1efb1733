"""Split conformal calibration of quantiles, per step, pooled over series.

Axes: H horizon steps, Q quantiles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tidecast.forecasting.panel.scaling import weighted_quantiles

Array = NDArray[np.float64]

FEWEST = 40  # residuals that a step needs; with fewer its quantiles stay unchanged
PRIOR_SESSIONS = 504  # as many sessions that needed no calibration are added to those it was estimated on


def calibrate(residuals: Array, quantiles: Array, levels: Array, weights: Array) -> Array:
    """Offsets that give each quantile its nominal coverage on held-out residuals.

    One-sided conformalised quantile regression (Romano, Patterson and Candès 2019, arXiv:1905.03222, theorem 2), level
    by level on scaled residuals; levels beyond the residuals are clipped to the outermost one. The median is not
    calibrated.

    Parameters
    ----------
    residuals : ndarray of shape (n, horizon)
        Truths in scaled units; NaN without a truth.
    quantiles : ndarray of shape (n, horizon, n_quantiles)
        Forecasts in the same units.
    levels : ndarray of shape (n_quantiles,)
        Including 0.5.
    weights : ndarray of shape (n,)

    Returns
    -------
    ndarray of shape (horizon, n_quantiles)
        Offsets to add to the quantiles; `outwards` then restores their order.
    """
    offsets = np.zeros(quantiles.shape[1:])
    for step in range(quantiles.shape[1]):
        known = np.isfinite(residuals[:, step]) & (weights > 0)
        n = int(known.sum())
        if n < FEWEST:
            continue
        errors = residuals[known, step] - quantiles[known, step].T
        for j, level in enumerate(levels):
            side = np.sign(level - 0.5)  # -1 below the median, which mirrors all; 0 at the median
            outer = min(max(level, 1 - level) * (n + 1) / n, 1.0)
            offsets[step, j] = side * weighted_quantiles(side * errors[j], weights[known], np.array([outer]))[0]
    return offsets


def credibility(n_sessions: int) -> float:
    """Share of an estimated offset to apply: n / (n + 504) for an estimate from n sessions.

    Offsets from a few months are mostly noise, because all series of a session share its surprises. This is the
    credibility of Bühlmann (1967), ASTIN Bulletin 4(3), doi:10.1017/S0515036100008989, with a fixed prior.

    Parameters
    ----------
    n_sessions : int

    Returns
    -------
    float
    """
    return n_sessions / (n_sessions + PRIOR_SESSIONS)


def outwards(quantiles: Array, median: int, least: Array | float = 0.0) -> Array:
    """Restore the order of quantiles along the last axis: none is closer to the median than its inner neighbour.

    Parameters
    ----------
    quantiles : ndarray of shape (..., n_quantiles)
    median : int
        Index of the median.
    least : ndarray of shape (..., n_quantiles − 1), default=0
        Least distance between neighbours; 0 lets them tie.

    Returns
    -------
    ndarray of the same shape
    """
    ordered = quantiles.copy()
    least = np.broadcast_to(least, (*ordered.shape[:-1], ordered.shape[-1] - 1))
    for j in range(median - 1, -1, -1):
        np.minimum(ordered[..., j], ordered[..., j + 1] - least[..., j], out=ordered[..., j])
    for j in range(median + 1, ordered.shape[-1]):
        np.maximum(ordered[..., j], ordered[..., j - 1] + least[..., j - 1], out=ordered[..., j])
    return ordered
