"""Settings inside settings: `training__patience` and `schema__calendar` in set_params, clones and searches."""

import copy
import pickle

import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from tidecast.features import LogReturn, PanelSchema
from tidecast.forecasting import GRUForecaster, GRURegressor, RandomWalk, RollingOrigin, Training

SMALL = {"horizon": 2, "lookback": 8, "hidden_size": 2, "max_epochs": 1}
CV = RollingOrigin(n_splits=2, horizon=2, stride=5)


def test_set_params_reaches_into_frozen_settings_and_leaves_the_shared_object_alone():
    shared = Training(patience=2, average=True)
    model = GRUForecaster(training=shared)
    twin = clone(model).set_params(training__patience=5, schema__calendar="TARGET")
    assert twin.training == Training(patience=5, average=True)
    assert twin.schema == PanelSchema(calendar="TARGET")
    assert model.training is shared
    assert shared.patience == 2
    assert model.schema is None
    assert GRURegressor().set_params(training__patience=3).training == Training(patience=3)


def test_get_params_lists_the_settings_of_settings():
    params = GRUForecaster(training=Training(patience=2)).get_params()
    assert params["training__patience"] == 2
    assert "schema__calendar" not in params
    assert PanelSchema(calendar="TARGET").get_params()["calendar"] == "TARGET"


def test_wrong_nested_settings_are_refused_and_nothing_is_set():
    model = GRUForecaster()
    with pytest.raises(ValueError, match=r"Training must have a setting of that name, got 'patienc'\. Did you"):
        model.set_params(horizon=9, training__patienc=1)
    with pytest.raises(ValueError, match="patience must be at least 1, got 0"):
        model.set_params(horizon=9, training__patience=0)
    with pytest.raises(TypeError, match="training must be a Training or None, got str"):
        model.set_params(training="slow", training__patience=1)
    assert (model.horizon, model.training) == (5, None)
    with pytest.raises(ValueError, match="Invalid parameter 'training'"):
        RandomWalk().set_params(training__patience=1)


def test_frozen_settings_stay_equal_hashable_and_picklable():
    for settings in (Training(patience=2, half_life=5.0), PanelSchema(calendar="TARGET", covariates=("vix",))):
        for twin in (clone(settings), copy.deepcopy(settings), pickle.loads(pickle.dumps(settings))):
            assert twin == settings
            assert hash(twin) == hash(settings)
        assert settings.set_params() == settings


@pytest.mark.filterwarnings(
    "ignore:Columns that a transformer makes:UserWarning"
)  # on purpose: the network has its own
def test_a_grid_over_training_and_schema_gives_scores(random_walks):
    prices = random_walks(n_series=2, n_rows=100)
    grid = {"training__patience": [1, 2], "schema__calendar": ["weekdays"]}
    search = GridSearchCV(GRUForecaster(**SMALL), grid, cv=CV, error_score="raise").fit(prices)
    assert search.best_estimator_.training.patience == search.best_params_["training__patience"]
    assert search.best_estimator_.calendar_.name == "weekdays"
    named = {f"gruforecaster__{name}": values for name, values in grid.items()}
    piped = GridSearchCV(make_pipeline(LogReturn(), GRUForecaster(**SMALL)), named, cv=CV, error_score="raise")
    assert piped.fit(prices).best_score_ == pytest.approx(search.best_score_)
