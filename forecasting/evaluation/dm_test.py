"""Whether one forecast is better than another: skill, its error, and the test behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats
from scipy.fft import dct

from tidecast.forecasting.evaluation.gate_policy import FEWEST_ORIGINS

FEWEST_TERMS = 4
LEVEL = 0.95
"""Of the intervals of skill."""

EQUAL = 1e-6
"""Losses that never differ by more than this share of their mean are equal: the rest is rounding."""


@dataclass(frozen=True)
class DMTest:
    """One-sided test that a mean is above zero.

    Attributes
    ----------
    mean, se : float
        Mean of the differences, and its standard error.
    t, p : float
        Their ratio, and the probability of one as large when the mean is zero; 1 when all differences are zero.
    dof : int
        Degrees of freedom, the number of cosine terms.
    """

    mean: float
    se: float
    t: float
    p: float
    dof: int


@dataclass(frozen=True)
class Skill:
    """Skill: how much smaller a loss is than the reference's, as a share of it.

    Attributes
    ----------
    skill : float or None
        1 − mean loss ÷ mean loss of the reference; 0.01 is one per cent better. None when a loss is not finite.
    se : float or None
        Its standard error (delta method); None with fewer than 5 origins.
    p : float or None
        One-sided, of the test that the loss is smaller; None with fewer than 120 origins.
    low, high : float or None
        Ends of its 95 % interval: all values that the same test, two-sided, does not reject. So `low` is above 0
        exactly when p is below 0.025. None with fewer than 5 origins, or if the interval is unbounded.
    """

    skill: float | None
    se: float | None = None
    p: float | None = None
    low: float | None = None
    high: float | None = None


def dm_test(differences: np.ndarray, horizon: int) -> DMTest:
    """One-sided Diebold–Mariano test that differences have a mean above zero.

    The long-run variance is that of equal-weighted cosines: B = max(4, min(0.41 T^⅔, T/2h)) terms, t with B degrees
    of freedom. It holds its size under overlap, heteroscedasticity and fat tails, where Newey–West does not.

    Parameters
    ----------
    differences : array-like of shape (n_origins,)
        In order of time, one number per origin: loss of the reference less loss of the model, averaged over its series
        and steps. Single rows would be dependent: origins overlap, and series move together.
    horizon : int
        Steps that each origin forecasts.

    Returns
    -------
    DMTest

    Raises
    ------
    ValueError
        There are fewer than 5 differences, or one is not finite.

    References
    ----------
    Diebold and Mariano (1995), Comparing predictive accuracy, JBES 13; doi:10.1080/07350015.1995.10524599.
    Lazarus, Lewis, Stock and Watson (2018), HAR inference: recommendations for practice, JBES 36 (the EWC estimator
    and its rule for B); doi:10.1080/07350015.2018.1506926.

    Examples
    --------
    >>> dm_test(np.zeros(200), horizon=5).p
    1.0
    >>> dm_test(1 + np.random.default_rng(0).normal(size=200), horizon=5).p < 0.001
    True
    """
    values = np.asarray(differences, dtype=float)
    if values.ndim != 1 or len(values) <= FEWEST_TERMS:
        raise ValueError(f"differences must be at least {FEWEST_TERMS + 1} numbers in a row, got shape {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError(f"differences must be finite, {(~np.isfinite(values)).sum()} of {len(values)} are not.")
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1, got {horizon}.")
    mean, (se, terms) = float(values.mean()), _error_of_mean(values, horizon)
    if se > 0:
        t = mean / se
        return DMTest(mean, se, t, float(stats.t.sf(t, terms)), terms)
    t = math.copysign(math.inf, mean) if mean else 0.0
    return DMTest(mean, se, t, 0.0 if mean > 0 else 1.0, terms)


def compare(loss: np.ndarray, reference: np.ndarray, horizon: int) -> Skill:
    """Skill of a forecast against a reference, from one mean loss of each per origin.

    Parameters
    ----------
    loss, reference : ndarray of shape (n_origins,)
        In order of time, from the same series and steps; never negative.
    horizon : int
        Steps that each origin forecasts.

    Returns
    -------
    Skill

    References
    ----------
    Fieller (1954), Some problems in interval estimation, JRSS B 16 (the interval of a ratio of means);
    doi:10.1111/j.2517-6161.1954.tb00159.x.
    """
    n_origins = len(loss)
    if not n_origins or not np.isfinite(loss).all() or not np.isfinite(reference).all():
        return Skill(None)
    mean = float(reference.mean())
    difference = reference - loss
    if np.abs(difference).max() <= EQUAL * mean:
        difference = np.zeros(n_origins)
    if mean == 0 and difference.any():
        return Skill(None)
    skill = float(difference.mean()) / mean if mean else 0.0
    if n_origins <= FEWEST_TERMS:
        return Skill(skill)
    # skill = 1 − l/r moves with l and r as −(l − (1 − skill) r)/r: the delta method is a mean of these.
    se, _ = _error_of_mean((difference - skill * reference) / (mean or 1.0), horizon)
    p = dm_test(difference, horizon).p if n_origins >= FEWEST_ORIGINS else None
    return Skill(skill, se, p, *_interval(difference, reference, horizon))


def _interval(difference: np.ndarray, reference: np.ndarray, horizon: int) -> tuple[float | None, float | None]:
    """All s for which the mean of ``difference − s · reference`` is less than t standard errors from 0."""
    if not difference.any():
        return 0.0, 0.0
    cosines = [_cosines(values, horizon) for values in (difference, reference)]
    t2 = _reach(len(cosines[0])) ** 2 / len(difference)
    means = float(difference.mean()), float(reference.mean())
    # (d − s r)² ≤ t² (v_dd − 2 s v_dr + s² v_rr), which is a s² − 2 b s + c ≤ 0
    a, b, c = (means[i] * means[j] - t2 * float(np.mean(cosines[i] * cosines[j])) for i, j in ((1, 1), (0, 1), (0, 0)))
    root = b * b - a * c
    if a <= 0 or root < 0:
        return None, None
    return (b - math.sqrt(root)) / a, (b + math.sqrt(root)) / a


@cache
def _reach(terms: int) -> float:
    """Standard errors to the end of an interval; looked up again for each series of a panel."""
    return float(stats.t.ppf(0.5 + LEVEL / 2, terms))


def _error_of_mean(values: np.ndarray, horizon: int) -> tuple[float, int]:
    """Standard error of a mean by equal-weighted cosines, and the number of terms."""
    cosines = _cosines(values, horizon)
    return math.sqrt(float(np.mean(cosines**2)) / len(values)), len(cosines)


def _cosines(values: np.ndarray, horizon: int) -> np.ndarray:
    """Cosine terms of a series, whose mean square is its long-run variance; shape (terms,)."""
    n = len(values)
    terms = min(max(FEWEST_TERMS, int(min(0.41 * n ** (2 / 3), n / (2 * horizon)))), n - 1)
    # The orthonormal DCT-II holds √(2/T) Σ x_t cos(π j (t − ½)/T) for j = 1, 2, …; j = 0 is the mean.
    cosines: np.ndarray = dct(values - values.mean(), type=2, norm="ortho")[1 : terms + 1]
    return cosines
