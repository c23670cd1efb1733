"""Forecasters inside scikit-learn: what works, and what is refused in one sentence before anything is fitted."""

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import AdaBoostRegressor, BaggingRegressor, StackingRegressor, VotingRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFE, SelectFromModel, SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    TimeSeriesSplit,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    permutation_test_score,
)
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.pipeline import make_pipeline

from tidecast.features import LogReturn
from tidecast.forecasting import GRURegressor, RandomWalk, RNNRegressor, RollingOrigin

MODEL = RandomWalk(horizon=2, lookback=8)
CV = RollingOrigin(n_splits=2, horizon=2, stride=5)
GRID = {"lookback": [8, 9]}

kinds = pytest.mark.parametrize("kind", ["polars", "pandas"])


@pytest.fixture(scope="module")
def prices(random_walks):
    return random_walks(n_series=2, n_rows=100)


def of_kind(prices, kind):
    return prices.to_pandas() if kind == "pandas" else prices


@kinds
@pytest.mark.parametrize("cv", [None, TimeSeriesSplit(2)])
def test_a_search_whose_folds_lack_history_is_refused_with_the_line_to_write(prices, kind, cv):
    """All scores were NaN, with a warning, and `best_params_` named the first settings all the same."""
    with pytest.raises(ValueError, match=r"^A RandomWalk must be tested on every row .* Write cv=RollingOrigin\(horiz"):
        GridSearchCV(MODEL, GRID, cv=cv).fit(of_kind(prices, kind))


@pytest.mark.parametrize("search", [cross_val_score, cross_validate])
def test_a_cross_validation_without_rolling_origins_is_refused(prices, search):
    with pytest.raises(ValueError, match=r"^A RandomWalk must be tested on every row"):
        search(MODEL, prices)


def test_searches_at_random_and_by_halving_without_rolling_origins_are_refused(prices):
    for search in (RandomizedSearchCV(MODEL, GRID, n_iter=1), HalvingGridSearchCV(MODEL, GRID)):
        with pytest.raises(ValueError, match=r"^A RandomWalk must be tested on every row"):
            search.fit(prices)


def test_a_halving_search_that_draws_rows_is_advised_to_use_another_resource(prices):
    search = HalvingGridSearchCV(MODEL, GRID, cv=CV, resource="n_samples", min_resources=100, return_train_score=False)
    with pytest.raises(ValueError, match=r'a halving search also needs resource="max_epochs"'):
        search.fit(prices)


@pytest.mark.parametrize("scoring", ["r2", "neg_mean_absolute_error", make_scorer(mean_absolute_error), ["r2"]])
@pytest.mark.parametrize("with_y", [False, True])
def test_a_search_with_a_scoring_of_rows_is_refused(prices, scoring, with_y):
    search = GridSearchCV(MODEL, GRID, cv=CV, scoring=scoring, refit="r2" if isinstance(scoring, list) else True)
    with pytest.raises(ValueError, match=r"^A RandomWalk must be scored by its own score.* Leave scoring out"):
        search.fit(prices, prices["close"].to_numpy() if with_y else None)


def test_a_search_over_a_pipeline_is_refused_in_one_sentence_too(prices):
    pipeline = make_pipeline(LogReturn(), MODEL)
    with pytest.raises(NotImplementedError, match=r"^A RandomWalk must be tested on every row"):
        GridSearchCV(pipeline, {"randomwalk__lookback": [8, 9]}).fit(prices)
    with pytest.raises(NotImplementedError, match=r"^VotingRegressor needs an estimator on arrays"):
        VotingRegressor([("one", pipeline)]).fit(prices, prices["close"])


@kinds
def test_folds_with_too_few_sessions_for_the_horizon_are_refused(prices, kind):
    with pytest.raises(ValueError, match=r"horizon=7 must have 7 sessions after the training rows .* found 6"):
        GridSearchCV(RandomWalk(horizon=7, lookback=8), GRID, cv=CV).fit(of_kind(prices, kind))


def test_a_scoring_function_of_model_and_panel_works_as_the_score_does(prices):
    own = GridSearchCV(MODEL, GRID, cv=CV).fit(prices)
    called = GridSearchCV(MODEL, GRID, cv=CV, scoring=lambda model, panel, y=None: model.score(panel)).fit(prices)
    assert called.best_score_ == own.best_score_
    folds = GridSearchCV(MODEL, GRID, cv=list(CV.split(prices))).fit(prices)
    assert folds.best_score_ == own.best_score_


@kinds
@pytest.mark.parametrize(
    "meta",
    [
        TransformedTargetRegressor(MODEL, func=np.log, inverse_func=np.exp),
        VotingRegressor([("one", MODEL)]),
        StackingRegressor([("one", MODEL)]),
        BaggingRegressor(MODEL),
        AdaBoostRegressor(MODEL),
        RFE(MODEL),
        SelectFromModel(MODEL),
        SequentialFeatureSelector(MODEL),
    ],
    ids=lambda meta: type(meta).__name__,
)
def test_a_meta_estimator_over_arrays_is_refused_by_name(prices, kind, meta):
    with pytest.raises(TypeError, match=rf"^{type(meta).__name__} needs an estimator on arrays .* Use backtest"):
        meta.fit(of_kind(prices, kind), prices["close"].to_numpy())


@pytest.mark.parametrize("meta", [MultiOutputRegressor(MODEL, n_jobs=2), RegressorChain(MODEL)])
def test_a_meta_estimator_with_several_targets_is_refused_by_name(prices, meta):
    with pytest.raises(TypeError, match="needs an estimator on arrays"):
        meta.fit(prices, np.column_stack([prices["close"], prices["close"]]))


def test_functions_that_compare_row_by_row_are_refused_by_name(prices):
    y, fitted = prices["close"].to_numpy(), RandomWalk(horizon=2, lookback=8).fit(prices)
    with pytest.raises(TypeError, match=r"^cross_val_predict needs an estimator on arrays"):
        cross_val_predict(MODEL, prices, cv=CV)
    with pytest.raises(TypeError, match=r"^cross_val_predict needs an estimator on arrays"):
        cross_val_predict(MODEL, prices)
    with pytest.raises(TypeError, match=r"^permutation_test_score needs"):
        permutation_test_score(MODEL, prices, y, cv=CV)
    with pytest.raises(TypeError, match=r"^permutation_importance needs"):
        permutation_importance(fitted, prices.to_pandas(), y)


def test_what_draws_a_forecaster_in_a_notebook_is_not_refused():
    assert "RandomWalk" in VotingRegressor([("one", MODEL)])._repr_html_()
    assert "RandomWalk" in GridSearchCV(MODEL, GRID)._repr_html_()


def test_a_frozen_forecaster_forecasts_in_a_pipeline(prices):
    fitted = RandomWalk(horizon=2, lookback=8).fit(prices)
    pipeline = make_pipeline(LogReturn(), FrozenEstimator(fitted)).fit(prices, None)
    assert pipeline.predict(prices).equals(fitted.predict(prices))


def test_regressors_work_inside_the_meta_estimators_that_refuse_forecasters():
    X = np.random.default_rng(0).normal(size=(120, 6))
    y = X[:, -1] + 10
    small = {"max_epochs": 3, "hidden_size": 4}
    for meta in (
        TransformedTargetRegressor(GRURegressor(**small), func=np.log, inverse_func=np.exp),
        VotingRegressor([("gru", GRURegressor(**small)), ("rnn", RNNRegressor(**small))]),
        StackingRegressor([("gru", GRURegressor(**small)), ("line", LinearRegression())], cv=2),
        BaggingRegressor(GRURegressor(**small), n_estimators=2, random_state=0),
        GridSearchCV(GRURegressor(**small), {"training__patience": [1, 2]}, cv=2, scoring="r2"),
    ):
        assert np.isfinite(meta.fit(X, y).predict(X)).all()
        assert meta.predict(X).shape == (120,)
    several = MultiOutputRegressor(GRURegressor(**small)).fit(X, np.column_stack([y, -y]))
    assert several.predict(X).shape == (120, 2)
    found = permutation_importance(GRURegressor(**small).fit(X, y), X, y, n_repeats=2, random_state=0)
    assert np.isfinite(found.importances_mean).all()


def test_the_regressors_cross_validated_predictions_have_one_row_a_window():
    X = np.random.default_rng(0).normal(size=(60, 6))
    assert cross_val_predict(RNNRegressor(max_epochs=1, hidden_size=2), X, X[:, 0], cv=3).shape == (60,)
