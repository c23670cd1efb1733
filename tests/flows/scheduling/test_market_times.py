"""The daily forecast runs after each close, by the market's clock."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest
from prefect.server.schemas.schedules import CronSchedule, RRuleSchedule

from tidecast.flows.config.settings import Settings
from tidecast.flows.scheduling.market_times import daily_times, monthly_times

TODAY = date(2026, 11, 30)


def starts(times, first, n):
    """The next starts by Prefect's own reading of the schedule, in the schedule's zone."""
    schedule = (
        CronSchedule(cron=times.cron, timezone=times.zone)
        if times.cron
        else RRuleSchedule(rrule=times.rrule, timezone=times.zone)
    )
    return asyncio.run(schedule.get_dates(n, start=datetime.combine(first, datetime.min.time(), UTC)))


def test_a_holiday_is_left_out_a_half_day_is_earlier_and_summer_time_moves_nothing():
    times = daily_times(Settings(calendar="XNYS"), TODAY)
    assert times.zone == "America/New_York"
    found = [f"{start:%m-%d %H:%M %z}" for start in starts(times, date(2026, 11, 25), 4)]
    assert found == ["11-25 17:00 -0500", "11-27 14:00 -0500", "11-30 17:00 -0500", "12-01 17:00 -0500"]
    found = [f"{start:%m-%d %H:%M %z}" for start in starts(times, date(2026, 10, 30), 2)]
    assert found == ["10-30 17:00 -0400", "11-02 17:00 -0500"], "the clocks changed in between"


def test_the_margin_after_the_close_is_a_setting():
    times = daily_times(Settings(calendar="XTKS", after_close=15), TODAY)
    assert [f"{start:%m-%d %H:%M}" for start in starts(times, TODAY, 1)] == ["11-30 15:45"]


def test_a_panel_of_two_markets_runs_once_a_day_after_the_last_close():
    times = daily_times(Settings(calendar="XNYS", calendars=("XTKS",)), TODAY)
    found = starts(times, date(2026, 11, 23), 5)
    assert [f"{start:%m-%d %H:%M}" for start in found[2:]] == ["11-25 17:00", "11-26 02:30", "11-27 14:00"]


@pytest.mark.parametrize(
    ("calendar", "cron"),
    [
        ("24/7", "0 1 * * *"),
        ("weekdays", "0 1 * * 2,3,4,5,6"),
        ("weekly FRI", "0 1 * * 6"),
        ("monthly last", "0 1 * * *"),
    ],
)
def test_days_of_no_market_run_after_midnight_utc(calendar, cron):
    times = daily_times(Settings(calendar=calendar), TODAY)
    assert (times.cron, times.zone) == (cron, "UTC")


def test_the_bundled_rates_run_by_the_hours_of_the_ecb_before_their_first_run_too():
    times = daily_times(Settings(), TODAY)
    assert times.zone == "Europe/Berlin"
    assert [f"{start:%m-%d %H:%M}" for start in starts(times, date(2026, 12, 24), 2)] == ["12-24 17:00", "12-28 17:00"]


def test_every_close_of_three_years_has_its_run_and_no_other_day_has_one():
    settings = Settings(calendar="XHKG")
    times = daily_times(settings, TODAY)
    days = [start.date() for start in starts(times, date(2027, 1, 1), 500)]
    number = settings.sessions.number_at(days[0])
    assert days == settings.sessions.times(range(number, number + 500)).to_list()


def test_a_schedule_of_ones_own_wins():
    times = daily_times(Settings(calendar="XNYS", cron="0 7 * * 1-5"), TODAY)
    assert (times.cron, times.zone) == ("0 7 * * 1-5", "America/New_York")
    assert daily_times(Settings(cron="0 7 * * *", time_zone="Asia/Tokyo"), TODAY).zone == "Asia/Tokyo"


def test_once_a_month_is_the_first_saturday():
    found = starts(monthly_times(1, "SA", 4, Settings(calendar="XNYS"), TODAY), date(2026, 12, 1), 2)
    assert [f"{start:%m-%d %H:%M}" for start in found] == ["12-05 04:00", "01-02 04:00"]
    assert all(start.date() - timedelta(days=7) < start.date().replace(day=1) for start in found)


@pytest.mark.parametrize(("calendar", "words"), [("weekdays", "Tuesday to Saturday"), ("24/7", "every day")])
def test_days_were_once_written_as_two_letters_each(calendar, words):
    assert f", {words}, after the close of {calendar}" in daily_times(Settings(calendar=calendar), TODAY).text
