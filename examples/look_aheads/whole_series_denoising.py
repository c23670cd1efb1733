"""Denoise the whole series, then forecast it.

What is done: wavelets, empirical mode decomposition (EMD) or a Fourier filter smooth all rows at once; the model gets
the smooth series. This exhibit uses the simplest member of the family, a low-pass filter by the cosine transform of
scipy (the Fourier transform of the series with its mirror image). It stands for wavelets and EMD; it is not one.

Why it looks ahead: a smooth value is a weighted sum of the rows before *and after* it. Where it lies above the price,
the price will rise.

Where it was published: wavelets before an LSTM are the recipe of Bao, Yue and Rao (2017), A deep learning framework for
financial time series using stacked autoencoders and long-short term memory, PLOS ONE 12(7), e0180944,
doi:10.1371/journal.pone.0180944; readers ask whether the
whole series was denoised at once (stackoverflow.com/questions/62350075). Kajita and
Hasumi (2018), Boundary problem and data leakage: a caveat for wavelet-based forecasting,
doi:10.13140/RG.2.2.28234.21446, show that forecasts from a decomposition of the whole series are extremely precise,
and that with a proper one they do not beat a naive forecast.

What it fakes: a large skill, the larger the stronger the filter.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.fft import dct, idct

from examples.look_aheads.measuring import Exhibit, exhibit_of_features
from tidecast import PanelTransformer

KEPT = 1 / 8
"""Share of the frequencies that the filter keeps, the lowest ones."""

WINDOW = 32
"""Rows that the causal version filters at a time."""


def low_pass(values: np.ndarray) -> np.ndarray:
    """Return a smooth version of the values, of the same shape; the first axis is time.

    Parameters
    ----------
    values : ndarray of shape (n_rows, ...)

    Returns
    -------
    ndarray
    """
    waves = dct(values, axis=0, norm="ortho")
    waves[round(KEPT * len(values)) :] = 0.0
    return idct(waves, axis=0, norm="ortho")


class WholeSeriesDenoising(PanelTransformer):
    """Log of the denoised price over the price, denoised with all rows, the later ones too."""

    min_history = 1

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        level = pl.col("close").log()
        smooth = level.map_batches(lambda rows: pl.Series(low_pass(rows.to_numpy())), return_dtype=pl.Float64)
        return {"denoised": smooth - level}


class TrailingDenoising(PanelTransformer):
    """Log of the denoised price over the price, where each row is the last of the window that is denoised."""

    min_history = WINDOW

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        level = pl.col("close").log()
        weights = low_pass(np.eye(WINDOW))[-1]  # the filter is linear: its last value is a weighted sum
        return {"denoised": level.rolling_sum(WINDOW, weights=weights.tolist()) - level}


def exhibit() -> Exhibit:
    """Return the skills with the whole series denoised at once, and window by window."""
    return exhibit_of_features(
        "Denoising of the whole series", leaky=WholeSeriesDenoising(), causal=TrailingDenoising()
    )
