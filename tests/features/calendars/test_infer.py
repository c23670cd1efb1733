"""Calendars that rows suggest: each frequency that can be named, with missing rows and one odd row."""

import warnings
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tidecast.features import PanelCalendar, PanelSchema, check_panel, get_calendar, infer_calendar, make_windows
from tidecast.features.calendars.infer import infer_panel, infer_times
from tidecast.features.stray_rows import settle

DAYS = ["weekdays", "24/7", "daily SUN-THU", "daily TUE,FRI"]
PERIODS = [
    "weekly FRI", "weekly WED", "biweekly 2000-01-07", "monthly first", "monthly last", "monthly last weekday",
    "monthly first weekday", "monthly 15", "monthly 15 weekday", "monthly third FRI", "quarterly last",
    "quarterly-JAN last", "quarterly first weekday", "halfyearly last", "yearly last", "yearly-JUN last",
]  # fmt: skip


def sessions(name, n_rows, until):
    calendar = get_calendar(name)
    last = calendar.number_at(until)
    return calendar.times(np.arange(last - n_rows + 1, last + 1))


def drawn(name, seed, n_rows=60):
    """Sessions of a calendar up to a random day, one in ten of them missing."""
    generator = np.random.default_rng(seed)
    found = sessions(name, n_rows, date(2012, 1, 5) + timedelta(days=int(generator.integers(4000))))
    kept = generator.random(n_rows) > 0.1
    kept[-2:] = True
    return found.filter(pl.Series(kept))


def series(name, times):
    walk = np.exp(0.01 * np.random.default_rng(len(times)).standard_normal(len(times)).cumsum())
    return pl.DataFrame({"series_id": name, "time": times, "close": 100 * walk})


@pytest.mark.parametrize("name", DAYS + PERIODS)
@pytest.mark.parametrize("seed", range(3))
def test_a_calendar_is_inferred_from_its_sessions_though_some_have_no_row(name, seed):
    times = drawn(name, seed)
    calendar = infer_calendar(times)
    step = calendar.times(calendar.numbers(times[-1:]) + 1)[0]
    truth = get_calendar(name)
    assert (calendar.name, step) == (name, truth.times(truth.numbers(times[-1:]) + 1)[0])


@pytest.mark.parametrize("name", DAYS[:1] + PERIODS)
@pytest.mark.parametrize("seed", range(2))
def test_one_row_a_day_early_does_not_spoil_the_inference(name, seed):
    """Once, one Thursday among Fridays, or one Saturday among weekdays, made every day a session."""
    times = drawn(name, seed).to_list()
    odd = max(at for at, day in enumerate(times[:-2]) if day.weekday() == 0) if name == "weekdays" else 20
    early = times[odd] - timedelta(days=1)
    times = [*times, early] if name == "weekdays" else [*times[:odd], early, *times[odd + 1 :]]
    found = infer_times(pl.Series(times).sort())
    assert (found.calendar.name, found.n_stray) == (name, 1)


def test_the_last_sessions_of_an_exchange_are_distinguished_from_days_of_the_week():
    fridays = sessions("weekly last XNYS", 300, date(2024, 3, 1))
    assert infer_calendar(fridays).name == "weekly last XNYS"  # a Good Friday's close is a Thursday's
    assert infer_calendar(sessions("monthly last XNYS", 120, date(2024, 3, 1))).name == "monthly last XNYS"
    calendar = get_calendar("monthly last XNYS")
    assert calendar.at_or_before(date(2024, 4, 10)) == date(2024, 3, 28)
    assert calendar.closes(pl.Series([date(2024, 3, 28)])).dt.hour().to_list() == [20]


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("weekly last XNYS", date(2024, 3, 22), date(2024, 3, 28)),
        ("quarterly-JAN last", date(2024, 1, 31), date(2024, 4, 30)),
        ("quarterly-OCT last", date(2024, 1, 31), date(2024, 4, 30)),
        ("yearly-JUN first weekday", date(2023, 7, 3), date(2024, 7, 1)),
        ("monthly 15 weekday", date(2024, 5, 15), date(2024, 6, 17)),
        ("monthly third FRI", date(2024, 2, 16), date(2024, 3, 15)),
        ("biweekly 2024-01-05", date(2024, 3, 1), date(2024, 3, 15)),
        ("halfyearly last", date(2023, 12, 31), date(2024, 6, 30)),
        ("daily SUN-THU", date(2024, 2, 29), date(2024, 3, 3)),
        ("monthly last | weekly FRI", date(2024, 5, 31), date(2024, 6, 7)),
    ],
)
def test_a_period_by_name(name, before, after):
    calendar = get_calendar(name)
    assert calendar.times(calendar.numbers(pl.Series([before])) + 1).to_list() == [after]
    assert get_calendar(calendar.name) == calendar


@pytest.mark.parametrize("name", ["weekly", "monthly 30", "quarterly 15", "yearly last XNYSE", "biweekly 2024-13-01"])
def test_a_period_that_is_spelled_otherwise_is_refused_with_the_spelling(name):
    with pytest.raises(ValueError, match=r"spelled like 'weekly FRI'.* got '" + name):
        get_calendar(name)


def test_each_series_of_a_panel_has_its_own_calendar():
    """Once, a month-end series next to a daily one was forecast for tomorrow, a share next to a coin for Saturday."""
    until = date(2024, 3, 1)
    panel = pl.concat(
        [
            *(series(f"share{k}", sessions("weekdays", 300 + k, until)) for k in range(3)),
            series("coin", sessions("24/7", 300, until)),
            series("rate", sessions("monthly last", 80, until)),
            series("stock", sessions("weekly FRI", 90, until)),
            series("new", sessions("weekdays", 3, until)),
        ]
    )
    calendar = PanelCalendar.of(panel)
    names = {name: calendar.calendar_of(name).name for name in panel["series_id"].unique()}
    assert names == {
        **dict.fromkeys(["share0", "share1", "share2", "new"], "weekdays"),
        "coin": "24/7", "rate": "monthly last", "stock": "weekly FRI",
    }  # fmt: skip
    assert PanelCalendar.described(calendar.describe()) == calendar
    again = PanelCalendar.described(calendar.describe())
    assert (again.inferred, again.default_inferred) == ({"coin", "rate", "stock"}, True)


def test_a_series_that_is_met_later_has_the_calendar_that_its_rows_show():
    until = date(2024, 3, 1)
    shares = series("a", sessions("weekdays", 300, until))
    calendar = PanelCalendar.of(shares)
    assert calendar.meeting(shares) is calendar
    rate = series("b", sessions("monthly last", 40, until))
    assert calendar.meeting(pl.concat([shares, rate])).calendar_of("b").name == "monthly last"
    named = PanelCalendar.of(shares, "weekdays")
    with pytest.warns(UserWarning, match=r"those of 'b' look like 'monthly last': .* Name their calendar in a column"):
        assert named.meeting(rate) == named


def test_a_row_that_is_not_a_session_is_left_out_or_moved_and_named():
    days = [*sessions("weekdays", 100, date(2024, 3, 1)), date(2024, 2, 3)]
    panel = check_panel(series("a", pl.Series(days)))
    calendar = PanelCalendar.of(panel)
    with pytest.warns(UserWarning, match=r"calendar 'weekdays', found 1 row that is not: 'a' at 2024-02-03; 1 left"):
        settled, kept = settle(panel, calendar)
    assert settled["time"].to_list() == days[:-1]
    assert panel["time"].gather(kept).to_list() == days[:-1]
    fridays = sessions("weekly FRI", 40, date(2024, 3, 1)).to_list()
    early = check_panel(series("a", pl.Series([*fridays[:-1], date(2024, 2, 29)])))
    with pytest.warns(UserWarning, match=r"'a' at 2024-02-29 \(moved to 2024-03-01\)"):
        assert settle(early, PanelCalendar.of(early))[0]["time"].to_list() == fridays
    named = PanelCalendar.of(panel, "weekdays")
    assert settle(panel, named)[0].equals(panel)  # where the calendar was named, such a row is an error
    with pytest.raises(ValueError, match="must be a session of the calendar 'weekdays', found '2024-02-03'"):
        named.numbers(panel)


def test_what_contradicts_and_what_strays_does_not_depend_on_how_many_rows_are_looked_at_at_a_time(monkeypatch):
    days = sessions("weekdays", 300, date(2024, 3, 1)).to_list()
    fridays = sessions("weekly FRI", 60, date(2024, 3, 1)).to_list()
    of_series = {"a": days, "b": fridays, "c": [*days, date(2024, 2, 3)], "d": days, "e": fridays, "f": days[40:]}
    panel = check_panel(pl.concat([series(name, pl.Series(times)) for name, times in of_series.items()]))
    usual = PanelCalendar(get_calendar("weekdays"), default_inferred=True)

    def found():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            calendar = usual.meeting(panel)
            return calendar, *settle(panel, calendar)

    calendar, settled, kept = found()
    assert set(calendar.own) == {"b", "e"}
    assert len(kept) == len(settled) == len(panel) - 1
    monkeypatch.setattr("tidecast.features.calendars.odd_series.BLOCK", 350)
    monkeypatch.setattr("tidecast.features.stray_rows.BLOCK", 7)
    in_blocks = found()
    assert in_blocks[0] == calendar
    assert in_blocks[1].equals(settled)
    assert np.array_equal(in_blocks[2], kept)


def test_windows_leave_such_a_row_out_too():
    days = sessions("weekdays", 100, date(2024, 3, 1))
    panel = series("a", days)
    odd = pl.concat([panel, panel.tail(1).with_columns(time=date(2024, 2, 3))])
    with pytest.warns(UserWarning, match="1 left out"):
        found = make_windows(odd, lookback=5, horizon=1)
    assert np.array_equal(found.y, make_windows(panel, lookback=5, horizon=1).y)


def test_doubt_is_said_with_the_argument_to_set():
    sundays = series("a", sessions("daily SUN-THU", 100, date(2024, 3, 1)))
    with pytest.warns(UserWarning, match=r"its days are SUN-THU: .* Name the calendar: PanelSchema\(calendar=...\)"):
        PanelCalendar.of(sundays)
    four = series("a", pl.Series([date(2024, month, 1) for month in (1, 2, 3, 4)]))
    with pytest.warns(UserWarning, match="the dates fit 'monthly first weekday'"):
        PanelCalendar.of(four)
    generator = np.random.default_rng(0)
    seldom = sessions("weekdays", 1000, date(2024, 3, 1)).filter(pl.Series(generator.random(1000) < 0.1))
    with pytest.warns(UserWarning, match=r"only \d+% of its sessions have a row"):
        assert PanelCalendar.of(series("a", seldom)).name == "weekdays"
    coin = sessions("24/7", 400, date(2024, 3, 1))
    begun = coin.filter((coin.dt.weekday() <= 5) | (coin > date(2024, 1, 1)))
    with pytest.warns(UserWarning, match="SAT has a row in 8 of 57 weeks"):
        assert PanelCalendar.of(series("a", begun)).name == "24/7"  # and no row is lost


def test_what_is_inferred_says_how_well_it_fits():
    times = sessions("weekdays", 100, date(2024, 3, 1)).to_list()
    (found,) = infer_panel(series("a", pl.Series([*times[:50], *times[51:], date(2024, 2, 3)]).sort()))
    assert found.describe() == (
        "weekdays for 1 series ('a'), 99% of 100 sessions have a row, 1 of 100 rows is not a session"
    )
    assert found.doubt() == ""


def bars(first_clock, last_clock, zone="UTC", n_days=100, step="1h"):
    days = sessions("weekdays", n_days, date(2024, 3, 1))
    clock = pl.datetime_range(
        datetime(2024, 1, 1, *first_clock), datetime(2024, 1, 1, *last_clock), step, eager=True
    ) - datetime(2024, 1, 1)
    return pl.concat([days.cast(pl.Datetime("us")) + bar for bar in clock]).sort().dt.replace_time_zone(zone)


def test_bars_of_a_part_of_the_day_have_a_calendar_of_that_part():
    """Once, hourly bars from 9:30 to 15:30 were forecast for the evening and for Saturday."""
    found = infer_calendar(bars((9, 30), (15, 30)).dt.replace_time_zone(None))
    assert found.name == "every 1h 09:30-15:30 MON-FRI"
    assert get_calendar(found.name) == found
    friday = pl.Series([datetime(2024, 3, 1, 15, 30)])
    assert found.times(found.numbers(friday) + np.arange(1, 3)).to_list() == [
        datetime(2024, 3, 4, 9, 30), datetime(2024, 3, 4, 10, 30),
    ]  # fmt: skip
    assert found.at_or_before(datetime(2024, 3, 3, 12)) == friday[0]
    assert found.closes(friday).dt.replace_time_zone(None).to_list() == friday.to_list()


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_bars_with_a_lunch_break_have_a_calendar_with_one(zone):
    """Once, they were refused because 'every 30m' would have a row in 15 % of its sessions."""
    there = pl.concat([bars((9, 30), (11, 30), zone, step="30m"), bars((13, 0), (15, 0), zone, step="30m")]).sort()
    times = there.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    found = infer_calendar(times)
    hours = "09:30-11:30,13:00-15:00" if zone == "UTC" else "00:30-02:30,04:00-06:00"
    assert found.name == f"every 30m {hours} MON-FRI"
    assert get_calendar(found.name) == found
    assert np.array_equal(np.diff(found.numbers(times)), np.ones(len(times) - 1))
    in_tokyo = get_calendar("every 30m 09:30-11:30,13:00-15:00 MON-FRI in Asia/Tokyo")
    assert in_tokyo.is_session(times).all() == (zone == "Asia/Tokyo")
    with pytest.raises(ValueError, match="with a lunch break, 'every 30m 09:30-11:30,13:00-15:00 MON-FRI', got"):
        get_calendar("every 30m 09:30-11:30,11:00-15:00 MON-FRI")


def test_bars_follow_the_clocks_of_their_market():
    new_york = bars((9, 30), (15, 30), "America/New_York", n_days=300).dt.convert_time_zone("UTC")
    found = infer_calendar(new_york.dt.replace_time_zone(None))
    assert found.name == "every 1h 09:30-15:30 MON-FRI in America/New_York"
    march = found.times(found.number_at(datetime(2024, 3, 9)) + np.arange(2))  # clocks changed on the 10th
    assert march.to_list() == [datetime(2024, 3, 8, 20, 30), datetime(2024, 3, 11, 13, 30)]


def test_bars_from_sunday_evening_to_friday_evening_pause_on_the_weekend():
    week = sessions("every 1h SUN 22:00-FRI 21:00", 700, datetime(2024, 3, 6))
    assert infer_calendar(week).name == "every 1h SUN 22:00-FRI 21:00"
    assert infer_calendar(bars((0, 0), (23, 0)).dt.replace_time_zone(None)).name == "every 1h 00:00-23:00 MON-FRI"


def test_bars_that_show_no_calendar_ask_for_one():
    uneven = pl.concat([bars((10, 30), (15, 30)), bars((16, 0), (16, 0))]).sort().dt.replace_time_zone(None)
    with pytest.raises(ValueError, match=r"100 of 700 rows are not a session .* such as 'XNYS 1h'.* series is 'a'"):
        PanelCalendar.of(series("a", uneven))
    with pytest.raises(ValueError, match="must fill the time"):
        get_calendar("every 1h 09:30-15:00 MON-FRI")
    with pytest.raises(ValueError, match="A zone must be a name such as 'America/New_York', got 'Mars'"):
        get_calendar("every 1h 09:30-15:30 MON-FRI in Mars")


def test_closes_with_a_clock_time_are_days():
    """Once, weekday closes stamped 16:00 were forecast for Saturday at 16:00."""
    days = sessions("weekdays", 60, date(2024, 3, 1))
    at_four = days.cast(pl.Datetime("us")) + timedelta(hours=16)
    for schema in (None, PanelSchema(calendar="weekdays")):
        assert check_panel(series("a", at_four), schema)["time"].to_list() == days.to_list()
    midnights = days.cast(pl.Datetime("us"))
    new_york = midnights.dt.replace_time_zone("America/New_York").dt.convert_time_zone("UTC")
    assert check_panel(series("a", new_york))["time"].to_list() == days.to_list()
    tokyo = midnights.dt.replace_time_zone("Asia/Tokyo").dt.convert_time_zone("UTC")
    assert check_panel(series("a", tokyo), PanelSchema(calendar="XTKS"))["time"].to_list() == days.to_list()
    with pytest.raises(ValueError, match=r"found 12 of 60 rows on Sundays for 'a': .* Name|Give dates; or give"):
        check_panel(series("a", tokyo))
    utc = midnights.dt.replace_time_zone("UTC")  # midnights keep the date that they are written with
    assert check_panel(series("a", utc), PanelSchema(calendar="XNYS"))["time"].to_list() == days.to_list()
    twice = pl.concat([series("a", at_four), series("a", at_four + timedelta(hours=1))])
    with pytest.raises(ValueError, match=r"one row a day in the calendar 'XNYS', 'a' has 2 on .* 'XNYS 1h'"):
        check_panel(twice, PanelSchema(calendar="XNYS"))


def test_a_day_that_is_delivered_twice_is_named_and_not_taken_for_bars():
    """Once, the message was "Bars must lie within the day to infer a calendar, found steps of 1d"."""
    days = sessions("weekdays", 60, date(2024, 3, 1))
    closes = days.cast(pl.Datetime("us")) + timedelta(hours=16)
    for again in (closes[-1] + timedelta(minutes=5), days.cast(pl.Datetime("us"))[-1]):
        panel = series("a", pl.concat([closes, pl.Series([again])]))
        with pytest.raises(ValueError, match=r"must have one row a day, 'a' has 2 on 2024-03-01 \('.*16:0.*Keep one"):
            check_panel(panel)
    with pytest.raises(ValueError, match="series_id and time must be unique, found twice: 1 row"):
        check_panel(series("a", pl.concat([closes, closes[-1:]])))


@pytest.mark.parametrize("name", ["weekdays", "XNYS"])
def test_midnights_of_another_zone_are_refused_in_a_named_calendar_too(name):
    """Once, the advice was to drop the 60 rows that are not a session."""
    days = sessions("XTKS", 60, date(2024, 3, 1)).cast(pl.Datetime("us"))
    tokyo = series("a", days.dt.replace_time_zone("Asia/Tokyo").dt.convert_time_zone("UTC"))
    with pytest.raises(ValueError, match=r"rows on Sundays for 'a', like midnights .*calendar='XTKS'"):
        check_panel(tokyo, PanelSchema(calendar=name))
    assert check_panel(tokyo, PanelSchema(calendar="daily SUN-THU"))["time"].dt.weekday().is_in([7]).any()


def test_bars_stay_bars():
    hours = bars((9, 30), (15, 30)).dt.replace_time_zone(None)
    assert check_panel(series("a", hours))["time"].to_list() == hours.to_list()
    one_a_day = pl.concat([series("a", hours), series("b", hours.filter(hours.dt.hour() == 9))])
    with pytest.raises(ValueError, match=r"must lie within the day .* in a panel of their own.* The series is 'b'"):
        PanelCalendar.of(check_panel(one_a_day))


def test_an_exchange_that_cannot_be_built_is_refused_with_the_right_advice():
    """Once, 'weekdays' was advised for Tel Aviv, which traded on Sundays up to 2025."""
    with pytest.raises(
        ValueError, match=r"'XTAE'.*Name the days of the week on which it trades, such as 'daily SUN-THU'"
    ):
        get_calendar("XTAE")


def test_many_series_of_one_pattern_are_inferred_together():
    days = sessions("weekdays", 300, date(2024, 3, 1))
    months = sessions("monthly last", 60, date(2024, 3, 1))
    panel = pl.concat(
        [series(f"d{k}", days.slice(k)) for k in range(40)] + [series(f"m{k}", months.slice(k)) for k in range(40)]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calendar = PanelCalendar.of(panel)
    assert {one.name for one in calendar.calendars} == {"weekdays", "monthly last"}
    assert (calendar.calendar_of("m39").name, calendar.calendar_of("d39").name) == ("monthly last", "weekdays")


@pytest.mark.parametrize("block", [1, 70, 1000])
def test_blocks_of_series_and_the_order_of_rows_change_nothing(block, monkeypatch):
    names = [*DAYS, "weekly FRI", "monthly last", "weekdays", *DAYS]
    times = [drawn(name, seed, n_rows=3 + 20 * seed) for seed, name in enumerate(names)]
    panel = pl.concat(series(f"S{seed}", own) for seed, own in enumerate(times))
    panel = panel.sort("series_id", "time")
    wanted = infer_panel(panel)
    monkeypatch.setattr("tidecast.features.calendars.inference.BLOCK", block)
    missing = pl.DataFrame(
        {"series_id": ["S1", None], "time": [None, date(2012, 1, 7)]}, schema_overrides={"time": pl.Date}
    )
    disordered = pl.concat([missing, panel.select("series_id", "time")]).sample(fraction=1.0, shuffle=True, seed=block)
    for rows in (panel, disordered, pl.concat([disordered, disordered.head(9)])):
        assert infer_panel(rows) == wanted
