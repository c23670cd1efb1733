"""Tables whose columns are named after a field and a series, in two header rows or in pandas' tuples."""

from datetime import date

import pandas as pd
import polars as pl
import pytest

from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.sources import open_source
from tidecast.flows.warehouse.warehouse import Warehouse

DAYS = [date(2024, 1, 2), date(2024, 1, 3)]
ROWS = [
    ("AAPL", DAYS[0], 185.6, 9.0), ("AAPL", DAYS[1], 184.2, 8.0), ("7203.T", DAYS[0], 2590.0, 7.0),
]  # fmt: skip


def table(names=("Price", "Ticker"), fields_first=True, index="Date", zone=None):
    """A download of yfinance for two symbols; Tokyo has no session on the second day."""
    prices = pd.DataFrame(
        {("Close", "AAPL"): [185.6, 184.2], ("Close", "7203.T"): [2590.0, None], ("Volume", "AAPL"): [9.0, 8.0],
         ("Volume", "7203.T"): [7.0, None]},
        index=pd.DatetimeIndex(pd.to_datetime(DAYS), name=index),
    )  # fmt: skip
    prices.columns = prices.columns.set_names(names)
    if zone:
        prices.index = prices.index.tz_localize("UTC")
    return prices if fields_first else prices.swaplevel(axis=1)


def written(tmp_path, frame, how):
    if how == "parquet":
        frame.to_parquet(tmp_path / "prices.parquet")
        return tmp_path / "prices.parquet"
    path = tmp_path / "prices.csv"
    if how == "csv":
        frame.to_csv(path)
    elif how == "csv without index":
        frame.reset_index().to_csv(path, index=False)
    return path


@pytest.mark.parametrize("how", ["csv", "csv without index", "parquet"])
@pytest.mark.parametrize("zone", [None, "UTC"])
@pytest.mark.parametrize("fields_first", [True, False])
@pytest.mark.parametrize("names", [("Price", "Ticker"), (None, None)])
def test_a_download_of_several_symbols_is_read_with_field_and_series(tmp_path, how, zone, fields_first, names):
    """Once: "column 'Close' is there twice", or "names of two levels"."""
    source = written(tmp_path, table(names, fields_first, zone=zone), how)
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    settings = Settings(source=str(source), time="Date", target="Close", calendar="weekdays")
    found = ingest(warehouse, settings)
    assert (found.rows_in, found.quarantined) == (3, {})
    assert sorted(warehouse.prices().select("series_id", "time", "close", "volume").rows()) == sorted(ROWS)
    assert any("the series 'AAPL', '7203.T'" in message for message in found.messages)


@pytest.mark.parametrize(
    "text",
    [
        ",Close,,Volume,\nDate,AAPL,MSFT,AAPL,MSFT\n2024-01-02,1,2,3,4\n",  # as a spreadsheet merges cells
        "Price,Close,Close,Volume,Volume\nTicker,AAPL,MSFT,AAPL,MSFT\nDate,,,,\n2024-01-02,1,2,3,4\n",
        "Date,Close,Close,Volume,Volume\n,AAPL,MSFT,AAPL,MSFT\n2024-01-02,1,2,3,4\n",
        "Price;Close;Close;Volume;Volume\nTicker;AAPL;MSFT;AAPL;MSFT\nDate;;;;\n2024-01-02;1;2;3;4\n",
    ],
)
def test_header_rows_are_read_however_they_are_laid_out(tmp_path, text):
    (tmp_path / "p.csv").write_text(text)
    fetched = open_source(Settings(source=str(tmp_path / "p.csv"), time="Date", target="Close")).fetch()
    assert fetched.rows.select("series_id", "close", "volume").rows() == [("AAPL", "1", "3"), ("MSFT", "2", "4")]


def test_one_symbol_with_three_header_rows_is_one_series(tmp_path):
    text = "Price,Close,Volume\nTicker,AAPL,AAPL\nDate,,\n2024-01-02,1,2\n2024-01-03,2,3\n"
    (tmp_path / "p.csv").write_text(text)
    fetched = open_source(
        Settings(source=str(tmp_path / "p.csv"), series_id="Ticker", time="Date", target="Close")
    ).fetch()
    assert fetched.rows["series_id"].to_list() == ["AAPL", "AAPL"]
    assert fetched.rows["close"].to_list() == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "settings", "series"),
    [
        ("Date,AAPL,MSFT\nunits,USD,USD\n2024-01-02,1,2\n", {"time": "Date"}, 3),
        ("time,series_id,close\nyesterday,A,x\n2024-01-02,A,1\n", {}, 2),
        ("series_id,time,close\nA,2024-01-02,1\nB,2024-01-02,2\n", {}, 2),
        ("time,A,B\n2024-01-02,,\n2024-01-03,1,2\n", {}, 2),
    ],
)
def test_a_first_row_that_is_not_a_header_stays_a_row(tmp_path, text, settings, series):
    (tmp_path / "p.csv").write_text(text)
    assert open_source(Settings(source=str(tmp_path / "p.csv"), **settings)).fetch().rows.height >= series - 1


def test_two_levels_without_a_field_are_one_clear_error(tmp_path):
    pl.DataFrame({"time": DAYS, "('x', 'A')": [1.0, 2.0]}).write_parquet(tmp_path / "p.parquet")
    with pytest.raises(SourceError, match="one must be a field such as Close, found"):
        open_source(Settings(source=str(tmp_path / "p.parquet"))).fetch()


def test_a_target_of_another_name_is_found_among_the_levels(tmp_path):
    pl.DataFrame({"time": DAYS, "('settle', 'A')": [1.0, 2.0]}).write_parquet(tmp_path / "p.parquet")
    fetched = open_source(Settings(source=str(tmp_path / "p.parquet"), target="settle")).fetch()
    assert fetched.rows["close"].to_list() == [1.0, 2.0]
    with pytest.raises(SourceError, match=r"'close' \(target\), found 'time', 'series_id', 'settle'"):
        open_source(Settings(source=str(tmp_path / "p.parquet"), covariates="settle")).fetch()
