"""The rules of prices: each by hand, then the properties of all of them."""

import math
from datetime import date

import dataframely as dy
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tidecast.features.calendars.by_name import get_calendar
from tidecast.flows.config.rule_actions import DEFAULT_ACTIONS
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SettingsError, SourceError
from tidecast.flows.rules.check import check_rows
from tidecast.flows.rules.price_rules import PriceRules, rule_names

CALENDAR = get_calendar("weekdays")
FIRST = int(CALENDAR.numbers(pl.Series([date(2024, 1, 1)]))[0])


def days(n, first=0):
    return CALENDAR.times(np.arange(FIRST + first, FIRST + first + n))


def series(closes, name="A", first=0, **columns):
    closes = list(closes)
    frame = pl.DataFrame({"series_id": [name] * len(closes), "time": days(len(closes), first), "close": closes})
    frame = frame.with_columns(pl.col("close").cast(pl.Float64))
    return frame.with_columns(**{key: pl.Series(value) for key, value in columns.items()})


def walk(n, seed=0, sigma=0.01, start=100.0):
    return start * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, sigma, n)))


def check(rows, history=None, today=None, **settings):
    return check_rows(rows, rows.clear() if history is None else history, CALENDAR, Settings(**settings), today)


def flagged(checked, rule):
    return checked.flags.filter(rule=rule)["row"].to_list()


def quarantined(checked, rule="unit_error"):
    return (checked.rule == rule).fill_null(False).arg_true().to_list()


OLD = series(walk(63))
LAST = OLD["close"][-1]


def after(*closes, **columns):
    """Rows after 63 known ones."""
    return check(series(closes, first=63, **columns), OLD)


def test_a_clean_walk_breaks_no_rule():
    checked = check(series(walk(500)))
    assert checked.rule.null_count() == 500
    assert checked.flags.is_empty()
    assert not any(checked.counts.values())
    assert set(checked.counts) == {*DEFAULT_ACTIONS, "stale_series", "stale_feed", "zero_open_high_low"}


@pytest.mark.parametrize("factor", [100, 0.01])
def test_a_close_in_the_wrong_unit_is_kept_aside_and_the_day_after_is_not_a_jump(factor):
    checked = after(LAST * factor, LAST * 1.002)
    assert quarantined(checked) == [0]
    assert checked.flags.is_empty()


def test_a_single_row_in_the_wrong_unit_is_recognised_without_what_comes_after():
    assert quarantined(after(LAST / 100)) == [0]


def test_a_crash_is_never_kept_aside():
    for share in (0.5, 0.2, 0.05, 0.012):
        checked = after(LAST * share)
        assert quarantined(checked) == []
        assert flagged(checked, "jump") == [0]


def test_a_crash_to_a_hundredth_that_was_traded_through_within_the_day_is_not_a_unit_error():
    checked = after(LAST / 100, open=[LAST], high=[LAST], low=[LAST / 110])
    assert quarantined(checked) == []
    assert flagged(checked, "jump") == [0]


def test_a_split_of_a_hundred_is_not_a_unit_error():
    assert quarantined(after(LAST / 100, split_ratio=[100.0])) == []
    assert quarantined(after(LAST * 100, split_ratio=[0.01])) == []
    assert quarantined(after(LAST / 100, split_ratio=[2.0])) == [0]


def test_a_level_that_lasts_63_rows_is_the_level():
    """Without that, a redenominated series would stay in quarantine for ever."""
    moved = walk(143) * np.where(np.arange(143) < 80, 1.0, 0.01)
    assert quarantined(check(series(moved))) == []
    assert quarantined(check(series(moved[:-1]))) == list(range(80, 142))


def test_without_history_the_unit_in_which_the_series_was_traded_is_its_level():
    prices = [0.14, 0.14, 14.0, 14.0, 0.14, 0.14, 0.14]
    assert quarantined(check(series(prices))) == [2, 3]
    assert quarantined(check(series(prices, volume=[0, 0, 500, 0, 0, 0, 0]))) == [0, 1, 4, 5, 6]


def test_a_panel_whose_prices_may_be_negative_has_no_units():
    checked = check(series([1.0, 100.0, -3.0]), positive=False)
    assert checked.rule.null_count() == 3


def test_a_jump_is_judged_by_the_moves_before_it_and_by_the_sessions_it_took():
    sigma = 1.4826 * np.median(np.abs(np.diff(np.log(OLD["close"].to_numpy()))))
    assert flagged(after(LAST * math.exp(12.1 * sigma)), "jump") == [0]
    assert flagged(after(LAST * math.exp(-11.9 * sigma)), "jump") == []
    late = series([LAST * math.exp(20 * sigma)], first=66)
    assert flagged(check(late, OLD), "jump") == []


def test_yearly_rows_jump_too():
    """Once, a year between two rows was a pause, across which nothing was measured."""
    calendar = get_calendar("yearly last")
    times = calendar.times(calendar.number_at(date(2024, 1, 1)) + np.arange(-29, 1))
    rows = pl.DataFrame({"series_id": "A", "time": times, "close": [*walk(29), 300.0]})
    checked = check_rows(rows, rows.clear(), calendar, Settings(), None)
    assert flagged(checked, "jump") == [29]


def test_a_series_of_which_fewer_than_ten_moves_are_known_does_not_jump():
    assert flagged(check(series([1.0, 1.01, 1.0, 5.0])), "jump") == []


def test_equal_prices_are_stale_where_they_are_unheard_of_and_not_where_they_are_usual():
    checked = after(*[LAST] * 6)
    assert flagged(checked, "stale_quote") == [4, 5]
    sleepy = np.repeat(walk(13), 5)
    assert flagged(check(series(sleepy[-5:], first=60), series(sleepy[:60])), "stale_quote") == []


def test_equal_closes_of_days_with_a_range_are_not_stale_quotes():
    checked = after(*[LAST] * 8, high=[LAST * 1.01] * 8, low=[LAST * 0.99] * 8)
    assert flagged(checked, "stale_quote") == []


def test_open_and_close_lie_between_low_and_high():
    checked = after(
        LAST, LAST, LAST, LAST,
        open=[LAST, LAST * 1.2, None, LAST],
        high=[LAST, LAST * 1.1, LAST * 0.9, None],
        low=[LAST, LAST, None, LAST * 1.1],
    )  # fmt: skip
    assert flagged(checked, "ohlc_order") == [1, 2, 3]


def test_a_zero_open_high_or_low_is_a_missing_value_and_counted():
    checked = after(LAST, LAST * 1.01, open=[0.0, LAST], high=[LAST, 0.0], low=[LAST, -1.0])
    assert checked.rows["open"].to_list() == [None, LAST]
    assert checked.rows["low"].to_list() == [LAST, None]
    assert checked.counts["zero_open_high_low"] == 3
    assert checked.rule.null_count() == 2
    may_be = check(series([1.0], open=[0.0]), positive=False)
    assert may_be.rows["open"].to_list() == [0.0]


def test_an_open_high_or_low_in_another_unit_leaves_the_close_as_it_is():
    checked = after(LAST, low=[LAST / 100], high=[LAST], open=[LAST])
    assert flagged(checked, "ohlc_unit") == [0]
    assert checked.rule.null_count() == 1


def test_sessions_that_a_daily_series_left_out_are_counted_where_the_panel_had_a_price():
    others = pl.concat([series(walk(70, seed=1), "B").filter(pl.col("time") != days(70)[68])])
    holes = series(walk(70)).filter(~pl.col("time").is_in([days(70)[66], days(70)[67], days(70)[68]]))
    checked = check(pl.concat([holes, others]))
    assert checked.flags.filter(rule="missing_sessions").select("series_id", "time").rows() == [("A", days(70)[69])]
    assert checked.counts["missing_sessions"] == 2  # no series had the third: a holiday
    monthly = series(walk(70)).gather_every(20)
    assert flagged(check(pl.concat([monthly, others])), "missing_sessions") == []


def test_a_series_and_a_feed_that_end_early_are_named_with_their_last_session():
    short, whole = series(walk(60), "A"), series(walk(64, seed=1), "B")
    checked = check(pl.concat([short, whole]), today=days(70)[66])
    assert checked.flags.select("row", "series_id", "time", "rule").rows() == [
        (None, None, days(64)[63], "stale_feed"), (None, "A", days(60)[59], "stale_series"),
    ]  # fmt: skip
    assert (checked.counts["stale_series"], checked.counts["stale_feed"]) == (1, 1)
    assert check(whole, short, today=days(66)[65]).counts["stale_series"] == 1
    assert check(whole, today=days(66)[65]).counts["stale_feed"] == 0


def test_a_split_that_its_price_does_not_show_is_flagged_and_so_are_the_rows_on_another_basis_near_it():
    prices, ratios = walk(80), np.zeros(80)
    ratios[70] = 2.0
    on_its_day = np.where(np.arange(80) < 70, 2 * prices, prices)
    newest_basis = prices
    two_days_early = np.where(np.arange(80) < 68, 2 * prices, prices)
    one_row = np.where(np.arange(80) == 66, prices / 2, prices)
    found = [flagged(check(series(p, split_ratio=ratios)), "split_not_applied")
             for p in (on_its_day, newest_basis, two_days_early, one_row)]  # fmt: skip
    assert found == [[], [70], [*range(45, 68), 70], [66, 70]]


def test_a_step_that_a_split_explains_is_not_a_jump():
    """Once, every split of a feed that quotes as traded was flagged as one."""
    assert flagged(after(LAST / 2, split_ratio=[2.0]), "jump") == []
    assert flagged(after(LAST, split_ratio=[2.0]), "jump") == []  # restated
    assert flagged(after(LAST / 2, split_ratio=[1.0]), "jump") == [0]
    assert flagged(after(LAST / 2 * 0.7, split_ratio=[2.0]), "jump") == [0]


def test_near_a_large_split_a_step_may_miss_its_size_by_what_fell_in_the_same_days():
    """Ten shares into one, on the day of a rights issue: a real feed's step of 1/19 was once let pass.

    The split's own row is flagged in any case: its price does not move as told.
    """
    prices, place = walk(80), np.arange(80)

    def found(ratio, step):
        ratios = np.where(place == 70, ratio, 1.0)
        return flagged(
            check(series(np.where(place < 74, prices * step, prices), split_ratio=ratios)), "split_not_applied"
        )

    assert found(0.1, 19.0) == list(range(45, 74))
    assert found(0.1, 40.0) == [70]
    assert found(0.5, 2.9) == [70]  # a price may well fall to a third near a split of two


def test_a_dividend_that_the_price_does_not_know_of_is_flagged():
    def with_dividend(amount, close):
        return flagged(after(close, dividend=[amount]), "dividend_unit")

    assert with_dividend(LAST * 0.1, LAST * 0.9) == []
    assert with_dividend(LAST * 0.1, LAST) == [0]
    assert with_dividend(LAST * 1.5, LAST) == [0]
    assert with_dividend(LAST * 0.015, LAST) == []
    assert with_dividend(LAST * 0.00015, LAST) == [0]
    twice = series(walk(80), dividend=[1.0 if k in (50, 53) else 0.0 for k in range(80)])
    assert flagged(check(twice), "dividend_repeated") == [53]


def test_an_adjusted_close_must_follow_from_dividends():
    close, dividend = walk(40), np.zeros(40)
    dividend[20] = 3.0
    factor = np.where(np.arange(40) < 20, 1 - 3.0 / close[19], 1.0)
    right = series(close, dividend=dividend, adj_close=close * factor)
    assert flagged(check(right), "adjusted_close") == []
    forgotten = series(close, dividend=dividend, adj_close=close)
    assert flagged(check(forgotten), "adjusted_close") == [20]


def test_rows_that_differ_in_when_they_were_known_may_share_a_session():
    rows = pl.DataFrame(
        {"series_id": ["A"] * 4, "time": [days(1)[0]] * 4, "close": [1.0, 2.0, 2.0, 3.0],
         "known_at": [days(3)[0], days(3)[1], days(3)[1], days(3)[2]]}
    )  # fmt: skip
    assert check(rows).rule.to_list() == [None, "duplicate", None, None]  # the last of equal rows is kept
    assert check(rows.drop("known_at")).rule.to_list() == ["conflicting_duplicate"] * 4


def test_an_older_revision_in_the_wrong_unit_is_recognised_too():
    rows = pl.concat([series([LAST / 100], first=63), series([LAST], first=63)])
    rows = rows.with_columns(known_at=pl.Series([days(70)[63], days(70)[64]]))
    assert quarantined(check(rows, OLD)) == [0]


def test_each_rule_does_what_the_settings_say():
    rows = series([LAST * 2], first=63)
    assert check(rows, OLD, rules={"jump": "quarantine"}).rule.to_list() == ["jump"]
    off = check(rows, OLD, rules={"jump": "off"})
    assert off.flags.is_empty()
    assert "jump" not in off.counts
    stopped = check(rows, OLD, rules={"jump": "fail"})
    assert stopped.failed == ("jump",)
    with pytest.raises(SourceError, match="1 jump"):
        stopped.refuse_failed("prices.csv")
    check(rows, OLD).refuse_failed("prices.csv")


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"jumps": "off"}, "Did you mean 'jump'?"),
        ({"jump": "ignore"}, "'jump' must be one of fail, quarantine, flag, off"),
        ({"missing_price": "off"}, "'missing_price' must be one of fail, quarantine"),
        ({"stale_feed": "quarantine"}, "'stale_feed' must be one of fail, flag, off"),
    ],
)
def test_an_action_that_cannot_be_is_refused_with_the_settings(rules, said):
    with pytest.raises(SettingsError, match=said.replace("?", r"\?")):
        Settings(rules=rules)


class OwnRules(PriceRules):
    turnover = dy.Float64(nullable=True)

    @dy.rule()
    def small_turnover(cls) -> pl.Expr:
        return pl.col("turnover") >= 1000


def test_a_users_rule_is_checked_like_ours_and_flags_by_default():
    name = f"{__name__}:OwnRules"
    rows = series([LAST, LAST], first=63, turnover=[5.0, 5000.0])
    checked = check(rows, OLD, rules_schema=name)
    assert flagged(checked, "small_turnover") == [0]
    assert checked.counts["small_turnover"] == 1
    checked = check(rows, OLD, rules_schema=name, rules={"small_turnover": "quarantine"})
    assert checked.rule.to_list() == ["small_turnover", None]
    without = check(rows.drop("turnover"), OLD, rules_schema=name)
    assert without.counts["small_turnover"] == 0
    with pytest.raises(SettingsError, match="Did you mean 'small_turnover'"):
        check(rows, OLD, rules_schema=name, rules={"small_turnovr": "off"})


@pytest.mark.parametrize(
    "name",
    [
        "nowhere.rules:Own",
        "tidecast.flows.rules.price_rules:Nothing",
        "tidecast.flows.rules.price_rules",
        "tidecast.flows.config.settings:Settings",
    ],
)
def test_a_schema_that_is_none_is_refused(name):
    with pytest.raises(SettingsError, match="rules_schema must name a"):
        check(series([1.0]), rules_schema=name)


def test_every_rule_of_the_schema_has_an_action_and_the_other_way_round():
    assert rule_names(PriceRules) == tuple(DEFAULT_ACTIONS)


DIRT = st.tuples(st.integers(0, 79), st.sampled_from([100.0, 0.01, 3.0, 0.3, math.nan, -1.0]))


def dirty(faults, seed):
    prices = walk(80, seed)
    for place, factor in faults:
        prices[place] *= factor
    return pl.concat([series(prices, "A"), series(walk(80, seed + 1), "B")])


@given(st.lists(DIRT, max_size=6), st.integers(0, 5))
@hypothesis_settings(max_examples=12, deadline=None)
def test_the_order_of_the_rows_does_not_matter(faults, seed):
    rows = dirty(faults, seed)
    shuffled = rows.with_row_index("place").sample(fraction=1, shuffle=True, seed=seed)
    one, other = check(rows), check(shuffled.drop("place"))
    assert one.rule.to_list() == shuffled.with_columns(other.rule).sort("place")["rule"].to_list()
    assert one.counts == other.counts
    assert one.flags.drop("row").equals(other.flags.drop("row"))


@given(st.integers(1, 75), st.sampled_from([100.0, 0.01, 3.0, 0.3, 1.0]), st.integers(0, 5))
@hypothesis_settings(max_examples=10, deadline=None)
def test_the_verdict_on_a_row_depends_on_nothing_that_came_after_it(place, factor, seed):
    rows = series(walk(80, seed))
    row = rows[place : place + 1].with_columns(pl.col("close") * factor)
    then, now = check(row, rows[:place]), check(row, pl.concat([rows[:place], rows[place + 1 :]]))
    assert then.rule.to_list() == now.rule.to_list()
    assert then.flags.filter(pl.col("row") == 0).equals(now.flags.filter(pl.col("row") == 0))


@given(st.lists(st.tuples(st.integers(63, 79), st.sampled_from([3.0, 0.3])), max_size=4), st.integers(0, 5))
@hypothesis_settings(max_examples=8, deadline=None)
def test_history_and_batch_are_judged_like_one_batch(faults, seed):
    rows = series(dirty(faults, seed).filter(series_id="A")["close"])
    whole, parted = check(rows), check(rows[63:], rows[:63])
    assert whole.rule[63:].to_list() == parted.rule.to_list()
    late = whole.flags.filter(pl.col("row") >= 63).with_columns(pl.col("row") - 63)
    assert late.equals(parted.flags)


def test_the_last_known_rows_between_the_ones_that_come_are_history_too():
    known = series(walk(200))
    corrected = pl.concat([known[20:21], series([known["close"][-1]], first=200)])
    assert check(corrected, known).flags.is_empty()
