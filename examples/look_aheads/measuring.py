"""The measure of all exhibits: skill of the median over the random walk, over several seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl
from scipy import stats
from sklearn.linear_model import LinearRegression

from examples.look_aheads.random_walks import random_walks
from examples.look_aheads.regression_model import RegressionModel
from tidecast import PanelTransformer, RollingOrigin, assert_causal, backtest, evaluate

SEEDS = tuple(range(6))
"""One panel of random walks each."""

FOLDS = RollingOrigin(n_splits=1, horizon=10, stride=5)

UNTIL = pl.date(2020, 5, 14)
"""End of the backtest. The panel that the features are computed from has 115 more days."""


@dataclass(frozen=True)
class Skill:
    """Mean skill over seeds. A skill of 0.01 is a mean absolute error 1 % below the random walk's.

    Attributes
    ----------
    mean : float
        Mean over seeds, as a decimal.
    error : float
        Standard error of the mean.
    n_seeds : int
        Seeds.
    """

    mean: float
    error: float
    n_seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Skill:
        """Return the mean of one skill per seed, and its standard error.

        Parameters
        ----------
        values : sequence of float
            At least two.

        Returns
        -------
        Skill
        """
        return cls(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))), len(values))

    def __str__(self) -> str:
        reach = float(stats.t.ppf(0.975, self.n_seeds - 1)) * self.error
        low, high = (_per_cent(self.mean + side * reach) for side in (-1, 1))
        return f"{_per_cent(self.mean)} % (95 %: {low} … {high})"


def _per_cent(value: float) -> str:
    return f"{100 * value:+.2f}".replace("-", "−")


@dataclass(frozen=True)
class Exhibit:
    """Result of one exhibit.

    Attributes
    ----------
    name : str
        What is done.
    false : Skill
        Skill with the look-ahead.
    honest : Skill
        Skill of the same model without it.
    found : str
        The sentence that names the look-ahead.
    """

    name: str
    false: Skill
    honest: Skill
    found: str


def exhibit_of_features(
    name: str,
    leaky: PanelTransformer,
    causal: PanelTransformer,
    panel_of: Callable[[int], pl.DataFrame] = random_walks,
) -> Exhibit:
    """Compare a linear regression on the columns of two transformers, one of which looks ahead.

    Both transformers see the whole panel once, before the backtest. This is the mistake: `backtest` splits the rows
    correctly, but a column may already hold the future. A transformer inside a Pipeline gets the rows known at the
    origin only, so `backtest` gives a look-ahead no skill there.

    Parameters
    ----------
    name : str
        What is done.
    leaky, causal : PanelTransformer
        The two versions of the features.
    panel_of : callable
        Takes a seed, returns a panel.

    Returns
    -------
    Exhibit
    """
    panels = [panel_of(seed) for seed in SEEDS]
    false, honest = (Skill.of([feature_skill(each, panel) for panel in panels]) for each in (leaky, causal))
    return Exhibit(name, false, honest, named_by_assert_causal(leaky, panels[0]))


def feature_skill(transformer: PanelTransformer, panel: pl.DataFrame) -> float:
    """Return the skill of a linear regression on columns that were computed from the whole panel.

    Parameters
    ----------
    transformer : PanelTransformer
    panel : polars.DataFrame

    Returns
    -------
    float
    """
    table = cast(pl.DataFrame, transformer.fit(panel).transform(panel))
    model = RegressionModel(LinearRegression(fit_intercept=False), transformer.added_, FOLDS.horizon)
    known = table.filter(pl.col("time") <= UNTIL)
    return skill_of(backtest({"model": model}, known, FOLDS), panel)


def skill_of(forecasts: pl.DataFrame, panel: pl.DataFrame) -> float:
    """Return the skill of the median over the random walk, as a decimal.

    Parameters
    ----------
    forecasts : polars.DataFrame
        Of "model" and "random_walk".
    panel : polars.DataFrame
        The truths.

    Returns
    -------
    float
    """
    pooled = evaluate(forecasts, panel).summary.filter(pl.col("group") == "pooled", pl.col("model") == "model")
    return float(pooled["ae_skill"].item())


def named_by_assert_causal(transformer: PanelTransformer, panel: pl.DataFrame) -> str:
    """Return the sentence with which `assert_causal` refuses a transformer; empty if it passes.

    Parameters
    ----------
    transformer : PanelTransformer
    panel : polars.DataFrame

    Returns
    -------
    str
    """
    few = panel.filter(pl.col("series_id").is_in(["walk 0", "walk 1"]))
    try:
        assert_causal(transformer, few)
    except AssertionError as refusal:
        return str(refusal)
    return ""
