"""Estimates from training rows: input scales and weighted quantiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CLIP = 8.0  # standard deviations; limits the effect of a flash crash


def weighted_quantiles(values: Array, weights: Array, levels: Array) -> Array:
    """Quantiles of weighted values by the inverted distribution function.

    The smallest value whose share of the total weight reaches the level: integer weights equal repetition exactly
    (Hyndman and Fan 1996, definition 1, doi:10.2307/2684934).

    Parameters
    ----------
    values, weights : ndarray of shape (n,)
        Without NaN; weights positive.
    levels : ndarray of shape (n_quantiles,)

    Returns
    -------
    ndarray of shape (n_quantiles,)
    """
    wanted = np.asarray(levels) * (1 - 1e-12)  # a level reached up to rounding counts as reached
    if (weights == weights[0]).all():  # the usual case needs no sorting, only the values at these ranks
        rank = (np.ceil(wanted * len(values)).astype(np.int64) - 1).clip(0)
        return np.partition(values, np.unique(rank))[rank]
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    at = np.searchsorted(reached, wanted * reached[-1], side="left")
    return values[order][np.minimum(at, len(values) - 1)]


@dataclass(frozen=True)
class Moments:
    """Sums of weights, means and sums of squared deviations of columns; moments of two sets of rows can be added.

    Chan, Golub and LeVeque (1983), The American Statistician 37(3), equations 1.5, doi:10.1080/00031305.1983.10483115.

    Attributes
    ----------
    total, mean, squares : ndarray of shape (n_features,)
    """

    total: Array
    mean: Array
    squares: Array

    @classmethod
    def of(cls, inputs: Array, weights: Array | None = None) -> Moments:
        """Moments of `inputs`, shape (n_rows, n_features); NaN is missing and left out.

        Parameters
        ----------
        inputs : ndarray of shape (n_rows, n_features)
        weights : ndarray of shape (n_rows,), optional
            None: all 1.
        """
        share = np.isfinite(inputs) * (np.ones(len(inputs)) if weights is None else weights)[:, None]
        total = share.sum(0)
        filled = np.where(np.isfinite(inputs), inputs, 0.0)
        mean = (share * filled).sum(0) / np.maximum(total, np.finfo(float).tiny)
        return cls(total, mean, (share * (filled - mean) ** 2).sum(0))

    def __add__(self, other: Moments) -> Moments:
        total = self.total + other.total
        share = other.total / np.maximum(total, np.finfo(float).tiny)
        between = (other.mean - self.mean) ** 2 * self.total * share
        mean = self.mean * (1 - share) + other.mean * share
        return Moments(total, mean, self.squares + other.squares + between)


@dataclass(frozen=True)
class InputScaler:
    """Mean and standard deviation of each input, from training rows, and which inputs are sometimes missing.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_features,)
        An input that never varied has scale 1.
    flagged : ndarray of shape (n_features,), bool
        Inputs with an extra indicator input: 1 where they are missing, else 0.
    """

    mean: Array
    scale: Array
    flagged: NDArray[np.bool_]

    @classmethod
    def fit(cls, inputs: Array, weights: Array | None = None) -> InputScaler:
        """Estimate from `inputs`, shape (n_rows, n_features), with optional weights; NaN is missing and left out.

        Parameters
        ----------
        inputs : ndarray of shape (n_rows, n_features)
        weights : ndarray of shape (n_rows,), optional
            None: all 1.
        """
        return cls.of(Moments.of(inputs, weights))

    @classmethod
    def of(cls, moments: Moments, flagged: NDArray[np.bool_] | None = None) -> InputScaler:
        """Estimate from moments.

        Parameters
        ----------
        moments : Moments
        flagged : ndarray of bool of shape (n_features,), optional
            Inputs that get an indicator of missing values. None: none of them.
        """
        mean, total = moments.mean, np.maximum(moments.total, np.finfo(float).tiny)
        scale = np.sqrt(moments.squares / total)
        varies = scale > 1e-10 * np.maximum(np.abs(mean), 1e-290)
        return cls(mean, np.where(varies, scale, 1.0), np.zeros(len(mean), bool) if flagged is None else flagged)

    @property
    def width(self) -> int:
        """Number of outputs: inputs and indicators."""
        return len(self.mean) + int(self.flagged.sum())

    def transform(self, inputs: Array) -> NDArray[np.float32]:
        """Standardised inputs, clipped at ±8; a missing input becomes its mean, 0. Then the indicators.

        Parameters
        ----------
        inputs : ndarray of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows, n_features + n_flagged), float32
        """
        scaled = inputs - self.mean
        scaled /= self.scale
        np.clip(scaled, -CLIP, CLIP, out=scaled)
        scaled[np.isnan(scaled)] = 0.0
        return np.hstack([scaled, np.isnan(inputs[:, self.flagged])], dtype=np.float32)
