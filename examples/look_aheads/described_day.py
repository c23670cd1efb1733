"""Join a figure on the day it describes, not on the day it was published.

What is done: earnings, inflation or sales of a period carry the date of the period's end. They are joined to the prices
on that date, although they were published weeks later.

Why it looks ahead: until the publication the price learns what the figure will say. Who has the figure at once knows
the way that the price will go.

Where it was published: Banz and Breen (1986), Sample-dependent results using accounting and market data: some evidence,
Journal of Finance 41(4), 779–793, doi:10.1111/j.1540-6261.1986.tb04548.x. They compare portfolios chosen with figures
of a standard database, dated by fiscal year, and with figures as they were known; returns and conclusions differ.

What it fakes: skill of fundamental or macroeconomic data. With `known_at` or `available_at` (docs/events.md) Tidecast
joins on the day on which a value was known.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from examples.look_aheads.measuring import Exhibit, exhibit_of_features
from examples.look_aheads.random_walks import VOLATILITY, random_walks
from tidecast import PanelTransformer

PERIOD = 21
"""Rows of a month."""

DELAY = 20
"""Rows between the end of a month and the publication of its figure."""


def walks_with_reports(seed: int) -> pl.DataFrame:
    """Return random walks with a column `figure`: on the day it is published, else null.

    A figure is what the price has learned since the end of its month, plus noise. The price stays a random walk.

    Parameters
    ----------
    seed : int

    Returns
    -------
    polars.DataFrame
    """
    panel = random_walks(seed)
    noise = np.random.default_rng([seed, 1]).normal(size=len(panel))
    row = pl.int_range(pl.len()).over("series_id") + pl.col("series_id").rank("dense")  # not all on one day
    learned = pl.col("close").log().diff(DELAY).over("series_id") / (VOLATILITY * DELAY**0.5)
    published = row % PERIOD == DELAY
    return panel.with_columns(figure=pl.when(published).then(learned + 0.5 * pl.Series(noise)))


class OnDescribedDay(PanelTransformer):
    """The newest figure, from the end of the month that it describes."""

    min_history = PERIOD

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        return {"newest_figure": pl.col("figure").shift(-DELAY).forward_fill()}


class OnKnownDay(PanelTransformer):
    """The newest figure, from the day of its publication."""

    min_history = PERIOD

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        return {"newest_figure": pl.col("figure").forward_fill()}


def exhibit() -> Exhibit:
    """Return the skills with figures joined on the end of their month, and on their publication."""
    return exhibit_of_features(
        "Joined on the day described", leaky=OnDescribedDay(), causal=OnKnownDay(), panel_of=walks_with_reports
    )
