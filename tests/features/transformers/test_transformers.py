"""One contract for every transformer."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from tidecast import features
from tidecast.features import (
    AmihudIlliquidity,
    CalendarFeatures,
    Drawdown,
    EwmaVolatility,
    GarmanKlassVolatility,
    LogReturn,
    MarketReturn,
    Momentum,
    PanelTransformer,
    PanelUnion,
    ParkinsonVolatility,
    PriceFeatures,
    RelativeVolume,
    ReturnRank,
    RollingMean,
    RollingRange,
    RollingVolatility,
    RollingZScore,
    SeasonalFeatures,
    VolatilityTerms,
    VolumeZScore,
    YangZhangVolatility,
    assert_causal,
)

MARKET = [
    ParkinsonVolatility(),
    GarmanKlassVolatility(),
    YangZhangVolatility(),
    RelativeVolume(),
    VolumeZScore(),
    AmihudIlliquidity(),
    MarketReturn(),
    ReturnRank(),
]  # test_market_features.py
TRANSFORMERS = [
    PriceFeatures(),
    PriceFeatures(positive=False),
    VolatilityTerms(),
    VolatilityTerms(horizon=2, positive=False),
    LogReturn(),
    LogReturn(steps=(1, 5)),
    RollingMean(5),
    RollingVolatility(5),
    RollingRange(5),
    RollingZScore(5),
    EwmaVolatility(0.5),
    Drawdown(5),
    Momentum(8, 3),
    PanelUnion([LogReturn(), RollingVolatility(5)]),
    SeasonalFeatures(seasons=(5,), horizon=2),
]
SCALE_FREE = [
    PriceFeatures(),
    PriceFeatures(positive=False),
    VolatilityTerms(),
    VolatilityTerms(positive=False),
    LogReturn(),
    RollingVolatility(),
    RollingRange(),
    RollingZScore(),
    EwmaVolatility(),
    Drawdown(63),
    Momentum(63),
]

every_transformer = pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)


def added(transformer, panel):
    return pl.DataFrame(transformer.fit_transform(panel)).select("series_id", "time", *transformer.added_)


def assert_close(found, expected, columns, tolerance=1e-9):
    for column in columns:
        assert found[column].is_null().to_list() == expected[column].is_null().to_list(), column
        np.testing.assert_allclose(
            found[column].drop_nulls(), expected[column].drop_nulls(), rtol=tolerance, atol=tolerance, err_msg=column
        )


def test_every_public_transformer_is_held_to_the_contract():
    public = {getattr(features, name) for name in features.__all__}
    classes = {kind for kind in public if isinstance(kind, type) and issubclass(kind, PanelTransformer)}
    here = {type(transformer) for transformer in TRANSFORMERS}
    elsewhere = {CalendarFeatures, *map(type, MARKET)}  # of more than one column, or of no price
    assert classes - {PanelTransformer} == here | elsewhere


@every_transformer
def test_the_same_rows_come_out_in_the_same_order(transformer, untidy_panel):
    before = untidy_panel.clone()
    found = clone(transformer).fit_transform(untidy_panel)
    assert found.select(untidy_panel.columns).equals(before)
    assert found.columns == [*untidy_panel.columns, *transformer.added_]
    assert untidy_panel.equals(before)


@every_transformer
def test_the_order_of_rows_does_not_matter(transformer, untidy_panel):
    keys = ["series_id", "time"]
    shuffled = untidy_panel.sample(fraction=1, shuffle=True, seed=5)
    found, other = clone(transformer).fit_transform(untidy_panel), clone(transformer).fit_transform(shuffled)
    assert found.sort(keys).equals(other.sort(keys))


@every_transformer
def test_other_series_do_not_matter(transformer, untidy_panel):
    together = clone(transformer).fit_transform(untidy_panel)
    for name in ("B", "D", "E"):
        alone = clone(transformer).fit_transform(untidy_panel.filter(pl.col("series_id") == name))
        assert alone.equals(together.filter(pl.col("series_id") == name))


@every_transformer
def test_a_neighbour_leaves_no_trace_wherever_blocks_are_cut(transformer, random_walks, monkeypatch):
    name, day = pl.col("series_id"), pl.int_range(pl.len()).over("series_id")
    price = pl.when(name.is_in(["B", "D"])).then(pl.col("close") * 1e9).otherwise("close")
    missing = pl.when((name == "C") & (day % 9 == 0)).then(float("nan")).when((name != "F") | (day < 70)).then(price)
    panel = random_walks(n_rows=80).with_columns(close=missing).filter((name != "E") | (day == 0))
    together = clone(transformer).fit_transform(panel)
    monkeypatch.setattr("tidecast.features.transformers.base.BLOCK", 100)
    assert clone(transformer).fit_transform(panel).equals(together)
    for one in panel.partition_by("series_id"):
        alone = together.filter(pl.col("series_id") == one["series_id"][0])
        assert clone(transformer).fit_transform(one).equals(alone)


@every_transformer
def test_every_series_and_every_piece_between_breaks_stands_alone(transformer, untidy_panel):
    one = untidy_panel.filter(pl.col("series_id") == "D").sort("time")
    start = one.filter(pl.col("time").diff() > timedelta(100))["time"][0]
    whole = clone(transformer).fit_transform(one).filter(pl.col("time") >= start)
    assert_close(whole, clone(transformer).fit_transform(one.filter(pl.col("time") >= start)), transformer.added_)


@every_transformer
def test_a_row_without_a_target_stays_without_values_and_disturbs_nothing(transformer, untidy_panel):
    found = clone(transformer).fit_transform(untidy_panel)
    assert found.filter(pl.col("close").is_null()).select(transformer.added_).null_count().row(0) == tuple(
        [found["close"].null_count()] * len(transformer.added_)
    )
    without = clone(transformer).fit_transform(untidy_panel.drop_nulls("close"))
    assert found.drop_nulls("close").equals(without)


@every_transformer
def test_nothing_is_infinite_or_not_a_number(transformer, untidy_panel):
    found = added(clone(transformer), untidy_panel)
    for column in transformer.added_:
        assert found.schema[column] == pl.Float64
        assert found[column].drop_nulls().is_finite().all(), column


@every_transformer
def test_min_history_rows_are_enough_and_one_fewer_is_not(transformer, random_walks):
    enough = random_walks(n_series=1, n_rows=transformer.min_history)
    last = added(clone(transformer), enough).row(-1)
    assert None not in last
    if not isinstance(transformer, PriceFeatures | VolatilityTerms | EwmaVolatility):  # they start with what there is
        assert None in added(clone(transformer), enough[1:]).row(-1)


FORGETFUL = [one for one in TRANSFORMERS if not isinstance(one, PriceFeatures | VolatilityTerms)]


# the volatility in the others remembers everything, less and less
@pytest.mark.parametrize("transformer", FORGETFUL, ids=repr)
def test_what_came_before_min_history_rows_does_not_matter(transformer, random_walks):
    long = random_walks(n_series=1, n_rows=60)
    whole = added(clone(transformer), long).tail(1)
    assert_close(added(clone(transformer), long.tail(transformer.min_history)).tail(1), whole, transformer.added_)


@every_transformer
def test_pandas_in_gives_pandas_out_with_the_same_numbers(transformer, untidy_panel):
    given = untidy_panel.to_pandas()
    given.index = np.arange(len(given))[::-1]
    before = given.copy()
    found = clone(transformer).fit_transform(given)
    assert isinstance(found, pd.DataFrame)
    assert found.index.equals(given.index)
    pd.testing.assert_frame_equal(found[list(given.columns)], before)
    expected = clone(transformer).fit_transform(untidy_panel)
    assert_close(pl.from_pandas(found), expected, transformer.added_)


@every_transformer
def test_names_of_columns_are_known_after_fit(transformer, panel):
    fresh = clone(transformer)
    with pytest.raises(NotFittedError):
        fresh.get_feature_names_out()
    fresh.fit(panel)
    assert fresh.get_feature_names_out().tolist() == fresh.transform(panel).columns
    assert fresh.n_features_in_ == 3
    assert fresh.feature_names_in_.tolist() == panel.columns


@every_transformer
def test_fit_learns_names_only(transformer, panel):
    fitted = clone(transformer).fit(panel.head(30))
    assert fitted.transform(panel).equals(clone(transformer).fit(panel).transform(panel))
    assert fitted.transform(panel).equals(clone(transformer).transform(panel))
    assert {name for name in vars(fitted) if name.endswith("_")} == {"feature_names_in_", "n_features_in_"}


@every_transformer
def test_set_output_keeps_numbers_numbers(transformer, panel):
    as_pandas = clone(transformer).set_output(transform="pandas").fit_transform(panel)
    assert isinstance(as_pandas, pd.DataFrame)
    assert (as_pandas[transformer.added_].dtypes == np.float64).all()
    as_polars = clone(transformer).set_output(transform="polars").fit_transform(panel.to_pandas())
    assert isinstance(as_polars, pl.DataFrame)
    assert as_polars.select(transformer.added_).dtypes == [pl.Float64] * len(transformer.added_)
    with config_context(transform_output="pandas"):
        assert isinstance(clone(transformer).fit_transform(panel), pd.DataFrame)
    assert isinstance(clone(transformer).set_output(transform="default").fit_transform(panel), pl.DataFrame)


def test_set_output_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="'default', 'pandas' or 'polars', got 'arrow'"):
        LogReturn().set_output(transform="arrow")


def test_transformers_live_in_a_pipeline(panel):
    pipeline = make_pipeline(LogReturn(), RollingMean(5), PriceFeatures())
    found = pipeline.fit_transform(panel)
    assert pipeline.get_feature_names_out().tolist() == found.columns
    assert isinstance(pipeline.set_output(transform="pandas").transform(panel), pd.DataFrame)


def test_a_union_gives_what_a_pipeline_gives(untidy_panel):
    parts = [LogReturn((1, 2)), PriceFeatures(), RollingMean(5), RollingVolatility(5), EwmaVolatility()]
    found = PanelUnion(parts).fit_transform(untidy_panel)
    assert found.equals(make_pipeline(*map(clone, parts)).fit_transform(untidy_panel))
    assert not PanelUnion([RollingMean(5)]).fit(untidy_panel).positive


class Doubled(PanelTransformer):
    """Twice a column that it calls as another transformer calls one."""

    min_history = 2

    def shared(self):
        return {"_log_change": 2 * pl.col("close")}

    def expressions(self):
        return {"doubled": pl.col("_log_change")}


def test_a_union_takes_no_two_shared_columns_of_one_name(panel):
    assert Doubled().fit_transform(panel)["doubled"].equals(2 * panel["close"])
    with pytest.raises(ValueError, match=r"Doubled\(\) differs in '_log_change'"):
        PanelUnion([Doubled(), LogReturn()]).fit(panel)


@every_transformer
def test_every_transformer_is_causal(transformer, untidy_panel):
    assert_causal(transformer, untidy_panel)


@pytest.mark.parametrize("transformer", SCALE_FREE, ids=repr)
def test_multiplying_all_prices_changes_nothing(transformer, panel):
    found = added(clone(transformer), panel.with_columns(pl.col("close") * 1e-3))
    assert_close(found, added(clone(transformer), panel), transformer.added_, tolerance=1e-7)


@pytest.mark.parametrize(
    ("transformer", "error", "match"),
    [
        (LogReturn(steps=0), ValueError, "steps must be at least 1, got 0"),
        (LogReturn(steps=1.5), TypeError, "steps must be a whole number, got 1.5"),
        (RollingMean(0), ValueError, "window must be at least 1, got 0"),
        (RollingVolatility(0), ValueError, "window must be at least 1"),
        (RollingRange(1), ValueError, "window must be at least 2"),
        (RollingZScore(True), TypeError, "window must be a whole number, got True"),
        (RollingZScore(target="volume"), ValueError, "must have a column 'volume'"),
        (PanelUnion([]), ValueError, "at least one, got none"),
        (PanelUnion([LogReturn(), MarketReturn()]), TypeError, r"got MarketReturn\(\)"),
        (PanelUnion([LogReturn(0)]), ValueError, "steps must be at least 1"),
        (PanelUnion([LogReturn(), RollingMean(5, "volume")]), ValueError, "must have the target 'close'"),
        (PanelUnion([LogReturn((1, 2)), LogReturn(2)]), ValueError, "found 'log_return_2' twice"),
    ],
)
def test_impossible_parameters_are_refused_in_fit(transformer, error, match, panel):
    with pytest.raises(error, match=match):
        transformer.fit(panel)


@every_transformer
def test_a_lazy_panel_is_refused(transformer, panel):
    with pytest.raises(TypeError, match="LazyFrame"):
        transformer.fit(panel.lazy())


# by hand and by reference


def series(prices):
    days = [date(2024, 1, 1) + timedelta(k) for k in range(len(prices))]
    return pl.DataFrame({"series_id": "a", "time": days, "close": prices})


def column_of(transformer, prices):
    return added(transformer, series(prices)).to_series(2).to_list()


def test_five_prices_by_hand():
    prices = [1.0, 2.0, 4.0, 2.0, 2.0]
    log2 = np.log(2)
    assert column_of(LogReturn(), prices) == pytest.approx([None, log2, log2, -log2, 0.0])
    assert column_of(LogReturn(2), prices) == pytest.approx([None, None, 2 * log2, 0.0, -log2])
    assert column_of(RollingMean(2), prices) == pytest.approx([None, 1.5, 3.0, 3.0, 2.0])
    assert column_of(RollingVolatility(2), prices) == pytest.approx([None, None, log2, log2, log2 / 2**0.5])
    assert column_of(RollingRange(3), prices) == pytest.approx([None, None, 2 * log2, log2, log2])
    assert column_of(RollingZScore(3), [1.0, 2.0, 3.0, 3.0, 3.0]) == pytest.approx([None, None, 1.0, 3**-0.5, None])


def test_range_ratios_by_hand():
    log2 = np.log(2)
    panel = series([1.0, 2.0, 4.0, 8.0, 16.0]).with_columns(
        high=pl.Series([2.0, 4.0, None, 8.0, 8.0]), low=pl.Series([1.0, 2.0, 4.0, 8.0, 16.0])
    )  # of the fifth the low is above the high
    one = np.log(1 / (4 * log2) ** 0.5)  # a range of log 2, the volatility being log 2
    found = added(PriceFeatures(), panel)
    assert found["range_ratio_2"].to_list() == pytest.approx([None, one, one, -3.0, -3.0])
    half = [np.log((share / (4 * log2)) ** 0.5) for share in (1, 2 / 3, 2 / 3)]
    assert found["range_ratio_5"].to_list() == pytest.approx([None, one, *half])
    assert "range_ratio_2" not in added(PriceFeatures(ranges=False), panel).columns
    with pytest.raises(ValueError, match="high"):
        PriceFeatures(ranges=True).fit_transform(panel.drop("high"))


def test_any_column_can_be_averaged_also_one_with_zeros(panel):
    volume = panel.with_columns(volume=pl.int_range(pl.len()).over("series_id") % 3)
    found = RollingZScore(6, target="volume").fit_transform(volume)
    assert found["volume_zscore_6"].drop_nulls().len() > 0
    assert RollingMean(3, target="volume").fit_transform(volume)["volume_mean_3"].drop_nulls().unique().to_list() == [
        1.0
    ]


def price_features_by_hand(prices):
    """The last row's values, from their definitions."""
    changes = np.diff(np.log(prices))
    weights = 0.94 ** np.arange(len(changes))[::-1]
    sigma = np.sqrt((weights * changes**2).sum() / weights.sum())
    values = {f"scaled_return_{k}": changes[-k:].sum() / sigma / min(k, len(changes)) ** 0.5 for k in (1, 5, 21)}
    values["absolute_return_1"] = abs(changes[-1]) / sigma
    for k in (5, 21, 63, 252):
        values[f"volatility_ratio_{k}"] = np.log(np.sqrt((changes[-k:] ** 2).mean()) / sigma)
    recent = changes[-63:]
    values["largest_return_63"] = np.log(np.abs(recent).max() / sigma)
    values["downside_share_63"] = (recent[recent < 0] ** 2).sum() / (recent**2).sum()
    return values


@pytest.mark.parametrize("n_rows", [2, 3, 10, 64, 253, 400])
def test_price_features_match_their_definitions(random_walks, n_rows):
    walk = random_walks(n_series=1, n_rows=n_rows)
    found = PriceFeatures().fit_transform(walk).select(PriceFeatures().added_).row(-1, named=True)
    assert found == pytest.approx(price_features_by_hand(walk["close"].to_numpy()), rel=1e-9, abs=1e-12)


def test_price_features_appear_with_the_second_row(panel):
    found = PriceFeatures().fit_transform(panel)
    missing = found.filter(pl.any_horizontal(pl.col(PriceFeatures().added_).is_null()))
    assert missing["time"].unique().to_list() == [panel["time"].min()]


def test_price_features_of_a_peg_are_missing_until_it_moves():
    found = added(PriceFeatures(), series([2.0, 2.0, 2.0, 2.1, 2.1]))
    values = found.select(PriceFeatures().added_)
    assert values.head(3).null_count().row(0) == tuple([3] * values.width)
    assert values.tail(2).null_count().row(0) == tuple([0] * values.width)


def test_price_features_stay_moderate_after_a_long_peg_and_a_huge_jump():
    found = added(PriceFeatures(), series([1.0, 1.1] + [1.1] * 300 + [1e6, 1.0e6, 1.1e6]))
    for column in PriceFeatures().added_:
        assert found[column].drop_nulls().abs().max() < 10, column


def test_price_features_move_by_differences_when_prices_may_be_negative():
    found = added(PriceFeatures(positive=False), series([1.0, -1.0, 3.0]))
    assert found["scaled_return_1"].to_list() == pytest.approx([None, -1.0, 4 / ((0.94 * 4 + 16) / 1.94) ** 0.5])
    with pytest.raises(ValueError, match="'close' must be above 0"):
        PriceFeatures().fit_transform(series([1.0, -1.0, 3.0]))


@settings(max_examples=25, deadline=None)
@given(
    prices=st.lists(st.floats(1e-6, 1e9), min_size=12, max_size=40),
    future=st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=10),
)
def test_no_future_whatever_changes_a_past_value(prices, future):
    for transformer in (PriceFeatures(), RollingVolatility(3), RollingZScore(3)):
        alone = added(transformer, series(prices))
        assert_close(added(transformer, series(prices + future)).head(len(prices)), alone, transformer.added_)


def test_rows_that_are_years_apart_need_a_calendar_and_a_warning_says_so():
    """Once, every column was missing without a word."""
    years = pl.date_range(pl.date(1960, 12, 31), pl.date(2020, 12, 31), "1y", eager=True)
    prices = 100 * np.exp(np.random.default_rng(0).normal(0, 0.1, len(years)).cumsum())
    panel = pl.DataFrame({"series_id": "A", "time": years, "close": prices})
    with pytest.warns(UserWarning, match="within 100 days of each other, 60 of 61 do not: .* such as 'yearly last'"):
        assert LogReturn().fit_transform(panel)["log_return_1"].null_count() == len(panel)
    named = panel.with_columns(calendar=pl.lit("yearly last"))
    assert LogReturn().fit_transform(named)["log_return_1"].null_count() == 1
