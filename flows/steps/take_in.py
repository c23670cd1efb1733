"""Take in prices: remember what the panel is, store new prices, check that a series can be forecast."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from tidecast.features.calendars.per_series import mark_long_periods
from tidecast.features.error_text import counted
from tidecast.features.segments import breaks
from tidecast.features.volatility import with_volatility
from tidecast.flows.config.panel_file import OF_PRICES, differences, remember, remembered
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import TidecastError
from tidecast.flows.ingest.delivery import ADVICE
from tidecast.flows.ingest.drop_folder import ingest_drop_folder, is_drop_folder
from tidecast.flows.ingest.ingest import Ingested, ingest
from tidecast.flows.ingest.quarantine import waiting
from tidecast.flows.log import log
from tidecast.flows.publish.bucket_tasks import each_bucket, references
from tidecast.flows.publish.predict import LATE, sessions_behind
from tidecast.flows.redaction import beginning
from tidecast.flows.steps.due import refuse_clock_set_back
from tidecast.flows.training.model_panel import price_panel
from tidecast.flows.warehouse.damage import refuse_damage
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.flows.workspace.panel_identity import identify, store_panel, stored_panel
from tidecast.flows.workspace.workspace import Workspace


def take_in_prices(
    state_folder: StateFolder, warehouse: Warehouse, settings: Settings, as_of: date | None, today: date,
    now: datetime | None = None,
) -> Ingested:  # fmt: skip
    """Store the source's prices up to `as_of`. The result has the settings with what was found out about the panel.

    Source and columns are remembered before anything is stored. Otherwise the run after a killed one could store
    another source's prices next to them. They are forgotten again only if nothing was stored.

    Parameters
    ----------
    state_folder : StateFolder
    warehouse : Warehouse
    settings : Settings
    as_of : date or None
        The last session to take in. None: the newest.
    today : date
        The latest day that a price can have.
    now : datetime or None
        The instant at which the run was started, with a time zone: rows of sessions that close later wait. None: every
        session counts as closed.

    Raises
    ------
    SettingsError
        The tables hold another panel.
    SourceError, WarehouseError
        As of `tidecast.flows.ingest.ingest.ingest`.
    TidecastError
        The clock was set back.
    """
    refuse_damage(warehouse)
    refuse_clock_set_back(warehouse.runs(), today)
    panel = identify(state_folder, warehouse, settings)
    _begin_afresh_if_another(state_folder, warehouse, settings)
    is_new = not state_folder.panel_file.exists()
    remember(state_folder, settings, panel)
    try:
        take = ingest_drop_folder if is_drop_folder(settings) else ingest
        found = take(warehouse, settings, as_of, today, now)
    except Exception:
        if is_new and warehouse.newest_session() is None:
            state_folder.panel_file.unlink()
        raise
    remember(state_folder, found.settings)
    store_panel(state_folder, warehouse, found.settings, found.newest)
    for message in found.messages:
        log.info(message)
    bad = "".join(f", {count:,} {rule}" for rule, count in found.quarantined.items())
    doubts = ", ".join(f"{count:,} {rule}" for rule, count in found.doubts.items())
    log.info(
        f"Prices up to {found.as_of}: {counted(found.rows_in, 'row')} read, {found.stored:,} new, "
        f"{found.corrected:,} corrected, {found.unchanged:,} known, {found.run_counts['rows_quarantined']:,} bad{bad}."
        + (f" {'Stored and flagged' if found.stored or found.corrected else 'Flagged'}: {doubts}." if doubts else "")
    )
    return found


@contextmanager
def forgotten_if_nothing_is_published(workspace: Workspace) -> Iterator[None]:
    """Remove panel.json if the body fails and the panel has no forecast: a failed start must not choose settings.

    Stored prices stay. A next run with the same settings uses them; a run with others starts afresh.

    Parameters
    ----------
    workspace : Workspace
    """
    try:
        yield
    except Exception:
        with suppress(TidecastError, OSError):  # tables that cannot be read: the first error matters more
            if not workspace.warehouse.has_published():
                workspace.state_folder.panel_file.unlink(missing_ok=True)
        raise


def _begin_afresh_if_another(state_folder: StateFolder, warehouse: Warehouse, settings: Settings) -> None:
    """Remove prices of another source, or of another reading of it; while nothing is published, the last one counts."""
    stored = stored_panel(warehouse)
    before = remembered(state_folder) or (stored.settings if stored else {})
    changed = set(differences(before, settings)).intersection(OF_PRICES) if before else set(OF_PRICES)
    changed |= {name for name in set(OF_PRICES) - before.keys() if getattr(settings, name) != _default(name)}
    if settings.layout == "auto":
        changed.discard("layout")  # it is detected again
    if settings.calendar is None:
        changed.discard("calendar")  # likewise
    if changed and not warehouse.has_published() and warehouse.newest_session() is not None:
        what = f"Other {', '.join(sorted(changed))} than before" if before else "Prices of an unknown source"
        log.warning(f"{what}, and nothing published yet: prices begin afresh.")
        warehouse.clear_prices()


def _default(name: str) -> object:
    return Settings.model_fields[name].default


def check_panel(warehouse: Warehouse, settings: Settings, as_of: date, left: int = 0) -> None:
    """Log the size of the panel, and refuse one of which no series can be forecast.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    as_of : date
    left : int, default=0
        Rows of the source that wait for a later run; they may be why the panel is short.

    Raises
    ------
    TidecastError
        No series is quoted and has `lookback` rows since its start or its last long pause; or no series that moves
        has `horizon` more, from which the distribution of forecasts is learned.
    """
    facts = _facts_of_all(warehouse, settings, as_of)
    quoted = facts.filter(pl.col("sessions") <= LATE)
    long_enough = quoted.filter(pl.col("newest") >= settings.lookback).height
    prices, first, last = facts.select(pl.col("prices").sum(), pl.col("first").min(), pl.col("last").max()).row(0)
    log.info(
        f"Panel: {facts.height} series, {counted(prices, 'price')}, {first} to {last}; "
        f"{quoted.height} still quoted, {long_enough} long enough to forecast."
    )
    moving = facts.filter(pl.col("moving").is_not_null())
    if long_enough and (moving.is_empty() or facts["learnable"].any()):
        return
    longest = (_longest(moving, "moving") if long_enough else _longest(quoted, "newest")).head(1).to_dicts()
    found = f"the longest, {longest[0]['series_id']!r}, has {longest[0]['rows']}" if longest else "none is quoted"
    raise TidecastError(
        f"A series must have lookback = {settings.lookback} rows and be quoted at {as_of} to be forecast, and one that "
        f"moves lookback + horizon = {settings.lookback + settings.horizon} rows to learn the distribution from; "
        f"{found}. {_that_wait(left)}"
        f"{_in_quarantine(warehouse, as_of)}Give a longer history, a smaller --horizon, or set lookback lower "
        "(TIDECAST_LOOKBACK)."
    )


def _that_wait(left: int) -> str:
    """Say how many rows wait for a later run; empty where there are none."""
    return (
        f"{counted(left, 'more row of the source waits', 'more rows of the source wait')} for a later run, as said "
        "above. "
        if left
        else ""
    )


def _in_quarantine(warehouse: Warehouse, as_of: date) -> str:
    """Describe the panel's rows in quarantine, which may be why it is short; empty where there are none."""
    rows = waiting(warehouse).filter(pl.col("as_of") <= as_of)
    if rows.is_empty():
        return ""
    counts = rows["rule"].value_counts(sort=True)
    broken = ", ".join(f"{count:,} {rule}" for rule, count in counts.iter_rows())
    original = rows.filter(rule=counts["rule"][0])["original"][0]
    advice = ADVICE.get(counts["rule"][0], "")
    return (
        f"In quarantine: {counted(rows.height, 'more row')}: {broken}; one is {beginning(original, 200)}. "
        f"{advice} See them all: tidecast quarantine. "
    ).replace("  ", " ")


@dataclass(frozen=True)
class Asked:
    """The panel whose series are looked at.

    Attributes
    ----------
    settings : Settings
    as_of : date
        The session at which it is known.
    """

    settings: Settings
    as_of: date


def _facts_of_all(warehouse: Warehouse, settings: Settings, as_of: date) -> pl.DataFrame:
    """See `_facts`; of a large panel by buckets of series."""
    asked = Asked(settings, as_of)
    if warehouse.is_large():
        buckets = references(warehouse, as_of, warehouse.versions(), warehouse.series(as_of))
        if len(buckets) > 1:
            return pl.concat(each_bucket(_facts, asked, buckets, settings))
    return _facts(asked, warehouse)


def _facts(asked: Asked, warehouse: Warehouse) -> pl.DataFrame:
    """A row for each series.

    Its number of prices, first and last session, and how many sessions it is behind; rows of its newest segment between
    long pauses, of the longest in which it moves (null without one), and whether a distribution can be learned from it.
    """
    settings = asked.settings
    panel = price_panel(warehouse, settings, asked.as_of)
    behind = sessions_behind(panel, settings, asked.as_of)
    rows = _counted(mark_long_periods(panel, settings.calendar), settings.positive)
    moving = ~pl.col("pegged") & (pl.col("row") >= settings.lookback)
    of_newest = pl.col("segment") == pl.col("segment").max()
    found = rows.group_by("series_id", maintain_order=True).agg(
        prices=pl.len(), first=pl.col("time").min(), last=pl.col("time").max(),
        newest=pl.col("rows").filter(of_newest).max(), moving=pl.col("rows").filter(moving).max(),
        learnable=(moving & (pl.col("row") <= pl.col("rows") - settings.horizon)).any(),
    )  # fmt: skip
    return found.join(behind, on="series_id", maintain_order="left")


def _counted(panel: pl.DataFrame, positive: bool) -> pl.DataFrame:
    """Number rows: the segment of a series between long pauses, the row's number in it from 1, the segment's rows."""
    segment = breaks(panel).over("series_id", order_by="time")
    segments = with_volatility(panel, positive=positive).with_columns(segment=segment)
    return segments.with_columns(
        row=pl.int_range(1, pl.len() + 1).over("series_id", "segment"), rows=pl.len().over("series_id", "segment")
    )


def _longest(facts: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return each series with its rows, the longest first."""
    return facts.select("series_id", rows=name).sort("rows", "series_id", descending=[True, False])
