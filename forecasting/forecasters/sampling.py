"""Joint sample paths whose marginals are the forecast quantiles.

Axes: N origins, S samples, H horizon steps, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from tidecast.forecasting.forecasters.conformal import FEWEST
from tidecast.forecasting.panel.origins import Origins

Array = NDArray[np.float64]

MOST_ORIGINS = 100_000  # to estimate the dependence from
POOL = (
    256  # paths are stratified among at least this many: among few, their steps would not depend on each other enough
)
BLOCK = 4_000_000  # numbers drawn at a time


@dataclass(frozen=True)
class Dependence:
    """Dependence between the steps of one origin, and the excess of truths beyond the outermost quantiles.

    Attributes
    ----------
    correlation_HH : ndarray of shape (H, H)
        Correlation of the steps' normal scores.
    excess_H2 : ndarray of shape (H, 2)
        Mean distance beyond the lowest and the highest quantile, in distances of that quantile from the median.
    """

    correlation_HH: Array
    excess_H2: Array

    @classmethod
    def measure(cls, residuals_NH: Array, weights_N: Array, levels: Array) -> Dependence:
        """Estimate from standardised residuals, NaN without a truth; with too few, use a random walk's correlation.

        The correlation is that of normal scores of ranks, over the origins with a truth for every step.

        Parameters
        ----------
        residuals_NH : ndarray of shape (N, H)
            Of origins in training.
        weights_N : ndarray of shape (N,)
            Weight of each origin; those with 0 are left out.
        levels : ndarray
            Of the quantiles, in rising order; tails are measured beyond the outermost.
        """
        horizon = residuals_NH.shape[1]
        steps = np.arange(1, horizon + 1)
        correlation = np.sqrt(np.minimum.outer(steps, steps) / np.maximum.outer(steps, steps))
        whole = np.isfinite(residuals_NH).all(axis=1) & (weights_N > 0)
        if whole.sum() >= FEWEST and (np.ptp(residuals_NH[whole], axis=0) > 0).all():
            scores = ndtri(rankdata(residuals_NH[whole], axis=0) / (whole.sum() + 1))
            covariance = np.atleast_2d(np.cov(scores.T, aweights=weights_N[whole]))
            deviation = np.sqrt(np.diag(covariance))
            correlation = covariance / np.outer(deviation, deviation)
        excess = [
            [_excess(residuals_NH[:, step], level) for level in (levels[0], levels[-1])] for step in range(horizon)
        ]
        return cls(correlation, np.array(excess))

    def draw(self, n_origins: int, n_samples: int, generator: np.random.Generator) -> Array:
        """Draw ranks in (0, 1) of shape (N, S, H), dependent over steps and stratified at each step.

        Each step has as many equal strata as there are paths, and one rank in each (Latin hypercube sampling with
        dependence, Packham and Schmidt 2010, doi:10.21314/JCF.2010.221).

        Parameters
        ----------
        n_origins, n_samples : int
        generator : numpy Generator
            Advances.
        """
        values, vectors = np.linalg.eigh(self.correlation_HH)
        root = vectors * np.sqrt(values.clip(0))
        pool = max(n_samples, POOL)
        z = generator.standard_normal((n_origins, pool, len(root))) @ root.T
        stratum = z.argsort(axis=1).argsort(axis=1)
        return ((stratum + generator.uniform(1e-12, 1.0, z.shape)) / pool)[:, :n_samples]

    def quantile(self, ranks_NSH: Array, quantiles_NHQ: Array, levels: Array) -> Array:
        """Value at each rank, shape (N, S, H), in the unit of the quantiles.

        Between two levels it follows a normal distribution through both. Beyond the outermost levels the excess is
        exponential; its mean is that of past residuals, in proportion to the quantile's distance from the median.

        Parameters
        ----------
        ranks_NSH : ndarray of shape (N, S, H)
            In (0, 1).
        quantiles_NHQ : ndarray of shape (N, H, Q)
            Non-decreasing along the last axis.
        levels : ndarray of shape (Q,)
            In rising order, 0.5 among them.
        """
        knots = ndtri(levels)
        median = quantiles_NHQ[..., int(np.argmin(np.abs(levels - 0.5)))]
        score = ndtri(ranks_NSH)
        right = np.searchsorted(levels, ranks_NSH).clip(1, len(levels) - 1)
        upper = np.take_along_axis(quantiles_NHQ, right.transpose(0, 2, 1), axis=2).transpose(0, 2, 1)
        lower = np.take_along_axis(quantiles_NHQ, right.transpose(0, 2, 1) - 1, axis=2).transpose(0, 2, 1)
        share = ((score - knots[right - 1]) / (knots[right] - knots[right - 1])).clip(0, 1)
        value = lower + share * (upper - lower)
        lowest, highest = quantiles_NHQ[..., 0], quantiles_NHQ[..., -1]
        below = np.log((levels[0] / ranks_NSH).clip(1)) * (self.excess_H2[:, 0] * (median - lowest))[:, None]
        above = (
            np.log(((1 - levels[-1]) / (1 - ranks_NSH)).clip(1)) * (self.excess_H2[:, 1] * (highest - median))[:, None]
        )
        return value - below + above


def blocks(n_origins: int, n_samples: int, horizon: int) -> Iterator[slice]:
    """Blocks of origins to draw at a time, so that memory does not grow with their number.

    Parameters
    ----------
    n_origins, n_samples, horizon : int
    """
    size = max(1, BLOCK // (max(n_samples, POOL) * horizon))
    yield from (slice(start, start + size) for start in range(0, n_origins, size))


def sample_table(origins: Origins, values_NSH: Array) -> pl.DataFrame:
    """Long table of paths, sorted by series, origin, sample and step.

    Parameters
    ----------
    origins : Origins
        The N origins.
    values_NSH : ndarray of shape (N, S, H)
        Prices.

    Returns
    -------
    polars.DataFrame
        series_id, origin, sample (1 … S), step (1 … H), time and value.
    """
    n_origins, n_samples, horizon = values_NSH.shape
    steps = np.arange(1, horizon + 1)
    series = origins.keys["series_id"].gather(np.repeat(np.arange(len(origins)), len(steps)))
    times = origins.calendar.times(series, (origins.session.numpy()[:, None] + steps).ravel())
    times = times.cast(origins.keys["time"].dtype)
    one_path = np.repeat(np.arange(n_origins * horizon).reshape(n_origins, 1, horizon), n_samples, axis=1).ravel()
    keys = origins.keys[np.repeat(np.arange(n_origins), n_samples * horizon)]
    return keys.select(
        "series_id",
        origin="time",
        sample=pl.Series(np.tile(np.repeat(np.arange(1, n_samples + 1), horizon), n_origins), dtype=pl.Int32),
        step=pl.Series(np.tile(steps, n_origins * n_samples), dtype=pl.Int32),
        time=times[one_path],
        value=pl.Series(values_NSH.ravel()),
    )


def _excess(residuals: Array, level: float) -> float:
    """Mean distance of residuals beyond their quantile at `level` ÷ that quantile's distance from 0, their median.

    With too few residuals beyond, the value of a normal distribution.
    """
    known = np.sign(level - 0.5) * residuals[np.isfinite(residuals)]  # both tails as upper ones
    outer = max(level, 1 - level)
    edge = np.quantile(known, outer) if len(known) else 0.0
    beyond = known[known > edge]
    if len(beyond) < FEWEST or edge <= 0:
        score = ndtri(outer)
        return float(np.exp(-(score**2) / 2) / np.sqrt(2 * np.pi) / (1 - outer) / score - 1) if outer > 0.5 else 0.0
    return float((beyond - edge).mean() / edge)
