"""What was fitted is what predicts: settings that change after a fit are refused, or change nothing until the next."""

import copy
import inspect
import pickle

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from tests.conftest import make_random_walks
from tests.forecasting.models import FORECASTERS, each_kind, every, model_of
from tidecast.features import LogReturn, PanelSchema, PriceFeatures
from tidecast.forecasting import GRUForecaster, GRURegressor, RandomWalk, SeasonalNaive, Training, load_forecaster
from tidecast.forecasting.estimator.fitted_settings import OF_TRAINING, check_fitted

OTHER = {  # a value that no model here was fitted with
    "horizon": 3, "lookback": 9, "quantiles": (0.1, 0.9), "target": "open", "schema": PanelSchema(positive=False),
    "features": LogReturn(), "hidden_size": 9, "num_layers": 2, "dropout": 0.5, "kernel_size": 3, "season": 2,
    "ridge": 7.0, "bidirectional": True, "max_epochs": 7, "batch_size": 7, "learning_rate": 0.07, "device": "auto",
    "random_state": 7, "training": Training(patience=1), "early_stopping": True,
}  # fmt: skip
PANEL = make_random_walks(n_series=2, n_rows=160, seed=5).with_columns(open=pl.col("close") * 0.99)
PAST = PANEL.filter(pl.col("time") < PANEL["time"].unique().sort()[-20])
NEXT = PANEL.join(PAST, on=["series_id", "time"], how="anti")
X = np.random.default_rng(0).normal(size=(60, 4, 2))

USES = {
    "predict": lambda model: model.predict(),
    "predict a panel": lambda model: model.predict(PANEL),
    "sample": lambda model: model.sample(3, random_state=0),
    "update": lambda model: model.update(NEXT),
    "partial_fit": lambda model: model.partial_fit(PANEL),
    "score": lambda model: model.score(PANEL),
}
OF_NETWORKS = {
    "memory_profile": lambda model: model.memory_profile(PANEL, steps_back=4, n_origins=4),
    "summary": lambda model: model.summary(),
}


@pytest.fixture(scope="module")
def models():
    return {name: model_of(name, lookback=8).fit(PAST) for name in FORECASTERS}


def settings_of(model):
    return list(inspect.signature(type(model)).parameters)


def test_there_is_another_value_for_every_setting():
    for model in [*FORECASTERS.values(), GRURegressor()]:
        assert set(settings_of(model)) <= set(OTHER)


@every
def test_a_setting_of_what_was_fitted_cannot_change_before_a_use(name, models, tmp_path):
    uses = USES | (OF_NETWORKS if "Forecaster" in name else {}) | {"save": lambda model: model.save(tmp_path)}
    for setting in set(settings_of(models[name])) - OF_TRAINING:
        changed = copy.copy(models[name])
        setattr(changed, setting, OTHER[setting])
        for use in uses.values():
            with pytest.raises(ValueError, match=rf"changed: {setting} was .*Call fit again, or set {setting} back"):
                use(changed)
    assert not any(tmp_path.iterdir())


@each_kind
def test_a_setting_of_training_changes_no_forecast(name, models):
    expected = models[name].predict()
    for setting in set(settings_of(models[name])) & OF_TRAINING:
        changed = copy.copy(models[name]).set_params(**{setting: OTHER[setting]})
        assert changed.predict().equals(expected)
        assert changed.update(NEXT).predict().equals(models[name].predict(PANEL)) or "Forecaster" in name


@each_kind
def test_set_back_or_fitted_again_it_forecasts_again(name, models):
    changed, expected = copy.copy(models[name]), models[name].predict()
    changed.set_params(horizon=3)
    with pytest.raises(ValueError, match="horizon was 5, is 3"):
        changed.predict()
    assert changed.set_params(horizon=5).predict().equals(expected)
    assert len(changed.set_params(horizon=3).fit(PAST).predict()) == 2 * 3


@each_kind
def test_copies_pickles_and_saved_models_remember_what_they_were_fitted_with(name, models, tmp_path):
    models[name].save(tmp_path)
    for twin in (copy.deepcopy(models[name]), pickle.loads(pickle.dumps(models[name])), load_forecaster(tmp_path)):
        assert twin.predict().equals(models[name].predict())
        twin.quantiles = (0.2, 0.8)
        with pytest.raises(ValueError, match="quantiles was"):
            twin.predict()
    with pytest.raises(NotFittedError):
        clone(models[name]).set_params(horizon=2).predict()


def test_several_changes_are_named_at_once(models):
    changed = copy.copy(models["GRUForecaster"]).set_params(hidden_size=4, target="open")
    with pytest.raises(
        ValueError, match=r"hidden_size was 8, is 4; target was 'close', is 'open'.*hidden_size and target"
    ):
        changed.predict(PANEL)


def test_an_object_that_is_changed_in_place_is_noticed():
    levels, features = [0.1, 0.9], make_pipeline(LogReturn(), PriceFeatures())
    model = GRUForecaster(lookback=8, max_epochs=0, quantiles=levels, features=features).fit(PAST)
    levels.append(0.7)
    with pytest.raises(ValueError, match="quantiles was"):
        model.predict()
    levels.pop()
    features.named_steps["logreturn"].set_params(steps=(1, 5))
    with pytest.raises(ValueError, match="features was"):
        model.predict()


def test_a_setting_inside_a_pipeline_is_noticed(models):
    pipeline = make_pipeline(LogReturn(), model_of("RandomWalk", lookback=8)).fit(PAST)
    pipeline.set_params(randomwalk__target="open")
    with pytest.raises(ValueError, match="target was 'close', is 'open'"):
        pipeline.predict(PANEL)


def test_what_partial_fit_learned_with_is_what_is_saved(models, tmp_path):
    model = copy.copy(models["GRUForecaster"]).set_params(learning_rate=0.01)
    with pytest.raises(ValueError, match=r"learning_rate was 0\.05, is 0\.01"):
        model.save(tmp_path)
    model.partial_fit(PANEL).save(tmp_path)
    assert load_forecaster(tmp_path).learning_rate == 0.01
    model.set_params(device="auto").save(tmp_path)  # where to train is not what was learned


# ------------------------------------------------------------------ fits that fail
@every
def test_a_fit_that_fails_leaves_the_model_as_it_was(name, models):
    model, expected = copy.copy(models[name]), models[name].predict()
    before = {attribute: id(value) for attribute, value in vars(model).items()}
    for bad in (PAST.head(3), PAST.drop("close"), PAST.with_columns(close=pl.lit(-1.0))):
        with pytest.raises(ValueError, match=r"must|needs"):
            model.fit(bad)
        assert {attribute: id(value) for attribute, value in vars(model).items()} == before
    assert model.predict().equals(expected)


def test_a_first_fit_that_fails_leaves_nothing_to_predict_from():
    model = RandomWalk(lookback=8)
    with pytest.raises(ValueError, match="shorter"):
        model.fit(PAST.head(3))
    with pytest.raises(NotFittedError):
        model.predict()
    assert model.partial_fit(PAST).predict().height == 10


# ------------------------------------------------------------------ regressors
@pytest.fixture(scope="module")
def regressor():
    return GRURegressor(hidden_size=4, max_epochs=1).fit(X, X[:, -1, :])


@pytest.mark.parametrize("setting", inspect.signature(GRURegressor).parameters)
def test_a_regressor_predicts_as_it_was_fitted(setting, regressor, tmp_path):
    changed = copy.deepcopy(regressor).set_params(**{setting: OTHER[setting]})
    if setting in OF_TRAINING:
        np.testing.assert_array_equal(changed.predict(X), regressor.predict(X))
        return
    for use in (changed.predict, changed.predict_quantiles, lambda X: changed.score(X, X[:, -1, :]), changed.save):
        with pytest.raises(ValueError, match=f"changed: {setting} was"):
            use(tmp_path if use == changed.save else X)


def test_a_regressor_whose_fit_fails_predicts_as_before(regressor):
    model, expected = copy.copy(regressor), regressor.predict(X)
    with pytest.raises(ValueError, match="non-zero"):
        model.fit(X[:, :2], X[:, -1, 0], sample_weight=np.zeros(len(X)))
    np.testing.assert_array_equal(model.predict(X), expected)
    fresh = GRURegressor()
    with pytest.raises(ValueError, match="inconsistent"):
        fresh.fit(X, X[:5, -1])
    with pytest.raises(NotFittedError):
        fresh.predict(X)


def test_a_saved_regressor_remembers_what_it_was_fitted_with(regressor, tmp_path):
    regressor.save(tmp_path)
    loaded = GRURegressor.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(X), regressor.predict(X))
    with pytest.raises(ValueError, match="hidden_size was 4, is 5"):
        loaded.set_params(hidden_size=5).predict(X)


def test_a_model_from_before_there_was_a_memory_is_taken_as_it_is():
    model = SeasonalNaive(lookback=8).fit(PAST)
    del model._fitted_with
    check_fitted(model, "fit_end_")
