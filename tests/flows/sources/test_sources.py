"""Users' files, long and wide, and the errors of those that cannot be read."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SettingsError, SourceError
from tidecast.flows.parsing.values import dates, names, numbers
from tidecast.flows.sources import open_source

LONG = {"series_id": "Name", "time": "Date", "target": "Close"}


@pytest.fixture
def fetch(tmp_path):
    """Fetch from a file with this content: fetch(text or frame, "prices.csv", **settings)."""

    def fetch_from(content, name="prices.csv", **settings):
        path = tmp_path / name
        if isinstance(content, pl.DataFrame):
            content.write_parquet(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return open_source(Settings(source=str(path), **settings)).fetch()

    return fetch_from


# what can be read


@pytest.mark.parametrize(("name", "series"), [("ecb", 41), ("eia", 3)])
def test_the_bundled_sources_have_what_a_panel_needs(name, series):
    fetched = open_source(Settings(source=name)).fetch()
    assert fetched.rows.columns == ["series_id", "time", "close"]
    assert fetched.rows["series_id"].n_unique() == series


def test_a_long_csv_is_read_as_text_and_its_own_names_are_stored(fetch):
    fetched = fetch("Name,Date,Close,Volume,Note\nA,2024-01-02,1.50,7,x\n", **LONG)
    assert fetched.rows.rows(named=True) == [
        {"series_id": "A", "time": "2024-01-02", "close": "1.50", "volume": "7"},
    ]
    assert fetched.originals([0]) == [
        '{"Name": "A", "Date": "2024-01-02", "Close": "1.50", "Volume": "7", "Note": "x"}'
    ]
    assert fetched.layout == "long"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_the_dialect_of_a_csv_is_seen_from_its_header(fetch, separator, start):
    text = 'Name,Date,Close\n"A, B",2024-01-02,1.5\r\nC,2024-01-03,2\n'.replace(",", separator)
    rows = fetch(start + text.encode(), **LONG).rows
    assert rows["series_id"].to_list() == [f"A{separator} B", "C"]
    assert rows["close"].to_list() == ["1.5", "2"]


def test_a_wide_file_is_recognised_and_its_empty_cells_are_not_rows(fetch):
    fetched = fetch("Date,AAPL,MSFT\n2024-01-02,1,2\n2024-01-03,,3\n2024-01-04,x,NaN\n", time="Date")
    assert fetched.layout == "wide"
    assert fetched.rows.sort("time", "series_id").rows() == [
        ("AAPL", "2024-01-02", "1"),
        ("MSFT", "2024-01-02", "2"),
        ("MSFT", "2024-01-03", "3"),
        ("AAPL", "2024-01-04", "x"),
    ]
    assert "read as wide, a series per column: 'AAPL', 'MSFT'" in fetched.messages[0]


def test_the_row_numbers_pandas_writes_are_not_series(fetch):
    fetched = fetch(",Date,AAPL,MSFT\n0,2024-01-02,1,2\n", time="Date")
    assert fetched.rows["series_id"].to_list() == ["AAPL", "MSFT"]


def test_wide_names_of_series_are_data_even_if_they_sound_like_columns(fetch):
    fetched = fetch("time,series_id,value,<script>\n2024-01-02,1,2,3\n", layout="wide")
    assert fetched.rows["series_id"].to_list() == ["series_id", "value", "<script>"]


def test_a_file_of_one_series_is_called_like_the_file(fetch):
    fetched = fetch("Date,Open,Close\n2024-01-02,1,2\n2024-01-03,1,2\n", "brent.csv", time="Date", target="Close")
    assert fetched.rows["series_id"].unique().to_list() == ["brent"]
    assert fetched.rows.columns == ["series_id", "time", "close", "open"]
    assert "read as one series, called 'brent'" in fetched.messages[0]


def test_parquet_keeps_its_types_long_and_wide(fetch):
    times = [datetime(2024, 1, 2), datetime(2024, 1, 3)]
    wide = fetch(pl.DataFrame({"time": times, "A": [1, 2], "B": [1.5, None]}), "w.parquet")
    assert wide.rows.schema == {"series_id": pl.String, "time": pl.Datetime("us"), "close": pl.Float64}
    assert wide.rows.height == 3
    long = fetch(pl.DataFrame({"series_id": [1, 2], "time": times, "close": [1, 2]}), "l.parquet")
    assert long.rows["series_id"].to_list() == [1, 2]


def test_a_variable_in_the_path_is_expanded_on_opening(tmp_path):
    (tmp_path / "p.csv").write_text("series_id,time,close\nA,2024-01-02,1\n")
    source = open_source(Settings(source="${PRICES}/p.csv"), {"PRICES": str(tmp_path)})
    assert source.fetch().rows.height == 1
    with pytest.raises(SettingsError, match="needs the environment variable PRICES, which is not set"):
        open_source(Settings(source="${PRICES}/p.csv"), {})


def test_a_path_is_a_name_and_never_a_pattern(tmp_path):
    path = tmp_path / "p[1]*.csv"
    path.write_text("series_id,time,close\nA,2024-01-02,1\n")
    assert open_source(Settings(source=str(path))).fetch().rows.height == 1


# what cannot be read

CSV = "Name,Date,Close\nA,2024-01-02,1\nB,2024-01-02,1\n"


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (CSV, {**LONG, "target": "Clos"}, r"must have a column 'Clos' \(target\), found .*Did you mean 'Close'"),
        (
            CSV,
            {**LONG, "series_id": "name"},
            r"'name' \(series_id\).*Did you mean 'Name'\? Then add --series-id 'Name'",
        ),
        (CSV, {}, r"must have a column 'time', found.*Did you mean 'Date'\? Then add --time 'Date'"),
        (
            "time,\"('Close', 'A')\",\"('Volume', 'A')\"\n2024-01-02,1,9\n",
            {},
            r"must have a column 'close' \(target\), found .time., .series_id., .Close., .Volume.",
        ),
        ("<DATE>,<TIME>,<CLOSE>\n20240102,000000,1\n", {}, r"a column 'time', found.*Did you mean '<DATE>'\?"),
        (CSV, {"time": "Date"}, "text in 'Name', such as 'A'.*add --series-id 'Name' --target 'Close'"),
        (
            "ticker,day,px_open,px_last\nA,2024-01-02,1,1\n",
            {"time": "day"},
            "add --series-id 'ticker' --target 'px_last'",
        ),
        (CSV, {"time": "Date", "target": "Close"}, "its times repeat, .* Then add --series-id 'Name'"),
        (
            "Date,Open,Close\n2024-01-02,1,1\n",
            {"time": "Date"},
            "If it is one series, .*--target 'Close'. .*--series-id",
        ),
        ("Date,A\n2024-01-02,1\n", {"time": "Date"}, "If it is one series, .*--target 'A'.*set TIDECAST_LAYOUT=wide"),
        ("Date;A;B\n2024-01-02;1,5;2,5\n", {"time": "Date"}, "such as '1,5'.*write it with a decimal point"),
        ("Date\n2024-01-02\n", {"time": "Date", "layout": "wide"}, "must have a column per series"),
        ("", {}, "must have at least one row, but the file is empty"),
        ("series_id,time,close\n", {}, "must have at least one row, got none"),
        (
            'series_id,time,close\n"A\nB",1,2\n1,2,3,4\n',
            {},
            "line 4 has 4 values, but the header has 3. Put .* double quotes",
        ),
        ("time,time,close\n1,2,3\n", {}, "column 'time' is there twice"),
        (b"\xff\xfes\x00e\x00", {}, "must be text in UTF-8"),
        (b"series_id,time,close\nM\xfcnchen,2024-01-02,1\n", {}, "must be text in UTF-8.*Save it as UTF-8"),
        (b"PK\x03\x04\0\0", {}, "must be a CSV file as its name says, but cannot be read: it is not text"),
    ],
)
def test_a_file_that_cannot_be_understood_is_one_clear_error(fetch, content, settings, message):
    with pytest.raises(SourceError, match=message) as error:
        fetch(content, **settings)
    assert "\n" not in str(error.value)


def test_quotes_in_a_header_are_read_as_in_any_value(fetch):
    """Once, a series had another name in a wide file than in a long one."""
    wide = fetch('time,"q""uo\'te", b \n2024-01-02,1,2\n').rows
    long = fetch('time,series_id,close\n2024-01-02,"q""uo\'te",1\n').rows
    assert wide["series_id"].to_list() == ["q\"uo'te", "b"]
    assert long["series_id"].to_list() == ["q\"uo'te"]


def test_a_file_that_may_not_be_read_is_one_clear_error(monkeypatch, tmp_path):
    def refuse(*arguments, **settings):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "p.csv").write_text(CSV)
    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(SourceError, match=r"must be readable, but opening it gave: Permission denied\. Check its perm"):
        open_source(Settings(source=str(tmp_path / "p.csv"))).fetch()


@pytest.mark.parametrize("source", ["", " "])
def test_an_empty_name_of_a_source_is_one_clear_error(source):
    with pytest.raises(SourceError, match=r"got nothing\. Name one with --source, or leave --source out"):
        open_source(Settings(source=source))


def test_a_csv_called_parquet_is_one_clear_error(fetch):
    with pytest.raises(SourceError, match="must be a Parquet file as its name says, but cannot be read"):
        fetch("a,b\n1,2\n", "prices.parquet")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("price.csv", r"there is no file .*price\.csv\. Did you mean 'prices\.csv'\?"),
        ("nowhere/x.csv", "there is no file .*Check the path"),
        ("folder", r"folder has no such file\. Check the path"),
        ("prices.xlsx", r"must be CSV \(.*\) or Parquet \(.*\), got 'prices\.xlsx'"),
    ],
)
def test_a_path_that_is_not_a_price_file_is_one_clear_error(tmp_path, source, message):
    (tmp_path / "prices.csv").write_text(CSV)
    (tmp_path / "prices.xlsx").write_text(CSV)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SourceError, match=message):
        open_source(Settings(source=str(tmp_path / source))).fetch()


def test_column_names_for_a_bundled_source_are_refused():
    with pytest.raises(SettingsError, match="time must be left out with the bundled source 'ecb'"):
        open_source(Settings(source="ecb", time="Date"))


# values


def test_dates_are_read_in_iso_and_day_or_month_first_is_never_guessed():
    text = [
        "2024-01-02",
        " 2024/01/02 ",
        "20240102",
        "2024-01-02 23:30",
        "2024-01-02T00:00:00.000",
        "2024-01-02T09:00Z",
    ]
    days, _ = dates(pl.Series(text), None)
    assert days.to_list() == [date(2024, 1, 2)] * len(text)
    wrong = ["31/12/2024", "01-02-2024", "2024-02-30", "2024-1-2", "2024", "", None, "yesterday", "45000"]
    assert dates(pl.Series(wrong), None)[0].to_list() == [None] * len(wrong)
    assert dates(pl.Series([20240102, 7]), None)[0].to_list() == [date(2024, 1, 2), None]


@pytest.mark.parametrize(
    "values",
    [
        pl.Series(["2024-01-02T23:30:00Z", "2024-01-02 18:30-05:00", "2024-01-03T08:30:00+0900"]),
        pl.Series([datetime(2024, 1, 2, 23, 30, tzinfo=UTC)] * 3),
    ],
)
def test_a_time_with_a_zone_is_dated_in_the_markets_zone(values):
    days, clock = dates(values, "Europe/Berlin")
    assert days.to_list() == [date(2024, 1, 3)] * 3
    assert clock.to_list() == [timedelta(minutes=30)] * 3


def test_a_time_with_a_zone_keeps_its_date_without_a_market():
    days, _ = dates(pl.Series(["2024-01-03T00:00:00+01:00", "2024-01-03T00:00:00Z"]), None)
    assert days.to_list() == [date(2024, 1, 3)] * 2


def test_numbers_are_read_with_decimal_points_and_everything_else_is_not_one():
    text = ["1", " 2.50 ", "-1e3", "1,5", "1 00", "1_000", "12%", "abc", "nan", "N/A", "", None, "inf"]
    values, present = numbers(pl.Series(text))
    assert values.to_list() == [1, 2.5, -1000, *[None] * 9, float("inf")]
    assert present.to_list() == [True] * 8 + [False] * 4 + [True]
    assert numbers(pl.Series([1.0, float("nan"), None]))[0].to_list() == [1, None, None]
    assert numbers(pl.Series([True]))[0].to_list() == [None]


def test_a_column_of_durations_is_neither_times_nor_numbers_nor_names():
    """Once, a Parquet file with one was a traceback."""
    values = pl.Series([timedelta(days=1)])
    assert dates(values, None)[0].to_list() == numbers(values)[0].to_list() == [None]
    with pytest.raises(SourceError, match="Names must be text or whole numbers, got Duration"):
        names(values)


def test_a_series_id_is_data_and_whole_numbers_become_text():
    odd = ["<script>", "../x", "a b", "ü", "NaN"]
    assert names(pl.Series(odd)).to_list() == odd
    assert names(pl.Series([7, 8])).to_list() == ["7", "8"]
    assert names(pl.Series([7.0, None])).to_list() == ["7", None]
    assert names(pl.Series(["  ", " a "])).to_list() == [None, " a "]
    assert names(pl.Series(["", "a"], dtype=pl.Categorical)).to_list() == [None, "a"]
    with pytest.raises(SourceError, match="Names must be text or whole numbers"):
        names(pl.Series([[1], [2]]))
