"""Prices in: remember what the panel is, store what is new, look whether anything can be forecast."""

import logging
from datetime import date

import polars as pl

from features.panel import breaks
from flows.errors import TidecastError
from flows.ingest import Ingested, ingest
from flows.place import Place
from flows.predict import LATE, sessions_behind
from flows.prefect_home import LOGGER
from flows.settings import remember

log = logging.getLogger(LOGGER)


def take_in_prices(place: Place, as_of: date | None, today: date) -> tuple[Place, Ingested]:
    """Store what the source knows up to `as_of`; the place comes back with what the panel remembers.

    Source and columns are remembered before anything is stored, or a run killed in between would be followed by one
    that stores another source's prices beside them. Only while nothing is stored can they be forgotten again.
    """
    new = not place.home.panel_file.exists()
    remember(place.home, place.settings)
    try:
        found = ingest(place.warehouse, place.settings, as_of, today)
    except Exception:
        if new and place.warehouse.newest_session() is None:
            place.home.panel_file.unlink()
        raise
    remember(place.home, found.settings)
    for message in found.messages:
        log.info(message)
    bad = "".join(f", {count:,} {rule}" for rule, count in found.quarantined.items())
    log.info(
        f"Prices up to {found.as_of}: {found.rows_in:,} rows read, {found.stored:,} new, "
        f"{found.corrected:,} corrected, {found.unchanged:,} known, {found.run_counts['rows_quarantined']:,} bad{bad}."
    )
    return Place(place.home, found.settings), found


def check_panel(place: Place, as_of: date) -> None:
    """Say what the panel is, and refuse one of which no series can be forecast.

    Raises
    ------
    TidecastError
        No series is quoted and has `lookback` rows since its start or its last long pause.
    """
    panel, lookback = place.warehouse.prices(as_of), place.settings.lookback
    quoted = sessions_behind(panel, place.settings, as_of).filter(pl.col("sessions") <= LATE)["series_id"]
    parts = panel.with_columns(part=breaks().over("series_id", order_by="time"))
    newest = parts.filter(pl.col("part") == pl.col("part").max().over("series_id"))
    lengths = (
        newest.join(quoted.to_frame(), on="series_id", how="semi").group_by("series_id").len().sort("len", "series_id")
    )
    first, last = panel.select(pl.col("time").min().alias("first"), pl.col("time").max().alias("last")).row(0)
    long_enough = lengths.filter(pl.col("len") >= lookback).height
    log.info(
        f"Panel: {panel['series_id'].n_unique()} series, {panel.height:,} prices, {first} to {last}; "
        f"{quoted.len()} still quoted, {long_enough} long enough to forecast."
    )
    if not long_enough:
        longest = lengths.tail(1).to_dicts()
        found = f"the longest, {longest[0]['series_id']!r}, has {longest[0]['len']}" if longest else "none is quoted"
        raise TidecastError(
            f"A series must have lookback = {lookback} rows and be quoted at {as_of} to be forecast; {found}. "
            "Give a longer history, or set lookback lower (TIDECAST_LOOKBACK)."
        )
