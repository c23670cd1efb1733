"""The contract of every forecaster: a panel in, a forecast table out."""

from datetime import datetime

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from tests.forecasting.models import (
    FORECASTERS,
    LEVELS,
    assert_close,
    assert_init_only_stores,
    cut_of,
    each_kind,
    every,
    every_network,
    model_of,
    values,
)
from tidecast.features import LogReturn, PanelSchema, PriceFeatures
from tidecast.forecasting import DEFAULT_QUANTILES, RollingOrigin


@every_network
def test_the_networks_here_have_learned_something(name, fitted):
    curve = fitted[name].learning_curve_
    assert curve["epoch"].to_list() == [0, 1]
    assert curve["validation_loss"][1] < curve["validation_loss"][0]  # or these tests would test the random walk


# ------------------------------------------------------------------ scikit-learn
@every
def test_init_only_stores_its_arguments_and_clone_copies_them(name):
    assert_init_only_stores(type(FORECASTERS[name]))
    other = clone(FORECASTERS[name])
    assert other.get_params().keys() == FORECASTERS[name].get_params().keys()
    assert other.set_params(horizon=3) is other
    assert (other.horizon, FORECASTERS[name].horizon) == (3, 5)


@every
def test_fit_starts_afresh_and_gives_the_same_bits(name, breathing, panel, fitted):
    past = breathing.filter(pl.col("time") <= cut_of(breathing))
    again = model_of(name).fit(panel)
    assert again.fit(past) is again
    assert again.predict().equals(fitted[name].predict())
    assert again.predict(breathing, origins="all").equals(fitted[name].predict(breathing, origins="all"))


@every
def test_fit_and_predict_leave_the_panel_as_it_was(name, breathing):
    for given in (breathing.clone(), breathing.to_pandas()):
        before = given.copy() if hasattr(given, "copy") else given.clone()
        model_of(name).fit(given).predict(given)
        assert given.equals(before)


@every
def test_before_fit_there_is_no_forecast(name, breathing):
    with pytest.raises(NotFittedError):
        model_of(name).predict(breathing)
    with pytest.raises(NotFittedError):
        model_of(name).score(breathing)


@each_kind
@pytest.mark.filterwarnings("ignore:Columns that a transformer makes must be named")  # here they must not matter
def test_a_pipeline_fits_predicts_and_scores(name, breathing, fitted):
    past = breathing.filter(pl.col("time") <= cut_of(breathing))
    pipeline = make_pipeline(PriceFeatures(), LogReturn(), model_of(name)).fit(past)
    assert pipeline.predict(breathing).equals(fitted[name].predict(breathing))
    assert pipeline.score(breathing) == pytest.approx(fitted[name].score(breathing))


@each_kind
def test_a_grid_search_scores_the_origins_after_each_cut(name, breathing):
    cv = RollingOrigin(n_splits=2, horizon=2, stride=20)
    search = GridSearchCV(model_of(name, horizon=2), {"lookback": [8, 16]}, cv=cv, n_jobs=1, error_score="raise")
    search.fit(breathing)
    fold = cv.folds(breathing)[0]
    by_hand = model_of(name, horizon=2, lookback=8).fit(breathing.filter(pl.col("time") <= fold.train_end))
    expected = by_hand.score(breathing.filter(pl.col("time") <= fold.end))
    assert search.cv_results_["split0_test_score"][0] == pytest.approx(expected)
    assert search.best_estimator_.fit_end_ == breathing["time"].max()


def test_a_grid_search_runs_over_a_pipeline_on_pandas(breathing):
    pipeline = make_pipeline(LogReturn(), model_of("RandomWalk", horizon=2))
    grid = {"randomwalk__lookback": [8, 16]}
    search = GridSearchCV(pipeline, grid, cv=RollingOrigin(2, horizon=2, stride=20), n_jobs=1, error_score="raise")
    assert search.fit(breathing.to_pandas()).best_score_ < 0


@every
def test_equal_recipes_are_equal_dictionaries(name):
    model = model_of(name)
    assert model.recipe() == clone(model).recipe()
    assert model.recipe() != model_of(name, horizon=3).recipe()
    assert model.recipe()["settings"]["lookback"] == 16


# ------------------------------------------------------------------ the forecast table
@every
def test_the_table_has_a_row_per_series_origin_and_step_in_order(name, breathing, fitted):
    table = fitted[name].predict(breathing, origins="all")
    assert table.columns == ["series_id", "origin", "step", "time", "forecast", *LEVELS]
    assert table.equals(table.sort("series_id", "origin", "step"))
    assert len(table) == 4 * (320 - 15) * 5
    assert table["step"].unique().sort().to_list() == [1, 2, 3, 4, 5]
    assert table.select(pl.col("forecast", *LEVELS).is_finite().all()).row(0) == (True,) * 19
    sessions = pl.Series(np.busday_offset(table["origin"].to_numpy(), table["step"].to_numpy())).cast(pl.Date)
    assert table["time"].equals(sessions)


@every
@pytest.mark.parametrize("positive", [True, False])
def test_quantiles_never_cross(name, positive, breathing):
    model = model_of(name, schema=PanelSchema(positive=positive)).fit(breathing)
    assert (np.diff(values(model.predict(breathing, origins="all")), axis=1) >= 0).all()


@every
def test_other_horizons_and_quantiles(name, breathing):
    model = model_of(name, horizon=3, quantiles=[0.9, 0.1]).fit(breathing)
    table = model.predict()
    assert model.quantiles_ == (0.1, 0.5, 0.9)
    assert table.columns[4:] == ["forecast", "q0.1", "q0.9"]
    assert table["step"].to_list() == [1, 2, 3] * 4
    assert (table["q0.1"] < table["forecast"]).all()
    assert (table["forecast"] < table["q0.9"]).all()


@every
def test_a_horizon_of_one_and_the_median_alone(name, breathing):
    past = breathing.filter(pl.col("time") <= cut_of(breathing))
    model = model_of(name, horizon=1, quantiles=()).fit(past)
    assert model.predict().columns == ["series_id", "origin", "step", "time", "forecast"]
    assert np.isfinite(model.score(breathing))


@every
def test_all_origins_at_once_are_as_one_by_one(name, breathing, fitted):
    model = fitted[name]
    table = model.predict(breathing, origins="all")
    for origin in breathing["time"].unique().sort()[[20, 200, 290, 319]]:
        alone = model.predict(breathing.filter(pl.col("time") <= origin))
        assert_close(alone, table.filter(pl.col("origin") == origin))
        chosen = model.predict(breathing, origins=[origin])
        assert_close(chosen, alone)


@every
def test_new_origins_start_at_the_end_of_fit_and_have_their_whole_horizon_in_the_panel(name, breathing, fitted):
    model, sessions = fitted[name], breathing["time"].unique().sort()
    table = model.predict(breathing, origins="new")
    assert model.fit_end_ == cut_of(breathing)
    assert table["origin"].unique().sort().equals(sessions[-61:-5].alias("origin"))
    assert table["time"].max() == sessions[-1]


@every
def test_without_a_panel_forecasts_start_at_the_end_of_the_training_rows(name, breathing, fitted):
    model = fitted[name]
    table = model.predict()
    assert table["origin"].unique().to_list() == [model.fit_end_]
    assert table.equals(model.predict(breathing.filter(pl.col("time") <= model.fit_end_)))


def test_origins_come_as_dates_datetimes_or_arrays(breathing, fitted):
    day = breathing["time"][100]
    expected = fitted["RandomWalk"].predict(breathing, origins=[day])
    assert len(expected) == 20
    stamps = breathing.to_pandas()["time"]
    for origins in (day, [datetime.combine(day, datetime.min.time())], np.array([day], "M8[ns]"), stamps[100:101]):
        assert fitted["RandomWalk"].predict(breathing, origins=origins).equals(expected)


@pytest.mark.parametrize("origins", ["newest", 5, ["2020-01-01"], [1, 2]])
def test_other_origins_are_refused(origins, breathing, fitted):
    with pytest.raises((ValueError, TypeError), match=r'origins must be "last", "new", "all" or a list of'):
        fitted["RandomWalk"].predict(breathing, origins=origins)


@every
def test_a_score_is_minus_the_mean_crps_of_new_origins(name, breathing, fitted):
    table = fitted[name].predict(breathing, origins="new")
    truth = breathing.select("series_id", time="time", truth="close")
    price = breathing.select("series_id", origin="time", price="close")
    rows = table.join(truth, on=["series_id", "time"]).join(price, on=["series_id", "origin"])
    change = pl.col("close").log().diff().over("series_id")
    volatility = (change**2).ewm_mean(alpha=0.06, adjust=True).over("series_id").sqrt()
    rows = rows.join(breathing.select("series_id", origin="time", sigma=volatility), on=["series_id", "origin"])
    error = rows["truth"].to_numpy()[:, None] - values(rows)
    levels = np.array(DEFAULT_QUANTILES)
    crps = 2 * np.where(error > 0, levels * error, (levels - 1) * error).mean(axis=1)
    scaled = crps / (rows["price"] * rows["sigma"]).to_numpy()
    assert fitted[name].score(breathing) == pytest.approx(-scaled.mean())
