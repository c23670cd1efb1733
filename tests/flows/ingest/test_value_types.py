"""Rows that a source may return: zones, pandas frames, mixed ids, second rows of a session; libraries that fail."""

import warnings
from datetime import date, timedelta, timezone

import dateutil.tz
import pandas as pd
import polars as pl
import pytest
import pytz

from tidecast.features.panel import PanelSchema
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.sources import Fetched, open_source
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting import GRUForecaster

DAYS = [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4)]


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(str(tmp_path / "warehouse"))


@pytest.fixture
def hand_over(monkeypatch, warehouse):
    """Ingest what a user's source returns, a frame, or raises."""

    class Stall:
        name = "a stall"

    def take(rows, **settings):
        def fetch(since=None):
            if isinstance(rows, BaseException):
                raise rows
            return Fetched(rows)

        Stall.fetch = staticmethod(fetch)
        for module in ("tidecast.flows.ingest.ingest", "tidecast.flows.sources.prefetch"):
            monkeypatch.setattr(f"{module}.open_source", lambda settings: Stall())
        return ingest(warehouse, Settings(source="a stall", **{"calendar": "weekdays", **settings}))

    return take


# zones


@pytest.mark.parametrize(
    ("zone", "seen"),
    [
        (timezone(timedelta(hours=5, minutes=30)), DAYS),
        (timezone(-timedelta(hours=3, minutes=30)), DAYS),
        (timezone(timedelta(hours=5, minutes=45)), DAYS),
        (timezone(timedelta(hours=9)), DAYS),
        (dateutil.tz.tzoffset(None, 19800), DAYS),
        (dateutil.tz.gettz("Europe/Berlin"), DAYS),
        (pytz.timezone("Europe/Berlin"), DAYS),
    ],
)
@pytest.mark.parametrize("kind", ["file", "frame"])
def test_times_of_any_zone_of_pandas_are_read(tmp_path, hand_over, warehouse, zone, seen, kind):
    """Once, +05:30 in Parquet was a panic of polars that passed every handler."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pandas thinks of such zones, while the frame is made
        times = pd.to_datetime(DAYS).tz_localize(zone) + pd.Timedelta(hours=16)
        frame = pd.DataFrame({"series_id": "A", "time": times, "close": [1.0, 2.0, 3.0]})
        frame.to_parquet(tmp_path / "p.parquet")
    if kind == "frame":
        hand_over(frame)
    else:
        ingest(warehouse, Settings(source=str(tmp_path / "p.parquet"), calendar="weekdays"))
    assert warehouse.prices()["time"].to_list() == seen


def test_an_offset_is_converted_to_the_zone_of_the_market(tmp_path, warehouse):
    zone = timezone(timedelta(hours=5, minutes=30))
    times = pd.to_datetime(["2024-01-03 01:00", "2024-01-04 02:00"]).tz_localize(zone)
    pd.DataFrame({"series_id": "A", "time": times, "close": [1.0, 2.0]}).to_parquet(tmp_path / "p.parquet")
    ingest(warehouse, Settings(source=str(tmp_path / "p.parquet"), calendar="XNYS"))
    assert warehouse.prices()["time"].to_list() == DAYS[:2]


# frames


def test_a_pandas_frame_with_an_index_and_mixed_ids_is_taken(hand_over, warehouse):
    """Once, mixed ids were a raw ArrowInvalid."""
    frame = pd.DataFrame({"series_id": ["A", 7, 7], "time": pd.to_datetime(DAYS), "close": [1, 2.5, None]})
    frame["sector"] = pd.Series(["bank", "shop", "shop"], dtype="category")
    found = hand_over(frame.set_index("time"), static="sector")
    assert found.quarantined == {"missing_price": 1}
    assert warehouse.prices().select("series_id", "close", "sector").rows() == [("7", 2.5, "shop"), ("A", 1.0, "bank")]


def test_objects_in_a_polars_frame_are_taken_as_text(hand_over, warehouse):
    ids = pl.Series("series_id", ["A", 7, None], dtype=pl.Object)
    found = hand_over(pl.DataFrame({"time": DAYS, "close": [1.0, 2.0, 3.0]}).with_columns(ids))
    assert found.quarantined == {"no_series_id": 1}
    assert warehouse.prices()["series_id"].to_list() == ["7", "A"]


def test_lists_next_to_numbers_are_read_one_by_one(tmp_path, warehouse):
    """Once, a wide table, or one of two files, with a column of lists stopped with polars' InvalidOperationError."""
    frame = pl.DataFrame({"time": DAYS, "A": [1.0, 2.0, 3.0], "B": [[1.0], None, [2.0, 3.0]]})
    frame.write_parquet(tmp_path / "p.parquet")
    found = ingest(warehouse, Settings(source=str(tmp_path / "p.parquet"), layout="wide", calendar="weekdays"))
    assert (found.stored, found.quarantined) == (3, {"unreadable_price": 2})
    files = tmp_path / "two"
    files.mkdir()
    pl.DataFrame({"series_id": "C", "time": DAYS[:1], "close": [1.0]}).write_parquet(files / "1.parquet")
    pl.DataFrame({"series_id": "C", "time": DAYS[1:2], "close": [[1.0]]}).write_parquet(files / "2.parquet")
    found = ingest(Warehouse(str(tmp_path / "other")), Settings(source=f"{files}/*.parquet", calendar="weekdays"))
    assert (found.stored, found.quarantined) == (1, {"unreadable_price": 1})


def test_text_that_a_parquet_file_holds_as_bytes_is_text(tmp_path, warehouse):
    frame = pl.DataFrame({"series_id": [b"A", b"B", b"\xff"], "time": DAYS, "close": [1.0, 2.0, 3.0]})
    frame[:2].write_parquet(tmp_path / "p.parquet")
    ingest(warehouse, Settings(source=str(tmp_path / "p.parquet"), calendar="weekdays"))
    assert warehouse.prices()["series_id"].to_list() == ["A", "B"]
    frame.write_parquet(tmp_path / "p.parquet")
    with pytest.raises(SourceError, match="Names must be text or whole numbers, got Binary"):
        ingest(warehouse, Settings(source=str(tmp_path / "p.parquet"), calendar="weekdays"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([1, 2], "must be a polars or pandas DataFrame, got a list"),
        (pd.DataFrame([[1, 2, 3]], columns=["time", "time", "close"]), "must have different names, found 'time' twice"),
        (KeyError("prices"), "a stall must be readable .* gave KeyError: 'prices'"),
        (pl.exceptions.PanicException("index out of bounds"), "gave PanicException: index out of bounds"),
    ],
)
def test_whatever_a_source_hands_over_or_raises_is_one_clear_error(hand_over, rows, message):
    with pytest.raises(SourceError, match=message) as error:
        hand_over(rows)
    assert "\n" not in str(error.value)


def test_an_interruption_is_not_taken_for_an_error_of_the_source(hand_over):
    with pytest.raises(KeyboardInterrupt):
        hand_over(KeyboardInterrupt())


def test_two_columns_for_one_value_are_refused(tmp_path):
    (tmp_path / "p.csv").write_text("series_id,time,close,Volume,volume\nA,2024-01-02,1,2,3\n")
    with pytest.raises(SourceError, match="'Volume' and 'volume' both mean volume"):
        open_source(Settings(source=str(tmp_path / "p.csv"))).fetch()


# a session that comes twice


def sessions(count):
    days = [date(2023, 1, 2) + timedelta(days=7 * week + day) for week in range(100) for day in range(5)][:count]
    return pl.DataFrame(
        {"series_id": "A", "time": [str(day) for day in days], "close": [1.0 + n for n in range(count)]}
    )


def test_one_time_stamp_among_days_does_not_make_a_panel_intraday(hand_over):
    """Once, one row among 401 did, and the daily flow refused them all."""
    rows = sessions(400)
    stamped = rows[-1:].with_columns(pl.col("time") + " 16:00", pl.col("close") + 1)
    found = hand_over(pl.concat([rows, stamped]))
    assert (found.stored, found.quarantined) == (399, {"conflicting_duplicate": 2})


def test_bars_within_the_day_are_refused(hand_over):
    rows = pl.concat([sessions(20).with_columns(pl.col("time") + f" {hour}:00") for hour in range(10, 16)])
    with pytest.raises(SourceError, match="a stall is intraday: 'A' has 6 times on 2023-01-02"):
        hand_over(rows)


def test_the_last_row_of_a_session_corrects_other_columns_of_an_equal_price(hand_over, warehouse):
    """Once, the newest day was lost where a feed gave it twice, with another volume."""
    rows = sessions(10).with_columns(volume=pl.lit(5.0))
    found = hand_over(pl.concat([rows, rows[-1:].with_columns(volume=pl.lit(7.0)), rows[:1]]))
    assert (found.stored, found.quarantined) == (10, {"duplicate": 2})
    assert warehouse.prices()["volume"].to_list() == [5.0] * 9 + [7.0]
    again = hand_over(rows[-1:].with_columns(close=pl.lit(99.0)), reread_sessions=1)
    assert again.corrected == 1


# future covariates


def test_nan_in_the_row_of_a_future_covariate_is_a_missing_value(random_walks):
    panel = random_walks(1, 60).with_columns(holiday=pl.lit(0.0))
    schema = PanelSchema(future=("holiday",), calendar="weekdays")
    model = GRUForecaster(horizon=2, lookback=8, max_epochs=1, hidden_size=4, schema=schema, random_state=0).fit(panel)
    ahead = pl.date_range(panel["time"].max() + timedelta(days=1), panel["time"].max() + timedelta(days=5), eager=True)
    ahead = ahead.filter(ahead.dt.weekday() <= 5)[:2]
    with pytest.warns(UserWarning, match="found a missing value"):
        tables = [
            model.predict(future=pl.DataFrame({"series_id": "A", "time": ahead, "holiday": [1.0, value]}))
            for value in (None, float("nan"))
        ]
    assert tables[0].equals(tables[1])
    assert tables[0]["forecast"].is_finite().all()


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "Europe/Berlin"])
def test_midnights_of_another_zone_in_utc_are_refused_where_no_market_is_named(hand_over, zone):
    """Once, each was dated a day early, and the week was Sunday to Thursday."""
    days = pl.date_range(date(2024, 1, 1), date(2024, 3, 29), eager=True)
    days = days.filter(days.dt.weekday() <= 5).cast(pl.Datetime("us"))
    instants = days.dt.replace_time_zone(zone).dt.convert_time_zone("UTC")
    rows = pl.DataFrame({"series_id": "A", "time": instants, "close": 100.0 + pl.arange(0, len(days), eager=True)})
    with pytest.raises(SourceError, match=r"like midnights of another zone\. .* --calendar XTKS"):
        hand_over(rows)
    assert hand_over(rows, calendar="XTKS" if zone == "Asia/Tokyo" else "XFRA").stored > 50
