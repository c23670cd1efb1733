"""Times in text: each form of ISO 8601 that names a day or an instant is read and converted."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from dateutil.parser import isoparse
from hypothesis import given, settings
from hypothesis import strategies as st

from tidecast.flows.parsing.iso_times import times_of_text
from tidecast.flows.parsing.values import dates

NEW_YORK = ZoneInfo("America/New_York")
NOON = "2024-01-02T12:00"
"""A time that is no midnight: next to it, midnights are instants. If all times are midnights, they are days."""


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-02 03:00:00+00",  # as PostgreSQL writes it
        "2024-01-02 03:00:00+0000",
        "2024-01-02T03:00:00z",
        "20240102T030000Z",
        "20240102T0300Z",
        "2024-01-02T03Z",
        "2024-01-02t03:00:00.000000+00:00",
        "2024-01-02T03:00:00,0Z",
        "2024-01-02 03:00:00 UTC",
        "2024-002T03:00Z",
        "2024-W01-2T03:00Z",
        "2024W012T0300Z",
        "2024-01-02T08:30:00+05:30",
        "2024-01-02T08:30:00+05:30[Asia/Kolkata]",
        "2024-01-01T22:00:00-05",
        "2024-01-02 03:53:28+00:53:28",
        "2024-01-01T24:00:00-03:00",
    ],
)
def test_an_instant_is_converted_to_the_market_in_whatever_form_it_is_written(text):
    """Once, PostgreSQL's times could not be read, and others kept the date they were written with."""
    days, clock = dates(pl.Series([text, NOON]), "America/New_York")
    assert (days[0], clock[0]) == (date(2024, 1, 1), timedelta(hours=22))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-366", datetime(2024, 12, 31)),
        ("2025-W01-1", datetime(2024, 12, 30)),
        ("2020-W53-7", datetime(2021, 1, 3)),
        ("2024-01-02T10.5", datetime(2024, 1, 2, 10, 30)),
        ("2024-01-02T10:30,25", datetime(2024, 1, 2, 10, 30, 15)),
        ("2024-01-02T10:30:15.123456789", datetime(2024, 1, 2, 10, 30, 15, 123456)),
        ("2024-01-02T24:00", datetime(2024, 1, 3)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, 999999)),  # once, the next day
        ("2024-01-02-05:00", datetime(2024, 1, 2)),
        ("0001-01-01", datetime(1, 1, 1)),
        ("9999-12-31T23:59:59", datetime(9999, 12, 31, 23, 59, 59)),
    ],
)
def test_a_time_is_read_as_it_is_written(text, moment):
    assert times_of_text(pl.Series([text]))["moment"].to_list() == [moment]


@pytest.mark.parametrize(
    "text",
    [
        "2023-366", "2021-W53-1", "2024-W00-1", "2024-W01-8", "2024-W01", "2024-01", "2024", "2024001", "2024-000",
        "2024-01-02T24:01", "2024-01-02T25:00", "2024-01-02T10:60", "2024-01-02T10:00:61", "2024-01-02T10:00+99",
        "2024-01-02T10:00+05:75", "2024-01-02-05", "0000-01-01", "2024-02-30", "2024-01/02", "31/12/2024", "12-31-2024",
        "2024-01-02T", "2024-01-02 10:00 EST", "", " ", None,
    ],
)  # fmt: skip
def test_text_that_is_not_a_day_or_has_several_meanings_is_not_read(text):
    assert dates(pl.Series([text], dtype=pl.String), "America/New_York")[0].to_list() == [None]


@settings(max_examples=300, deadline=None)
@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from(["", "Z", "+00", "+0530", "-03:30", "+14:00"]),
    st.sampled_from(["T", " "]),
    st.sampled_from(["auto", "minutes", "seconds", "milliseconds", "hours"]),
    st.booleans(),
)
def test_a_time_is_read_as_another_parser_reads_it(moment, offset, between, precision, basic):
    text = moment.isoformat(between, precision) + offset
    if basic:
        day, clock = moment.isoformat(between, precision).split(between)
        text = day.replace("-", "") + between + clock.replace(":", "") + offset.replace(":", "")
    expected = isoparse(text.replace(" ", "T"))
    shown = expected.astimezone(NEW_YORK) if offset else expected
    days, clock = dates(pl.Series([text, NOON]), "America/New_York")
    assert days[0] == shown.date()
    assert clock[0] == shown.replace(tzinfo=None) - datetime.combine(shown.date(), datetime.min.time())


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([2**62, -(2**62), 0]).cast(pl.Datetime("us", "UTC")),
        pl.Series([2**62, -(2**62), 0]).cast(pl.Datetime("ms")),
        pl.Series([2**30, -(2**30), 0], dtype=pl.Int32).cast(pl.Date),
    ],
)
def test_times_that_python_has_no_date_for_cannot_be_read(values):
    assert dates(values, "UTC")[0].to_list() == [None, None, date(1970, 1, 1)]


def test_whole_numbers_that_became_floats_next_to_missing_ones_are_days():
    assert dates(pl.Series([20240131.0, None, 20240131.5]), None)[0].to_list() == [date(2024, 1, 31), None, None]


def test_a_datetime_column_reads_as_its_text_does():
    moments = pl.Series([datetime(2024, 1, 2, 3, tzinfo=UTC)])
    text = moments.dt.strftime("%Y-%m-%dT%H:%M:%S%:z")
    assert dates(moments, "America/New_York")[0].equals(dates(text, "America/New_York")[0])
