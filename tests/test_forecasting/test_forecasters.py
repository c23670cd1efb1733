"""The contract of every forecaster: a panel in, a forecast table out."""

import inspect
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from features import LogReturn, PanelSchema, PriceFeatures, RollingVolatility, get_calendar
from forecasting import (
    DEFAULT_QUANTILES,
    Drift,
    GRUForecaster,
    LSTMForecaster,
    MinGRUForecaster,
    RandomWalk,
    RNNForecaster,
    RollingOrigin,
    SeasonalNaive,
)

NETWORK = {"lookback": 16, "hidden_size": 8, "max_epochs": 1, "learning_rate": 5e-2, "batch_size": 8}
NETWORKS = {kind.__name__: kind(**NETWORK) for kind in (RNNForecaster, LSTMForecaster, GRUForecaster, MinGRUForecaster)}
BASELINES = {kind.__name__: kind(lookback=16) for kind in (RandomWalk, Drift, SeasonalNaive)}
FORECASTERS = BASELINES | NETWORKS
LEVELS = [f"q{level!r}" for level in DEFAULT_QUANTILES if level != 0.5]

every = pytest.mark.parametrize("name", FORECASTERS)
every_network = pytest.mark.parametrize("name", NETWORKS)


@pytest.fixture(scope="module")
def fitted(breathing):
    """Every forecaster, fitted to all but the newest 60 sessions of the breathing panel."""
    past = breathing.filter(pl.col("time") <= cut_of(breathing))
    return {name: clone(model).fit(past) for name, model in FORECASTERS.items()}


def cut_of(panel, newest=60):
    return panel["time"].unique().sort()[-newest - 1]


def model_of(name, **settings):
    return clone(FORECASTERS[name]).set_params(**settings)


@every_network
def test_the_networks_here_have_learned_something(name, fitted):
    curve = fitted[name].learning_curve_
    assert curve["epoch"].to_list() == [0, 1]
    assert curve["validation_loss"][1] < curve["validation_loss"][0]  # or these tests would test the random walk


def values(table):
    """Forecast and quantiles in rising order, shape (rows, levels)."""
    names = [*LEVELS[:9], "forecast", *LEVELS[9:]]
    return table.select(names).to_numpy()


def assert_close(found, expected, rtol=1e-5):
    """Equal tables, but for a share `rtol` of what the quantiles span: networks run in float32."""
    keys = ["series_id", "origin", "step", "time"]
    assert found.select(keys).equals(expected.select(keys))
    span = np.ptp(values(expected), axis=1, keepdims=True)
    assert (np.abs(values(found) - values(expected)) <= rtol * span + 1e-12 * values(expected)).all()


# ------------------------------------------------------------------ scikit-learn
@every
def test_init_only_stores_its_arguments_and_clone_copies_them(name):
    kind = type(FORECASTERS[name])
    names = list(inspect.signature(kind).parameters)
    assert len(names) <= 16
    marks = {setting: object() for setting in names}
    model = kind(**marks)
    assert vars(model) == marks
    assert model.get_params(deep=False) == marks
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


@every
def test_a_pipeline_fits_predicts_and_scores(name, breathing, fitted):
    past = breathing.filter(pl.col("time") <= cut_of(breathing))
    pipeline = make_pipeline(PriceFeatures(), LogReturn(), model_of(name)).fit(past)
    assert pipeline.predict(breathing).equals(fitted[name].predict(breathing))
    assert pipeline.score(breathing) == pytest.approx(fitted[name].score(breathing))


@every
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


# ------------------------------------------------------------------ panels of all kinds
@every
def test_pandas_in_gives_the_same_table_as_pandas_out(name, breathing, fitted):
    past = breathing.filter(pl.col("time") <= cut_of(breathing))
    model = model_of(name).fit(past.to_pandas())
    assert pl.from_pandas(model.predict()).cast({"origin": pl.Date, "time": pl.Date}).equals(fitted[name].predict())
    table = fitted[name].predict(breathing, origins="new")
    assert model.predict(breathing.to_pandas(), origins="new").equals(table.to_pandas())
    assert model.predict(breathing).equals(fitted[name].predict(breathing))
    assert model.score(breathing.to_pandas()) == fitted[name].score(breathing)


@every
def test_neither_the_order_of_rows_nor_their_types_matter(name, breathing, fitted):
    past = breathing.filter(pl.col("time") <= cut_of(breathing)).sample(fraction=1, shuffle=True, seed=0)
    past = past.with_columns(pl.col("series_id").cast(pl.Categorical), pl.col("time").cast(pl.Datetime("ns")))
    found = model_of(name).fit(past).predict()
    assert found.equals(fitted[name].predict())


@every
def test_series_are_named_by_integers_as_well_and_prices_may_be_whole_numbers(name, breathing):
    whole = breathing.with_columns(close=(pl.col("close") * 1e6).round())
    named = whole.with_columns(
        pl.col("series_id").replace_strict({"A": 3, "B": 5, "C": 7, "D": 11}, return_dtype=pl.Int16),
        pl.col("close").cast(pl.Int64),
    )
    found, expected = model_of(name).fit(named).predict(), model_of(name).fit(whole).predict()
    assert found.schema["series_id"] == pl.Int16
    assert found["series_id"].unique().sort().to_list() == [3, 5, 7, 11]
    assert found.drop("series_id").equals(expected.drop("series_id"))


@every
def test_untidy_panels_are_forecast_and_the_unready_series_named(name, untidy_panel):
    model = model_of(name, lookback=160).fit(untidy_panel)
    assert model.skipped_ == ("B",)  # 150 rows
    table = model.predict()
    assert table["series_id"].unique().sort().to_list() == ["A", "C", "D", "E", "F"]
    ends = untidy_panel.filter(pl.col("close").is_not_null()).group_by("series_id").agg(end=pl.col("time").max())
    starts = dict(table.select("series_id", "origin").unique().rows())
    assert starts == {series: end for series, end in ends.rows() if series != "B"}
    paused = model.predict(untidy_panel, origins="all").filter(series_id="D")
    assert paused["origin"].n_unique() == 250 - 159  # D's 150 rows before its pause are too few, and do not count after
    pegged = table.filter(series_id="A")
    assert (values(pegged) == 15.6466).all()


@every
def test_a_missing_session_has_no_row_and_steps_count_sessions(name, breathing):
    day = cut_of(breathing, 3)
    model = model_of(name).fit(breathing.filter((pl.col("time") != day) | (pl.col("series_id") != "A")))
    table = model.predict(breathing.filter(pl.col("time") < day))
    assert (table.filter(step=1)["time"] == day).all()


@every
def test_a_single_series_is_a_panel(name, breathing):
    model = model_of(name).fit(breathing.filter(series_id="A"))
    assert model.predict()["series_id"].unique().to_list() == ["A"]


@every
def test_a_panel_of_pegs_is_forecast_without_a_spread(name, breathing):
    flat = breathing.with_columns(close=pl.lit(3.0))
    model = model_of(name).fit(flat.filter(pl.col("time") <= cut_of(flat)))
    assert (values(model.predict(flat)) == 3.0).all()
    with pytest.raises(ValueError, match="of a series that moves"):
        model.score(flat)


@every
def test_prices_below_zero_move_by_differences_when_the_schema_says_so(name, breathing):
    shifted = breathing.with_columns(close=pl.col("close") / pl.col("close").first().over("series_id") - 1.0)
    past = shifted.filter(pl.col("time") <= cut_of(shifted))
    with pytest.raises(ValueError, match=r"PanelSchema\(positive=False\)"):
        model_of(name).fit(past)
    model = model_of(name, schema=PanelSchema(positive=False)).fit(past)
    table = model.predict()
    assert (values(table) < 0).any()
    lifted = past.with_columns(close=pl.col("close") + 1024)
    higher = model_of(name, schema=PanelSchema(positive=False)).fit(lifted).predict()
    assert np.allclose(values(higher) - 1024, values(table), atol=1e-5 * np.ptp(values(table)))
    assert np.isfinite(model.score(shifted))


@every
def test_scaling_all_prices_scales_the_forecast(name, breathing):
    scaled = breathing.with_columns(close=pl.col("close") * 1e-7)
    expected, found = model_of(name).fit(breathing).predict(), model_of(name).fit(scaled).predict()
    assert_close(found.with_columns(pl.col("forecast", *LEVELS) * 1e7), expected, rtol=1e-4)


@every
def test_an_intraday_panel_is_forecast_by_the_hour(name, breathing):
    hours = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 14, 7), "1h", eager=True)
    hourly = breathing.with_columns(time=pl.concat([hours] * 4))
    table = model_of(name).fit(hourly).predict()
    assert table["time"].to_list()[:5] == [datetime(2024, 1, 14, 8 + k) for k in range(5)]


def target_days(until):
    days = pl.date_range(date(2018, 1, 2), until, eager=True)
    return days.filter(pl.Series(get_calendar("TARGET").is_session(days)))


@every
def test_a_calendar_named_in_the_schema_places_the_steps(name, breathing):
    model = model_of(name, schema=PanelSchema(calendar="TARGET"))
    panel = breathing.with_columns(time=pl.concat([target_days(date(2024, 3, 28))[-320:]] * 4))
    assert model.fit(panel).predict()["time"][0] == date(2024, 4, 2)  # after Good Friday and Easter Monday


# ------------------------------------------------------------------ weights
def test_origins_without_weight_teach_nothing(breathing):
    weight = (breathing["series_id"] == "A").cast(pl.Float64)
    alone = RandomWalk(lookback=16).fit(breathing.filter(series_id="A")).predict()
    found = RandomWalk(lookback=16).fit(breathing, sample_weight=weight).predict()
    assert found.filter(series_id="A").equals(alone)


def test_weights_count_in_calibration_too(breathing):
    newest, weight = breathing["time"] > cut_of(breathing, 20), np.ones(len(breathing))
    heavy = np.where(newest & (breathing["series_id"] == "A"), 10.0, 1.0)
    plain, weighted = (RandomWalk(lookback=16).fit(breathing, sample_weight=given) for given in (weight, heavy))
    assert (plain._learned()["base"] == weighted._learned()["base"]).all()
    assert (plain._learned()["offsets"] != weighted._learned()["offsets"]).any()


@every_network
def test_a_network_learns_from_the_origins_with_weight(name, breathing):
    weight = (breathing["series_id"] == "A").to_numpy().astype(float)
    model, shuffled = model_of(name), breathing.with_columns(weight=weight).sample(fraction=1, shuffle=True, seed=0)
    found = model.fit(breathing, sample_weight=weight).predict()
    assert not found.equals(model_of(name).fit(breathing).predict())
    other = model_of(name).fit(shuffled.drop("weight"), sample_weight=shuffled["weight"].to_list())
    assert other.predict().equals(found)  # weights follow their rows


@every
def test_equal_weights_are_no_weights(name, breathing, fitted):
    model, weight = model_of(name), np.full(len(breathing), 4.0)
    assert_close(model.fit(breathing, sample_weight=weight).predict(), model_of(name).fit(breathing).predict())
    assert fitted[name].score(breathing, sample_weight=weight) == pytest.approx(fitted[name].score(breathing))


@every
def test_a_score_weighs_origins(name, breathing, fitted):
    weight = (breathing["series_id"] == "A").cast(pl.Float64).to_numpy()
    alone = fitted[name].score(breathing.filter(series_id="A"))
    assert fitted[name].score(breathing, sample_weight=weight) == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("weight", [[1.0, 2.0], np.zeros(1280), -np.ones(1280), np.full(1280, np.nan)])
def test_impossible_weights_are_refused(weight, breathing):
    with pytest.raises(ValueError, match="sample_weight must be 1280 finite numbers"):
        RandomWalk().fit(breathing, sample_weight=weight)


# ------------------------------------------------------------------ the inputs of networks
@every_network
def test_a_network_takes_other_features_and_covariates(name, breathing):
    covered = breathing.with_columns(
        news=pl.int_range(pl.len()) % 7, volatility=pl.lit(1.0)  # a name that the model uses inside
    )  # fmt: skip
    features = make_pipeline(LogReturn(), RollingVolatility(5))
    schema = PanelSchema(covariates=("news", "volatility"))
    model = model_of(name, features=features, schema=schema).fit(covered)
    assert model.inputs_ == ["log_return_1", "volatility_5", "news", "volatility"]
    assert not hasattr(features[0], "feature_names_in_")  # the model's own copy was fitted
    assert model._scaler.mean[3] == 1.0
    assert np.isfinite(values(model.predict())).all()


def test_a_covariate_that_is_missing_now_and_then_is_its_mean_and_a_flag(breathing):
    news = pl.when(pl.int_range(pl.len()) % 7 > 0).then(pl.int_range(pl.len()) % 5)
    covered = breathing.with_columns(news=news, always=pl.lit(1.0))
    schema = PanelSchema(covariates=("news", "always"))
    model = model_of("GRUForecaster", schema=schema).fit(covered)
    assert model._scaler.flagged.tolist() == [False] * (len(model.inputs_) - 2) + [True, False]
    assert model._network.n_features == len(model.inputs_) + 1
    assert np.isfinite(values(model.predict(covered.with_columns(news=pl.lit(None, pl.Float64))))).all()


@every_network
def test_a_network_never_sees_a_raw_price(name, breathing):
    model = model_of(name).fit(breathing)
    assert model.inputs_ == PriceFeatures().added_


class Sorting(LogReturn):
    """Gives the rows back in another order."""

    def transform(self, X):
        return super().transform(X).sort("time", maintain_order=True)


class Wordy(LogReturn):
    """Adds words."""

    added_ = ("word",)

    def transform(self, X):
        return X.with_columns(word=pl.lit("up"))


class Idle(LogReturn):
    """Adds nothing."""

    added_ = ()

    def transform(self, X):
        return X


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (Sorting(), "Sorting did not"),
        (Wordy(), "inputs must be numbers, found 'word'"),
        (Idle(), "Idle added no column"),
        (PriceFeatures, "features must be a transformer of panels"),
        ("returns", "features must be a transformer of panels"),
        (LogReturn(target="Close"), "Did you mean 'close'"),
    ],
)
def test_features_that_cannot_be_used_are_refused(features, message, breathing):
    with pytest.raises((ValueError, TypeError), match=message):
        model_of("GRUForecaster", features=features).fit(breathing)


# ------------------------------------------------------------------ errors
@every
def test_a_lazy_frame_is_refused_by_name(name, breathing, fitted):
    for call in (model_of(name).fit, fitted[name].predict, fitted[name].score):
        with pytest.raises(TypeError, match="LazyFrame"):
            call(breathing.lazy())


@every
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 0}, "horizon must be at least 1, got 0"),
        ({"lookback": 2.5}, r"lookback must be a whole number, got 2\.5"),
        ({"quantiles": [0.1, 1.0]}, r"quantiles must lie between 0 and 1, both excluded; found \[1\.0\]"),
        ({"quantiles": "many"}, "quantiles must be numbers"),
        ({"target": "Close"}, "must have a column 'Close', found 'series_id', 'time', 'close'. Did you mean 'close'"),
        ({"schema": "daily"}, "schema must be a PanelSchema or None, got str"),
        ({"schema": PanelSchema(calendar="TARGTE")}, "TARGET"),
        ({"lookback": 400}, r"lookback \+ horizon = 400 \+ 5 rows; all 4 series .* the longest has 320 rows"),
        ({"lookback": 318}, r"Step 3 needs at least one series with lookback \+ horizon = 318 \+ 5 rows"),
    ],
)
def test_impossible_settings_are_refused_in_fit(name, settings, message, breathing):
    with pytest.raises((ValueError, TypeError), match=message):
        model_of(name, **settings).fit(breathing)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be at least 1"),
        ({"num_layers": 1.0}, "num_layers must be a whole number"),
        ({"max_epochs": -1}, "max_epochs must be at least 0"),
        ({"batch_size": True}, "batch_size must be a whole number"),
        ({"dropout": 1}, "dropout must be at least 0 and below 1"),
        ({"dropout": "some"}, "dropout must be a number"),
        ({"learning_rate": 0}, "learning_rate must lie between 0 and 1"),
        ({"learning_rate": None}, "learning_rate must be a number"),
        ({"device": "gpu"}, "device must be"),
        ({"device": "cuda:77"}, "device must be"),
        ({"random_state": -1}, "random_state must be at least 0"),
        ({"random_state": "seed"}, "random_state must be a whole number"),
    ],
)
def test_impossible_settings_of_networks_are_refused_in_fit(settings, message, breathing):
    with pytest.raises((ValueError, TypeError), match=message):
        model_of("GRUForecaster", **settings).fit(breathing)


def test_an_unknown_season_is_refused(breathing):
    with pytest.raises(ValueError, match="season must be at least 1"):
        SeasonalNaive(season=0).fit(breathing)


@every
def test_panels_without_an_origin_are_refused(name, breathing, fitted):
    model = fitted[name]
    with pytest.raises(ValueError, match=r"lookback=16 .* leave none of the panel's 60 rows"):
        model.predict(breathing.group_by("series_id", maintain_order=True).head(15), origins="all")
    with pytest.raises(ValueError, match="No origin"):
        model.score(breathing.filter(pl.col("time") <= model.fit_end_))
    with pytest.raises(ValueError, match='Without a panel, origins must be "last"'):
        model.predict(origins="all")
    late = pl.int_range(pl.len()).over("series_id") >= 310
    paused = breathing.with_columns(
        time=pl.when(late).then(pl.col("time") + timedelta(weeks=52)).otherwise(pl.col("time"))
    )
    model = model_of(name).fit(paused)
    assert model.skipped_ == ("A", "B", "C", "D")
    with pytest.raises(ValueError, match="none of the 4 series has lookback=16 rows up to its last one"):
        model.predict()
    assert len(model.predict(paused, origins=[paused["time"][300]])) == 20


def test_a_time_that_is_no_session_is_refused(breathing, fitted):
    sunday = breathing.with_columns(pl.col("time").replace(date(2019, 12, 2), date(2019, 12, 1)))
    with pytest.raises(ValueError, match=r"session of the calendar 'weekdays', found '2019-12-01'"):
        fitted["RandomWalk"].predict(sunday)


@every
def test_equal_recipes_are_equal_dictionaries(name):
    model = model_of(name)
    assert model.recipe() == clone(model).recipe()
    assert model.recipe() != model_of(name, horizon=3).recipe()
    assert model.recipe()["settings"]["lookback"] == 16
