"""Ingest: fetch → read → check → compare with what is known → store; nothing is written until all checks passed."""

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from features.calendar import Calendar
from flows.errors import SourceError
from flows.parsing import dates, midnights_elsewhere, names, numbers
from flows.quarantine import finish_repairs, take_decided
from flows.rules import can_be_prices, check_rows
from flows.sessions import choose_calendar, market_zone, resolve_as_of
from flows.settings import Settings
from flows.sources import Fetched, open_source
from flows.tables import VALUES, as_known
from flows.warehouse import Warehouse

_ADVICE = {
    "unreadable_time": "Times must be ISO dates like 2024-12-31; 31/12/2024 is not read: 10/12/2024 means two days.",
    "unreadable_price": "Prices must be numbers with a decimal point and without thousands separators, like 1234.5.",
    "not_positive": "Where prices may be zero or negative, set TIDECAST_POSITIVE=false.",
    "not_a_session": "Give another calendar: --calendar NAME (or TIDECAST_CALENDAR), 24/7 if every day is a session.",
    "conflicting_duplicate": "Is a column missing that tells the series apart? Name it with --series-id.",
}


MANY = 0.05
"""With more than this share of its rows on days without a session, a source probably has another calendar."""


@dataclass(frozen=True)
class Ingested:
    """What one ingest found and did. ``rows_in == stored + corrected + unchanged + sum(quarantined.values())``, always.

    Parameters
    ----------
    as_of : date
        The session the run stands on.
    rows_in : int
        Rows of the source up to `as_of`, those dated after today, and those whose time cannot be read.
    stored, corrected, unchanged : int
        Good rows that were new, known with other values, and known already, to this call.
    quarantined : dict of str to int
        Rows per broken rule, whether they are new in the quarantine or were met before.
    newest_in_source : date
        Session of the newest good row of the source, which may lie after `as_of`.
    newest : date
        The newest session the panel has seen, in the source or in any run.
    settings : Settings
        With what was left open decided (calendar, layout): to be remembered.
    rules : dict of str to int
        Rows that break each rule which is not off, zero included; see `flows.rules.Checked.counts`.
    run_counts : dict
        rows_in, rows_stored, rows_corrected, rows_unchanged, rows_quarantined for the table of runs: what the run of
        this `as_of` did altogether, seen from the tables, so that a killed run and its repetition count like one. A
        row of that table which is there already is brought up to date.
    messages : tuple of str
        What a person should be told.
    """

    as_of: date
    rows_in: int
    stored: int
    corrected: int
    unchanged: int
    quarantined: dict[str, int]
    newest_in_source: date
    newest: date
    settings: Settings
    rules: dict[str, int]
    run_counts: dict[str, Any]
    messages: tuple[str, ...]


def ingest(warehouse: Warehouse, settings: Settings, as_of: date | None = None, today: date | None = None) -> Ingested:
    """Store what the source knows up to `as_of`; the same source again stores nothing.

    A row first seen is known from its own session on. If the panel has seen that session before, without the row, it
    came late and is known from the newest `as_of` the panel has seen; so is a correction. What a run of an earlier
    `as_of` saw therefore never changes.

    Parameters
    ----------
    warehouse : Warehouse
        Where prices and quarantine go.
    settings : Settings
        Source, column names, calendar.
    as_of : date or None
        None: the newest session of the source; see `flows.sessions.resolve_as_of`.
    today : date or None
        The day it is, if rows of later days are to be refused.

    Raises
    ------
    SourceError
        The source cannot be opened or understood, has no usable row, is intraday, or begins after `as_of`.
    """
    source = open_source(settings)
    fetched = source.fetch()
    rows, told = _read(fetched, settings)
    _refuse_intraday(rows, source.name)
    times = rows["time"].drop_nulls()
    by_then = times.filter(times <= (as_of or date.max))
    calendar, chosen = choose_calendar(settings, times if by_then.is_empty() else by_then)
    usable = rows.filter(can_be_prices(rows, calendar, settings.positive, today))["time"]
    if usable.is_empty():
        rule = check_rows(rows, rows.clear(), calendar, settings, today).rule
        raise SourceError(_why_useless(rows.with_columns(rule), fetched, source.name))

    finish_repairs(warehouse)
    seen = warehouse.newest_seen()
    known = warehouse.revisions()
    sessions = pl.concat([usable, known["time"]])
    newest_in_source = _day(usable.max())
    as_of, resolved = resolve_as_of(as_of, calendar, _day(sessions.min()), newest_in_source, _day(sessions.max()))

    later_on = (pl.col("time") > as_of) & (pl.col("time") <= (today or date.max))
    rows = rows.filter(~later_on.fill_null(False))
    checked = check_rows(rows, as_known(known, as_of), calendar, settings, today)
    checked.refuse_failed(source.name)
    rows = checked.rows.with_columns(checked.rule)
    bad = _as_quarantined(rows.filter(pl.col("rule").is_not_null()), fetched, as_of)
    bad, decided = take_decided(bad, warehouse.repairs())
    good = rows.filter(pl.col("rule").is_null())
    decided = decided.join(good, on=["series_id", "time"], how="anti").select(
        pl.col(name) if name in decided.columns else pl.lit(None, good.schema[name]).alias(name)
        for name in good.columns
    )
    good = _compare(pl.concat([good, decided], how="vertical_relaxed"), known)
    newest_seen = max(as_of, seen or as_of)
    on_time = (pl.col("status") == "stored") & (pl.col("time") > (seen or date.min))
    changes = good.filter(pl.col("status") != "unchanged").with_columns(
        pl.when(on_time).then("time").otherwise(pl.lit(newest_seen)).alias("known_at"), pl.lit(as_of).alias("as_of")
    )
    warehouse.store_prices(changes)
    warehouse.store_quarantine(bad.select(*_QUARANTINED, *(name for name in VALUES if name in bad.columns)))
    warehouse.store_flags(checked.flags.select("series_id", "time", "rule", as_of=pl.lit(as_of)).unique())
    run_counts = {
        "rows_in": rows.height,
        **_counts_of_run(good, warehouse.revisions() if changes.height else known, as_of),
        "rows_quarantined": bad.height,
        "rules": json.dumps(checked.counts),
    }
    _keep_up(warehouse, as_of, run_counts)

    counts = dict(good["status"].value_counts().iter_rows())
    return Ingested(
        as_of=as_of,
        rows_in=rows.height,
        **{status: counts.get(status, 0) for status in ("stored", "corrected", "unchanged")},
        quarantined=dict(sorted(bad["rule"].value_counts().iter_rows())),
        newest_in_source=newest_in_source,
        newest=max(newest_in_source, newest_seen),
        settings=settings.model_copy(update={"calendar": calendar.name, "layout": fetched.layout}),
        rules=checked.counts,
        run_counts=run_counts,
        messages=(*told, *chosen, *resolved, *_wrong_calendar(bad, rows.height, calendar)),
    )


def _read(fetched: Fetched, settings: Settings) -> tuple[pl.DataFrame, list[str]]:
    """The rows as names, dates and numbers, null where they cannot be read, and what to tell about it.

    `row` is the row's place in the source, `clock` the time of day, `present` whether there was anything for a price.
    """
    raw, zone = fetched.rows, market_zone(settings)
    time, clock = dates(raw["time"], zone)
    close, present = numbers(raw["close"])
    rows = pl.DataFrame(
        {"series_id": names(raw["series_id"]), "time": time, "clock": clock, "close": close, "present": present}
    ).with_row_index("row")
    for name in VALUES[1:]:
        if name in raw.columns:
            value = numbers(raw[name])[0]
            rows = rows.with_columns(value.set(~value.is_finite(), None).alias(name))
    told = list(fetched.messages)
    if midnights_elsewhere(raw["time"], zone):
        told.append(
            "All times are midnights of a zone of their own, and are taken as the dates they are written with, not "
            f"converted to the market's zone ({zone})."
        )
    return rows, told


def _refuse_intraday(rows: pl.DataFrame, source: str) -> None:
    several = (
        rows.drop_nulls(["series_id", "time", "clock"])
        .group_by("series_id", "time", maintain_order=True)
        .agg(pl.col("clock").n_unique())
        .filter(pl.col("clock") > 1)
    )
    if not several.is_empty():
        series_id, day, times = several.row(0)
        more = f" (and {several.height - 1} more like it)" if several.height > 1 else ""
        raise SourceError(
            f"A panel must have one price per series and session, but {source} is intraday: {series_id!r} has {times} "
            f"times on {day}{more}. Keep one row a day, such as the close."
        )


def _why_useless(rows: pl.DataFrame, fetched: Fetched, source: str) -> str:
    counts = rows["rule"].value_counts(sort=True)
    broken = ", ".join(f"{count} {rule}" for rule, count in counts.iter_rows())
    first = fetched.originals(rows.filter(pl.col("rule") == counts["rule"][0])["row"].head(1))[0]
    return (
        f"A source must have a price that can be used; in {source} every row breaks a rule: {broken}. "
        f"The first is {first[:200]}. {_ADVICE.get(counts['rule'][0], '')}"
    ).strip()


def _wrong_calendar(bad: pl.DataFrame, n_rows: int, calendar: Calendar) -> list[str]:
    count = bad.filter(rule="not_a_session").height
    if count <= MANY * n_rows:
        return []
    return [
        f"{count:,} of {n_rows:,} rows ({count / n_rows:.0%}) are in quarantine, for their days are no sessions of "
        f"{calendar.name}. {_ADVICE['not_a_session']}"
    ]


def _compare(good: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The good rows with a status: "stored" (new), "corrected" or "unchanged".

    Values that the source does not have at all stay as they are known.
    """
    values = [name for name in VALUES if name in good.columns]
    key = ["series_id", "time"]
    current = (
        known.sort(*key, "known_at")
        .unique(key, keep="last", maintain_order=True)
        .select(*key, pl.col(*VALUES).name.prefix("known_"))
    )
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"known_{name}")) for name in values)
    new = pl.col("known_close").is_null()
    status = pl.when(new).then(pl.lit("stored")).when(differs).then(pl.lit("corrected")).otherwise(pl.lit("unchanged"))
    return (
        good.join(current, on=key, how="left", maintain_order="left")
        .with_columns(status.alias("status"))
        .with_columns(pl.col(f"known_{name}").alias(name) for name in VALUES if name not in values)
    )


def _counts_of_run(good: pl.DataFrame, revisions: pl.DataFrame, as_of: date) -> dict[str, int]:
    """What all runs of this `as_of` did with the good rows, from the table alone: repeating a run changes no count.

    A row is corrected when one of its later revisions is ours, else stored when its first is. A correction that took
    the place of today's row within the same session left no revision, and counts as the row it is.
    """
    key = ["series_id", "time"]
    ours = pl.col("as_of") == as_of
    by_row = revisions.join(good, on=key, how="semi").sort(*key, "known_at").group_by(key)
    rows = by_row.agg(first=ours.first(), corrected=ours.slice(1).any())
    corrected = int(rows["corrected"].sum())
    stored = int((rows["first"] & ~rows["corrected"]).sum())
    return {"rows_stored": stored, "rows_corrected": corrected, "rows_unchanged": good.height - stored - corrected}


def _keep_up(warehouse: Warehouse, as_of: date, counts: dict[str, Any]) -> None:
    """Let the session's row of `runs`, if there is one, tell what was stored since it was written."""
    for row in warehouse.runs().filter(pl.col("as_of") == as_of).drop("year").to_dicts():
        if any(row[name] != counts[name] for name in ("rows_stored", "rows_corrected")):
            warehouse.put_run(row | counts)


_QUARANTINED = ("series_id", "time", "rule", "original", "occurrence", "as_of")


def _as_quarantined(bad: pl.DataFrame, fetched: Fetched, as_of: date) -> pl.DataFrame:
    """Rows that break a rule, with what quarantine knows them by."""
    original = pl.Series("original", fetched.originals(bad["row"]), dtype=pl.String)
    return bad.with_columns(original, as_of=pl.lit(as_of)).with_columns(
        occurrence=pl.int_range(pl.len()).over("rule", "original")
    )


def _day(value: object) -> date:
    assert isinstance(value, date)
    return value
