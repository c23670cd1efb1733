"""Use a window that is centred on its row.

What is done: a moving average, a filter of Hodrick and Prescott or a smoothed trend takes rows on both sides of its
own; the distance of the price from it is an input.

Why it looks ahead: half of the window lies after the row. `rolling_mean(center=True)` is enough.

Where it was published: filtering stock prices by Hodrick and Prescott, whose filter has two sides, before a support
vector regression is the recipe of Ouahilal, El Mohajir, Chahhou and El Mohajir (2017), Journal of Big Data 4, 31,
doi:10.1186/s40537-017-0092-5. Hamilton (2018), Why you should never use the Hodrick–Prescott filter, Review of
Economics and Statistics 100(5), 831–843, doi:10.1162/rest_a_00706: the filter introduces dynamics that the data do not
have, and its values at the end of a sample, the only ones a forecaster has, differ from those in the middle.

What it fakes: prices that seem to return to their trend.
"""

from __future__ import annotations

import polars as pl

from examples.look_aheads.measuring import Exhibit, exhibit_of_features
from tidecast import PanelTransformer

WINDOW = 11
"""Rows of a mean; the centred one has five of them after its own row."""


class CentredMean(PanelTransformer):
    """Log price minus its mean over the rows around it."""

    min_history = WINDOW

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        level = pl.col("close").log()
        return {"cycle": level - level.rolling_mean(WINDOW, center=True, min_samples=1)}


class TrailingMean(PanelTransformer):
    """Log price minus its mean over the last rows."""

    min_history = WINDOW

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        level = pl.col("close").log()
        return {"cycle": level - level.rolling_mean(WINDOW, min_samples=1)}


def exhibit() -> Exhibit:
    """Return the skills with a centred mean, and with a trailing one."""
    return exhibit_of_features("Centred windows", leaky=CentredMean(), causal=TrailingMean())
