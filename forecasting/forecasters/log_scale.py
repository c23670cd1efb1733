"""A pooled ridge regression of coming log volatility, in closed form.

Axes: N origins, F inputs, H horizon steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FLOOR = 0.01  # least variance, as a share of the random walk's: the log of an unchanged price would be -inf


def coming_log_scale(changes_NH: Array) -> Array:
    """Logs of the root mean square of the changes to come, up to each step, in units of today's volatility.

    ``½ log(max(0.01, Σ r² / k))``, the sum over the changes r between the sessions with a price among the next k.

    Parameters
    ----------
    changes_NH : ndarray of shape (N, H)
        Cumulative changes ÷ (volatility · √step); NaN without a truth.

    Returns
    -------
    ndarray of shape (N, H)
        NaN where `changes_NH` is.
    """
    steps_H = np.arange(1, changes_NH.shape[1] + 1)
    known_NH = np.isfinite(changes_NH)
    level_NH = np.column_stack([np.zeros(len(changes_NH)), changes_NH * np.sqrt(steps_H)])
    newest_NH = np.maximum.accumulate(np.column_stack([np.zeros(len(changes_NH), int), steps_H * known_NH]), axis=1)
    square_NH = np.diff(np.take_along_axis(level_NH, newest_NH, axis=1)) ** 2
    variance_NH = square_NH.cumsum(axis=1) / steps_H
    return np.where(known_NH, 0.5 * np.log(np.maximum(variance_NH, FLOOR)), np.nan)


def pooled_ridge(inputs_NF: Array, targets_NH: Array, weights_N: Array, ridge: float) -> Array:
    """Return the weights of a ridge regression per step; its intercept is left out and not penalised.

    Hoerl and Kennard (1970), Technometrics 12(1), equation 2.1, doi:10.1080/00401706.1970.10488634. The penalty is
    worth `ridge` rows: estimated from n of them, the weight of an input that no other resembles is multiplied by
    n / (n + ridge).

    Parameters
    ----------
    inputs_NF : ndarray of shape (N, F)
        Standardised.
    targets_NH : ndarray of shape (N, H)
        NaN where missing; a step is estimated on the rows that have it.
    weights_N : ndarray of shape (N,)
        Positive.
    ridge : float
        In rows. With unequal weights, n is (Σ w)² / Σ w² (Kish 1965).

    Returns
    -------
    ndarray of shape (F, H)
        0 for a step without targets.
    """
    found_FH = np.zeros((inputs_NF.shape[1], targets_NH.shape[1]))
    missing_NH = ~np.isfinite(targets_NH)
    known_N, gram_FF, mean_F = None, found_FH[:, :0], found_FH[:, 0]
    for step, missing_N in enumerate(missing_NH.T):
        if missing_N.all():
            continue
        if known_N is None or (known_N == missing_N).any():  # the same rows as the step before, mostly
            known_N = ~missing_N
            share_N = weights_N * known_N / weights_N[known_N].sum()
            mean_F = share_N @ inputs_NF
            penalty = ridge * (share_N**2).sum()
            gram_FF = (inputs_NF.T * share_N) @ inputs_NF - np.outer(mean_F, mean_F) + penalty * np.eye(len(mean_F))
        moment_F = (share_N * np.where(known_N, targets_NH[:, step], 0.0)) @ (inputs_NF - mean_F)
        found_FH[:, step] = np.linalg.solve(gram_FF, moment_F)
    return found_FH
