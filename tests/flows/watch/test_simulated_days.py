"""Sixty simulated days: each fault is named within a session, nothing is named on clean data."""

from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest

from tests.flows.watch.simulation import (
    SETTINGS,
    SINCE,
    close_of,
    days_of,
    panel,
    quick_findings,
    tables,
    with_break,
    with_repeated_prices,
)
from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.flows.watch.check import implausible, watch


@pytest.fixture(scope="module")
def prices():
    return panel()


@pytest.fixture(scope="module")
def clean(prices):
    return tables(prices)


def states(known, day, now=None):
    return [found.state for found in watch(known.until(day), SETTINGS, now or close_of(day)).checked.findings]


def test_nothing_is_named_on_clean_days(clean, prices):
    days = days_of(prices)
    assert [found for day in days[::5] for found in quick_findings(clean, day)] == []  # a break shows for five days
    for day in days[-1:]:
        assert watch(clean.until(day), SETTINGS, close_of(day)).checked.states == ("fine",)


def test_a_feed_that_repeats_its_prices_is_named_on_the_first_day(prices, clean):
    day = days_of(prices)[SINCE]
    frozen = replace(clean, prices=with_repeated_prices(prices, day))
    assert quick_findings(frozen, days_of(prices)[SINCE - 1]) == []
    assert "stale_feed" in states(frozen, day)
    later = quick_findings(frozen, days_of(prices)[SINCE + 10])
    assert [found.since for found in later if found.state == "stale_feed"] == [day]


def test_a_feed_without_new_rows_is_named_when_the_next_session_has_closed(prices, clean):
    last, late = days_of(prices)[SINCE - 1 : SINCE + 1]
    here = clean.until(last)
    looked = clean.looks.filter(pl.col("as_of") <= last).with_columns(at=pl.lit(close_of(late)))
    (found,) = quick_findings(replace(here, looks=looked), last, close_of(late))
    assert (found.state, found.since) == ("stale_feed", late)


def test_a_late_delivery_is_named_until_it_comes(prices, clean):
    *_, before, late, after = days_of(prices)[: SINCE + 1]
    here = clean.until(before)
    waiting = replace(here, looks=here.looks.with_columns(at=pl.lit(close_of(late))))
    assert [found.state for found in quick_findings(waiting, before, close_of(late))] == ["stale_feed"]
    assert quick_findings(clean, after) == []


def test_nobody_asking_the_source_is_another_state_than_a_stale_feed(prices, clean):
    last, late = days_of(prices)[SINCE - 1 : SINCE + 1]
    (found,) = quick_findings(clean, last, close_of(late))
    assert (found.state, found.since) == ("run_missed", late)


def test_a_series_that_stops_is_named_on_the_first_day(prices, clean):
    day = days_of(prices)[SINCE]
    stopped = prices.filter((pl.col("series_id") != "C") | (pl.col("time") < day))
    (found,) = quick_findings(replace(clean, prices=stopped), day)
    assert (found.state, found.series, found.since) == ("missing_series", ("C",), day)


def test_a_series_that_pauses_often_is_not_named(prices, clean):
    days = days_of(prices)
    every_third = prices.with_columns(n=pl.int_range(pl.len()).over("series_id")).filter(
        (pl.col("series_id") != "C") | (pl.col("n") % 3 == 0)
    )
    assert [found for day in days[:3] for found in quick_findings(replace(clean, prices=every_third), day)] == []


def test_one_series_that_repeats_its_price_is_named_after_a_few_days(prices, clean):
    days = days_of(prices)
    stuck = prices.with_columns(
        close=pl.when((pl.col("series_id") != "C") | (pl.col("time") < days[SINCE]))
        .then("close").forward_fill().over("series_id")
    )  # fmt: skip
    named = [n for n in range(SINCE, SINCE + 5) if quick_findings(replace(clean, prices=stuck), days[n])]
    assert named
    assert named[0] <= SINCE + 3
    (found,) = quick_findings(replace(clean, prices=stuck), days[named[0]])
    assert (found.state, found.series) == ("missing_series", ("C",))


def test_a_volatility_break_is_named_within_a_session(prices, clean):
    days = days_of(prices)
    broken = replace(clean, prices=with_break(prices, days[SINCE]))
    assert quick_findings(broken, days[SINCE - 1]) == []
    named = [found for day in days[SINCE : SINCE + 2] for found in quick_findings(broken, day)]
    assert {found.state for found in named} == {"volatility_break"}
    assert named[0].since in days[SINCE : SINCE + 2]


def test_inputs_that_drift_are_named(prices, clean):
    days = days_of(prices)
    broken = replace(clean, prices=with_break(prices, days[SINCE]))
    findings = watch(broken, SETTINGS, close_of(days[-1])).checked.findings
    assert [found.state for found in findings] == ["drift"]
    assert "Wasserstein" in findings[0].how_sure


def test_a_champion_in_wrong_units_is_named_on_its_first_day(prices):
    day = days_of(prices)[0]
    for wrong in ({"width": 3.0}, {"width": 0.2}, {"shift": 0.8}):
        assert "champion_worse" in states(tables(prices, "GRU", **wrong), day)


def test_narrow_intervals_are_plausible_where_the_panel_has_seasons(prices):
    day = days_of(prices)[0]
    here, widths = tables(prices, "GRU", width=0.2).until(day), pl.DataFrame({"of_random_walk": [0.2], "move": [3.0]})
    assert implausible(here, widths)
    week = pl.date_range(date(2022, 1, 1), date(2022, 12, 31), eager=True)
    load = pl.DataFrame({"series_id": "load", "time": week, "close": 100 + 20.0 * (week.dt.weekday() > 5)})
    seasonal = replace(here, prices=load, calendar=PanelCalendar.of(load, "24/7"))
    assert implausible(seasonal, widths) == []
    assert implausible(seasonal, widths * 15)


def test_a_champion_that_is_a_little_worse_is_named_in_time_and_an_equal_one_is_not(prices):
    days = days_of(prices)
    worse = tables(prices, "GRU", width=1.8)
    named = [n for n, day in enumerate(days) if quick_findings(worse, day)]
    assert named
    assert named[0] <= 45
    (found,) = quick_findings(worse, days[-1])
    assert found.state == "champion_worse"
    assert quick_findings(tables(prices, "GRU", width=1.02), days[-1]) == []


def test_sessions_without_a_run_and_runs_that_failed_are_named(prices, clean):
    *_, failed, missed, last = days_of(prices)
    status = pl.when(pl.col("as_of") == failed).then(pl.lit("failed")).otherwise("status")
    runs = clean.runs.with_columns(status=status).filter(pl.col("as_of") != missed)
    found = quick_findings(replace(clean, runs=runs), last)
    assert [(each.state, each.since) for each in found] == [("run_missed", missed), ("step_failed", failed)]


def test_the_advice_on_several_missed_sessions_once_was_for_the_first_alone(prices, clean):
    *_, first, last_missed, last = days_of(prices)
    runs = clean.runs.filter(~pl.col("as_of").is_in([first, last_missed]))
    (found,) = quick_findings(replace(clean, runs=runs), last)
    assert found.to_do == f"tidecast backfill --from {first} --to {last_missed}"


def test_a_run_that_is_under_way_has_not_failed(prices, clean):
    last = days_of(prices)[-1]
    status = pl.when(pl.col("as_of") == last).then(pl.lit("published")).otherwise("status")
    known = replace(clean, runs=clean.runs.with_columns(status=status))
    assert quick_findings(known, last, close_of(last, 9)) == []
    assert "step_failed" in [found.state for found in quick_findings(known, last, close_of(last) + timedelta(hours=13))]
