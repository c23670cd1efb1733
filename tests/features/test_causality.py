"""assert_causal finds every planted look-ahead, and says where it is."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline

from tidecast.features import (
    LogReturn,
    MarketReturn,
    PanelTransformer,
    PriceFeatures,
    assert_causal,
    get_calendar,
    like,
    to_polars,
)

CLOSE = pl.col("close")


class Planted(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Adds one polars expression, per series or over all."""

    def __init__(self, expression, per_series=True):
        self.expression = expression
        self.per_series = per_series

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        value = self.expression.over("series_id") if self.per_series else self.expression
        frame = to_polars(X).with_row_index("row").sort("series_id", "time").with_columns(value.alias("planted"))
        return like(frame.sort("row").drop("row"), X)


class ZScoreFromFit(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Estimates in fit, so that a row depends on whatever was fitted."""

    def fit(self, X, y=None):
        self.mean_, self.std_ = X["close"].mean(), X["close"].std()
        return self

    def transform(self, X):
        return X.with_columns(planted=(CLOSE - self.mean_) / self.std_)


LOOK_AHEADS = {
    "centred mean": Planted(CLOSE.rolling_mean(5, center=True)),
    "tomorrow": Planted(CLOSE.shift(-1)),
    "z-score over everything in transform": Planted((CLOSE - CLOSE.mean()) / CLOSE.std()),
    "z-score over everything in fit": ZScoreFromFit(),
    "backward fill": Planted(CLOSE.backward_fill()),
    "rank over time": Planted(CLOSE.rank()),
    "rank that later-listed series change": Planted(pl.col("series_id").rank("dense"), per_series=False),
    "number of rows": Planted(pl.len()),
    "extrapolation": Planted(CLOSE.interpolate()),
}
OWN_LOOK_AHEADS = {
    "tomorrow": CLOSE.shift(-1),
    "centred volatility": CLOSE.log().diff().rolling_std(5, center=True),
    "mean of the whole series": CLOSE / CLOSE.mean(),
    "backward fill": pl.when(CLOSE.shift() < CLOSE).then(CLOSE).backward_fill(),
    "rank over the whole series": CLOSE.rank(),
    "interpolation": pl.when(CLOSE.shift() < CLOSE).then(CLOSE).interpolate(),
    "largest to come": CLOSE.cum_max(reverse=True),
    "last row": CLOSE - CLOSE.last(),
}
CAUSAL = {
    "trailing mean": Planted(CLOSE.rolling_mean(5)),
    "expanding mean": Planted(CLOSE.cum_sum() / pl.int_range(1, pl.len() + 1)),
    "forward fill": Planted(CLOSE.forward_fill()),
    "rank among series of the same day": Planted(CLOSE.rank().over("time"), per_series=False),
    "words": Planted(pl.when(CLOSE > 100).then(pl.lit("dear")).otherwise(pl.lit("cheap"))),
    "pipeline": make_pipeline(LogReturn(), PriceFeatures()),
}


@pytest.mark.parametrize("name", LOOK_AHEADS)
@pytest.mark.parametrize("kind", ["panel", "untidy_panel"])
def test_a_planted_look_ahead_is_found_and_named(name, kind, request):
    with pytest.raises(AssertionError, match=r"'planted' of series '[A-F]', row '201.-..-..' must not depend on later"):
        assert_causal(LOOK_AHEADS[name], request.getfixturevalue(kind))


class Own(PanelTransformer):
    """A user's transformer in the ten lines of docs/features.md."""

    min_history = 5

    def __init__(self, expression):
        self.expression = expression

    def expressions(self):
        return {"planted": self.expression}


@pytest.mark.parametrize("name", OWN_LOOK_AHEADS)
def test_a_look_ahead_in_a_transformer_of_ones_own_is_found(name, panel):
    with pytest.raises(AssertionError, match="'planted' of series"):
        assert_causal(Own(OWN_LOOK_AHEADS[name]), panel)


@pytest.mark.parametrize("at", [pl.col("time").dt.weekday() == 5, pl.col("time").dt.month_end() == pl.col("time")])
def test_a_look_ahead_from_rare_rows_alone_is_found(at, panel):
    """Once, four cuts were tried, and what a Friday knew of Monday was seen only where one of them was a Friday."""
    with pytest.raises(AssertionError, match=r"'planted' of series .* when the rows after .* are known"):
        assert_causal(Own(pl.when(at).then(CLOSE.shift(-1)).otherwise(CLOSE)), panel)


def test_a_mean_over_other_series_that_close_later_is_found(panel):
    class SameDate(PanelTransformer):
        min_history = 1
        per_series = False

        def _add(self, rows):
            return rows.with_columns(planted=CLOSE.mean().over("time"))

        added_ = ("planted",)
        inputs_ = ()

    calendars = pl.when(pl.col("series_id") < "D").then(pl.lit("XTKS")).otherwise(pl.lit("XNYS"))
    mixed = panel.with_columns(calendar=calendars)
    for name in ("XNYS", "XTKS"):
        mixed = mixed.filter((pl.col("calendar") != name) | get_calendar(name).is_session(mixed["time"]))
    with pytest.raises(AssertionError, match=r"'planted' of series '[ABC]'"):
        assert_causal(SameDate(), mixed)
    assert_causal(MarketReturn(), mixed)


def test_a_transformer_that_takes_rows_as_they_come_is_found_where_the_newest_come_first(panel):
    """Once, the panel was sorted before it was checked, and a pipeline on newest rows first then looked ahead."""

    class RowAbove(Planted):
        def transform(self, X):
            return X.with_columns(planted=CLOSE.shift().over("series_id"))

    assert_causal(RowAbove(None), panel.sort("series_id", "time"))
    with pytest.raises(AssertionError, match="'planted' of series"):
        assert_causal(RowAbove(None), panel.sort("time", descending=True))


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("kind", ["panel", "untidy_panel"])
def test_what_looks_back_only_passes(name, kind, request):
    assert_causal(CAUSAL[name], request.getfixturevalue(kind))


def test_a_look_ahead_is_found_on_pandas_too(panel):
    with pytest.raises(AssertionError, match="'planted'"):
        assert_causal(LOOK_AHEADS["centred mean"], panel.to_pandas())
    assert_causal(CAUSAL["trailing mean"], panel.to_pandas())


def test_the_first_changed_row_is_named():
    days = pl.date_range(date(2024, 1, 1), date(2024, 1, 20), eager=True)
    panel = pl.DataFrame({"series_id": "a", "time": days, "close": np.arange(1.0, 21.0)})
    with pytest.raises(AssertionError, match=r"'planted' of series 'a', row '2024-01-05'.*after 2024-01-06 are known"):
        assert_causal(Planted(CLOSE.shift(-2)), panel)  # the first cut is 6 January


def test_a_transformer_that_loses_or_moves_rows_is_refused(panel):
    class Sorts(Planted):
        def transform(self, X):
            return X.sort("time", "series_id")

    with pytest.raises(AssertionError, match="must return the rows it was given, in their order"):
        assert_causal(Sorts(CLOSE), panel)


def test_series_may_be_numbered(panel):
    numbered = panel.with_columns(pl.col("series_id").rank("dense").cast(pl.Int64))
    assert_causal(PriceFeatures(), numbered)
    with pytest.raises(AssertionError, match="series '1'"):
        assert_causal(LOOK_AHEADS["rank that later-listed series change"], numbered)


def test_what_is_neither_transformer_nor_model_is_refused(panel):
    with pytest.raises(TypeError, match="transform, or fit and predict, got int"):
        assert_causal(3, panel)
    with pytest.raises(ValueError, match="at least 10 distinct times, got 5"):
        assert_causal(PriceFeatures(), panel.head(5))


class LastPrice(BaseEstimator):
    """The smallest forecaster: last price and an interval of two standard deviations, with a fault when asked."""

    remembered = None

    def __init__(self, fault=None):
        self.fault = fault

    def fit(self, X, y=None, sample_weight=None):
        X = to_polars(X).drop_nulls("close")
        if self.fault == "keeps what it learned" and hasattr(self, "width_"):
            return self
        self.fit_end_ = X["time"].min() if self.fault == "wrong end" else X["time"].max()
        self.width_ = X.sort("series_id", "time")["close"].log().diff().abs().median()
        return self

    def predict(self, panel=None, origins="last"):
        rows = to_polars(panel).sort("series_id", "time")
        rows = rows if self.fault == "forgets to drop missing rows" else rows.drop_nulls("close")
        centre = {
            "centred mean": CLOSE.rolling_mean(3, center=True, min_samples=1).over("series_id"),
            "tomorrow": CLOSE.shift(-1, fill_value=1.0).over("series_id"),
            "level of the last row": CLOSE.last().over("series_id"),
            "all series": CLOSE.mean(),
            "order of series": CLOSE * pl.col("series_id").rank("dense"),
            "later volatility": CLOSE * (1 + CLOSE.log().diff().std()),
        }.get(self.fault, CLOSE)
        table = rows.with_columns(forecast=centre).filter(pl.col("time").is_in(list(origins)))
        if self.fault == "skips ended series":
            table = table.filter(pl.col("series_id").is_in(rows.filter(CLOSE.is_not_null())["series_id"].unique()[1:]))
        return like(
            table.select(
                "series_id",
                pl.col("time").alias("origin"),
                pl.lit(1).alias("step"),
                "forecast",
                (pl.col("forecast") * np.exp(-2 * self.width_)).alias("q0.05"),
                (pl.col("forecast") * np.exp(2 * self.width_)).alias("q0.95"),
            ),
            panel,
        )


def test_a_forecaster_that_looks_back_only_passes(panel, untidy_panel):
    assert_causal(LastPrice(), panel)
    assert_causal(LastPrice(), panel.to_pandas())
    assert_causal(LastPrice(), untidy_panel)
    assert_causal(make_pipeline(LogReturn(), LastPrice()), panel)


@pytest.mark.parametrize(
    "fault", ["centred mean", "tomorrow", "level of the last row", "all series", "order of series", "later volatility"]
)
def test_a_forecaster_that_looks_ahead_is_found_and_named(fault, panel):
    with pytest.raises(
        AssertionError, match=r"'(forecast|q0.05)' of series 'A', origin '20..-..-..', step '1' must not"
    ):
        assert_causal(LastPrice(fault), panel)


def test_features_that_look_ahead_are_found_in_a_pipeline_with_a_forecaster(panel):
    class Smooths(Planted):
        def transform(self, X):
            return super().transform(X).drop("close").rename({"planted": "close"})

    with pytest.raises(AssertionError, match="'forecast'"):
        assert_causal(make_pipeline(Smooths(CLOSE.rolling_mean(3, center=True, min_samples=1)), LastPrice()), panel)


def test_a_forecaster_whose_rows_depend_on_the_future_is_found(panel):
    late = panel.filter((pl.col("series_id") != "A") | (pl.col("time") > panel["time"].max().replace(day=1)))
    with pytest.raises(AssertionError, match=r"series '[A-F]', origin .* appears only"):
        assert_causal(LastPrice("skips ended series"), late)


def test_a_forecaster_that_does_not_say_where_its_training_ended_is_refused(panel):
    with pytest.raises(AssertionError, match=r"fit_end_ must be the last training time 2016-.*, got 2015-01-01"):
        assert_causal(LastPrice("wrong end"), panel)


def test_a_forecaster_that_remembers_an_earlier_fit_is_found(panel):
    with pytest.raises(AssertionError, match="when it was fitted to the whole panel before"):
        assert_causal(LastPrice("keeps what it learned"), panel)


def test_a_forecaster_without_forecasts_cannot_pass(panel):
    class Silent(LastPrice):
        def predict(self, panel=None, origins="last"):
            return super().predict(panel, origins).clear()

    with pytest.raises(ValueError, match="Silent returned no forecast to compare"):
        assert_causal(Silent(), panel)
