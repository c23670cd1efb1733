"""Splits and dividends that the prices show, or do not: made from shares whose true prices are known."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from tidecast.features import adjust, shown_actions
from tidecast.features.corporate_actions.shown_actions import look_for

N, DAY = 200, 150
DAYS = pl.date_range(date(2020, 1, 1), date(2021, 3, 1), eager=True)
DAYS = DAYS.filter(DAYS.dt.weekday() <= 5)[:N]
ROW = np.arange(N)


def share(seed=0, volatility=0.02):
    """Closes of a share with GARCH volatility, fat tails and a jump of 15 % on a day of earnings."""
    rng = np.random.default_rng(seed)
    variance, returns = volatility**2, np.zeros(N)
    for row in range(N):
        returns[row] = np.sqrt(variance) * rng.standard_t(5) * 0.77
        variance = 0.05 * volatility**2 + 0.1 * returns[row] ** 2 + 0.85 * variance
    returns[DAY - 30] += 0.15
    return 50 * np.exp(np.cumsum(returns))


def panel(closes, name="A"):
    return pl.DataFrame({"series_id": name, "time": DAYS[: len(closes)], "close": closes})


def announced(*rows, name="A"):
    schema = {"series_id": pl.String, "time": pl.Date, "split_ratio": pl.Float64, "dividend": pl.Float64}
    return pl.DataFrame([(name, DAYS[day], *rest) for day, *rest in rows], schema=schema, orient="row")


def undone(closes, actions):
    return adjust(panel(closes), shown_actions(panel(closes), actions))["close"].to_numpy()


RATIOS = [1.5, 2.0, 3.0, 10.0, 50.0, 1 / 1.5, 0.5, 0.1, 0.02]


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_split_on_its_day_is_as_announced(ratio, seed):
    true = share(seed)
    quoted = np.where(ROW < DAY, true * ratio, true)
    found = look_for(panel(quoted), announced((DAY, ratio, 0.0)))
    assert found.actions.equals(announced((DAY, ratio, 0.0)))
    assert found.doubtful.is_empty()


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_split_of_prices_that_are_restated_already_is_not_undone_once_more(ratio, seed):
    """Once, that was a false return of the split's own size."""
    true = share(seed)
    assert undone(true, announced((DAY, ratio, 0.0))).tolist() == true.tolist()
    assert look_for(panel(true), announced((DAY, ratio, 0.0))).doubtful["time"].to_list() == [DAYS[DAY]]


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("off", [-20, -7, -1, 1, 2, 20])
def test_a_split_is_undone_on_the_row_that_shows_it(ratio, off):
    true = share()
    quoted = np.where(DAY + off > ROW, true * ratio, true)
    assert undone(quoted, announced((DAY, ratio, 0.0))) == pytest.approx(true, rel=1e-12)
    assert DAYS[DAY] in look_for(panel(quoted), announced((DAY, ratio, 0.0))).doubtful["time"].to_list()


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("rows", [(140, 141), (140, 150), (145, 158), (150, 152), (152, 153)])
def test_a_run_of_rows_on_another_basis_is_put_on_the_basis_of_the_others(ratio, rows):
    true = share()
    inside = (rows[0] <= ROW) & (rows[1] > ROW)
    assert undone(np.where(inside, true * ratio, true), announced((DAY, ratio, 0.0))) == pytest.approx(true, rel=1e-12)


@pytest.mark.parametrize("ratio", RATIOS)
def test_an_inverted_ratio_is_undone_as_the_price_shows_it(ratio):
    true = share()
    quoted = np.where(ROW < DAY, true * ratio, true)
    found = look_for(panel(quoted), announced((DAY, 1 / ratio, 0.0)))
    assert adjust(panel(quoted), found.actions)["close"].to_numpy() == pytest.approx(true, rel=1e-12)
    assert DAYS[DAY] in found.doubtful["time"].to_list()


@pytest.mark.parametrize("again", [DAY - 3, DAY + 4])
@pytest.mark.parametrize("ratio", RATIOS)
def test_a_split_announced_on_two_days_is_undone_once(ratio, again):
    true = share()
    quoted = np.where(ROW < DAY, true * ratio, true)
    found = look_for(panel(quoted), announced((DAY, ratio, 0.0), (again, ratio, 0.0)))
    assert found.actions.equals(announced((DAY, ratio, 0.0)))
    assert found.doubtful["time"].to_list() == [DAYS[again]]


def test_two_splits_of_which_both_are_shown_are_both_undone():
    true = share()
    quoted = true * np.where(ROW < DAY, 2, 1) * np.where(ROW < DAY + 3, 2, 1)
    assert undone(quoted, announced((DAY, 2.0, 0.0), (DAY + 3, 2.0, 0.0))) == pytest.approx(true, rel=1e-12)
    once = true * np.where(ROW < DAY, 6, 1)  # a Saturday's and a Monday's
    rows = [ROW != DAY - 1]
    both = announced((DAY - 1, 2.0, 0.0), (DAY, 3.0, 0.0))
    found = shown_actions(panel(once).filter(pl.Series(rows[0])), both)
    assert found.equals(both)


def test_a_ratio_in_per_cent_is_not_undone_and_is_in_doubt():
    true = share()
    quoted = np.where(ROW < DAY, true * 4, true)
    found = look_for(panel(quoted), announced((DAY, 400.0, 0.0)))
    assert found.actions.is_empty()
    assert found.doubtful["time"].to_list() == [DAYS[DAY]]


def test_a_crash_near_a_split_that_was_undone_stays_a_crash():
    true = share() * np.where(ROW < DAY + 5, 1.0, 0.5)
    quoted = np.where(ROW < DAY, true * 2, true)
    assert undone(quoted, announced((DAY, 2.0, 0.0))) == pytest.approx(true, rel=1e-12)


def test_a_fall_on_the_day_of_a_split_is_left_when_the_split_is_undone():
    true = share() * np.where(ROW < DAY, 1.0, 0.8)
    quoted = np.where(ROW < DAY, true * 10, true)
    assert undone(quoted, announced((DAY, 10.0, 0.0))) == pytest.approx(true, rel=1e-12)


def test_a_large_dividend_that_no_price_shows_is_not_earned_and_a_small_one_is():
    true = share()
    paid = np.where(ROW < DAY, true * 1.25, true)
    dividend = announced((DAY, 1.0, float(0.25 * true[DAY])))
    assert shown_actions(panel(paid), dividend).equals(dividend)
    assert shown_actions(panel(true), dividend).is_empty()
    small = announced((DAY, 1.0, float(0.01 * true[DAY])))
    assert shown_actions(panel(true), small).equals(small)


def test_a_stock_dividend_of_a_twentieth_cannot_be_seen_in_a_share_that_moves_as_much():
    wild = share(volatility=0.05)
    assert shown_actions(panel(wild), announced((DAY, 1.05, 0.0))).height == 1


def test_each_series_is_judged_by_its_own_prices():
    true = share()
    quoted = np.where(ROW < DAY, true * 2, true)
    both = pl.concat([panel(true, "restated"), panel(quoted, "traded")]).sample(fraction=1.0, shuffle=True, seed=0)
    actions = pl.concat([announced((DAY, 2.0, 0.0), name=name) for name in ("restated", "traded", "absent")])
    assert shown_actions(both, actions)["series_id"].to_list() == ["absent", "traded"]


def test_three_rows_are_enough_to_see_a_split_and_one_is_not_asked():
    assert undone(np.array([100.0, 102.0, 51.0]), announced((2, 2.0, 0.0))).tolist() == [50.0, 51.0, 51.0]
    assert undone(np.array([50.0, 51.0, 51.0]), announced((2, 2.0, 0.0))).tolist() == [50.0, 51.0, 51.0]
    assert undone(np.array([50.0]), announced((0, 2.0, 0.0))).tolist() == [50.0]


def test_prices_times_a_thousand_show_the_same():
    true = share()
    for quoted in (true, np.where(ROW < DAY + 4, true * 3, true)):
        found, thousandfold = (look_for(panel(k * quoted), announced((DAY, 3.0, 0.0))).actions for k in (1.0, 1000.0))
        assert found.equals(thousandfold)


def test_prices_that_are_missing_or_not_above_zero_show_nothing_and_break_nothing():
    closes = [100.0, None, 0.0, -3.0, 50.0, None]
    assert shown_actions(panel(closes), announced((4, 2.0, 0.0), (5, 3.0, 1.0))).height >= 1
