"""Prices from Yahoo Finance through yfinance, an optional package: as quoted, with dividends and splits beside them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from tidecast.features.corporate_actions.adjustment import action_factors
from tidecast.features.corporate_actions.shown_actions import look_for
from tidecast.features.error_text import shorten
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.io.retrying import retried
from tidecast.flows.parsing.fetched import SPLIT_IN_DOUBT, Fetched

SCHEME = "yahoo://"

_CALENDARS = {
    "L": "XLON", "T": "XTKS", "DE": "XETR", "F": "XFRA", "PA": "XPAR", "AS": "XAMS", "BR": "XBRU", "MI": "XMIL",
    "MC": "XMAD", "SW": "XSWX", "ST": "XSTO", "HE": "XHEL", "CO": "XCSE", "OL": "XOSL", "VI": "XWBO", "TO": "XTSE",
    "AX": "XASX", "HK": "XHKG", "SI": "XSES", "KS": "XKRX", "SS": "XSHG", "BO": "XBOM", "SA": "BVMF", "NZ": "XNZE",
}  # fmt: skip
"""Exchange by the ending of a Yahoo symbol."""

_PRICES = {"Open": "open", "High": "high", "Low": "low", "Close": "close"}
_PASSING = ("YFRateLimitError", "ConnectionError", "Timeout", "ConnectTimeout", "ReadTimeout", "RequestException")


@dataclass(frozen=True)
class YahooSource:
    """Daily bars of some symbols.

    Yahoo restates old prices, volumes and dividends after each split. That is undone here, so that a row is what was
    quoted that day and stays it; seven digits are kept, which is what Yahoo's numbers hold. Sometimes Yahoo tells of a
    split and restates none of the older rows, or some: rows whose prices show that they are as quoted stay so, and the
    rule split_not_applied flags them.

    Parameters
    ----------
    settings : Settings
        `source`: ``yahoo://AAPL,MSFT``.
    download : callable or None
        ``yfinance.download``, which None stands for.
    """

    settings: Settings
    download: Callable[..., Any] | None = None

    @property
    def name(self) -> str:
        return self.settings.source

    def fetch(self, since: date | None = None) -> Fetched:
        """Bars from `since` on; None: as far back as Yahoo goes.

        Raises
        ------
        SourceError
            yfinance is not installed, Yahoo does not answer, or knows none of the symbols.
        """
        symbols = list(dict.fromkeys(filter(None, self.name.removeprefix(SCHEME).upper().replace(" ", "").split(","))))
        if not symbols:
            raise SourceError(f"A Yahoo source must name symbols, got {self.name!r}. Write {SCHEME}AAPL,MSFT.")
        download = self.download or _yfinance()
        span = {"period": "max"} if since is None else {"start": since.isoformat()}
        try:
            table = retried(
                lambda: download(
                    symbols, **span, interval="1d", auto_adjust=False, actions=True, group_by="ticker",
                    progress=False, threads=False, multi_level_index=True,
                ),
                self.name,
                lambda error: type(error).__name__ in _PASSING,
            )  # fmt: skip
        except Exception as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise SourceError(f"{self.name} must be answered by Yahoo, got: {why}. Try again later.") from error
        there = set(table.columns.get_level_values(0)) if table is not None and len(table) else set()
        bars = {symbol: _as_quoted(table[symbol], symbol) for symbol in symbols if symbol in there}
        missing = [symbol for symbol in symbols if symbol not in bars or bars[symbol].is_empty()]
        if len(missing) == len(symbols) and since is None:
            raise SourceError(
                f"Yahoo must know a symbol to give its prices, found none for {shorten(missing)}. Check them."
            )
        told = [f"Yahoo has nothing on {shorten(missing)}."] if missing and since is None else []
        rows = pl.concat([*bars.values(), _as_quoted(None, "")])
        if doubted := rows.filter(pl.col(SPLIT_IN_DOUBT))["series_id"].unique().sort().to_list():
            told.append(
                f"Yahoo tells of splits of {shorten(doubted)} and has not restated all older prices. Those that their "
                "own moves show to be as quoted are kept so; the rule split_not_applied flags them."
            )
        return Fetched(rows, messages=tuple(told))


def calendar_of(symbol: str) -> str | None:
    """The sessions of a symbol, as far as its spelling says: an American share, "-USD" (a coin), or ".L" and others."""
    if symbol.endswith("-USD") or symbol.endswith("-EUR"):
        return "24/7"
    if symbol.endswith("=X"):
        return "weekdays"
    name, _, ending = symbol.rpartition(".")
    if name:
        return _CALENDARS.get(ending)
    return None if symbol.startswith("^") or "=" in symbol else "XNYS"


def _as_quoted(table: Any, symbol: str) -> pl.DataFrame:
    """One symbol's rows: each price times the splits that came after it, as it was quoted."""
    columns = {"Date": pl.Date, "Volume": pl.Float64, "Dividends": pl.Float64, "Stock Splits": pl.Float64,
               **dict.fromkeys(_PRICES, pl.Float64)}  # fmt: skip
    frame = pl.DataFrame(schema=columns)
    if table is not None:
        days = pl.Series("Date", [stamp.date() for stamp in table.index], dtype=pl.Date)
        frame = pl.DataFrame(
            {name: days if name == "Date" else _floats(table, name) for name in columns}, schema=columns
        )
    split = pl.when(pl.col("Stock Splits") > 0).then("Stock Splits").otherwise(1.0)
    frame = frame.filter(pl.col("Close").is_not_nan() & pl.col("Close").is_not_null()).sort("Date")
    return (
        frame.with_columns(
            _not_restated(frame.select(series_id=pl.lit(symbol), time="Date", close="Close", split=split))
        )
        .with_columns(later=split.cum_prod(reverse=True) / split * pl.col("restated"))
        .select(
            pl.lit(symbol).alias("series_id"),
            pl.col("Date").alias("time"),
            *((pl.col(own) * pl.col("later")).round_sig_figs(7).alias(name) for own, name in _PRICES.items()),
            (pl.col("Volume") / pl.col("later")).round(0).alias("volume"),
            (pl.col("Dividends") * pl.col("later")).round_sig_figs(7).fill_nan(0.0).alias("dividend"),
            split.alias("split_ratio"),
            pl.lit(calendar_of(symbol), dtype=pl.String).alias("calendar"),
            pl.col(SPLIT_IN_DOUBT),
        )
    )


def _not_restated(bars: pl.DataFrame) -> list[pl.Series]:
    """By what each row must be multiplied to be restated as Yahoo restates, 1 where it is; and the rows in doubt.

    In doubt are the rows on which the prices show the step of a split: where they are restated, there is none.
    """
    told = bars.select("series_id", "time", split_ratio="split", dividend=pl.lit(0.0))
    shown = look_for(bars, told, restated=True)
    factor = action_factors(bars, shown.actions)["price_factor"].alias("restated")
    return [factor, bars["time"].is_in(shown.actions["time"].implode()).alias(SPLIT_IN_DOUBT)]


def _floats(bars: Any, name: str) -> list[float | None]:
    return [float(value) for value in bars[name]] if name in bars.columns else [None] * len(bars)


def _yfinance() -> Callable[..., Any]:
    try:
        import yfinance
    except ImportError:
        raise SourceError(
            f"{SCHEME} needs the package yfinance, which is not installed. "
            "To install it: pip install 'tidecast[yahoo]'."
        ) from None
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)  # what it says is said here, in one line
    return yfinance.download
