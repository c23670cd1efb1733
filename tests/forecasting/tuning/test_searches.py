"""Forecasters in scikit-learn's searches and routing, and panels of other types; each with the cheapest settings."""

import numpy as np
import polars as pl
import pytest
import sklearn
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 (makes HalvingGridSearchCV known)
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline

from tests.forecasting import models
from tidecast.features import LogReturn, PanelSchema, RollingMean
from tidecast.forecasting import GRUForecaster, RollingOrigin

TINY = {"lookback": 8, "horizon": 2, "quantiles": (0.1, 0.9)}
CHEAP = models.BASELINES | models.REGRESSIONS
FORECASTERS = {name: clone(model).set_params(**TINY) for name, model in CHEAP.items()} | {
    kind.__name__: kind(**TINY, hidden_size=4, max_epochs=1) for kind in models.CELLS
}
FOLDS = RollingOrigin(n_splits=2, horizon=2, stride=10)

every = pytest.mark.parametrize("name", FORECASTERS)


@pytest.fixture(scope="module")
def small(breathing):
    return breathing.filter(pl.col("series_id") < "C").group_by("series_id", maintain_order=True).head(100)


@every
def test_a_randomised_search_draws_settings_and_scores_them_on_rolling_origins(name, small):
    search = RandomizedSearchCV(
        FORECASTERS[name], {"lookback": [4, 8, 12, 16]}, n_iter=2, cv=FOLDS, random_state=0, error_score="raise"
    )
    search.fit(small)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    fold = FOLDS.folds(small)[1]
    by_hand = clone(FORECASTERS[name]).set_params(**search.cv_results_["params"][1])
    by_hand.fit(small.filter(pl.col("time") <= fold.train_end))
    assert search.cv_results_["split1_test_score"][1] == pytest.approx(
        by_hand.score(small.filter(pl.col("time") <= fold.end))
    )
    assert search.predict(small).equals(search.best_estimator_.predict())


def test_a_randomised_search_over_a_pipeline_lets_its_transformer_see_the_history_of_each_fold(small):
    """Its columns are the network's inputs: a fold whose rows lacked their history would score otherwise."""
    model = GRUForecaster(**TINY, hidden_size=4, max_epochs=1, schema=PanelSchema(covariates=("close_mean_21",)))
    pipeline = make_pipeline(RollingMean(window=21), model)
    choices = {"gruforecaster__lookback": [4, 8, 12, 16], "gruforecaster__learning_rate": [1e-3, 1e-2]}
    search = RandomizedSearchCV(pipeline, choices, n_iter=2, cv=FOLDS, random_state=0, error_score="raise")
    search.fit(small)
    fold = FOLDS.folds(small)[1]
    by_hand = clone(pipeline).set_params(**search.cv_results_["params"][1])
    by_hand.fit(small.filter(pl.col("time") <= fold.train_end))
    scored = by_hand.score(small.filter(pl.col("time") <= fold.end))
    assert search.cv_results_["split1_test_score"][1] == pytest.approx(scored)
    assert search.predict(small).equals(search.best_estimator_.predict(small))


def test_a_halving_search_gives_the_better_settings_more_epochs(small):
    choices = {"hidden_size": [2, 4, 8]}
    shared = {"resource": "max_epochs", "max_resources": 3, "return_train_score": False, "error_score": "raise"}
    search = HalvingGridSearchCV(FORECASTERS["GRUForecaster"], choices, cv=FOLDS, random_state=0, **shared).fit(small)
    assert search.n_resources_ == [1, 3]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(small).equals(search.best_estimator_.predict())


@every
@pytest.mark.filterwarnings("ignore:Columns that a transformer makes must be named")  # here they must not matter
def test_sample_weight_is_routed_through_a_search_over_a_pipeline(name, small):
    """Fitted and scored with weights of nought on B, a search finds what it finds with A's weights by hand."""
    weight = (small["series_id"] == "A").to_numpy().astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        asking = clone(FORECASTERS[name]).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = make_pipeline(LogReturn(), asking)
        step = pipeline.steps[-1][0]
        search = GridSearchCV(pipeline, {f"{step}__lookback": [8]}, cv=FOLDS, error_score="raise")
        search.fit(small, sample_weight=weight)
        fold, until = FOLDS.folds(small)[0], small["time"]
        train, test = (until <= fold.train_end).to_numpy(), (until <= fold.end).to_numpy()
        by_hand = clone(FORECASTERS[name]).fit(small.filter(train), sample_weight=weight[train])
        expected = by_hand.score(small.filter(test), sample_weight=weight[test])
    assert search.cv_results_["split0_test_score"][0] == pytest.approx(expected)
    plain = clone(FORECASTERS[name]).fit(small.filter(train)).score(small.filter(test))
    assert expected != pytest.approx(plain)


@every
def test_partial_fit_can_be_asked_for_with_weights_as_well(name):
    with sklearn.config_context(enable_metadata_routing=True):
        asking = clone(FORECASTERS[name]).set_partial_fit_request(sample_weight=True, epochs=True)
        assert asking.get_metadata_routing().partial_fit.requests == {"sample_weight": True, "epochs": True}


@every
def test_categories_whole_numbers_single_precision_and_midnights_are_as_good(name, small):
    """Prices that single precision holds exactly: the same numbers, whatever holds them."""
    exact = small.with_columns(pl.col("close").cast(pl.Float32).cast(pl.Float64))
    expected = clone(FORECASTERS[name]).fit(exact).predict()
    for change in (
        pl.col("series_id").cast(pl.Categorical),
        pl.col("series_id").cast(pl.Enum(["B", "A"])),
        pl.col("close").cast(pl.Float32),
        pl.col("time").cast(pl.Datetime("us")),
        pl.col("time").cast(pl.Datetime("ms")).dt.replace_time_zone("Europe/Berlin"),
    ):
        other = exact.with_columns(change)
        model = clone(FORECASTERS[name]).fit(other)
        assert model.predict().equals(expected)
        assert model.predict(other).equals(expected)
    numbered = exact.with_columns(pl.col("series_id").replace_strict({"A": -1, "B": 7}, return_dtype=pl.Int64))
    found = clone(FORECASTERS[name]).fit(numbered).predict()
    assert found["series_id"].unique().sort().to_list() == [-1, 7]
    assert found.drop("series_id").equals(expected.drop("series_id"))
