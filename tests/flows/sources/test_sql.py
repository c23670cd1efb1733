"""Prices in a database, a real PostgreSQL and SQLite: types, batches, watermark, restarts, errors."""

import sqlite3
import sys
import threading
from datetime import date
from math import inf, nan

import polars as pl
import pytest

from tests.flows.postgres import PASSWORD
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SettingsError, SourceError
from tidecast.flows.io import retrying
from tidecast.flows.io.databases import split_table
from tidecast.flows.parsing.values import dates
from tidecast.flows.sources import open_source, sql
from tidecast.flows.workspace.load_settings import load_settings

COLUMNS = {"series_id": "symbol", "time": "day", "target": "price"}
TABLE = "CREATE TABLE quotes (symbol text, day date, price numeric(12, 4), volume bigint, note text)"
SLOW = "postgresql://prices:${PRICES_PASSWORD}@127.0.0.1:{port}/prices?options=-c%20statement_timeout%3D50"
ROWS = (
    "INSERT INTO quotes VALUES ('A', '2024-01-02', 1.5, 7, 'x'), ('A', '2024-01-03', NULL, 8, 'y'), "
    "('B', '2024-01-03', 0.1, NULL, 'z')"
)


def source_of(postgres, **settings):
    return open_source(Settings(**{"source": postgres.address, "table": "quotes", **COLUMNS, **settings}))


def test_a_table_comes_with_its_types_and_only_with_the_columns_that_are_of_use(postgres):
    postgres.execute(TABLE, ROWS)
    rows = source_of(postgres).fetch().rows.sort("series_id", "time")
    assert rows.rows() == [
        ("A", date(2024, 1, 2), 1.5, 7),
        ("A", date(2024, 1, 3), None, 8),
        ("B", date(2024, 1, 3), 0.1, None),
    ]
    assert rows.schema == {"series_id": pl.String, "time": pl.Date, "close": pl.Float64, "volume": pl.Int64}


def test_a_numeric_that_is_not_finite_is_read_as_it_is_and_checked_by_the_rules(postgres):
    postgres.execute(
        "CREATE TABLE quotes (symbol text, day date, price numeric)",
        "INSERT INTO quotes VALUES ('A', '2024-01-02', 1.5), ('A', '2024-01-03', 'NaN'), ('A', '2024-01-04', 'inf')",
    )
    assert source_of(postgres).fetch().rows["close"].to_list() == pytest.approx([1.5, nan, inf], nan_ok=True)


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ("quotes", (None, "quotes")), ("main.quotes", ("main", "quotes")), ("db.dbo.quotes", ("db.dbo", "quotes")),
        ('"Eod.1"', (None, "Eod.1")), ('Markt Daten."Kurse.EOD"', ("Markt Daten", "Kurse.EOD")),
        ('"a ""b""".c', ('a "b"', "c")),
    ],
)  # fmt: skip
def test_a_table_is_a_name_in_a_schema_and_a_quoted_dot_is_a_dot(table, parts):
    assert split_table(table) == parts


def test_a_view_in_a_schema_of_its_own_and_a_query_with_colons_and_percents_are_read(postgres):
    postgres.execute(TABLE, ROWS, "CREATE SCHEMA feed", "CREATE VIEW feed.latest AS SELECT * FROM quotes")
    assert source_of(postgres, table="feed.latest").fetch().rows.height == 3
    query = "SELECT symbol, day, price::float8 FROM quotes WHERE note LIKE 'x%' AND note <> ':no' AND '12:30' <> note; "
    assert source_of(postgres, table=None, query=query).fetch().rows.rows() == [("A", date(2024, 1, 2), 1.5)]


def test_a_wide_table_and_one_of_a_single_series_are_read_as_such(postgres):
    postgres.execute("CREATE TABLE wide (day date, aapl float8, msft float8)")
    postgres.execute("INSERT INTO wide VALUES ('2024-01-02', 1, 2), ('2024-01-03', NULL, 3)")
    settings = {"source": postgres.address, "table": "wide", "time": "day"}
    wide = open_source(Settings(**settings)).fetch()
    assert (wide.layout, wide.rows["series_id"].to_list()) == ("wide", ["aapl", "msft", "msft"])
    single = open_source(Settings(**settings, target="aapl")).fetch()
    assert single.rows["series_id"].unique().to_list() == ["wide"]


def test_many_rows_are_read_in_batches(postgres, monkeypatch):
    monkeypatch.setattr(sql, "BATCH", 5_000)
    postgres.execute(
        "CREATE TABLE quotes (symbol text, day date, price float8)",
        "INSERT INTO quotes SELECT 's' || s, date '2020-01-01' + d, s + d "
        "FROM generate_series(1, 100) s, generate_series(0, 999) d",
    )
    rows = source_of(postgres).fetch().rows
    assert (rows.height, rows["series_id"].n_unique(), rows["close"].sum()) == (100_000, 100, 55_000_000)
    assert rows.estimated_size() < sql.BATCH * 1000


def test_rows_from_a_session_on_come_and_those_known_since_that_were_corrected_late(postgres):
    postgres.execute(
        "CREATE TABLE quotes (symbol text, day date, price float8, updated_at timestamptz)",
        "INSERT INTO quotes SELECT 'A', date '2024-01-01' + d, d, date '2024-01-01' + d FROM generate_series(0, 99) d",
        "UPDATE quotes SET price = -1, updated_at = '2024-03-30' WHERE day = '2024-01-05'",
    )
    plain = source_of(postgres).fetch(date(2024, 3, 25)).rows
    assert plain["time"].min() == date(2024, 3, 25)
    corrected = source_of(postgres, known_at="updated_at").fetch(date(2024, 3, 25)).rows
    assert corrected.filter(pl.col("close") == -1)["time"].to_list() == [date(2024, 1, 5)]
    assert corrected.filter(pl.col("time") >= date(2024, 3, 25)).height == plain.height
    assert corrected.height < 20
    assert corrected["known_at"].dtype.time_zone is not None


@pytest.mark.parametrize(
    ("kind", "least"),
    [("date", 10), ("timestamp", 11), ("timestamptz", 11), ("text", 11), ("int", 10), ("float8", 100)],
)
def test_the_lower_bound_is_asked_in_the_columns_own_type_and_never_loses_a_row(postgres, kind, least):
    day = "date '2024-01-01' + d"
    value = f"to_char({day}, 'YYYYMMDD')::{kind}" if kind in ("int", "float8") else f"({day})::{kind}"
    postgres.execute(
        f"CREATE TABLE quotes AS SELECT 'A' AS symbol, {value} AS day, d AS price FROM generate_series(0, 99) d"
    )
    assert source_of(postgres).fetch(date(2024, 3, 31)).rows.height == least


def test_moments_are_dated_in_the_markets_zone_and_else_as_the_database_shows_them(postgres):
    postgres.execute(
        "CREATE TABLE quotes (symbol text, day timestamptz, price float8, local timestamp)",
        "INSERT INTO quotes VALUES ('A', '2024-01-02 23:30+00', 1, '2024-01-02 23:30')",
        "INSERT INTO quotes VALUES ('A', '2024-07-02 22:30+00', 1, '2024-07-02 22:30')",
    )
    times = source_of(postgres).fetch().rows["time"]
    assert dates(times, "Asia/Tokyo")[0].to_list() == [date(2024, 1, 3), date(2024, 7, 3)]
    assert dates(times, "America/New_York")[0].to_list() == [date(2024, 1, 2), date(2024, 7, 2)]
    local = source_of(postgres, time="local").fetch().rows["time"]
    assert dates(local, "Asia/Tokyo")[0].to_list() == [date(2024, 1, 2), date(2024, 7, 2)]
    postgres.execute("ALTER ROLE prices SET timezone = 'Europe/Berlin'")
    try:
        shown = source_of(postgres).fetch().rows["time"]
        assert dates(shown, None)[0].to_list() == [date(2024, 1, 3), date(2024, 7, 3)]
        assert dates(shown, "America/New_York")[0].to_list() == [date(2024, 1, 2), date(2024, 7, 2)]
    finally:
        postgres.execute("ALTER ROLE prices RESET timezone")


def test_a_restart_of_the_server_in_the_middle_of_a_read_is_survived(postgres, monkeypatch):
    postgres.execute(
        "CREATE TABLE quotes AS SELECT 'A' AS symbol, date '2000-01-01' + d AS day, d::float8 AS price "
        "FROM generate_series(0, 19999) d"
    )
    monkeypatch.setattr(sql, "BATCH", 1000)
    frames, restarts = [], []
    read = sql._frame

    def interrupted(names, rows):
        frames.append(len(rows))
        if len(frames) == 5:
            postgres.stop()
            restarts.append(threading.Timer(0.3, postgres.start))
            restarts[0].start()
        return read(names, rows)

    monkeypatch.setattr(sql, "_frame", interrupted)
    rows = source_of(postgres).fetch().rows
    restarts[0].join()
    assert rows["close"].sort().to_list() == [float(day) for day in range(20_000)]
    assert len(frames) > 21 + 4


def test_a_server_that_stays_away_is_given_up_after_some_time(postgres, monkeypatch):
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.001)
    address = postgres.address.replace(str(postgres.port), "1")
    with pytest.raises(SourceError, match=r"must be readable, but the database says: .*refused.* Check host and port"):
        source_of(postgres, source=address).fetch()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": "quote"}, r"has no 'quote', only 'quotes'\. Did you mean 'quotes'\?"),
        ({"table": "zzz"}, r"has no 'zzz', only 'quotes'\. A table of another schema is written SCHEMA\.TABLE"),
        ({"table": None}, r"must be named with --table, .*; .* has 'quotes'\."),
        ({"target": "prise"}, r"quotes must have a column 'prise' \(target\).*Did you mean 'price'\?"),
        ({"known_at": "updated"}, r"must have a column 'updated' \(known_at\).*Name it with --known-at"),
        ({"query": "SELECT 1"}, "Only one of table and query may be set"),
        ({"table": None, "query": "SELEC 1"}, "the database says: syntax error at or near"),
        ({"source": "postgresql://nobody:${X}@127.0.0.1:{port}/prices"}, "authentication failed.*Check user and pass"),
        ({"source": "postgresql://prices:${X}@127.0.0.1:{port}/prices"}, "authentication failed.*Check user and pass"),
        ({"source": "postgresql://prices:${PRICES_PASSWORD}@127.0.0.1:{port}/nope"}, "Check the database's name"),
        ({"source": "postgresql://prices:${PRICES_PASSWORD}@no.invalid:{port}/x"}, r"Check the host\."),
        (
            {"source": "postgresql://prices:${PRICES_PASSWORD}@127.0.0.1:{port}/prices?sslmode=require"},
            "server does not support SSL, but SSL was required",
        ),
        (
            {"table": None, "query": "SELECT symbol, day, price, pg_sleep(9) FROM quotes", "source": SLOW},
            r"statement timeout\. Raise the timeout",
        ),
        ({"table": None, "query": "SELECT 'A' AS symbol, date 'infinity' AS day, 1 AS price"}, "Leave such rows out"),
        ({"source": "postgresql://prices:${NOT_SET}@127.0.0.1/x"}, "needs the environment variable NOT_SET"),
        ({"source": "postgresql://host:port/x"}, "must be a database's address like postgresql://USER"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error_without_the_password(postgres, monkeypatch, change, message):
    postgres.execute(TABLE, ROWS)
    monkeypatch.setenv("X", "wr0ng-passw0rd")
    change = {name: value and value.replace("{port}", str(postgres.port)) for name, value in change.items()}
    with pytest.raises((SourceError, SettingsError), match=message) as error:
        source_of(postgres, **change).fetch()
    assert "\n" not in str(error.value)
    assert "wr0ng-passw0rd" not in str(error.value)
    assert PASSWORD not in str(error.value)


def test_an_empty_table_is_one_clear_error_and_nothing_new_is_none(postgres):
    postgres.execute(TABLE)
    with pytest.raises(SourceError, match="must have at least one row, got none"):
        source_of(postgres).fetch()
    postgres.execute(ROWS)
    assert source_of(postgres).fetch(date(2030, 1, 1)).rows.is_empty()


def test_a_missing_driver_is_one_line_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for scheme in ("postgresql", "postgres"):
        with pytest.raises(SourceError, match=r"needs the driver psycopg, .*pip install 'tidecast\[postgres\]'"):
            open_source(Settings(source=f"{scheme}://host/db", table="t")).fetch()
    with pytest.raises(SourceError, match="needs the driver oracledb, which is not installed"):
        open_source(Settings(source="oracle+oracledb://host/db", table="t")).fetch()


@pytest.fixture
def sqlite(tmp_path):
    """A SQLite database with dates as text, as SQLite has them."""
    with sqlite3.connect(tmp_path / "p.db") as connection:
        connection.execute("CREATE TABLE quotes (symbol TEXT, day TEXT, price)")
        rows = [("A", f"2024-01-{day:02}", float(day)) for day in range(1, 30)]
        connection.executemany("INSERT INTO quotes VALUES (?, ?, ?)", [*rows, ("A", "2024-01-30", "n/a")])
    connection.close()
    return tmp_path / "p.db"


def test_sqlite_is_read_and_a_value_of_another_type_than_its_column_is_kept(sqlite):
    source = open_source(Settings(source=f"sqlite:///{sqlite}", table="quotes", **COLUMNS))
    rows = source.fetch(date(2024, 1, 28)).rows
    assert rows["time"].to_list() == ["2024-01-27", "2024-01-28", "2024-01-29", "2024-01-30"]
    assert rows["close"].to_list() == ["27.0", "28.0", "29.0", "n/a"]


def test_a_sqlite_file_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(SourceError, match="must be an existing database, but there is no file"):
        open_source(Settings(source=f"sqlite:///{tmp_path}/x.db", table="t")).fetch()
    assert not list(tmp_path.iterdir())


def test_a_relative_sqlite_address_starts_where_the_command_was_called(tmp_path):
    from tidecast.flows.config.state_folder import StateFolder

    settings, _ = load_settings(StateFolder(tmp_path / "home"), {"source": "sqlite:///p.db"}, {}, tmp_path)
    assert settings.source == f"sqlite:///{tmp_path}/p.db"
