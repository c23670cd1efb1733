"""Ingest: fetch → read → check → compare with what is known → store; nothing is written until all checks passed."""

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import shorten
from tidecast.flows.config.column_names import inside, outside, with_prefix
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError, WarehouseError
from tidecast.flows.ingest.corporate_actions import NO_ACTION, in_words, new_actions, telling
from tidecast.flows.ingest.delivery import ADVICE, Delivery, take_delivery
from tidecast.flows.ingest.quarantine import finish_repairs, take_decided
from tidecast.flows.ingest.revisions import KEY, STORED, after_storing, compare, counts_of_run, dated
from tidecast.flows.ingest.stored_context import known_around, with_actions
from tidecast.flows.rules.check import Checked, check_rows
from tidecast.flows.sources import Fetched, open_source
from tidecast.flows.sources.clear_errors import in_one_line
from tidecast.flows.warehouse.delta_writer import TableChanged
from tidecast.flows.warehouse.schema import PRICE_KEY, VALUES, as_known
from tidecast.flows.warehouse.warehouse import Warehouse

RACES = 20
"""How often an ingest is done again because another one stored prices meanwhile."""

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
        Rows of the source up to `as_of`, those dated after today, and those whose time cannot be read; with an `as_of`
        that is the newest session of the source, all its rows.
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
        Rows that break each rule which is not off, zero included; see `tidecast.flows.rules.check.Checked.counts`.
    doubts : dict of str to int
        What of that was stored all the same; see `tidecast.flows.rules.check.Checked.doubts`.
    run_counts : dict
        rows_in, rows_stored, rows_corrected, rows_unchanged, rows_quarantined for the table of runs: what the run of
        this `as_of` did altogether, seen from the tables, so that a killed run and its repetition count like one. A
        row of that table which is there already is brought up to date.
    messages : tuple of str
        What a person should be told.
    left : int
        Rows left for a later run: of later sessions, or known to the source only after `as_of`.
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
    doubts: dict[str, int]
    run_counts: dict[str, Any]
    messages: tuple[str, ...]
    left: int = 0


def ingest(warehouse: Warehouse, settings: Settings, as_of: date | None = None, today: date | None = None) -> Ingested:
    """Store what the source knows up to `as_of`; the same source again stores nothing.

    A row is known from the day on that the source itself says (its column `known_at`, but not before its own session);
    rows known only after `as_of` are left for a later run. Of a source that does not say, a row first seen is known
    from its own session on. If the panel has seen that session before, without the row, it came late and is known from
    the newest `as_of` the panel has seen; so is a correction. What a run of an earlier `as_of` saw therefore never
    changes, unless the source itself says that it knew.

    The source is asked for rows from `reread_sessions` before the newest session that runs of an earlier `as_of` have
    stored, and for all of new series, so that a run that was killed and its repetition ask for the same. Of the table
    only rows of the same series and sessions are read, and the last ones before them.

    Of several ingests at once, one stores what it has found; the others begin again, source and all, with what is known
    then. So the table is as if they had come one after the other.

    Parameters
    ----------
    warehouse : Warehouse
        Where prices and quarantine go.
    settings : Settings
        Source, column names, calendar.
    as_of : date or None
        None: the newest session of the source; see `tidecast.flows.ingest.calendars.resolve_as_of`.
    today : date or None
        The day it is, if rows of later days are to be refused.

    Raises
    ------
    SourceError
        The source cannot be opened or understood, has no usable row, is intraday, or begins after `as_of`.
    WarehouseError
        The tables cannot be read or written, or others never stop writing to them.
    """
    finish_repairs(warehouse)
    for _ in range(RACES):
        try:
            return _ingest(warehouse, settings, as_of, today)
        except TableChanged:
            continue
        except pl.exceptions.PanicException as error:  # which is not an Exception, and would pass all who handle one
            raise SourceError(
                f"{settings.source} must have rows that can be compared with those stored, but polars broke off: "
                f"{in_one_line(error)}. Nothing is half-written; run again with --debug and report what it prints."
            ) from error
    raise WarehouseError(
        f"Prices must stand still while new ones are compared with them, but others stored some {RACES} times "
        f"meanwhile in {warehouse.uri}. Let fewer ingest at once, and run again."
    )


def _ingest(warehouse: Warehouse, settings: Settings, as_of: date | None, today: date | None) -> Ingested:
    at = {name: warehouse.version(name) for name in ("prices", "actions")}
    source = open_source(settings)
    delivery = take_delivery(source, warehouse, settings, as_of, today)
    as_of, newest_in_source = delivery.as_of, delivery.sessions[1]
    rows, unknown_yet = _due(delivery, today)
    around = inside(known_around(rows, warehouse, as_of))
    history = with_actions(as_known(around, as_of), warehouse, as_of)
    checked = check_rows(rows, history, delivery.calendar, settings, today)
    checked.refuse_failed(source.name)
    good, bad = _sorted_out(checked, delivery.fetched, as_of, warehouse)
    seen = warehouse.newest_seen()
    newest_seen = max(as_of, seen or as_of)
    known = around.join(good, on=KEY, how="semi")
    good, changes = _changes(dated(good, newest_seen, seen), known, settings, as_of)
    telling_bad = bad.filter(pl.col("series_id").is_not_null(), pl.col("time") <= (today or date.max))
    of_actions = _store_actions(good, dated(telling_bad, newest_seen, seen), warehouse, as_of, at["actions"])
    warehouse.store_prices(outside(changes), at["prices"])
    warehouse.store_quarantine(bad.select(*_QUARANTINED, *(name for name in VALUES if name in bad.columns)))
    warehouse.store_flags(checked.flags.select("series_id", "time", "rule", as_of=pl.lit(as_of)).unique())
    run_counts = {
        "rows_in": rows.height,
        **counts_of_run(good, after_storing(known, changes), as_of),
        "rows_quarantined": bad.height,
        "rules": json.dumps(checked.counts),
    }
    keep_up(warehouse, as_of, run_counts)
    return Ingested(
        as_of=as_of,
        rows_in=rows.height,
        **_by_status(good),
        quarantined=dict(sorted(bad["rule"].value_counts().iter_rows())),
        newest_in_source=newest_in_source,
        newest=max(newest_in_source, newest_seen),
        settings=delivery.settings.model_copy(update={"layout": delivery.fetched.layout}),
        rules=checked.counts,
        doubts=checked.doubts,
        run_counts=run_counts,
        messages=(
            *delivery.messages,
            *_left_for_later(unknown_yet, as_of),
            *_look_alikes(rows["series_id"], around["series_id"]),
            *of_actions,
            *_wrong_calendar(bad, rows.height, delivery.calendar),
        ),
        left=delivery.rows.height - rows.height,
    )


def _due(delivery: Delivery, today: date | None) -> tuple[pl.DataFrame, int]:
    """The rows that a run of the delivery's session takes in, and how many of it the source itself knew only later.

    Rows of later sessions are left, too; but not where the delivery ends: what lies after it can be no price, and would
    never come again.
    """
    rows, as_of = delivery.rows, delivery.as_of
    is_last = delivery.sessions[1] <= as_of
    later_on = ((pl.col("time") > as_of) & (pl.col("time") <= (today or date.max)) & (not is_last)).fill_null(False)
    not_known_yet = (pl.col("known_at") > as_of).fill_null(False) & ~later_on
    return rows.filter(~(later_on | not_known_yet)), rows.filter(not_known_yet).height


def _sorted_out(
    checked: Checked, fetched: Fetched, as_of: date, warehouse: Warehouse
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that may be stored, with those that a decision let out of quarantine, and the ones that go there."""
    rows = _undated_refused(checked.rows.with_columns(checked.rule))
    bad = _as_quarantined(rows.filter(pl.col("rule").is_not_null()), fetched, as_of)
    bad, decided = take_decided(bad, warehouse.repairs())
    good = rows.filter(pl.col("rule").is_null())
    decided = decided.join(good, on=KEY, how="anti").select(
        pl.col(name) if name in decided.columns else pl.lit(None, good.schema[name]).alias(name)
        for name in good.columns
    )
    return pl.concat([good, decided], how="vertical_relaxed"), bad


def _changes(
    good: pl.DataFrame, known: pl.DataFrame, settings: Settings, as_of: date
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows with their status beside what is known, and those of `prices` that they become."""
    wanted = dict.fromkeys([*STORED, *map(with_prefix, (*settings.covariates, *settings.static))])
    values = [name for name in wanted if name in good.columns]
    good = compare(good, known, values)
    return good, good.filter(pl.col("status") != "unchanged").select(*PRICE_KEY, *values, as_of=pl.lit(as_of))


def _by_status(good: pl.DataFrame) -> dict[str, int]:
    counts = dict(good["status"].value_counts().iter_rows())
    return {status: counts.get(status, 0) for status in ("stored", "corrected", "unchanged")}


def _undated_refused(rows: pl.DataFrame) -> pl.DataFrame:
    """A row without known_at beside one with it, for the same session, cannot be put in order with it."""
    if rows["known_at"].null_count() in (0, rows.height):
        return rows
    undated = pl.col("known_at").is_null() & (pl.col("known_at").count().over(KEY) > 0)
    conflict = pl.when(undated).then(pl.lit("conflicting_duplicate"))
    return rows.with_columns(pl.coalesce("rule", conflict).alias("rule"))


def _look_alikes(delivered: pl.Series, known: pl.Series) -> list[str]:
    """Names that differ in nothing a person would see at once; a series id is data, and stays as it is."""
    ids = pl.concat([delivered.unique(), known.unique()]).drop_nulls().unique().sort().to_frame("id")
    plain = pl.col("id").str.normalize("NFKC").str.replace_all(r"\p{Cf}", "").str.replace_all(r"\s+", " ")
    plain = plain.str.strip_chars().str.to_lowercase()
    alike = ids.filter(plain.is_duplicated()).sort(plain, "id")["id"].to_list()
    if not alike:
        return []
    return [
        "Series whose names differ in blanks, capitals or invisible marks alone are series of their own: "
        f"{shorten(alike)}. Mend the source where they should be one."
    ]


def _left_for_later(count: int, as_of: date) -> list[str]:
    if not count:
        return []
    return [f"{count:,} rows became known to the source only after {as_of}, and are left for a later run."]


def _wrong_calendar(bad: pl.DataFrame, n_rows: int, calendar: PanelCalendar) -> list[str]:
    count = bad.filter(rule="not_a_session").height
    if count <= MANY * n_rows:
        return []
    return [
        f"{count:,} of {n_rows:,} rows ({count / n_rows:.0%}) are in quarantine, for their days are no sessions of "
        f"{calendar.name}. {ADVICE['not_a_session']}"
    ]


def _store_actions(good: pl.DataFrame, bad: pl.DataFrame, warehouse: Warehouse, as_of: date, version: int) -> list[str]:
    """Store the delivery's splits and dividends, and tell what is new."""
    if not set(NO_ACTION) & set(good.columns):
        return []
    told = telling(good, bad)
    actions = new_actions(told, warehouse.actions_of(told.select(KEY)))
    warehouse.store_actions(actions.with_columns(as_of=pl.lit(as_of)), version)
    return in_words(actions)


def keep_up(warehouse: Warehouse, as_of: date, counts: dict[str, Any]) -> None:
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
