"""Prices from Yahoo Finance through the optional package yfinance: as quoted, with dividends and splits."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from tidecast.features.corporate_actions.adjustment import action_factors
from tidecast.features.corporate_actions.shown_actions import look_for
from tidecast.features.error_text import ended, shorten
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
"""Exchange by the suffix of a Yahoo symbol."""

_PRICES = {"Open": "open", "High": "high", "Low": "low", "Close": "close"}
_TRANSIENT = ("YFRateLimitError", "ConnectionError", "Timeout", "ConnectTimeout", "ReadTimeout", "RequestException")


@dataclass(frozen=True)
class YahooSource:
    """Daily bars of some symbols.

    Yahoo restates old prices, volumes and dividends after each split. That is undone here, so that a row stays what was
    quoted that day, to the seven digits of Yahoo's numbers. Sometimes Yahoo reports a split but restates only some of
    the older rows, or none. Rows whose prices show that they are as quoted stay unchanged, and the rule
    split_not_applied flags them.

    Parameters
    ----------
    settings : Settings
        `source`: ``yahoo://AAPL,MSFT``.
    download : callable or None
        None: ``yfinance.download``.
    """

    settings: Settings
    download: Callable[..., Any] | None = None

    @property
    def name(self) -> str:
        return self.settings.source

    def fetch(self, since: date | None = None) -> Fetched:
        """Return the bars from a day on.

        Parameters
        ----------
        since : date or None
            None: as far back as Yahoo goes.

        Raises
        ------
        SourceError
            yfinance is not installed, Yahoo does not answer, or it knows none of the symbols.
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
                lambda error: type(error).__name__ in _TRANSIENT,
            )  # fmt: skip
        except Exception as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise SourceError(f"Yahoo must answer for {self.name}, got: {ended(why)} Try again later.") from error
        answered = set(table.columns.get_level_values(0)) if table is not None and len(table) else set()
        bars = {symbol: _as_quoted(table[symbol], symbol) for symbol in symbols if symbol in answered}
        missing = [symbol for symbol in symbols if symbol not in bars or bars[symbol].is_empty()]
        if len(missing) == len(symbols) and since is None:
            raise SourceError(
                f"Yahoo must have prices of at least one symbol, found none for {shorten(missing)}. Check them."
            )
        notes = [f"Yahoo has nothing on {shorten(missing)}."] if missing and since is None else []
        rows = pl.concat([*bars.values(), _as_quoted(None, "")])
        if doubted := rows.filter(pl.col(SPLIT_IN_DOUBT))["series_id"].unique().sort().to_list():
            notes.append(
                f"Yahoo reports splits of {shorten(doubted)} but has not restated all older prices. Prices whose moves "
                "show that they are as quoted stay unchanged; the rule split_not_applied flags them."
            )
        return Fetched(rows, messages=tuple(notes))


def calendar_of(symbol: str) -> str | None:
    """Return the name of a symbol's calendar by its spelling; None if that does not show it.

    Parameters
    ----------
    symbol : str
        "AAPL" (an American share), "BTC-USD" (a coin), "EURUSD=X" (a rate), "VOD.L" (London), …
    """
    if symbol.endswith("-USD") or symbol.endswith("-EUR"):
        return "24/7"
    if symbol.endswith("=X"):
        return "weekdays"
    name, _, ending = symbol.rpartition(".")
    if name:
        return _CALENDARS.get(ending)
    return None if symbol.startswith("^") or "=" in symbol else "XNYS"


def _as_quoted(table: Any, symbol: str) -> pl.DataFrame:
    """One symbol's rows as quoted: each price times the splits after it."""
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
    """Factors that restate each row as Yahoo should have, 1 where it did; and which rows are in doubt.

    A row is in doubt if its price shows the step of a split: restated prices show none.
    """
    stated = bars.select("series_id", "time", split_ratio="split", dividend=pl.lit(0.0))
    shown = look_for(bars, stated, restated=True)
    factor = action_factors(bars, shown.actions)["price_factor"].alias("restated")
    return [factor, bars["time"].is_in(shown.actions["time"].implode()).alias(SPLIT_IN_DOUBT)]


def _floats(bars: Any, name: str) -> list[float | None]:
    return [float(value) for value in bars[name]] if name in bars.columns else [None] * len(bars)


def _yfinance() -> Callable[..., Any]:
    try:
        import yfinance  # an optional package
    except ImportError:
        raise SourceError(
            f"{SCHEME} needs the package yfinance, which is not installed. "
            "To install it: pip install 'tidecast[yahoo]'."
        ) from None
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)  # its messages are part of our errors
    return yfinance.download
