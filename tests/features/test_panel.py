"""Checking a panel: what comes back, and one clear error for each thing that can be wrong."""

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tidecast.features import PanelSchema, breaks, check_panel, like, to_polars
from tidecast.features.segments import pauses, series_starts, starts_if_sorted

DAYS = [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4)]


def small(**columns):
    return pl.DataFrame({"series_id": ["a"] * 3, "time": DAYS, "close": [1.0, 2.0, 3.0]} | columns)


def test_a_checked_panel_is_sorted_and_keeps_every_column():
    rows = {"series_id": ["b", "a", "a"], "time": [DAYS[0], DAYS[1], DAYS[0]], "close": [3, 2, 1], "note": list("zyx")}
    given = pl.DataFrame(rows)
    before = given.clone()
    checked = check_panel(given)
    assert checked.to_dict(as_series=False) == {
        "series_id": ["a", "a", "b"],
        "time": [DAYS[0], DAYS[1], DAYS[0]],
        "close": [1.0, 2.0, 3.0],
        "note": ["x", "y", "z"],
    }
    assert given.equals(before)


def test_rows_without_a_target_are_dropped():
    assert check_panel(small(close=[1.0, None, 3.0]))["time"].to_list() == [DAYS[0], DAYS[2]]
    assert check_panel(small(close=[1.0, float("nan"), 3.0])).height == 2


def test_a_pandas_panel_gives_the_same_as_a_polars_one():
    given = small(close=[1.0, None, 3.0])
    assert check_panel(given.to_pandas()).equals(check_panel(given))
    assert like(given, given) is given
    assert like(given, given.to_pandas()).equals(given.to_pandas())


def test_a_pandas_index_plays_no_part():
    given = small().to_pandas()
    given.index = [7, 7, 1]
    assert check_panel(given).equals(check_panel(small()))


@pytest.mark.parametrize("index", ["time", ["series_id", "time"]])
def test_columns_in_a_pandas_index_are_asked_back(index):
    with pytest.raises(ValueError, match=r"'time' must be a column, found in the pandas index. Call .reset_index"):
        check_panel(small().to_pandas().set_index(index))


def test_an_unnamed_index_of_days_and_a_wide_table_are_distinguished():
    wide = small().to_pandas().pivot(index="time", columns="series_id", values="close")
    with pytest.raises(ValueError, match=r"'time' must be a column, found in the pandas index"):
        check_panel(wide.rename_axis(index=None))
    with pytest.raises(ValueError, match=r"a column 'series_id', found 'time', 'a'\. Write panel_from\(frame\)"):
        check_panel(wide.reset_index())


def test_datetimes_at_midnight_are_days():
    midnights = [datetime(2024, 1, day) for day in (2, 3, 4)]
    assert check_panel(small(time=midnights))["time"].to_list() == DAYS


def test_datetimes_within_the_day_stay_datetimes():
    hours = [datetime(2024, 1, 2, hour) for hour in (9, 10, 11)]
    assert check_panel(small(time=hours))["time"].to_list() == hours
    assert check_panel(small(time=hours)).schema["time"] == pl.Datetime("us")


def test_times_with_a_zone_are_read_in_that_zone_and_not_in_utc():
    midnights = pl.Series([datetime(2024, 1, day) for day in (2, 3, 4)]).dt.replace_time_zone("Asia/Tokyo")
    assert check_panel(small(time=midnights))["time"].to_list() == DAYS
    for kind in ("datetime64[us, Asia/Tokyo]", "datetime64[ns, UTC]"):
        pandas = small(time=midnights).to_pandas().astype({"time": kind})
        assert to_polars(pandas)["time"].equals(midnights.alias("time").dt.convert_time_zone(kind[15:-1]))


def test_times_in_utc_are_read_in_the_zone_of_the_market():
    midnights = pl.Series([datetime(2024, 1, day) for day in (2, 3, 4)]).dt.replace_time_zone("America/New_York")
    given = small(time=midnights.dt.convert_time_zone("UTC"))
    assert check_panel(given, PanelSchema(calendar="XNYS"))["time"].to_list() == DAYS
    assert check_panel(given)["time"].to_list() == DAYS  # one row a day: its clock time tells nothing more


def test_series_may_be_numbered_or_categorical():
    assert check_panel(small(series_id=[1, 1, 1])).schema["series_id"] == pl.Int64
    categorical = small(series_id=pl.Series(["a"] * 3, dtype=pl.Categorical))
    assert check_panel(categorical).schema["series_id"] == pl.String


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"close": [1.0, float("inf"), 3.0]}, "'close' must be finite, found infinite: 1 row of 1 series .'a'."),
        ({"close": [1.0, 0.0, -3.0]}, "'close' must be above 0.*2 rows.*'a' at 2024-01-03.*positive=False"),
        ({"close": ["1", "2", "3"]}, r"'close' must hold numbers, got String. Cast it with .cast\(pl.Float64\)"),
        ({"close": ["1", "1,234.5", "2"]}, r"such as '1,234.5'. Take out the separators first: .str.replace_all\(','"),
        ({"close": ["1", "1.234,5", "2"]}, r"Write decimal points first: .str.replace_all\('.', ''.*\(',', '.'"),
        ({"close": ["1", "1,234", "2"]}, r"If the comma separates thousands, .*; if it is a decimal comma, "),
        ({"close": ["1", "12%", "2"]}, r"such as '12%'. Correct or drop such values \(1 of 3\)"),
        ({"close": [True, False, True]}, "'close' must hold numbers, got Boolean"),
        ({"time": ["2024-01-02", "2024-01-03", "2024-01-04"]}, "'time' must hold dates or datetimes, got String"),
        ({"time": [DAYS[0], DAYS[0], DAYS[1]]}, "must be unique, found twice: 1 row of 1 series .'a'., first 'a' at"),
        ({"time": [DAYS[0], None, DAYS[1]]}, "'time' must be known in every row, it is missing in 1"),
        ({"series_id": ["a", None, "a"]}, "'series_id' must be known in every row"),
        ({"series_id": [0.5, 0.5, 0.5]}, "'series_id' must hold text or integers, got Float64"),
    ],
)
def test_what_is_wrong_with_a_panel_is_named(wrong, error):
    with pytest.raises(ValueError, match=error):
        check_panel(small(**wrong))


def test_text_that_holds_separators_is_refused_with_the_line_that_reads_it():
    """Once, .astype(float) was the advice, which fails for thousands separators."""
    prices = pd.Series(["998.5", "1,001.25"])
    frame = pd.DataFrame({"series_id": "a", "time": pd.to_datetime(["2024-01-02", "2024-01-03"]), "close": prices})
    with pytest.raises(ValueError, match="Take out the separators first") as error:
        check_panel(frame)
    line = str(error.value).partition("first: ")[2].removesuffix(".")
    assert eval(f"prices{line}", {"prices": prices}).tolist() == [998.5, 1001.25]


def test_anything_but_a_frame_is_refused_with_what_to_give():
    for given, advice in ((np.zeros((3, 2)), "use a GRURegressor"), ([1], "the columns series_id, time and a target")):
        with pytest.raises(TypeError, match=f"A panel must be .* DataFrame, got {type(given).__name__}. .*{advice}"):
            to_polars(given)


def test_a_missing_column_is_named_with_the_one_probably_meant():
    with pytest.raises(ValueError, match=r"must have a column 'close'.*Did you mean 'Close'\? Rename"):
        check_panel(small().rename({"close": "Close"}))
    with pytest.raises(
        ValueError, match=r"must have a column 'volume', found 'series_id', 'time', 'close'. Rename one"
    ):
        check_panel(small(), PanelSchema(covariates=("volume",)))


def test_an_empty_panel_is_refused():
    with pytest.raises(ValueError, match="at least one row"):
        check_panel(small().clear())


def test_a_panel_without_any_target_is_refused():
    with pytest.raises(ValueError, match="'close' must be known in at least one row"):
        check_panel(small(close=[None, None, None]))


def test_midnights_stay_datetimes_in_a_calendar_of_equal_steps():
    midnights = small(time=[datetime(2024, 1, day) for day in (2, 3, 4)])
    assert check_panel(midnights, PanelSchema(calendar="every 12h")).schema["time"] == pl.Datetime("us")


def test_covariates_are_a_tuple_of_names():
    assert PanelSchema(covariates=["volume"]).covariates == ("volume",)
    with pytest.raises(TypeError, match=r"tuple of names, got 'volume'"):
        PanelSchema(covariates="volume")


def test_a_lazy_panel_is_refused_by_name():
    with pytest.raises(TypeError, match=r"LazyFrame.*collect"):
        to_polars(small().lazy())
    with pytest.raises(TypeError, match="got dict"):
        to_polars({"close": [1.0]})


def test_prices_below_zero_are_fine_when_the_schema_says_so():
    assert check_panel(small(close=[1.0, 0.0, -3.0]), PanelSchema(positive=False)).height == 3


def test_covariates_become_numbers_and_must_be_finite():
    schema = PanelSchema(covariates=("volume",))
    assert check_panel(small(volume=[1, 2, None]), schema)["volume"].to_list() == [1.0, 2.0, None]
    with pytest.raises(ValueError, match="'volume' must be finite"):
        check_panel(small(volume=[1.0, 2.0, float("-inf")]), schema)


def test_a_long_list_of_series_is_shortened():
    many = pl.DataFrame({"series_id": [f"s{k}" for k in range(9)], "time": [DAYS[0]] * 9, "close": [0.0] * 9})
    with pytest.raises(ValueError, match=r"9 rows of 9 series .'s0', 's1', 's2', 's3', 's4' and 4 more."):
        check_panel(many)


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known to polars"])
def test_where_series_begin_and_pause_matches_a_loop_over_rows(known):
    generator = np.random.default_rng(0)
    for _ in range(20):  # series of few rows, some of which begin after the one before has ended
        names = np.sort(generator.integers(0, 8, generator.integers(0, 30)))
        days = np.sort(generator.integers(0, 2000, len(names))) if generator.random() < 0.7 else 9 * names % 50
        time = pl.Series([date(2010, 1, 1) + timedelta(int(day)) for day in days], dtype=pl.Date)
        series = pl.Series([f"s{name}" for name in names], dtype=pl.String)
        frame = pl.DataFrame({"series_id": series.set_sorted() if known else series, "time": time})
        rows = range(len(names))
        assert series_starts(frame).tolist() == [row for row in rows if row == 0 or names[row] != names[row - 1]]
        assert pauses(frame).tolist() == [row for row in rows[1:] if days[row] - days[row - 1] > 100]
        keys = list(zip(names, days, strict=True))
        assert (starts_if_sorted(frame) is not None) == (keys == sorted(set(keys)))


def test_a_pause_of_more_than_a_hundred_days_breaks_a_series():
    days = [date(2024, 1, 1), date(2024, 1, 1) + timedelta(100), date(2024, 1, 1) + timedelta(201)]
    given = small(time=days)
    assert given.select(breaks().over("series_id")).to_series().to_list() == [0, 0, 1]


def test_breaks_match_a_loop_over_rows(untidy_panel):
    rows = check_panel(untidy_panel)
    expected, count = [], 0
    times, series = rows["time"].to_numpy(), rows["series_id"].to_list()
    for row in range(rows.height):
        if row == 0 or series[row] != series[row - 1]:
            count = 0
        elif times[row] - times[row - 1] > np.timedelta64(100, "D"):
            count += 1
        expected.append(count)
    assert rows.select(breaks().over("series_id")).to_series().to_list() == expected
    assert max(expected) == 1
