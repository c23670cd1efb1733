"""Joint paths: marginals as forecast, steps that depend as in the past, tails as far out as truths have been."""

import pickle

import numpy as np
import polars as pl
import pytest
from scipy.special import ndtri
from sklearn.base import clone

from tidecast.features import PanelSchema
from tidecast.forecasting import DEFAULT_QUANTILES, Drift, GRUForecaster, RandomWalk, load_forecaster
from tidecast.forecasting.forecasters.sampling import Dependence

LEVELS = np.array(DEFAULT_QUANTILES)
MODELS = {
    "RandomWalk": RandomWalk(lookback=16),
    "Drift, differences": Drift(lookback=16, schema=PanelSchema(positive=False)),
    "GRUForecaster": GRUForecaster(lookback=16, hidden_size=8, max_epochs=1, learning_rate=5e-2, batch_size=8),
}

every = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def fitted(breathing):
    return {name: clone(model).fit(breathing) for name, model in MODELS.items()}


def paths(table, n):
    """Values of shape (series, n, horizon)."""
    return table["value"].to_numpy().reshape(-1, n, 5)


@every
def test_quantiles_of_ten_thousand_samples_are_those_of_the_table(name, fitted):
    model = fitted[name]
    table = model.predict()
    values = table.select([*table.columns[5:14], "forecast", *table.columns[14:]]).to_numpy()
    sampled = paths(model.sample(10_000, random_state=0), 10_000)
    found = np.quantile(sampled, LEVELS, axis=1).transpose(1, 2, 0).reshape(-1, 19)
    span = np.ptp(values, axis=1, keepdims=True)
    assert (np.abs(found - values) <= 2e-3 * span).all()


@every
def test_the_table_has_a_row_per_path_and_step_in_order(name, fitted, breathing):
    model = fitted[name]
    table = model.sample(3, random_state=1)
    assert table.columns == ["series_id", "origin", "sample", "step", "time", "value"]
    assert table.equals(table.sort("series_id", "origin", "sample", "step"))
    assert len(table) == 4 * 3 * 5
    keys = ["series_id", "origin", "step", "time"]
    assert table.filter(sample=2).select(keys).equals(model.predict().select(keys))
    origins = breathing["time"].unique().sort()[[100, 200]]
    several = model.sample(2, breathing.to_pandas(), origins=origins, random_state=1)
    assert type(several).__module__.startswith("pandas")
    assert len(several) == 4 * 2 * 2 * 5


@every
def test_the_same_seed_gives_the_same_paths_saved_and_loaded_too(name, fitted, tmp_path):
    model = fitted[name]
    expected = model.sample(20, random_state=7)
    assert model.sample(20, random_state=7).equals(expected)
    assert not model.sample(20, random_state=8).equals(expected)
    assert not model.sample(20).equals(model.sample(20))
    model.save(tmp_path)
    for back in (load_forecaster(tmp_path), pickle.loads(pickle.dumps(model))):
        assert back.sample(20, random_state=7).equals(expected)


def test_paths_of_a_random_walk_have_independent_steps_of_equal_size(random_walks):
    model = RandomWalk(lookback=16).fit(random_walks(n_series=20, n_rows=600, seed=3))
    for n, error in ((4000, 0.06), (1, 0.3)):  # single paths, too: 20 series of them
        table = model.sample(n, random_state=0)
        price = model.predict()["forecast"].to_numpy().reshape(20, 5)[:, :1, None]
        level = np.log(paths(table, n) / price[:, 0, :, None])
        steps = np.diff(level, axis=2, prepend=0.0)
        steps /= steps.std() if n == 1 else steps[:, :, :1].std(axis=1, keepdims=True)
        if n > 1:
            assert steps.std(axis=1).mean(axis=0) == pytest.approx(np.ones(5), abs=0.1)
        correlation = np.corrcoef(steps.reshape(-1, 5).T)
        assert np.abs(correlation - np.eye(5)).max() < error + 2.5 / np.sqrt(20 * n)
    total = level.shape
    assert total == (20, 1, 5)


def test_the_dependence_is_that_of_ranks_and_does_not_care_for_weightless_or_missing_rows():
    generator = np.random.default_rng(0)
    steps = generator.standard_normal((20_000, 2)) @ np.linalg.cholesky([[1.0, 0.6], [0.6, 1.0]]).T
    residuals = np.sign(steps) * np.abs(steps) ** 3  # fat tails leave ranks as they are
    found = Dependence.measure(residuals, np.ones(20_000), LEVELS)
    assert found.correlation_HH == pytest.approx(np.array([[1, 0.6], [0.6, 1]]), abs=0.02)
    odd = np.concatenate([residuals, residuals[:, ::-1] * [1, -1], np.full((50, 2), np.nan)])
    weights = np.concatenate([np.ones(20_000), np.zeros(20_000), np.ones(50)])
    again = Dependence.measure(odd, weights, LEVELS)
    assert again.correlation_HH == pytest.approx(found.correlation_HH)
    few = Dependence.measure(residuals[:20], np.ones(20), LEVELS).correlation_HH
    assert few == pytest.approx(np.array([[1, 0.5**0.5], [0.5**0.5, 1]]))


@pytest.mark.parametrize("levels", [LEVELS, np.array([0.1, 0.5, 0.9])])
def test_tails_reach_as_far_beyond_the_outermost_level_as_truths_did(levels):
    generator = np.random.default_rng(0)
    truths = generator.standard_t(4, (200_000, 1))
    dependence = Dependence.measure(truths, np.ones(len(truths)), levels)
    quantiles = np.quantile(truths, levels)[None, None]
    sampled = dependence.quantile(dependence.draw(1, 100_000, generator), quantiles, levels)[0, :, 0]
    for side in (-1, 1):
        edge = np.quantile(side * truths, levels[-1])
        expected = (side * truths[side * truths > edge] - edge).mean()
        assert (side * sampled[side * sampled > edge] - edge).mean() == pytest.approx(expected, rel=0.03)


def test_between_levels_and_beyond_a_normal_distribution_stays_nearly_one():
    levels = np.array([0.1, 0.5, 0.9])
    normal = Dependence(np.eye(1), np.full((1, 2), 0.369))  # its mean excess beyond 1.28 is 0.37 of that
    ranks = np.array([0.001, 0.05, 0.1, 0.3, 0.5, 0.77, 0.9])[None, :, None]
    found = normal.quantile(ranks, ndtri(levels)[None, None], levels)[0, :, 0]
    assert found[2:] == pytest.approx(ndtri(ranks[0, 2:, 0]))
    assert found[:2] == pytest.approx([-3.46, -1.61], abs=0.01)  # exponential: −1.28 − 0.473 · log(0.1 / rank)


def test_a_peg_has_one_path(breathing):
    model = RandomWalk(lookback=16).fit(
        breathing.with_columns(close=pl.when(series_id="B").then(2.0).otherwise("close"))
    )
    assert (model.sample(5).filter(series_id="B")["value"] == 2.0).all()


@every
def test_impossible_samples_are_refused(name, fitted, breathing):
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        fitted[name].sample(0)
    with pytest.raises(ValueError, match='Without a panel, origins must be "last"'):
        fitted[name].sample(1, origins="all")
    with pytest.raises(ValueError, match=r"must have a level below 0\.5 and one above, got \(0\.1, 0\.5\)"):
        clone(fitted["RandomWalk"]).set_params(quantiles=[0.1]).fit(breathing).sample(1)
