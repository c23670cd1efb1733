"""What is estimated once, on training rows: input scales and weighted quantiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CLIP = 8.0  # standard deviations; a flash crash should be loud, not deafening


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
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    wanted = np.asarray(levels) * reached[-1]
    at = np.searchsorted(reached, wanted * (1 - 1e-12), side="left")  # a level met up to rounding counts as met
    return values[order][np.minimum(at, len(values) - 1)]


@dataclass(frozen=True)
class InputScaler:
    """Mean and standard deviation of each input, from training rows.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_features,)
        An input that never varied has scale 1.
    """

    mean: Array
    scale: Array

    @classmethod
    def fit(cls, inputs: Array, weights: Array | None = None) -> InputScaler:
        """Weighted moments of `inputs`, shape (n_rows, n_features); NaN is missing and left out."""
        share = np.isfinite(inputs) * (np.ones(len(inputs)) if weights is None else weights)[:, None]
        total = np.maximum(share.sum(0), np.finfo(float).tiny)
        filled = np.where(np.isfinite(inputs), inputs, 0.0)
        mean = (share * filled).sum(0) / total
        scale = np.sqrt((share * (filled - mean) ** 2).sum(0) / total)
        return cls(mean, np.where(scale > 1e-10 * np.maximum(np.abs(mean), 1e-290), scale, 1.0))

    def transform(self, inputs: Array) -> NDArray[np.float32]:
        """Standardised inputs, clipped at ±8; a missing input becomes its mean, 0."""
        scaled = np.clip((inputs - self.mean) / self.scale, -CLIP, CLIP)
        return np.nan_to_num(scaled, nan=0.0).astype(np.float32)
