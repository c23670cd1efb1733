"""Prices in: remember what the panel is, store what is new, look whether anything can be forecast."""

from datetime import date

import polars as pl

from tidecast.features.segments import breaks
from tidecast.features.volatility import with_volatility
from tidecast.flows.config.panel_file import OF_PRICES, differences, remember, remembered
from tidecast.flows.errors import TidecastError
from tidecast.flows.ingest.delivery import ADVICE
from tidecast.flows.ingest.drop_folder import is_drop_folder, take_deliveries
from tidecast.flows.ingest.ingest import Ingested, ingest
from tidecast.flows.ingest.quarantine import waiting
from tidecast.flows.log import log
from tidecast.flows.publish.predict import LATE, sessions_behind
from tidecast.flows.steps.due import refuse_clock_set_back
from tidecast.flows.warehouse.damage import refuse_damage
from tidecast.flows.workspace.panel_identity import identify, keep, stored_panel
from tidecast.flows.workspace.workspace import Place


def take_in_prices(place: Place, as_of: date | None, today: date) -> tuple[Place, Ingested]:
    """Store what the source knows up to `as_of`; the place comes back with what the panel remembers.

    Source and columns are remembered before anything is stored, or a run killed in between would be followed by one
    that stores another source's prices beside them. Only while nothing is stored can they be forgotten again.

    Raises
    ------
    SettingsError
        The tables hold another panel.
    SourceError, WarehouseError
        As of `tidecast.flows.ingest.ingest.ingest`.
    TidecastError
        The clock was set back.
    """
    refuse_damage(place.warehouse)
    refuse_clock_set_back(place.warehouse.runs(), today)
    panel = identify(place.home, place.warehouse, place.settings)
    _begin_afresh_if_another(place)
    new = not place.home.panel_file.exists()
    remember(place.home, place.settings, panel)
    try:
        take = take_deliveries if is_drop_folder(place.settings) else ingest
        found = take(place.warehouse, place.settings, as_of, today)
    except Exception:
        if new and place.warehouse.newest_session() is None:
            place.home.panel_file.unlink()
        raise
    remember(place.home, found.settings)
    keep(place.home, place.warehouse, found.settings, found.newest)
    for message in found.messages:
        log.info(message)
    bad = "".join(f", {count:,} {rule}" for rule, count in found.quarantined.items())
    doubts = ", ".join(f"{count:,} {rule}" for rule, count in found.doubts.items())
    log.info(
        f"Prices up to {found.as_of}: {found.rows_in:,} rows read, {found.stored:,} new, "
        f"{found.corrected:,} corrected, {found.unchanged:,} known, {found.run_counts['rows_quarantined']:,} bad{bad}."
        + (f" Stored and flagged: {doubts}." if doubts else "")
    )
    return Place(place.home, found.settings), found


def _begin_afresh_if_another(place: Place) -> None:
    """Two sources, or two readings of one, are never mixed: while nothing is published, the one given last counts."""
    stored = stored_panel(place.warehouse)
    memory = remembered(place.home) or (stored.settings if stored else {})
    anew = set(differences(memory, place.settings)).intersection(OF_PRICES) if memory else set(OF_PRICES)
    if place.settings.layout == "auto":
        anew.discard("layout")  # it is looked at anew, and says nothing
    warehouse = place.warehouse
    if anew and not warehouse.has_published() and warehouse.newest_session() is not None:
        what = f"Other {', '.join(sorted(anew))} than before" if memory else "Prices of an unknown source"
        log.warning(f"{what}, and nothing published yet: prices begin afresh.")
        warehouse.clear_prices()


def check_panel(place: Place, as_of: date) -> None:
    """Say what the panel is, and refuse one of which no series can be forecast.

    Raises
    ------
    TidecastError
        No series is quoted and has `lookback` rows since its start or its last long pause, or none that moves has
        `horizon` more, from which the spread of forecasts is learned.
    """
    settings, panel = place.settings, place.prices(as_of)
    quoted = sessions_behind(panel, settings, as_of).filter(pl.col("sessions") <= LATE)["series_id"]
    rows = _counted(panel, settings.positive)
    newest = rows.filter(pl.col("part") == pl.col("part").max().over("series_id"))
    lengths = _longest(newest.filter(pl.col("series_id").is_in(quoted.implode())))
    first, last = panel.select(pl.col("time").min().alias("first"), pl.col("time").max().alias("last")).row(0)
    long_enough = lengths.filter(pl.col("rows") >= settings.lookback).height
    log.info(
        f"Panel: {panel['series_id'].n_unique()} series, {panel.height:,} prices, {first} to {last}; "
        f"{quoted.len()} still quoted, {long_enough} long enough to forecast."
    )
    moving = rows.filter(~pl.col("pegged"), pl.col("row") >= settings.lookback)
    learnable = moving.filter(pl.col("row") <= pl.col("rows") - settings.horizon)
    if long_enough and (moving.is_empty() or not learnable.is_empty()):
        return
    longest = (_longest(moving) if long_enough else lengths).head(1).to_dicts()
    found = f"the longest, {longest[0]['series_id']!r}, has {longest[0]['rows']}" if longest else "none is quoted"
    aside = _kept_aside(place, as_of)
    raise TidecastError(
        f"A series must have lookback = {settings.lookback} rows and be quoted at {as_of} to be forecast, and one that "
        f"moves lookback + horizon = {settings.lookback + settings.horizon} rows to learn the spread from; {found}. "
        f"{aside}Give a longer history, a smaller --horizon, or set lookback lower (TIDECAST_LOOKBACK)."
    )


def _kept_aside(place: Place, as_of: date) -> str:
    """What of the panel is in quarantine, which may be why it is short; nothing where nothing is."""
    rows = waiting(place.warehouse).filter(pl.col("as_of") <= as_of)
    if rows.is_empty():
        return ""
    counts = rows["rule"].value_counts(sort=True)
    broken = ", ".join(f"{count:,} {rule}" for rule, count in counts.iter_rows())
    original = rows.filter(rule=counts["rule"][0])["original"][0]
    advice = ADVICE.get(counts["rule"][0], "")
    return (
        f"In quarantine are {rows.height:,} more rows: {broken}; one is {' '.join(original.split())[:200]}. "
        f"{advice} See them all: tidecast quarantine. "
    ).replace("  ", " ")


def _counted(panel: pl.DataFrame, positive: bool) -> pl.DataFrame:
    """Per row: the part of its series between long pauses, its number in it from 1 on, and how many rows that has."""
    parts = with_volatility(panel, positive=positive).with_columns(part=breaks().over("series_id", order_by="time"))
    return parts.with_columns(
        row=pl.int_range(1, pl.len() + 1).over("series_id", "part"), rows=pl.len().over("series_id", "part")
    )


def _longest(rows: pl.DataFrame) -> pl.DataFrame:
    """Series and the rows of their longest part, the longest first."""
    return rows.group_by("series_id").agg(pl.col("rows").max()).sort("rows", "series_id", descending=[True, False])
