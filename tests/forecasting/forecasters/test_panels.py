"""Panels of all kinds, rows of different weight, and what networks see beside prices."""

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest
from sklearn.pipeline import make_pipeline

from tests.forecasting.models import LEVELS, assert_close, cut_of, each_kind, every_network, model_of, values
from tidecast.features import LogReturn, PanelSchema, PriceFeatures, RollingVolatility, get_calendar
from tidecast.forecasting import RandomWalk


@each_kind
def test_pandas_in_gives_the_same_table_as_pandas_out(name, breathing, fitted):
    past = breathing.filter(pl.col("time") <= cut_of(breathing))
    model = model_of(name).fit(past.to_pandas())
    assert pl.from_pandas(model.predict()).cast({"origin": pl.Date, "time": pl.Date}).equals(fitted[name].predict())
    table = fitted[name].predict(breathing, origins="new")
    assert model.predict(breathing.to_pandas(), origins="new").equals(table.to_pandas())
    assert model.predict(breathing).equals(fitted[name].predict(breathing))
    assert model.score(breathing.to_pandas()) == fitted[name].score(breathing)


@each_kind
def test_neither_the_order_of_rows_nor_their_types_matter(name, breathing, fitted):
    past = breathing.filter(pl.col("time") <= cut_of(breathing)).sample(fraction=1, shuffle=True, seed=0)
    past = past.with_columns(pl.col("series_id").cast(pl.Categorical), pl.col("time").cast(pl.Datetime("ns")))
    found = model_of(name).fit(past).predict()
    assert found.equals(fitted[name].predict())


@each_kind
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


@each_kind
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


@each_kind
def test_a_missing_session_has_no_row_and_steps_count_sessions(name, breathing):
    day = cut_of(breathing, 3)
    model = model_of(name).fit(breathing.filter((pl.col("time") != day) | (pl.col("series_id") != "A")))
    table = model.predict(breathing.filter(pl.col("time") < day))
    assert (table.filter(step=1)["time"] == day).all()


@each_kind
def test_a_single_series_is_a_panel(name, breathing):
    model = model_of(name).fit(breathing.filter(series_id="A"))
    assert model.predict()["series_id"].unique().to_list() == ["A"]


@each_kind
def test_a_panel_of_pegs_is_forecast_with_equal_quantiles(name, breathing):
    flat = breathing.with_columns(close=pl.lit(3.0))
    model = model_of(name).fit(flat.filter(pl.col("time") <= cut_of(flat)))
    assert (values(model.predict(flat)) == 3.0).all()
    with pytest.raises(ValueError, match="of a series that moves"):
        model.score(flat)


@each_kind
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


@each_kind
def test_scaling_all_prices_scales_the_forecast(name, breathing):
    scaled = breathing.with_columns(close=pl.col("close") * 1e-7)
    expected, found = model_of(name).fit(breathing).predict(), model_of(name).fit(scaled).predict()
    assert_close(found.with_columns(pl.col("forecast", *LEVELS) * 1e7), expected, rtol=1e-4)


@each_kind
def test_an_intraday_panel_is_forecast_by_the_hour(name, breathing):
    hours = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 14, 7), "1h", eager=True)
    hourly = breathing.with_columns(time=pl.concat([hours] * 4))
    table = model_of(name).fit(hourly).predict()
    assert table["time"].to_list()[:5] == [datetime(2024, 1, 14, 8 + k) for k in range(5)]


def test_a_monthly_panel_is_forecast_by_the_month_and_one_between_calendars_named(breathing):
    months = pl.date_range(date(1990, 1, 1), date(2016, 8, 1), "1mo", eager=True)
    monthly = breathing.with_columns(time=pl.concat([months] * 4))
    table = RandomWalk(lookback=16).fit(monthly).predict()
    assert table["time"].to_list()[:3] == [date(2016, 9, 1), date(2016, 10, 1), date(2016, 11, 1)]
    irregular = monthly.with_columns(pl.col("time").replace(date(2000, 1, 1), date(2000, 1, 2)))
    with pytest.warns(UserWarning, match=r"calendar 'monthly first', found 4 rows .*'A' at 2000-01-02"):
        assert RandomWalk(lookback=16).fit(irregular).predict()["time"].equals(table["time"])
    named = RandomWalk(lookback=16, schema=PanelSchema(calendar="24/7"))
    refused = pytest.raises(ValueError, match=r"mostly 31 sessions of '24/7' apart: name a calendar")
    with refused, pytest.warns(UserWarning, match="look like 'monthly first'"):
        named.fit(irregular)


def target_days(until):
    days = pl.date_range(date(2018, 1, 2), until, eager=True)
    return days.filter(pl.Series(get_calendar("TARGET").is_session(days)))


@each_kind
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


@each_kind
def test_equal_weights_are_the_same_as_none(name, breathing, fitted):
    model, weight = model_of(name), np.full(len(breathing), 4.0)
    assert_close(model.fit(breathing, sample_weight=weight).predict(), model_of(name).fit(breathing).predict())
    assert fitted[name].score(breathing, sample_weight=weight) == pytest.approx(fitted[name].score(breathing))


@each_kind
def test_a_score_weighs_origins(name, breathing, fitted):
    weight = (breathing["series_id"] == "A").cast(pl.Float64).to_numpy()
    alone = fitted[name].score(breathing.filter(series_id="A"))
    assert fitted[name].score(breathing, sample_weight=weight) == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("weight", [[1.0, 2.0], np.zeros(1280), -np.ones(1280), np.full(1280, np.nan)])
def test_impossible_weights_are_refused(weight, breathing):
    with pytest.raises(ValueError, match="sample_weight must be 1280 finite numbers"):
        RandomWalk().fit(breathing, sample_weight=weight)


def test_weights_that_are_not_numbers_are_refused_by_name(breathing):
    """NumPy's own "could not convert string to float" did not say of what."""
    with pytest.raises(ValueError, match="sample_weight must be 1280 numbers, one for each row"):
        RandomWalk().fit(breathing, sample_weight=["heavy"] * 1280)


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
    assert model._inputs.scaler.mean[3] == 1.0
    assert np.isfinite(values(model.predict())).all()


def test_a_covariate_that_is_missing_now_and_then_is_its_mean_and_a_flag(breathing):
    news = pl.when(pl.int_range(pl.len()) % 7 > 0).then(pl.int_range(pl.len()) % 5)
    covered = breathing.with_columns(news=news, always=pl.lit(1.0))
    schema = PanelSchema(covariates=("news", "always"))
    model = model_of("GRUForecaster", schema=schema).fit(covered)
    assert model._inputs.scaler.flagged.tolist() == [False] * (len(model.inputs_) - 2) + [True, False]
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


@pytest.mark.parametrize("column", ["_segment", "_row", "_moved", "change", "volatility"])
@pytest.mark.parametrize("name", ["RandomWalk", "GRUForecaster"])
def test_the_name_of_the_target_changes_no_forecast(name, column, breathing):
    """Once, a working column of that name took the place of the prices, or polars found it twice."""
    expected = model_of(name).fit(breathing).predict(breathing)
    features = {"features": PriceFeatures(target=column)} if name == "GRUForecaster" else {}
    renamed = breathing.rename({"close": column})
    assert model_of(name, target=column, **features).fit(renamed).predict(renamed).equals(expected)


def test_the_prefix_of_working_columns_is_refused(breathing):
    with pytest.raises(ValueError, match=r"must not begin with '__tidecast_', got '__tidecast_row'\. Rename"):
        model_of("RandomWalk", target="__tidecast_row").fit(breathing.rename({"close": "__tidecast_row"}))
