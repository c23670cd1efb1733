"""Forecasters learn what there is to learn, and where there is nothing, do little harm."""

import numpy as np
import polars as pl
import pytest

from tidecast.features import PanelSchema
from tidecast.forecasting import RandomWalk, evaluate
from tidecast.forecasting.forecasters.recurrent import FORECASTERS

NETWORK = {"lookback": 16, "hidden_size": 8, "max_epochs": 3, "learning_rate": 2e-2, "batch_size": 4}

every = pytest.mark.parametrize("kind", FORECASTERS.values())


def pooled(model, panel, cut):
    """Summary against the random walk over the origins after `cut`, as a dictionary."""
    past, shared = panel.filter(pl.col("time") <= cut), {"lookback": 16, "schema": model.schema}
    tables = {
        "network": model.fit(past).predict(panel, origins="new"),
        "random_walk": RandomWalk(**shared).fit(past).predict(panel, origins="new"),
    }
    table = pl.concat([table.with_columns(model=pl.lit(name)) for name, table in tables.items()])
    return evaluate(table, panel).summary.filter(group="pooled", model="network").row(0, named=True)


@every
def test_a_volatility_that_the_features_show_is_learned(kind, make_breathing_panel):
    panel = make_breathing_panel(6, 520, seed=5)
    found = pooled(kind(**NETWORK), panel, panel["time"].unique().sort()[370])
    assert found["n_origins"] == 145
    assert found["skill"] > 0.015
    assert found["p"] < 0.01
    assert 0.84 < found["coverage"] < 0.95


@every
def test_a_median_that_a_covariate_predicts_is_learned(kind, breathing):
    generator = np.random.default_rng(0)
    trend = np.repeat(np.sign(generator.standard_normal((4, 64))), 5, axis=1)  # for five sessions up or down
    returns = 0.01 * (trend + generator.standard_normal((4, 320)))
    panel = breathing.with_columns(
        close=pl.Series(np.exp(returns.cumsum(axis=1)).ravel()),
        tomorrow=pl.Series(np.roll(trend, -1, axis=1).ravel()),
    )
    model = kind(**{**NETWORK, "max_epochs": 6}, schema=PanelSchema(covariates=("tomorrow",)))
    found = pooled(model, panel, panel["time"][230])
    assert found["ae_skill"] > 0.05
    assert found["direction"] > 0.6


@every
def test_on_a_pure_random_walk_little_is_lost(kind, random_walks):
    panel = random_walks(6, 520, seed=3)
    found = pooled(kind(**{**NETWORK, "learning_rate": 5e-3}), panel, panel["time"].unique().sort()[370])
    assert found["skill"] > -0.01
    assert found["ae_skill"] > -0.01


@every
def test_one_epoch_after_another_the_training_loss_falls(kind, breathing):
    curve = kind(**NETWORK).fit(breathing).learning_curve_
    assert curve["epoch"].to_list() == [0, 1, 2, 3]
    assert curve["train_loss"][3] < curve["train_loss"][1]
    assert curve["validation_loss"].min() < curve["validation_loss"][0]
