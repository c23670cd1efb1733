"""Splits and dividends: by hand, by a slow reference, and by what must not change."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidecast.features import PriceFeatures, adjust

DAYS = [date(2024, 1, 1) + timedelta(days=k) for k in range(40)]


def quoted(closes: list[float], series_id: str = "a") -> pl.DataFrame:
    return pl.DataFrame({"series_id": series_id, "time": DAYS[: len(closes)], "close": closes})


def actions(*rows: tuple[int, float | None, float | None], series_id: str = "a") -> pl.DataFrame:
    schema = {"series_id": pl.String, "time": pl.Date, "split_ratio": pl.Float64, "dividend": pl.Float64}
    table = [(series_id, DAYS[day], split, dividend) for day, split, dividend in rows]
    return pl.DataFrame(table, schema=schema, orient="row")


def test_a_split_halves_the_prices_before_it_and_doubles_the_volumes():
    panel = quoted([100.0, 102.0, 51.0, 52.0]).with_columns(volume=pl.Series([10, 20, 40, 60]))
    adjusted = adjust(panel, actions((2, 2.0, None)))
    assert adjusted["close"].to_list() == [50.0, 51.0, 51.0, 52.0]
    assert adjusted["volume"].to_list() == [20.0, 40.0, 40.0, 60.0]


def test_a_dividend_counts_as_earned():
    adjusted = adjust(quoted([100.0, 98.0]), actions((1, None, 2.0)))
    assert adjusted["close"][1] / adjusted["close"][0] == pytest.approx((98 + 2) / 100, rel=1e-15)


def test_open_high_and_low_move_with_the_close_and_nothing_else_does():
    panel = quoted([100.0, 50.0]).with_columns(open=pl.lit(90.0), high=pl.lit(110.0), low=pl.lit(40.0), score=pl.lit(7))
    adjusted = adjust(panel, actions((1, 2.0, 0.0)))
    assert adjusted.row(0)[2:] == (50.0, 45.0, 55.0, 20.0, 7)
    assert adjusted.row(1)[2:] == (50.0, 90.0, 110.0, 40.0, 7)


def test_without_actions_every_price_stays_to_the_bit():
    panel = quoted([0.1, 0.3, 1e-300])
    assert adjust(panel, actions((1, 1.0, 0.0))).equals(panel)


def test_an_action_after_the_last_row_is_not_applied_yet():
    panel = quoted([100.0, 101.0])
    assert adjust(panel, actions((5, 2.0, 1.0))).equals(panel)


def test_an_ex_date_without_a_row_acts_on_the_next_row():
    panel = quoted([100.0, 102.0, 51.0]).filter(pl.col("time") != DAYS[1])
    assert adjust(panel, actions((1, 2.0, 0.0)))["close"].to_list() == [50.0, 51.0]


def test_a_row_without_a_price_cannot_hold_an_action():
    panel = pl.concat([quoted([100.0]), quoted([1.0, 2.0, 51.0])[1:].with_columns(close=pl.Series([None, 51.0]))])
    assert adjust(panel, actions((1, 2.0, 3.0)))["close"].to_list() == [100 / (2 * (1 + 3 / 51)), None, 51.0]


def test_actions_of_one_day_work_together_and_those_of_others_stay_with_theirs():
    panel = pl.concat([quoted([100.0, 24.0]), quoted([7.0, 7.0], "b")])
    adjusted = adjust(panel, actions((1, 2.0, None), (1, 2.0, None), (1, None, 1.0)))
    assert adjusted["close"].to_list() == pytest.approx([100 / (4 * (1 + 1 / 24)), 24.0, 7.0, 7.0], rel=1e-15)


def test_pandas_comes_back_as_pandas_with_rows_in_their_order():
    panel = quoted([100.0, 50.0, 51.0])[::-1].to_pandas()
    adjusted = adjust(panel, actions((1, 2.0, 0.0)).to_pandas())
    assert adjusted["close"].tolist() == [51.0, 50.0, 50.0]
    assert list(adjusted.columns) == list(panel.columns)


def test_a_later_action_changes_no_feature_of_an_earlier_day():
    rng = np.random.default_rng(0)
    panel = quoted(list(100 * np.exp(np.cumsum(rng.normal(size=40) / 50))))
    then = PriceFeatures().fit_transform(adjust(panel[:30], actions((10, 2.0, 0.0))))
    now = PriceFeatures().fit_transform(adjust(panel, actions((10, 2.0, 0.0), (35, 3.0, 1.5))))
    for name in PriceFeatures().fit(panel).added_:
        np.testing.assert_allclose(now[name][:30].to_numpy(), then[name].to_numpy(), rtol=1e-9, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_factors_are_those_of_a_loop_from_the_last_row_back(data):
    n = data.draw(st.integers(2, 12))
    closes = data.draw(st.lists(st.floats(0.5, 500), min_size=n, max_size=n))
    split = data.draw(st.lists(st.sampled_from([1.0, 1.0, 2.0, 0.1, 1.5]), min_size=n, max_size=n))
    dividend = data.draw(st.lists(st.sampled_from([0.0, 0.0, 0.3, 5.0]), min_size=n, max_size=n))
    panel = quoted(closes)
    factor, expected = 1.0, closes[:]
    for t in range(n - 2, -1, -1):
        factor /= split[t + 1] * (1 + dividend[t + 1] / closes[t + 1])
        expected[t] = closes[t] * factor
    found = adjust(panel, actions(*zip(range(n), split, dividend, strict=True)))
    np.testing.assert_allclose(found["close"].to_numpy(), expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ((1, 0.0, 0.0), "found 0.0"),
        ((1, -2.0, 0.0), "found -2.0"),
        ((1, 1.0, -1.0), "and -1"),
        ((1, 1.0, np.inf), "inf"),
    ],
)
def test_an_impossible_action_is_refused_by_name(row, what):
    with pytest.raises(ValueError, match=what) as caught:
        adjust(quoted([1.0, 2.0]), actions(row))
    assert "'a' at 2024-01-02" in str(caught.value)


def test_a_dividend_on_a_price_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="must fall on a price above 0, found -2"):
        adjust(quoted([1.0, -2.0]), actions((1, 1.0, 0.5)))


def test_actions_without_their_columns_are_refused():
    with pytest.raises(ValueError, match="'dividend' not found"):
        adjust(quoted([1.0, 2.0]), actions((1, 1.0, 0.5)).drop("dividend"))
