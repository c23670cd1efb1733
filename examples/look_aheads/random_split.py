"""Split overlapping windows into training and test at random.

What is done: each day gives a window of past prices and the change over the next days. The windows are shuffled, and a
part of them is the test.

Why it looks ahead: the windows of two neighbouring days share almost all prices, and their targets almost all
sessions. Shuffled, the neighbours of a test window lie in the training part, with its answer. A model that remembers
them needs no other ability. The inputs are causal, so `assert_causal` finds nothing; the split is wrong.
`RollingOrigin` makes it impossible: no training target reaches past the first test origin.

Where it was published: Khaidem, Saha and Dey (2016), Predicting the direction of stock market prices using random
forest, arXiv:1605.00003, report the out-of-bag error (rows that were not drawn, a random split) of smoothed prices with
targets up to three months ahead. López de Prado (2018), Advances in Financial Machine Learning, Wiley, chapter 7,
explains why shuffled cross-validation fails where targets overlap.

What it fakes: a large skill of whatever can remember. The same nearest neighbours lose to the random walk in a
backtest, because they follow noise.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import polars as pl
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor

from examples.look_aheads.measuring import FOLDS, SEEDS, Exhibit, Skill, skill_of
from examples.look_aheads.random_walks import random_walks
from examples.look_aheads.regression_model import RegressionModel, arrays_of, forecast_table, supervised_rows
from tidecast import Momentum, PanelUnion, backtest

N_SERIES = 10

SPANS = range(3, 61, 3)
"""Rows back from the origin at which a window is read."""

HORIZON = FOLDS.horizon
REGRESSOR = KNeighborsRegressor(n_neighbors=3)
SHUFFLED = KFold(n_splits=5, shuffle=True, random_state=0)


def with_momentum(panel: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Return the panel with causal inputs, and their names.

    Parameters
    ----------
    panel : polars.DataFrame

    Returns
    -------
    tuple of polars.DataFrame and list of str
    """
    union = PanelUnion([Momentum(span, skip=0) for span in SPANS]).fit(panel)
    return cast(pl.DataFrame, union.transform(panel)), list(union.added_)


def shuffled_skill(panel: pl.DataFrame) -> float:
    """Return the skill that a random split of all windows shows.

    Parameters
    ----------
    panel : polars.DataFrame

    Returns
    -------
    float
    """
    table, columns = with_momentum(panel)
    rows = supervised_rows(table, columns, HORIZON)
    changes = cross_val_predict(REGRESSOR, *arrays_of(rows, columns, HORIZON), cv=SHUFFLED)
    tables = {"model": changes, "random_walk": np.zeros_like(changes)}
    forecasts = [forecast_table(rows, each).with_columns(model=pl.lit(name)) for name, each in tables.items()]
    return skill_of(pl.concat(forecasts), panel)


def honest_skill(panel: pl.DataFrame) -> float:
    """Return the skill of the same regressor on the same inputs in a backtest.

    Parameters
    ----------
    panel : polars.DataFrame

    Returns
    -------
    float
    """
    table, columns = with_momentum(panel)
    return skill_of(backtest({"model": RegressionModel(REGRESSOR, columns, HORIZON)}, table, FOLDS), panel)


def shared_targets(panel: pl.DataFrame) -> tuple[float, float]:
    """Return the share of test windows whose target holds a session of a training target of the same series.

    Parameters
    ----------
    panel : polars.DataFrame

    Returns
    -------
    tuple of float
        Of the random split, and of `RollingOrigin`.
    """
    rows = supervised_rows(*with_momentum(panel), HORIZON).select("series_id", "time")
    shuffled = np.mean([_shared(rows[train], rows[test]) for train, test in SHUFFLED.split(rows)])
    cuts = []
    for fold in FOLDS.folds(panel):
        train = rows.filter(pl.col("time") <= pl.lit(fold.train_end).dt.offset_by(f"-{HORIZON}d"))
        cuts.append(_shared(train, rows.filter(pl.col("time").is_between(fold.first_origin, fold.last_origin))))
    return float(shuffled), float(np.mean(cuts))


def _shared(train: pl.DataFrame, test: pl.DataFrame) -> float:
    """Share of the test origins with a training origin of the same series less than a horizon away."""
    near = [test.with_columns(pl.col("time").dt.offset_by(f"{days}d")) for days in range(1 - HORIZON, HORIZON)]
    hits = [each.with_row_index().join(train, on=["series_id", "time"], how="semi")["index"] for each in near]
    return pl.concat(hits).n_unique() / len(test)


def exhibit() -> Exhibit:
    """Return the skills in a random split, and in a backtest."""
    panels = [random_walks(seed, N_SERIES) for seed in SEEDS]
    false = Skill.of([shuffled_skill(panel) for panel in panels])
    honest = Skill.of([honest_skill(panel) for panel in panels])
    shuffled, rolling = shared_targets(panels[0])
    found = (
        f"{100 * shuffled:.1f} % of the test targets of KFold(shuffle=True) hold sessions of a training target, "
        f"{100 * rolling:.1f} % of those of RollingOrigin."
    )
    return Exhibit("Random split of overlapping windows", false, honest, found)
