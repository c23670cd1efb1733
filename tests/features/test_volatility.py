"""Exponentially weighted volatility, by hand and against a loop."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from tidecast.features import DECAY, check_panel, with_volatility


def series(prices, days=None):
    days = days or [date(2024, 1, 1) + timedelta(k) for k in range(len(prices))]
    return pl.DataFrame({"series_id": "a", "time": days, "close": prices})


def test_volatility_of_four_prices_by_hand():
    found = with_volatility(series([100.0, 110.0, 110.0, 99.0]), positive=False)
    assert found["change"].to_list() == [None, 10.0, 0.0, -11.0]
    second = 0.94 * 100 / (0.94 + 1)
    third = (0.94**2 * 100 + 121) / (0.94**2 + 0.94 + 1)
    assert found["volatility"].to_list() == pytest.approx([None, 10.0, second**0.5, third**0.5])
    assert found["pegged"].to_list() == [True, False, False, False]


def reference(rows, positive):
    """Series by series, row by row."""
    answers = []
    for _, one in rows.group_by("series_id", maintain_order=True):
        before, weighted, weight, moves = None, 0.0, 0.0, []
        for time, price in one.select("time", "close").iter_rows():
            if before is None or (time - before[0]).days > 100:
                before, weighted, weight, moves = (time, price), 0.0, 0.0, []
                answers.append((None, None, True))
                continue
            change = np.log(price) - np.log(before[1]) if positive else price - before[1]
            before = (time, price)
            weighted, weight = DECAY * weighted + change**2, DECAY * weight + 1
            moves.append(change != 0)
            sigma = np.sqrt(weighted / weight)
            answers.append((change, sigma, bool(sigma == 0 or np.mean(moves[-63:]) < 0.5)))
    return answers


@pytest.mark.parametrize("positive", [True, False])
def test_volatility_matches_a_loop_over_rows(untidy_panel, positive):
    rows = check_panel(untidy_panel)
    found = with_volatility(rows, positive=positive)
    change, sigma, pegged = zip(*reference(rows, positive), strict=True)
    assert found["pegged"].to_list() == list(pegged)
    for column, expected in (("change", change), ("volatility", sigma)):
        assert found[column].is_null().to_list() == [value is None for value in expected]
        np.testing.assert_allclose(
            found[column].drop_nulls(), [value for value in expected if value is not None], rtol=1e-9, atol=1e-15
        )


def test_nothing_crosses_a_break():
    days = [date(2000, 1, 3), date(2000, 1, 4), date(2009, 1, 5), date(2009, 1, 6)]
    found = with_volatility(series([100.0, 150.0, 90.0, 90.9], days))
    alone = with_volatility(series([90.0, 90.9], days[2:]))
    assert found.tail(2).equals(alone)


def test_a_constant_price_has_volatility_zero_and_is_pegged():
    found = with_volatility(series([15.6466] * 5))
    assert found["volatility"].to_list() == [None, 0.0, 0.0, 0.0, 0.0]
    assert found["pegged"].all()


def test_a_series_is_pegged_while_fewer_than_half_of_its_last_63_changes_move():
    moving = [100.0, 101.0] * 20  # 40 changes differ from 0, the last one being the return to 100
    found = with_volatility(series([*moving, *[100.0] * 80]))
    first = found["pegged"][1:].arg_max() + 1
    assert first == 72  # changes 10 to 72: 31 of 63 differ from 0, one row before still 32
    assert found["pegged"][first:].all()


def test_scaling_all_prices_changes_no_volatility(untidy_panel):
    rows = check_panel(untidy_panel)
    found, scaled = with_volatility(rows), with_volatility(rows.with_columns(pl.col("close") * 1234.5))
    assert found["pegged"].equals(scaled["pegged"])
    np.testing.assert_allclose(scaled["volatility"].drop_nulls(), found["volatility"].drop_nulls(), atol=1e-12)


def test_the_columns_of_the_panel_stay(panel):
    found = with_volatility(panel)
    assert found.columns == ["series_id", "time", "close", "change", "volatility", "pegged"]
    assert found.select(panel.columns).equals(panel)
    assert found.schema["pegged"] == pl.Boolean
