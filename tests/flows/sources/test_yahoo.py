"""Yahoo's bars from yfinance 1.7: as quoted again, with dividends, splits and the exchange's calendar."""

import sys
from datetime import date

import numpy as np
import pandas as pd
import pytest

from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.io import retrying
from tidecast.flows.sources import YahooSource, open_source

FIELDS = ["Open", "High", "Low", "Close", "Adj Close", "Volume", "Dividends", "Stock Splits"]


def frame(**bars):
    """A table of yfinance.download(…, group_by="ticker", actions=True): symbols above fields, days below."""
    days = pd.DatetimeIndex(["2024-01-02", "2024-01-03", "2024-01-04"], name="Date")
    columns = pd.MultiIndex.from_product([bars, FIELDS], names=["Ticker", "Price"])
    return pd.DataFrame(np.hstack([np.array(rows, dtype=float) for rows in bars.values()]), days, columns)


# quoted 400, 404, then 102 after a split of 4 for 1; a dividend of 2 before it. Yahoo shows all in today's shares.
APPLE = [
    [100.0, 100.5, 99.5, 100.0, 98.0, 4000.0, 0.0, 0.0],
    [100.0, 101.5, 100.0, 101.0, 100.0, 8000.0, 0.5, 0.0],
    [101.0, 103.0, 101.0, 102.0, 102.0, 12000.0, 0.0, 4.0],
]
LONDON = [[1, 1, 1, 1.1000000238418579, 1, 10, 0, 0], [np.nan] * 8, [1, 1, 1, 1.2000000476837158, 1, 10, 0, 0]]


def test_what_yahoo_restated_after_a_split_is_as_it_was_quoted():
    asked = {}

    def download(symbols, **options):
        asked.update(options, symbols=symbols)
        return frame(AAPL=APPLE, **{"VOD.L": LONDON})

    fetched = YahooSource(Settings(source="yahoo://aapl, VOD.L"), download).fetch(date(2024, 1, 2))
    assert (asked["symbols"], asked["start"], asked["auto_adjust"]) == (["AAPL", "VOD.L"], "2024-01-02", False)
    rows = fetched.rows
    apple = rows.filter(series_id="AAPL")
    assert apple["time"].to_list() == [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4)]
    assert apple["close"].to_list() == [400.0, 404.0, 102.0]
    assert apple["open"].to_list() == [400.0, 400.0, 101.0]
    assert apple["volume"].to_list() == [1000.0, 2000.0, 12000.0]
    assert apple["dividend"].to_list() == [0.0, 2.0, 0.0]
    assert apple["split_ratio"].to_list() == [1.0, 1.0, 4.0]
    assert apple["calendar"].unique().to_list() == ["XNYS"]
    london = rows.filter(series_id="VOD.L")
    assert london["close"].to_list() == [1.1, 1.2]  # the single precision of Yahoo's numbers is no digit of a price
    assert london["calendar"].unique().to_list() == ["XLON"]


def test_symbols_that_yahoo_does_not_know_are_named_and_nothing_at_all_is_an_error():
    nothing = [[np.nan] * 8] * 3
    some = YahooSource(Settings(source="yahoo://AAPL,ZZZZ"), lambda symbols, **o: frame(AAPL=APPLE, ZZZZ=nothing))
    assert some.fetch().messages == ("Yahoo has nothing on 'ZZZZ'.",)
    none = YahooSource(Settings(source="yahoo://ZZZZ"), lambda symbols, **o: pd.DataFrame())
    with pytest.raises(SourceError, match=r"Yahoo must have prices of .* found none for 'ZZZZ'"):
        none.fetch()
    assert none.fetch(date(2024, 1, 2)).rows.is_empty()
    with pytest.raises(SourceError, match="must name symbols"):
        YahooSource(Settings(source="yahoo://")).fetch()


def test_only_what_may_pass_is_asked_again(monkeypatch):
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.001)
    calls = []

    class YFRateLimitError(Exception):
        pass

    def download(symbols, **options):
        calls.append(symbols)
        if len(calls) < 3:
            raise YFRateLimitError("Too Many Requests")
        if len(calls) == 4:
            raise KeyError("changed its shape")
        return frame(AAPL=APPLE)

    source = YahooSource(Settings(source="yahoo://AAPL"), download)
    assert source.fetch().rows.height == 3
    assert len(calls) == 3
    with pytest.raises(SourceError, match=r"Yahoo must answer for .* got: 'changed its shape'"):
        source.fetch()
    assert len(calls) == 4


def test_a_missing_extra_is_one_line_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "yfinance", None)
    with pytest.raises(SourceError, match=r"needs the package yfinance.*pip install 'tidecast\[yahoo\]'"):
        open_source(Settings(source="yahoo://AAPL")).fetch()
