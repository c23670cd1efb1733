"""Future covariates with vintages: each row holds what was known when its session closed."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from tidecast.features import PanelSchema, get_calendar, to_polars, with_future

DAILY = PanelSchema(calendar="24/7")


def days(n, first=date(2024, 7, 1)):
    return [first + timedelta(days=k) for k in range(n)]


def panel(n=6, series=("a",), **columns):
    rows = {"series_id": [one for one in series for _ in range(n)], "time": days(n) * len(series)}
    return pl.DataFrame(rows | {"close": 1.0} | columns)


def ahead(frame, name="load"):
    return [
        [None if value is None or np.isnan(value) else value for value in row]
        for row in frame[f"{name}_ahead"].to_list()
    ]


def test_a_revised_value_is_seen_from_the_day_on_which_it_was_revised():
    table = pl.DataFrame(
        {
            "time": [date(2024, 7, 4)] * 2,
            "load": [50.0, 55.0],
            "available_at": [date(2024, 7, 2), date(2024, 7, 3)],
        }
    )
    found = with_future(panel(4), table, 2, DAILY)
    assert ahead(found) == [[None, None], [None, 50.0], [55.0, None], [None, None]]
    assert found["load"].to_list() == [None, None, None, 55.0]


def slow(rows, table, horizon, calendar, closes):
    """One row after the other, one step after the other."""
    found = []
    for row in rows.iter_rows(named=True):
        number = calendar.numbers(pl.Series([row["time"]]))[0]
        instant, values = closes[row["time"]], []
        for step in range(horizon + 1):
            session = calendar.times(np.array([number + step]))[0]
            best = None
            for rank, key in enumerate(("series_id", "market", None)):
                known = [
                    (other["available_at"], position, other["load"])
                    for position, other in enumerate(table.iter_rows(named=True))
                    if other["time"] == session
                    and other["available_at"] <= instant
                    and other["load"] is not None
                    and _is_for(other, row, rank, key)
                ]
                if known:
                    best = max(known)[2]
                    break
            values.append(best)
        found.append(values)
    return found


def _is_for(other, row, rank, key):
    named = [name for name in ("series_id", "market") if other[name] is not None]
    if rank == 2:
        return not named
    return bool(named) and named[0] == key and other[key] == row[key]


@pytest.mark.parametrize("name", ["XNYS", "24/7", "TARGET"])
@pytest.mark.parametrize("seed", range(3))
def test_it_equals_a_slow_search_through_all_rows(name, seed):
    rng, calendar, horizon = np.random.default_rng(seed), get_calendar(name), 3
    sessions = [day for day in days(40) if calendar.is_session(pl.Series([day]))[0]]
    keys = [(series, day) for series in ("a", "b", "c") for day in sessions if rng.random() < 0.9]
    rows = pl.DataFrame(keys, schema=["series_id", "time"], orient="row").with_columns(
        market=pl.col("series_id").replace_strict({"a": "x", "b": "x", "c": "y"})
    )
    n = 400
    table = pl.DataFrame(
        {
            "series_id": rng.choice(["a", "b", None, None], n).tolist(),
            "market": rng.choice(["x", "y", None], n).tolist(),
            "time": rng.choice(np.array(days(45), dtype=object), n).tolist(),
            "load": [None if rng.random() < 0.1 else float(value) for value in rng.normal(size=n)],
            "available_at": [
                datetime(2024, 6, 25, tzinfo=UTC) + timedelta(minutes=int(value))
                for value in rng.integers(0, 60_000, n)
            ],
        },
        schema_overrides={"series_id": pl.String, "market": pl.String},
    )
    found = with_future(rows, table, horizon, PanelSchema(calendar=name), group="market")
    closes = dict(zip(sessions, calendar.closes(pl.Series(sessions)).to_list(), strict=True))
    expected = slow(rows, table, horizon, calendar, closes)
    assert [[own, *list_] for own, list_ in zip(found["load"].to_list(), ahead(found), strict=True)] == expected
    shuffled = with_future(
        rows, table.sample(fraction=1.0, shuffle=True, seed=seed), horizon, PanelSchema(calendar=name), "market"
    )
    assert shuffled.equals(found), "the order of rows does not matter"


def test_what_is_revised_after_a_row_never_changes_it():
    rng = np.random.default_rng(0)
    rows = panel(30, ("a", "b"))
    times = [day for day in days(36) for _ in range(3)]
    instants = [datetime(2024, 7, 1) + timedelta(hours=int(hour)) for hour in rng.integers(-100, 800, len(times))]
    table = pl.DataFrame({"time": times, "load": rng.normal(size=len(times)), "available_at": instants})
    before = with_future(rows, table, 4, DAILY)
    for cut in days(30)[5::7]:
        closing = datetime.combine(cut, datetime.min.time()) + timedelta(days=1)
        later = pl.col("available_at") > closing
        altered = table.with_columns(pl.when(later).then(pl.col("load") * 100).otherwise("load").alias("load"))
        for other in (altered, table.filter(~later)):
            found = with_future(rows, other, 4, DAILY)
            seen = pl.col("time") <= cut
            assert found.filter(seen).equals(before.filter(seen), null_equal=True)
            assert not found.equals(before)


def test_a_date_counts_from_its_own_session_and_an_instant_from_the_close_that_it_precedes():
    rows = panel(3).with_columns(pl.Series("time", [date(2024, 7, 1), date(2024, 7, 2), date(2024, 7, 3)]))

    def known(available_at, calendar="XNYS"):
        table = pl.DataFrame({"time": [date(2024, 7, 5)], "load": [1.0], "available_at": [available_at]})
        lists = ahead(with_future(rows, table, 4, PanelSchema(calendar=calendar)))
        return [any(value is not None for value in list_) for list_ in lists]

    new_york = ZoneInfo("America/New_York")
    assert known(date(2024, 7, 2)) == [False, True, True]
    assert known(datetime(2024, 7, 2)) == [False, True, True], "a midnight is a date"
    assert known(datetime(2024, 7, 2, tzinfo=new_york)) == [False, True, True], "in any zone"
    assert known(datetime(2024, 7, 2, 16, 0, tzinfo=new_york)) == [False, True, True], "the very close"
    assert known(datetime(2024, 7, 2, 16, 1, tzinfo=new_york)) == [False, False, True]
    assert known(datetime(2024, 7, 3, 13, 30, tzinfo=new_york)) == [False, False, False], "the 3rd is a half day"
    assert known(datetime(2024, 7, 2, 20, 0)) == [False, True, True], "without a zone it is UTC"
    assert known(datetime(2024, 7, 2, 20, 1)) == [False, False, True]
    assert known(date(2024, 7, 2), "24/7") == [False, True, True], "whose sessions close at midnight"
    assert known(None) == [True, True, True]


def test_without_available_at_a_value_was_always_known():
    table = pl.DataFrame({"time": days(4), "holiday": [False, True, False, True]})
    found = with_future(panel(3), table, 1, DAILY)
    assert ahead(found, "holiday") == [[1.0], [0.0], [1.0]]


def test_a_series_own_row_counts_before_its_group_s_and_that_before_one_for_all():
    table = pl.DataFrame(
        {
            "series_id": [None, None, "a"],
            "market": [None, "x", None],
            "time": [date(2024, 7, 2)] * 3,
            "load": [1.0, 2.0, 3.0],
        }
    )
    rows = panel(1, ("a", "b", "c")).with_columns(market=pl.Series(["x", "x", None], dtype=pl.String))
    assert ahead(with_future(rows, table, 1, DAILY, "market")) == [[3.0], [2.0], [1.0]]


def test_a_missing_value_says_nothing_so_the_one_before_stays():
    table = pl.DataFrame(
        {"time": [date(2024, 7, 2)] * 2, "load": [1.0, None], "wind": [5.0, 6.0],
         "available_at": [date(2024, 6, 1), date(2024, 7, 1)]}
    )  # fmt: skip
    found = with_future(panel(1), table, 1, DAILY)
    assert ahead(found) == [[1.0]]
    assert ahead(found, "wind") == [[6.0]]


def test_two_values_from_one_instant_are_refused_and_equal_ones_are_not():
    table = pl.DataFrame({"time": [date(2024, 7, 2)] * 2, "load": [1.0, 2.0]})
    with pytest.raises(
        ValueError, match=r"future: A session must have one value of 'load' from each instant, found 1.0, 2.0"
    ):
        with_future(panel(), table, 1, DAILY)
    assert ahead(with_future(panel(1), table.with_columns(load=1.0), 1, DAILY)) == [[1.0]]


def test_the_panel_keeps_its_rows_their_order_and_its_own_values_where_the_table_has_none():
    rows = panel(3, load=[7.0, 8.0, None]).reverse()
    table = pl.DataFrame({"time": [date(2024, 7, 2), date(2024, 7, 3)], "load": [9.0, 6.0]})
    found = with_future(rows, table, 1, DAILY)
    assert found.select(rows.columns).equals(rows.with_columns(load=pl.Series([6.0, 8.0, 7.0])))
    assert ahead(found) == [[None], [6.0], [9.0]]
    more = with_future(found, pl.DataFrame({"time": [date(2024, 7, 4)], "load": [4.0]}), 1, DAILY)
    assert ahead(more) == [[4.0], [6.0], [9.0]], "a second table adds to the first"


def test_pandas_gives_pandas():
    table = pl.DataFrame({"time": [date(2024, 7, 2)], "load": [9.0]})
    found = with_future(panel(2).to_pandas(), table.to_pandas(), 2, DAILY)
    assert type(found).__name__ == "DataFrame"
    assert next(iter(found["load_ahead"][0])) == 9.0
    assert ahead(to_polars(found)) == [[9.0, None], [None, None]]


def test_bars_are_looked_up_by_their_instants():
    times = [datetime(2024, 7, 1, 22), datetime(2024, 7, 1, 23), datetime(2024, 7, 2, 0)]
    rows = pl.DataFrame({"series_id": "a", "time": times, "close": 1.0})
    table = {"time": [datetime(2024, 7, 2, 0)] * 2, "load": [1.0, 2.0]}
    bars = PanelSchema(calendar="every 1h")
    known = [datetime(2024, 7, 1, 22), datetime(2024, 7, 1, 22, 30)]
    assert ahead(with_future(rows, pl.DataFrame(table | {"available_at": known}), 2, bars))[:2] == [
        [None, 1.0],
        [2.0, None],
    ]
    with pytest.raises(ValueError, match="'available_at' must hold times for bars"):
        with_future(rows, pl.DataFrame(table | {"available_at": [date(2024, 7, 1)] * 2}), 2, bars)


def test_rows_of_other_series_and_of_holidays_are_left_out_but_not_all_of_them():
    table = pl.DataFrame({"series_id": ["a", "z"], "time": [date(2024, 7, 2), date(2024, 7, 2)], "load": [1.0, 2.0]})
    assert ahead(with_future(panel(1), table, 1, DAILY)) == [[1.0]]
    with pytest.raises(ValueError, match="future: A row must be for a series of the panel, found 'z' in the table"):
        with_future(panel(1), table.filter(series_id="z"), 1, DAILY)
    with pytest.raises(
        ValueError, match="Rows must be for sessions of the panel's calendar 'XNYS', found '2024-07-04'"
    ):
        with_future(panel(1), table.with_columns(time=date(2024, 7, 4)), 1, PanelSchema(calendar="XNYS"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"time": ["2024-07-02"]}, "'time' must hold dates or datetimes, got String"),
        ({"time": [None]}, "'time' must be known in every row"),
        ({"load": ["much"]}, "must have a column with numbers"),
        ({"load": [float("inf")]}, "'load' must be finite"),
        ({"available_at": ["yesterday"]}, "'available_at' must hold dates or datetimes, got String"),
    ],
)
def test_an_impossible_table_is_refused_by_column(change, words):
    table = pl.DataFrame({"time": [date(2024, 7, 2)], "load": [1.0]} | change)
    with pytest.raises(ValueError, match=f"future: .*{words}"):
        with_future(panel(), table, 1, DAILY)


def test_the_calendar_of_a_series_may_be_its_group():
    """Once, the column `calendar` met a working column of the same name."""
    rows = panel(2, ("a", "b")).with_columns(calendar=pl.Series(["24/7", "24/7", "weekdays", "weekdays"]))
    table = pl.DataFrame({"calendar": ["24/7", None], "time": [date(2024, 7, 2)] * 2, "load": [1.0, 2.0]})
    assert ahead(with_future(rows, table, 1, group="calendar")) == [[1.0], [None], [2.0], [None]]


def test_a_series_in_two_groups_is_refused():
    rows = panel(2).with_columns(market=pl.Series(["x", "y"]))
    with pytest.raises(ValueError, match="future: Each series must be in one group"):
        with_future(rows, pl.DataFrame({"time": [date(2024, 7, 2)], "load": [1.0]}), 1, DAILY, "market")


def test_one_instant_once_made_all_midnights_known_a_session_earlier():
    day = pl.DataFrame({"time": days(6)[3:4], "load": [1.0], "available_at": [datetime(2024, 7, 3)]})
    later = pl.DataFrame({"time": days(9)[8:], "load": [2.0], "available_at": [datetime(2024, 7, 6, 14)]})
    alone = with_future(panel(4), day, 2, DAILY)
    assert ahead(alone) == [[None, None], [None, None], [1.0, None], [None, None]]
    assert with_future(panel(4), pl.concat([day, later]), 2, DAILY).equals(alone)


def test_one_session_with_a_time_of_day_once_moved_all_others():
    new_york = PanelSchema(calendar="XNYS")
    rows = pl.DataFrame({"series_id": "a", "time": [date(2024, 7, 1), date(2024, 7, 2)], "close": 1.0})
    table = pl.DataFrame({"time": [datetime(2024, 7, 2, tzinfo=UTC)], "load": [1.0]})
    alone = with_future(rows, table, 1, new_york)
    assert ahead(alone) == [[1.0], [None]]
    later = pl.DataFrame({"time": [datetime(2024, 7, 9, 15, tzinfo=UTC)], "load": [2.0]})
    assert with_future(rows, pl.concat([table, later]), 1, new_york).equals(alone)
