"""Regressors are plain scikit-learn: every check of it, and what quantiles owe."""

import pickle
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import (
    check_estimators_pickle,
    check_fit2d_1sample,
    check_regressor_multioutput,
    parametrize_with_checks,
)

from tests.forecasting.models import assert_init_only_stores
from tidecast.forecasting import (
    DEFAULT_QUANTILES,
    GRURegressor,
    LSTMRegressor,
    MinGRURegressor,
    RNNRegressor,
    Training,
    load_forecaster,
)
from tidecast.forecasting.regressors import REGRESSORS as REGISTERED
from tidecast.forecasting.regressors import RecurrentRegressor

CLASSES = {kind.__name__: kind for kind in REGISTERED.values()}
BOTH_ENDS = {"kernel_size": 3, "bidirectional": True}
REGRESSORS = CLASSES | {"convolution, both ends": partial(MinGRURegressor, **BOTH_ENDS)}
MEDIAN = DEFAULT_QUANTILES.index(0.5)

every = pytest.mark.parametrize("kind", REGRESSORS.values(), ids=REGRESSORS)


@pytest.fixture
def array_api(monkeypatch):
    """scikit-learn skips its check of array inputs unless this is set."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")


FAST = {"hidden_size": 16, "learning_rate": 0.05}  # the usual 64 units and 100 epochs take a minute


@parametrize_with_checks(
    [
        GRURegressor(**FAST, max_epochs=30),
        GRURegressor(max_epochs=0),
        RNNRegressor(**FAST, **BOTH_ENDS, max_epochs=10),
    ]
)
def test_scikit_learns_own_checks_pass(estimator, check, array_api):
    check(estimator)


@pytest.mark.parametrize("check", [check_regressor_multioutput, check_fit2d_1sample, check_estimators_pickle])
@pytest.mark.parametrize("kind", [kind for kind in CLASSES.values() if kind is not GRURegressor])
def test_some_of_scikit_learns_own_checks_pass_with_any_cell(kind, check):
    """The others test what all cells share."""
    check(kind.__name__, kind(max_epochs=2))


def windows(n=120, lookback=6, n_features=2, seed=0):
    """Windows, and targets for three steps that follow from their last two rows, with noise that grows by step."""
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((n, lookback, n_features))
    centre = X[:, -1, 0] - X[:, -2, -1]
    return X, centre[:, None] + generator.standard_normal((n, 3)) * [0.1, 0.2, 0.4]


# ------------------------------------------------------------------ shapes
@every
def test_outputs_have_the_shape_of_y_and_quantiles_are_always_3d(kind):
    X, y = windows()
    model = kind(max_epochs=2).fit(X, y)
    assert model.predict(X).shape == (120, 3)
    assert model.predict_quantiles(X).shape == (120, 3, 19)
    assert np.array_equal(model.predict(X), model.predict_quantiles(X)[:, :, MEDIAN])
    one = kind(max_epochs=2).fit(X, y[:, 0])
    assert one.predict(X).shape == (120,)
    assert one.predict_quantiles(X).shape == (120, 1, 19)
    column = kind(max_epochs=2).fit(X, y[:, :1])
    assert column.predict(X).shape == (120, 1)
    assert np.array_equal(column.predict_quantiles(X), one.predict_quantiles(X))
    assert (model.predict(X).dtype, model.n_features_in_) == (np.float64, 6)


@every
def test_windows_of_one_feature_may_be_2d(kind):
    X, y = windows(n_features=1)
    flat, deep = kind(max_epochs=2).fit(X[:, :, 0], y), kind(max_epochs=2).fit(X, y)
    assert np.array_equal(flat.predict(X[:, :, 0]), deep.predict(X))


@every
def test_other_levels_always_hold_the_median(kind):
    X, y = windows()
    model = kind(quantiles=[0.9, 0.2], max_epochs=1).fit(X, y)
    assert model.quantiles_ == (0.2, 0.5, 0.9)
    assert model.predict_quantiles(X).shape == (120, 3, 3)


@every
def test_a_prediction_does_not_depend_on_the_windows_next_to_it(kind):
    X, y = windows()
    model = kind(max_epochs=2).fit(X, y)
    assert np.allclose(model.predict(X)[:7], model.predict(X[:7]), rtol=1e-12)
    assert np.allclose(model.predict(X[5:6]), model.predict(X)[5], rtol=1e-12)


# ------------------------------------------------------------------ quantiles
@every
def test_quantiles_never_cross(kind):
    X, y = windows()
    model = kind(max_epochs=10, learning_rate=0.1).fit(X, y)
    quantiles = model.predict_quantiles(20 * windows(seed=1)[0])
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()


@every
def test_untrained_it_predicts_the_weighted_quantiles_of_y(kind):
    X, y = windows()
    weight = np.random.default_rng(0).integers(0, 4, 120)
    expected = np.quantile(np.repeat(y, weight, axis=0), DEFAULT_QUANTILES, axis=0, method="inverted_cdf").T
    found = kind(max_epochs=0).fit(X, y, sample_weight=weight).predict_quantiles(windows(seed=1)[0])
    assert np.allclose(found, expected, rtol=1e-14, atol=1e-14)
    plain = kind(max_epochs=0).fit(X, y).predict(X)
    assert np.allclose(plain, np.quantile(y, 0.5, axis=0, method="inverted_cdf"))


@every
def test_it_learns_the_median_and_a_distribution_that_widens_by_step(kind):
    X, y = windows(300, lookback=3)
    later_X, later_y = windows(600, lookback=3, seed=1)
    model = kind(hidden_size=16, max_epochs=40, learning_rate=2e-2).fit(X, y)
    assert model.score(later_X, later_y) > 0.85
    quantiles = model.predict_quantiles(later_X)
    covered = (later_y > quantiles[..., 0]) & (later_y < quantiles[..., -1])
    assert 0.75 < covered.mean() < 0.97
    width = (quantiles[..., -1] - quantiles[..., 0]).mean(axis=0)
    assert 1.3 < width[2] / width[1] < 2.7


@every
def test_a_sine_is_forecast_better_than_by_its_last_value(kind):
    time = np.arange(400)
    noisy = np.sin(2 * np.pi * time / 25) + 0.1 * np.random.default_rng(0).standard_normal(400)
    X = np.lib.stride_tricks.sliding_window_view(noisy, 12)[:-5]
    y = np.lib.stride_tricks.sliding_window_view(noisy[12:], 5)
    model = kind(hidden_size=16, max_epochs=20).fit(X[:300], y[:300])
    error, naive = np.abs(model.predict(X[300:]) - y[300:]).mean(), np.abs(X[300:, -1:] - y[300:]).mean()
    assert error < 0.3 * naive


@every
def test_the_distribution_is_learned_where_the_input_predicts_it(kind):
    generator = np.random.default_rng(0)
    X = generator.uniform(0.2, 2.0, (500, 2))
    y = X[:, -1] * generator.standard_normal(500)
    quantiles = kind(hidden_size=16, max_epochs=20).fit(X, y).predict_quantiles(np.full((2, 2), [[0.4], [1.6]]))
    width = np.ptp(quantiles[:, 0], axis=-1)
    assert 2.5 < width[1] / width[0] < 6.0


# ------------------------------------------------------------------ weights, order, stopping
@every
def test_whole_weights_are_repetition_and_zero_is_absence(kind):
    X, y = windows()
    weight = np.random.default_rng(0).integers(0, 4, 120)
    weighted = kind(max_epochs=3).fit(X, y, sample_weight=weight)
    repeated = kind(max_epochs=3).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight, axis=0))
    assert np.allclose(weighted.predict_quantiles(X), repeated.predict_quantiles(X), rtol=1e-6, atol=1e-6)


@every
def test_the_order_of_windows_does_not_matter_without_early_stopping(kind):
    X, y = windows()
    order = np.random.default_rng(0).permutation(120)
    model, shuffled = kind(max_epochs=3).fit(X, y), kind(max_epochs=3).fit(X[order], y[order])
    assert np.array_equal(model.predict(X), shuffled.predict(X))


@every
def test_early_stopping_keeps_back_the_last_tenth_and_auto_begins_at_a_thousand(kind):
    X, y = windows(1000, lookback=2)
    curve = kind(max_epochs=2, batch_size=500).fit(X, y).learning_curve_
    assert curve["epoch"].to_list() == [0, 1, 2]
    curve = kind(max_epochs=2, batch_size=500).fit(X[1:], y[1:]).learning_curve_
    assert curve["validation_loss"].to_list() == [None, None]
    kept_back = y.copy()
    kept_back[900:] *= 3  # the base quantiles do not see them
    stopping = {"max_epochs": 0, "early_stopping": True}
    one, other = (
        kind(**stopping).fit(X, y).predict_quantiles(X),
        kind(**stopping).fit(X, kept_back).predict_quantiles(X),
    )
    assert np.array_equal(one, other)
    assert kind(max_epochs=1, early_stopping=True).fit(X[:4], y[:4]).learning_curve_.height == 1  # too few to keep any


@every
def test_the_same_seed_gives_the_same_bits(kind):
    X, y = windows()
    model = kind(max_epochs=2, num_layers=2, dropout=0.3)
    first = model.fit(X, y).predict_quantiles(X)
    torch.rand(3)
    assert np.array_equal(model.fit(X, y).predict_quantiles(X), first)
    assert not np.array_equal(clone(model).set_params(random_state=1).fit(X, y).predict_quantiles(X), first)


@every
def test_units_of_x_and_y_do_not_matter(kind):
    X, y = windows()
    model, scaled = kind(max_epochs=3).fit(X, y), kind(max_epochs=3).fit(1e6 * X + 5e6, 1e-6 * y - 7e-6)
    found = 1e6 * scaled.predict_quantiles(1e6 * X + 5e6) + 7
    assert np.allclose(found, model.predict_quantiles(X), atol=1e-3)


def test_a_target_that_never_varies_is_predicted_exactly():
    X, _ = windows(40)
    model = GRURegressor(max_epochs=2).fit(X, np.full(40, 7.25))
    assert (model.predict_quantiles(X) == 7.25).all()


# ------------------------------------------------------------------ missing values
@every
def test_missing_values_are_marked_and_learned_from(kind):
    X, y = windows(300, n_features=1)
    gone = np.random.default_rng(1).random(X.shape) < 0.3
    target = np.where(gone[:, -1, 0], 3.0, y[:, 0])  # what is missing tells the target
    model = kind(max_epochs=30).fit(np.where(gone, np.nan, X), target)
    found = model.predict(np.where(gone, np.nan, X))
    assert np.abs(found[gone[:, -1, 0]] - 3.0).mean() < 0.5
    assert np.isfinite(model.predict_quantiles(np.full((2, 6, 1), np.nan))).all()
    with pytest.raises(ValueError, match="infinity"):
        model.predict(np.full((2, 6, 1), np.inf))
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X, np.where(gone[:, 0, 0], np.nan, target))


def test_a_missing_value_where_training_had_none_counts_as_the_mean():
    X, y = windows()
    model = GRURegressor(max_epochs=2).fit(X, y)
    filled = X.copy()
    filled[:, 2, 1] = X[..., 1].mean()
    holed = X.copy()
    holed[:, 2, 1] = np.nan
    assert np.allclose(model.predict(holed), model.predict(filled), atol=1e-6)


def test_identical_windows_with_missing_values_are_still_one():
    X, y = windows(40)
    X[::3, 2, 0] = np.nan
    weighted = GRURegressor(max_epochs=2).fit(X, y, sample_weight=np.full(40, 2))
    repeated = GRURegressor(max_epochs=2).fit(np.concatenate([X, X]), np.concatenate([y, y]))
    assert np.allclose(weighted.predict(X), repeated.predict(X), rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------ scikit-learn around it
@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_init_only_stores_its_arguments_and_clone_copies_them(kind):
    assert_init_only_stores(kind)
    assert clone(kind(hidden_size=5, training=Training(patience=2))).training.patience == 2


@every
def test_pickle_joblib_and_a_folder_bring_back_the_same_bits(kind, tmp_path):
    X, y = windows()
    X[::7, 2, 0] = np.nan
    model = kind(max_epochs=1).fit(X, y)
    joblib.dump(model, tmp_path / "file")
    model.save(tmp_path / "folder")
    for again in (
        pickle.loads(pickle.dumps(model)),
        joblib.load(tmp_path / "file"),
        type(model).load(tmp_path / "folder"),
    ):
        assert np.array_equal(again.predict_quantiles(X), model.predict_quantiles(X))
        assert again.learning_curve_.equals(model.learning_curve_)
        assert again.get_params() == model.get_params()


def test_loaded_it_knows_its_columns_and_the_shape_of_y(tmp_path):
    X, y = windows()
    table = pd.DataFrame(X[..., 0]).rename(columns=str)
    model = GRURegressor(max_epochs=0).fit(table, y[:, 0])
    model.save(tmp_path)
    again = GRURegressor.load(tmp_path)
    assert again.predict(table).shape == (len(X),)
    assert again.feature_names_in_.tolist() == model.feature_names_in_.tolist()
    assert again.fit(X, y).predict(X).shape == y.shape


def test_only_a_fitted_regressor_is_saved_and_a_class_loads_its_own_kind(tmp_path):
    with pytest.raises(NotFittedError):
        GRURegressor().save(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"found no model\.json"):
        GRURegressor.load(tmp_path)
    GRURegressor(max_epochs=0).fit(*windows()).save(tmp_path)
    with pytest.raises(TypeError, match="must hold a LSTMRegressor, found a GRURegressor"):
        LSTMRegressor.load(tmp_path)
    with pytest.raises(ValueError, match="must hold a forecaster, found a GRURegressor"):
        load_forecaster(tmp_path)


@every
def test_fit_starts_afresh(kind):
    X, y = windows()
    model = kind(max_epochs=1).fit(X[:, :4, :1], y[:, 0])
    assert model.fit(X, y) is model
    assert np.array_equal(model.predict(X), kind(max_epochs=1).fit(X, y).predict(X))


@every
def test_it_works_in_a_pipeline_and_in_searches(kind):
    X, y = windows(60, n_features=1)
    pipeline = make_pipeline(StandardScaler(), kind(max_epochs=2))
    name = pipeline.steps[-1][0]
    shared = {"cv": 2, "n_jobs": 1, "error_score": "raise"}
    for search in (
        GridSearchCV(pipeline, {f"{name}__hidden_size": [2, 4]}, **shared),
        RandomizedSearchCV(pipeline, {f"{name}__hidden_size": [2, 4, 8]}, n_iter=2, random_state=0, **shared),
    ):
        assert search.fit(X[:, :, 0], y).best_estimator_.predict(X[:, :, 0]).shape == (60, 3)


@every
def test_weights_reach_it_through_a_pipeline_and_a_search_when_asked_for(kind):
    X, y = windows(60, n_features=1)
    weight = np.repeat([1.0, 0.0], 30)
    with sklearn.config_context(enable_metadata_routing=True):
        asking = kind(max_epochs=1).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        plain = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(plain, asking)
        found = pipeline.fit(X[:, :, 0], y, sample_weight=weight).predict(X[:, :, 0])
        search = GridSearchCV(asking, {"hidden_size": [2]}, cv=[(np.arange(60), np.arange(30, 60))], n_jobs=1)
        search.fit(X, y, sample_weight=weight + 0.5)
    by_hand = kind(max_epochs=1).fit(StandardScaler().fit_transform(X[:, :, 0]), y, sample_weight=weight)
    assert np.array_equal(found, by_hand.predict(StandardScaler().fit_transform(X[:, :, 0])))
    alone = clone(search.best_estimator_).fit(X, y, sample_weight=weight + 0.5)
    assert np.array_equal(search.best_estimator_.predict(X), alone.predict(X))


@every
def test_one_batch_can_be_overfitted(kind):
    X, y = windows(16)
    model = kind(max_epochs=150, learning_rate=2e-2).fit(X, y)
    assert model.learning_curve_["train_loss"][-1] < 0.3 * model.learning_curve_["train_loss"][0]


@pytest.mark.parametrize("kernel_size", [1, 4])
def test_a_minimal_gru_remembers_what_it_must(kernel_size):
    """Which row counts is marked, anywhere among ten; its gates see the mark, and hold the value from there on."""
    generator = np.random.default_rng(0)
    values, at = generator.standard_normal((600, 10)), generator.integers(10, size=600)
    marks = np.arange(10) == at[:, None]
    X, y = np.stack([values, marks], axis=2), values[marks]
    model = MinGRURegressor(kernel_size=kernel_size, max_epochs=40, early_stopping=False).fit(X[:500], y[:500])
    assert model.score(X[500:], y[500:]) > 0.8


def test_a_window_read_from_both_ends_remembers_its_beginning():
    X, _ = windows(300, lookback=60)
    model = RNNRegressor(max_epochs=30, bidirectional=True).fit(X, X[:, 0, 0])
    assert model.score(X, X[:, 0, 0]) > 0.8


# ------------------------------------------------------------------ errors
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"early_stopping": "always"}, 'early_stopping must be True, False or "auto"'),
        ({"quantiles": [0.0]}, "quantiles must lie between 0 and 1"),
        ({"hidden_size": 0}, "hidden_size must be at least 1"),
        ({"learning_rate": "fast"}, "learning_rate must be a number"),
        ({"device": "gpu"}, "device must be"),
        ({"kernel_size": 0}, "kernel_size must be at least 1"),
        ({"bidirectional": "yes"}, "bidirectional must be True or False"),
        ({"training": {"patience": 3}}, "training must be a Training or None"),
        ({"training": Training(half_life=10)}, r"training.half_life must be None for a regressor.* got 10"),
    ],
)
def test_impossible_settings_are_refused_in_fit(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        GRURegressor(**settings).fit(*windows())


def test_impossible_arrays_are_refused():
    X, y = windows()
    for others in (X[..., None], X[:, :0], X[:, :, :0]):  # torch's own errors said nothing of X
        with pytest.raises(
            ValueError, match=r"X must have shape \(n_windows, lookback\[, n_features\]\), each at least"
        ):
            GRURegressor().fit(others, y)
    with pytest.raises(ValueError, match=r"(?i)sample.weights? must"):
        GRURegressor().fit(X, y, sample_weight=np.zeros(120))
    model = GRURegressor(max_epochs=0).fit(X, y)
    with pytest.raises(ValueError, match=r"A window must have shape \(6, 2\), as in fit, got \(6, 1\)"):
        model.predict(X[..., :1])


def test_the_base_class_is_not_one_of_the_models():
    assert not hasattr(RecurrentRegressor, "cell")
