"""Scale prices by the mean and standard deviation of the whole series.

What is done: a scaler is fitted to all rows, and the rows are split into training and test afterwards.

Why it looks ahead: the mean of the whole series holds the later prices. A price far below that mean must, on average,
still rise to it. So a random walk seems to return to its mean.

Where it was published: Kapoor and Narayanan (2023), Leakage and the reproducibility crisis in machine-learning-based
science, Patterns 4(9), doi:10.1016/j.patter.2023.100804, list preprocessing of training and test rows together among
eight kinds of leakage, found in 17 fields. Of predictors of stock returns: Brennan and Xia (2005), tay's as good as
cay, Finance Research Letters 2(1), 1–14. The coefficients of a predictor were estimated on the whole sample; with
calendar time in the place of consumption it forecast as well, and with coefficients of the past only neither did.

What it fakes: returns to a mean that nobody knew. The effect grows with horizon ÷ length of the series.
"""

from __future__ import annotations

import polars as pl

from examples.look_aheads.measuring import Exhibit, exhibit_of_features
from tidecast import PanelTransformer, RollingZScore


class WholeSeriesScaling(PanelTransformer):
    """Standard deviations by which the log price exceeds the mean of all rows, the later ones too."""

    min_history = 1

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        level = pl.col("close").log()
        return {"scaled": (level - level.mean()) / level.std()}


def exhibit() -> Exhibit:
    """Return the skills with the mean of all rows, and with the mean of the last 42."""
    return exhibit_of_features("Whole-series scaling", leaky=WholeSeriesScaling(), causal=RollingZScore(42))
