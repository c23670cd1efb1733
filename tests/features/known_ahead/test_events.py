"""Events known ahead: columns that hold what was known when the row's session closed."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from tidecast.features import PanelSchema, get_calendar, with_events

DAILY = PanelSchema(calendar="24/7")
FURTHEST = 9


def days(n, first=date(2024, 7, 1)):
    return [first + timedelta(days=k) for k in range(n)]


def panel(times, series=("a",)):
    return pl.DataFrame(
        {"series_id": [one for one in series for _ in times], "time": [*times] * len(series), "close": 1.0}
    )


def found_in(rows, events, schema=DAILY, horizon=2, **options):
    return with_events(rows, pl.DataFrame(events), horizon, schema, furthest=FURTHEST, **options)


def test_by_hand():
    events = {"time": [date(2024, 7, 3)], "kind": ["fomc"]}
    found = found_in(panel(days(4)), events)
    assert found["fomc"].to_list() == [0.0, 0.0, 1.0, 0.0]
    assert found["fomc_ahead"].to_list() == [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    assert found["fomc_within_ahead"].to_list() == [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    assert found["sessions_to_fomc"].to_list() == [2.0, 1.0, FURTHEST, FURTHEST]
    assert found["sessions_since_fomc"].to_list() == [FURTHEST, FURTHEST, 0.0, 1.0]


def test_a_moved_event_is_seen_where_it_was_thought_to_be():
    events = {
        "event_id": ["e", "e", "e"], "kind": "earnings",
        "time": [date(2024, 7, 3), date(2024, 7, 5), date(2024, 7, 4)],
        "known_at": [date(2024, 6, 1), date(2024, 7, 2), date(2024, 7, 4)],
    }  # fmt: skip
    found = found_in(panel(days(6)), events)
    assert found["sessions_to_earnings"].to_list() == [2.0, 3.0, 2.0, FURTHEST, FURTHEST, FURTHEST]
    assert found["earnings"].to_list() == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    assert found["sessions_since_earnings"].to_list() == [FURTHEST] * 3 + [0.0, 1.0, 2.0]


def test_a_cancelled_event_is_gone_from_the_day_of_its_cancellation():
    events = {
        "kind": "earnings", "time": [date(2024, 7, 4)] * 2, "known_at": [date(2024, 6, 1), date(2024, 7, 2)],
        "cancelled": [False, True],
    }  # fmt: skip
    assert found_in(panel(days(4)), events)["sessions_to_earnings"].to_list() == [3.0, FURTHEST, FURTHEST, FURTHEST]


def test_the_same_event_told_twice_counts_once_and_goes_with_one_cancellation():
    told = {"series_id": ["a", None, None], "kind": "fomc", "time": [date(2024, 7, 3)] * 3}
    events = told | {"known_at": [None, date(2024, 7, 1), date(2024, 7, 2)], "cancelled": [False, False, True]}
    found = found_in(panel(days(2), ("a", "b")), events)
    assert found["sessions_to_fomc"].to_list() == [2.0, 1.0, 2.0, FURTHEST], "the series' own row still stands"


def test_a_row_of_one_series_does_not_cancel_an_event_of_all():
    told = {"series_id": [None, "a"], "kind": "fomc", "time": [date(2024, 7, 3)] * 2, "cancelled": [False, True]}
    for event_id in ({}, {"event_id": "july"}):
        events = told | event_id | {"known_at": [date(2024, 6, 1), date(2024, 6, 2)]}
        found = found_in(panel(days(2), ("a", "b")), events)
        assert found["sessions_to_fomc"].to_list() == [2.0, 1.0, 2.0, 1.0]


def test_an_event_of_a_day_without_trading_counts_for_the_next_session_of_each_series():
    rows = panel([date(2024, 7, 3), date(2024, 7, 5), date(2024, 7, 8)], ("us", "de"))
    rows = rows.with_columns(calendar=pl.Series(["XNYS"] * 3 + ["XETR"] * 3))
    events = {"kind": ["a", "b"], "time": [date(2024, 7, 4), date(2024, 7, 6)]}  # a holiday in the US; a Saturday
    found = found_in(rows, events, PanelSchema())
    assert found["sessions_to_a"].to_list() == [1.0, FURTHEST, FURTHEST, 1.0, FURTHEST, FURTHEST]
    assert found["sessions_since_a"].to_list() == [FURTHEST, 0.0, 1.0, FURTHEST, 1.0, 2.0]
    assert found["sessions_to_b"].to_list() == [2.0, 1.0, FURTHEST, 3.0, 1.0, FURTHEST]


def test_earnings_after_the_close_move_the_next_session():
    rows, new_york = panel([date(2024, 7, 2), date(2024, 7, 3), date(2024, 7, 5)]), ZoneInfo("America/New_York")

    def held(*clock):
        events = {"kind": ["earnings"], "time": [datetime(2024, 7, 3, *clock, tzinfo=new_york)]}
        return found_in(rows, events, PanelSchema(calendar="XNYS"))["earnings"].to_list()

    assert held(8, 0) == [0.0, 1.0, 0.0]
    assert held(13, 0) == [0.0, 1.0, 0.0], "the 3rd closes at 13:00"
    assert held(13, 5) == [0.0, 0.0, 1.0], "and the 4th is a holiday"


def test_an_event_falls_in_the_bar_that_contains_it():
    rows = panel([datetime(2024, 7, 1, hour) for hour in (12, 13, 14, 15)])
    events = {"kind": ["rates", "rates"], "time": [datetime(2024, 7, 1, 12, 15), datetime(2024, 7, 1, 15, 0)]}
    found = found_in(rows, events, PanelSchema(calendar="every 1h"))
    assert found["rates"].to_list() == [0.0, 1.0, 0.0, 1.0]
    with pytest.raises(ValueError, match="events: 'time' must hold times for bars within the day, found dates"):
        found_in(rows, {"kind": ["rates"], "time": [date(2024, 7, 1)]}, PanelSchema(calendar="every 1h"))


def slow(rows, events, calendar, closes, horizon):
    """Row by row: which events are known, and where they lie."""
    found = []
    for series, time in rows.select("series_id", "time").iter_rows():
        here, instant = calendar.numbers(pl.Series([time]))[0], closes[time]
        newest = {}
        for event in events.iter_rows(named=True):
            if event["series_id"] in (None, series) and event["known_at"] <= instant:
                key = (event["series_id"], event["event_id"])
                if key not in newest or event["known_at"] >= newest[key]["known_at"]:
                    newest[key] = event
        at = set()
        for event in newest.values():
            if not event["cancelled"]:
                session = calendar.number_at(event["time"])
                at.add(session + (calendar.times(np.array([session]))[0] < event["time"]) - here)
        within = [any(0 < place <= step for place in at) for step in range(1, horizon + 1)]
        found.append(
            {
                "kind": float(0 in at),
                "kind_ahead": [float(step in at) for step in range(1, horizon + 1)],
                "kind_within_ahead": list(map(float, within)),
                "sessions_to_kind": float(min([place for place in at if place > 0] + [FURTHEST])),
                "sessions_since_kind": float(min([-place for place in at if place <= 0] + [FURTHEST])),
            }
        )
    return found


@pytest.mark.parametrize("name", ["XNYS", "24/7"])
@pytest.mark.parametrize("seed", range(3))
def test_it_equals_a_slow_search_and_nothing_told_later_changes_a_row(name, seed):
    rng, calendar, horizon, n = np.random.default_rng(seed), get_calendar(name), 3, 60
    minutes, begin = rng.integers(0, 70_000, n), datetime(2024, 6, 20, tzinfo=UTC)
    sessions = [day for day in days(40) if calendar.is_session(pl.Series([day]))[0]]
    rows = panel(sessions, ("a", "b"))
    events = pl.DataFrame(
        {
            "series_id": rng.choice(["a", "b", None], n).tolist(), "kind": "kind",
            "event_id": rng.integers(0, 20, n), "time": rng.choice(np.array(days(50), dtype=object), n).tolist(),
            "known_at": [begin + timedelta(minutes=int(minute)) for minute in minutes],
            "cancelled": rng.random(n) < 0.2,
        },
        schema_overrides={"series_id": pl.String},
    ).unique("known_at", maintain_order=True)  # fmt: skip
    closes = dict(zip(sessions, calendar.closes(pl.Series(sessions)).to_list(), strict=True))
    schema = PanelSchema(calendar=name)
    found = found_in(rows, events, schema, horizon)
    expected = slow(rows, events, calendar, closes, horizon)
    assert found.select(*expected[0]).to_dicts() == expected
    cut = sessions[len(sessions) // 2]
    known = found_in(rows, events.filter(pl.col("known_at") <= closes[cut]), schema, horizon, kinds=["kind"])
    seen = pl.col("time") <= cut
    assert known.filter(seen).equals(found.filter(seen))


def test_kinds_that_nobody_has_told_of_have_their_columns_too():
    found = found_in(panel(days(2)), {"kind": ["fomc"], "time": [date(2024, 7, 2)]}, kinds=["fomc", "ecb"])
    assert found["sessions_to_ecb"].to_list() == [FURTHEST, FURTHEST]
    assert found["ecb_ahead"].to_list() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_kind_must_not_be_a_column_of_the_panel():
    with pytest.raises(ValueError, match="events: A kind of event must not be a column of the panel, found 'close'"):
        found_in(panel(days(2)), {"kind": ["close"], "time": [date(2024, 7, 2)]})


def test_pandas_gives_pandas():
    events = pl.DataFrame({"kind": ["fomc"], "time": [date(2024, 7, 2)]}).to_pandas()
    found = with_events(panel(days(2)).to_pandas(), events, 2, DAILY)
    assert found["sessions_to_fomc"].tolist() == [1.0, 63.0]


def test_a_cancellation_in_words_is_refused():
    events = {"kind": ["fomc"], "time": [date(2024, 7, 2)], "cancelled": ["true"]}
    with pytest.raises(ValueError, match=r"events: 'cancelled' must be true or false, got String"):
        found_in(panel(days(2)), events)


def test_one_event_at_two_times_once_counted_where_its_last_row_said():
    meeting = {"event_id": "june", "kind": "rates", "time": [date(2024, 7, 3), date(2024, 7, 4)]}
    with pytest.raises(ValueError, match="one time from each instant, found 'rates' at 2024-07-03 and 2024-07-04"):
        found_in(panel(days(3)), meeting)
    assert found_in(panel(days(3)), meeting | {"event_id": ["1", "2"]})["rates"].to_list() == [0.0, 0.0, 1.0]


def test_kinds_that_differ_in_an_ending_once_failed_in_polars():
    with pytest.raises(ValueError, match="Kinds must differ in more than an ending"):
        found_in(panel(days(3)), {"kind": ["rates", "rates_ahead"], "time": [date(2024, 7, 3)] * 2})


def test_one_instant_once_turned_all_days_of_events_into_instants():
    day = {"kind": "rates", "time": [datetime(2024, 7, 3)], "known_at": [datetime(2024, 7, 2)]}
    further = {"kind": "rates", "time": [datetime(2024, 7, 20, 14)], "known_at": [datetime(2024, 7, 9, 15)]}
    alone = found_in(panel(days(4)), day)
    assert found_in(panel(days(4)), pl.concat([pl.DataFrame(day), pl.DataFrame(further)])).equals(alone)
