"""What is due, decided from what the tables say."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from tidecast.features.calendars.by_name import get_calendar
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import TidecastError
from tidecast.flows.steps import due as plan
from tidecast.forecasting.evaluation.gate_policy import GatePolicy

WEEKDAYS = get_calendar("weekdays")
SETTINGS = Settings(calendar="weekdays", retrain_every=5, gate=GatePolicy(every=10))


def runs(*rows: tuple[date, str, str]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema={"as_of": pl.Date, "status": pl.String, "training": pl.String}, orient="row")


@pytest.mark.parametrize(
    ("as_of", "due"), [(date(2024, 1, 5), False), (date(2024, 1, 8), True), (date(2024, 1, 9), True)]
)
def test_training_is_due_so_many_sessions_after_the_last_attempt_also_a_failed_one(as_of, due):
    known = runs((date(2024, 1, 1), "failed", "failed"), (date(2024, 1, 4), "done", "none"))
    assert plan.training_due(known, None, as_of, SETTINGS) is due


def test_a_training_by_hand_is_an_attempt():
    known = runs((date(2024, 1, 1), "done", "first"))
    assert not plan.training_due(known, date(2024, 1, 5), date(2024, 1, 8), SETTINGS)
    assert plan.training_due(known, date(2024, 1, 5), date(2024, 1, 12), SETTINGS)


def test_a_backfill_trains_nothing():
    known = runs((date(2024, 6, 3), "done", "none"))
    assert not plan.training_due(known, None, date(2024, 1, 8), SETTINGS)


def test_what_was_trained_in_the_session_itself_does_not_count_as_an_attempt_before_it():
    known = runs((date(2024, 1, 1), "done", "first"), (date(2024, 1, 8), "published", "refreshed"))
    assert plan.training_due(known, None, date(2024, 1, 8), SETTINGS)


def test_a_gate_is_due_once_a_quarter_and_when_there_was_none():
    assert plan.gate_due(None, date(2024, 1, 8), SETTINGS)
    assert not plan.gate_due(date(2024, 1, 1), date(2024, 1, 12), SETTINGS)
    assert plan.gate_due(date(2024, 1, 1), date(2024, 1, 15), SETTINGS)


def test_missed_sessions_lie_between_the_last_run_that_ended_and_now():
    days = pl.date_range(date(2024, 1, 1), date(2024, 1, 5), eager=True)
    known = runs((days[0], "done", "none"), (days[1], "published", "none"))
    assert plan.missed_sessions(known, days, days[4]) == ([], [days[1], days[2], days[3]])
    assert plan.missed_sessions(known, days, days[4], limit=1) == ([days[1], days[2]], [days[3]])
    assert plan.missed_sessions(runs(), days, days[4]) == ([], [])


def test_a_scheduled_day_is_that_of_the_market_and_not_of_greenwich():
    late = datetime(2024, 1, 2, 2, 0, tzinfo=UTC)  # New York's evening of the first
    assert plan.scheduled_day(late, Settings(calendar="XNYS")) == date(2024, 1, 1)
    assert plan.scheduled_day(late, Settings(calendar="XTKS")) == date(2024, 1, 2)


def test_without_a_market_the_schedule_has_the_zone():
    late = datetime(2024, 1, 1, 22, 0, tzinfo=UTC)
    assert plan.scheduled_day(late, Settings(calendar="weekdays", cron="0 7 * * *", time_zone="Asia/Tokyo")) == date(
        2024, 1, 2
    )


def test_a_run_after_the_close_stands_on_the_day_of_the_close_also_after_midnight():
    monday, tuesday = date(2024, 1, 1), date(2024, 1, 2)
    after_midnight = datetime(2024, 1, 2, 1, 0, tzinfo=UTC)
    assert plan.scheduled_day(after_midnight, Settings(calendar="weekdays")) == monday
    assert plan.scheduled_day(after_midnight, Settings(calendar="weekdays", cron="0 1 * * *")) == tuesday


def test_no_price_of_today_anywhere_on_earth_lies_in_the_future():
    assert plan.latest_day_anywhere(datetime(2024, 1, 1, 11, 0, tzinfo=UTC)) == date(2024, 1, 2)


def test_a_clock_that_is_behind_the_newest_run_is_refused():
    known = runs((date(2024, 1, 4), "done", "none"), (date(2024, 1, 5), "published", "none"))
    plan.refuse_clock_set_back(known, date(2024, 1, 5))
    plan.refuse_clock_set_back(runs(), date(1970, 1, 1))
    with pytest.raises(TidecastError, match=r"newest session that was run, 2024-01-05, .* it is 2022-03-01 at most"):
        plan.refuse_clock_set_back(known, date(2022, 3, 1))
