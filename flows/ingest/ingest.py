"""Ingest: fetch → read → check → compare with stored rows → store. Nothing is written until all checks passed."""

import json
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.calendars.periodic import is_of_periods
from tidecast.features.error_text import counted, shorten
from tidecast.flows.config.column_names import inside, outside, with_prefix
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError, WarehouseError
from tidecast.flows.ingest.corporate_actions import NO_ACTION, messages_of, new_actions, stated_actions
from tidecast.flows.ingest.delivery import ADVICE, Delivery, read_delivery
from tidecast.flows.ingest.quarantine import finish_repairs, take_decided
from tidecast.flows.ingest.revisions import KEY, STORED, after_storing, compare, counts_of_run, dated
from tidecast.flows.ingest.stored_context import revisions_around, with_actions
from tidecast.flows.log import log
from tidecast.flows.parsing.clear_errors import in_one_line
from tidecast.flows.rules.check import Checked, check_rows
from tidecast.flows.sources import Fetched, open_source
from tidecast.flows.warehouse.delta_writer import TableChanged
from tidecast.flows.warehouse.schema import PRICE_KEY, VALUES, as_known
from tidecast.flows.warehouse.warehouse import Warehouse

RACES = 20
"""Attempts of an ingest while others store prices at the same time."""

LARGE = 1_000_000
"""Rows of a delivery that take long enough to say what is done with them."""

MANY = 0.05
"""Share of rows that break a rule above which it is said what to do: the source is probably read in another way."""


@dataclass(frozen=True)
class Ingested:
    """Result of one ingest. Always ``rows_in == stored + corrected + unchanged + sum(quarantined.values())``.

    Parameters
    ----------
    as_of : date
        The session the run stands on.
    rows_in : int
        Rows of the source up to `as_of`, those dated after today, and those whose time cannot be read. If `as_of` is
        the newest session of the source, all its rows. Never rows of sessions that have not closed.
    stored, corrected, unchanged : int
        Good rows that were new, stored with other values, and stored already, when this call began.
    quarantined : dict of str to int
        Rows per broken rule, new in the quarantine or not.
    newest_in_source : date
        Session of the newest good row of the source; may lie after `as_of`.
    newest : date
        The newest session the panel has seen, in the source or in any run.
    settings : Settings
        With open choices decided (calendar, layout), to be remembered.
    rules : dict of str to int
        Rows that break each rule which is not off, zero included; see `tidecast.flows.rules.check.Checked.counts`.
    doubts : dict of str to int
        Those of them that are stored; see `tidecast.flows.rules.check.Checked.doubts`.
    run_counts : dict
        rows_in, rows_stored, rows_corrected, rows_unchanged, rows_quarantined, rules for the table `runs`: totals of
        this `as_of`, counted from the tables, so that a killed run and its repetition count like one. If the table has
        a row of this session, that row is updated.
    messages : tuple of str
        Messages for the user.
    left : int
        Rows left for a later run: of later sessions, of sessions that have not closed, or known to the source only
        after `as_of`.
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


def ingest(
    warehouse: Warehouse, settings: Settings, as_of: date | None = None, today: date | None = None,
    now: datetime | None = None,
) -> Ingested:  # fmt: skip
    """Store what the source knows up to `as_of`. The same source again stores nothing.

    - *Known from when.* Where the source says so (column `known_at`), from that day, but not before the row's session.
      Rows known only after `as_of` are left for a later run. Where the source does not say, a new row is known from its
      session. A row of a session that the panel has seen before came late; it is known from the newest `as_of` the
      panel has seen. So is a correction. So what a run of an earlier `as_of` saw never changes, unless the source says
      that it knew.
    - *Which sessions.* Only those that have closed at `now`, by the calendar of each series. Rows of other sessions
      are left for a later run.
    - *What is read.* Rows from `reread_sessions` sessions before the newest one that runs of an earlier `as_of` have
      stored, and all rows of new series. A killed run and its repetition so ask for the same. Of the table, only rows
      of the same series and sessions are read, and some before them.
    - *Several ingests at once.* One stores its rows; the others start again, source included, with what is stored then.
      The table is as if they had run one after the other.

    Parameters
    ----------
    warehouse : Warehouse
        Receives prices, actions, quarantine and flags.
    settings : Settings
        Source, column names, calendar.
    as_of : date or None
        None: the newest session of the source; see `tidecast.flows.ingest.calendars.resolve_as_of`.
    today : date or None
        The current day, if rows of later days are to be refused.
    now : datetime or None
        The instant at which the run was started, with a time zone. None: every session counts as closed.

    Returns
    -------
    Ingested

    Raises
    ------
    SourceError
        The source cannot be opened or understood, has no usable row, is intraday, or begins after `as_of`.
    WarehouseError
        The tables cannot be read or written, or other processes keep writing to them.
    """
    finish_repairs(warehouse)
    for _ in range(RACES):
        try:
            return _ingest(warehouse, settings, as_of, today, now)
        except TableChanged:
            continue
        except pl.exceptions.PanicException as error:  # not an Exception: `except Exception` would let it pass
            raise SourceError(
                f"{settings.source} must have rows that can be compared with stored ones, but polars failed: "
                f"{in_one_line(error)}. Nothing is half-written. Run again with --debug and report the output."
            ) from error
    raise WarehouseError(
        f"Stored prices must not change while new ones are compared with them, but other processes changed those in "
        f"{warehouse.uri} {RACES} times. Run fewer of them at once, and run again."
    )


@dataclass(frozen=True)
class _Judged:
    """The rows of a delivery that were checked, without the delivery, which takes as much memory again.

    Attributes
    ----------
    as_of, newest_in_source : date
    settings : Settings
        With open choices decided.
    rows_in, left : int
        As in `Ingested`.
    good, bad : polars.DataFrame
        Rows to store, and rows for the quarantine.
    stored : polars.DataFrame
        Revisions in the table with the keys of `good`.
    flags : polars.DataFrame
    rules, doubts : dict of str to int
        As in `Ingested`.
    messages, remarks : tuple of str
        What to say before the messages on corporate actions, and after them.
    """

    as_of: date
    newest_in_source: date
    settings: Settings
    rows_in: int
    left: int
    good: pl.DataFrame
    bad: pl.DataFrame
    stored: pl.DataFrame
    flags: pl.DataFrame
    rules: dict[str, int]
    doubts: dict[str, int]
    messages: tuple[str, ...]
    remarks: tuple[str, ...]


def _ingest(
    warehouse: Warehouse, settings: Settings, as_of: date | None, today: date | None, now: datetime | None
) -> Ingested:
    versions = {name: warehouse.version(name) for name in ("prices", "actions")}
    judged = _judge(warehouse, settings, as_of, today, now)
    as_of, bad = judged.as_of, judged.bad
    seen = warehouse.newest_seen()
    newest_seen = max(as_of, seen or as_of)
    good, changes = _changes(dated(judged.good, newest_seen, seen), judged.stored, settings, as_of)
    bad_with_day = bad.filter(pl.col("series_id").is_not_null(), pl.col("time") <= (today or date.max))
    actions = _store_actions(good, dated(bad_with_day, newest_seen, seen), warehouse, as_of, versions["actions"])
    by_status = _by_status(good)
    run_counts = {
        "rows_in": judged.rows_in,
        **counts_of_run(good.select("series_id", "time"), after_storing(judged.stored, changes), as_of),
        "rows_quarantined": bad.height,
        "rules": json.dumps(judged.rules),
    }
    prices = outside(changes)
    judged = replace(judged, good=good.clear(), stored=good.clear())
    del good, changes  # a commit of millions of rows needs the memory
    if prices.height >= LARGE:
        log.info(f"Storing {counted(prices.height, 'row')} …")
    warehouse.store_prices(prices, versions["prices"])
    warehouse.store_quarantine(bad.select(*_QUARANTINED, *(name for name in VALUES if name in bad.columns)))
    warehouse.store_flags(judged.flags.select("series_id", "time", "rule", as_of=pl.lit(as_of)).unique())
    update_run(warehouse, as_of, run_counts)
    return Ingested(
        as_of=as_of,
        rows_in=judged.rows_in,
        **by_status,
        quarantined=dict(sorted(bad["rule"].value_counts().iter_rows())),
        newest_in_source=judged.newest_in_source,
        newest=max(judged.newest_in_source, newest_seen),
        settings=judged.settings,
        rules=judged.rules,
        doubts=judged.doubts,
        run_counts=run_counts,
        messages=(*judged.messages, *messages_of(actions), *judged.remarks),
        left=judged.left,
    )


def _judge(
    warehouse: Warehouse, settings: Settings, as_of: date | None, today: date | None, now: datetime | None
) -> _Judged:
    """Read a delivery and check its rows."""
    source = open_source(settings)
    delivery = read_delivery(source, warehouse, settings, as_of, today, now)
    as_of, newest_in_source = delivery.as_of, delivery.sessions[1]
    rows, known_later = _due(delivery, today)
    _refuse_unknown(rows, known_later, delivery, warehouse)
    if rows.height >= LARGE:
        log.info(f"Checking {counted(rows.height, 'row')} …")
    revisions = inside(revisions_around(rows, warehouse, as_of))
    history = with_actions(as_known(revisions, as_of), warehouse, as_of)
    checked = check_rows(rows, history, delivery.calendar, settings, today, ends=newest_in_source <= as_of)
    checked.refuse_failed(source.name)
    good, bad = _good_and_bad(checked, delivery.fetched, as_of, warehouse)
    return _Judged(
        as_of=as_of,
        newest_in_source=newest_in_source,
        settings=delivery.settings.model_copy(update={"layout": delivery.fetched.layout}),
        rows_in=rows.height,
        left=delivery.n_open + delivery.rows.height - rows.height,
        good=good,
        bad=bad,
        stored=revisions.join(good, on=KEY, how="semi"),
        flags=checked.flags,
        rules=checked.counts,
        doubts=checked.doubts,
        messages=(
            *delivery.messages,
            *_left_for_later(known_later, rows.height, delivery),
            *_look_alikes(rows["series_id"], revisions["series_id"]),
        ),
        remarks=(
            *_many_bad(bad, rows.height, delivery.calendar),
            *_between_sessions(bad, delivery.as_of, delivery.calendar),
        ),
    )


def _due(delivery: Delivery, today: date | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that a run of the delivery's session ingests, and the rows that the source knew only later.

    Rows of later sessions wait too, unless `as_of` is the delivery's last session. Rows after that cannot be prices and
    would not come again.
    """
    rows, as_of = delivery.rows, delivery.as_of
    is_last = delivery.sessions[1] <= as_of
    later_on = ((pl.col("time") > as_of) & (pl.col("time") <= (today or date.max)) & (not is_last)).fill_null(False)
    not_known_yet = (pl.col("known_at") > as_of).fill_null(False) & ~later_on
    return rows.filter(~(later_on | not_known_yet)), rows.filter(not_known_yet)


def _good_and_bad(
    checked: Checked, fetched: Fetched, as_of: date, warehouse: Warehouse
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows to store, those released from quarantine included, and the rows to put there."""
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
    good: pl.DataFrame, stored: pl.DataFrame, settings: Settings, as_of: date
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows with their status, and the new rows of `prices`."""
    wanted = dict.fromkeys([*STORED, *map(with_prefix, (*settings.covariates, *settings.static))])
    values = [name for name in wanted if name in good.columns]
    good = compare(good, stored, values)
    return good, good.filter(pl.col("status") != "unchanged").select(*PRICE_KEY, *values, as_of=pl.lit(as_of))


def _by_status(good: pl.DataFrame) -> dict[str, int]:
    counts = dict(good["status"].value_counts().iter_rows())
    return {status: counts.get(status, 0) for status in ("stored", "corrected", "unchanged")}


def _undated_refused(rows: pl.DataFrame) -> pl.DataFrame:
    """Refuse rows without known_at where another row of the session has one: they have no order."""
    if rows["known_at"].null_count() in (0, rows.height):
        return rows
    undated = pl.col("known_at").is_null() & (pl.col("known_at").count().over(KEY) > 0)
    conflict = pl.when(undated).then(pl.lit("conflicting_duplicate"))
    return rows.with_columns(pl.coalesce("rule", conflict).alias("rule"))


def _look_alikes(delivered: pl.Series, stored: pl.Series) -> list[str]:
    """Name series whose names look the same. They are not merged: a series id is data."""
    ids = pl.concat([delivered.unique(), stored.unique()]).drop_nulls().unique().sort().to_frame("id")
    plain = pl.col("id").str.normalize("NFKC").str.replace_all(r"\p{Cf}", "").str.replace_all(r"\s+", " ")
    plain = plain.str.strip_chars().str.to_lowercase()
    alike = ids.filter(plain.is_duplicated()).sort(plain, "id")["id"].to_list()
    if not alike:
        return []
    return [
        "Series are kept apart although their names differ only in blanks, capitals or invisible marks: "
        f"{shorten(alike)}. If they should be one, fix the source."
    ]


def _refuse_unknown(rows: pl.DataFrame, known_later: pl.DataFrame, delivery: Delivery, warehouse: Warehouse) -> None:
    """Refuse a first delivery of which nothing was known on its session: its column says something else."""
    is_known = rows.filter(pl.col("close").is_not_null(), pl.col("series_id").is_not_null())
    if known_later.is_empty() or not is_known.is_empty() or warehouse.newest_session() is not None:
        return
    settings, first = delivery.settings, str(known_later["known_at"].min())
    column = settings.known_at or "known_at"
    raise SourceError(
        f"A price must be known on its session or soon after to be used, but by column {column!r} all "
        f"{counted(known_later.height, 'row')} of {settings.source} became known on {first} or later, after the "
        f"newest session, {delivery.as_of}. If it says when the table was loaded, {_without_known_at(settings)}. If it "
        f"is right, run again once a session has closed on or after {first}."
    )


def _without_known_at(settings: Settings) -> str:
    if settings.known_at:
        return f"leave known_at = {settings.known_at!r} out (flag, TIDECAST_KNOWN_AT, pyproject.toml)"
    return "rename it, by a view or a query: a column of the name 'known_at' is read as such"


def _left_for_later(known_later: pl.DataFrame, n_due: int, delivery: Delivery) -> list[str]:
    count, settings = known_later.height, delivery.settings
    if not count:
        return []
    text = f"{counted(count, 'row')} became known to the source only after {delivery.as_of}: left for a later run."
    if count > n_due:
        column = settings.known_at or "known_at"
        text += f" If {column!r} says when the table was loaded, {_without_known_at(settings)}."
    return [text]


def _many_bad(bad: pl.DataFrame, n_rows: int, calendar: PanelCalendar) -> list[str]:
    """Say what to do about each rule that many rows break."""
    why = {"not_a_session": f"because their days are not sessions of {calendar.name}"}
    counts = bad["rule"].value_counts(sort=True).filter(pl.col("count") > MANY * n_rows)
    return [
        f"{count:,} of {n_rows:,} rows ({count / n_rows:.0%}) are in quarantine "
        f"{why.get(rule, f'by the rule {rule}')}. {ADVICE[rule]}"
        for rule, count in counts.iter_rows()
        if rule in ADVICE
    ]


def _between_sessions(bad: pl.DataFrame, as_of: date, calendar: PanelCalendar) -> list[str]:
    """Name the newest rows of weekly, monthly, … series if they are not sessions: the run forecasts nothing new."""
    newer = bad.filter(pl.col("rule") == "not_a_session", pl.col("time") > as_of).sort("time", "series_id")
    own = [calendar.own.get(series_id, calendar.default) for series_id in newer["series_id"]]
    newer = newer.filter(pl.Series([one is not None and is_of_periods(one) for one in own], dtype=pl.Boolean))
    if newer.is_empty():
        return []
    name = next(one.name for one in own if one is not None and is_of_periods(one))
    period = name.split()[0]
    return [
        f"The newest days must be sessions of {name}, found {counted(newer.height, 'row')} after {as_of} on other days "
        f"({newer['series_id'][0]!r} at {newer['time'][0]}): now in quarantine, and used by no forecast. "
        "If a holiday moved the session, give the rows the date of the session, or start in a new folder (--home) with "
        f"a calendar that knows the holidays, such as --calendar '{period} last XNYS'."
    ]


def _store_actions(
    good: pl.DataFrame, bad: pl.DataFrame, warehouse: Warehouse, as_of: date, version: int
) -> pl.DataFrame:
    """Store the delivery's new splits and dividends, and return them."""
    if not set(NO_ACTION) & set(good.columns):
        return pl.DataFrame()
    stated = stated_actions(good, bad)
    actions = new_actions(stated, warehouse.actions_of(stated.select(KEY)))
    warehouse.store_actions(actions.with_columns(as_of=pl.lit(as_of)), version)
    return actions


def update_run(warehouse: Warehouse, as_of: date, counts: dict[str, Any]) -> None:
    """Bring the counts of the session's row of `runs`, if there is one, up to date.

    Parameters
    ----------
    warehouse : Warehouse
    as_of : date
    counts : dict
        As `Ingested.run_counts`.
    """
    for row in warehouse.runs().filter(pl.col("as_of") == as_of).drop("year").to_dicts():
        if any(row[name] != counts[name] for name in ("rows_stored", "rows_corrected")):
            warehouse.put_run(row | counts)


_QUARANTINED = ("series_id", "time", "rule", "original", "occurrence", "as_of")


def _as_quarantined(bad: pl.DataFrame, fetched: Fetched, as_of: date) -> pl.DataFrame:
    """Rows that break a rule, with the key of `quarantine`."""
    original = pl.Series("original", fetched.originals(bad["row"]), dtype=pl.String)
    return bad.with_columns(original, as_of=pl.lit(as_of)).with_columns(
        occurrence=pl.int_range(pl.len()).over("rule", "original")
    )
