"""Read the rows of a source of future covariates or of events as names, instants and numbers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import polars as pl

from tidecast.features.error_text import counted, near_match, shorten
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.ingest.calendars import market_zone, market_zones, own_calendars
from tidecast.flows.ingest.delivery import FEW
from tidecast.flows.parsing.clear_errors import one_clear_error
from tidecast.flows.parsing.fetched import rows_as_json
from tidecast.flows.parsing.values import dates, dates_by_zone, instants, is_present, names, numbers, truths
from tidecast.flows.redaction import beginning
from tidecast.flows.sources import open_source

ALWAYS = datetime(1900, 1, 1, tzinfo=UTC)
"""Instant of what was known before the first run, where the source does not say from when."""

TIMES = datetime(1900, 1, 1, tzinfo=UTC), datetime(2150, 1, 1, tzinfo=UTC)
"""The first and the last instant of an event that calendars can place."""

SINCE = ("available_at", "known_at")
"""Columns of a source that say from when a row was known."""

UNREADABLE_FUTURE, UNREADABLE_EVENT = "unreadable_future_value", "unreadable_event"
CONFLICTING_FUTURE, CONFLICTING_EVENT = "conflicting_future_value", "conflicting_event"
AHEAD_RULES = (UNREADABLE_FUTURE, UNREADABLE_EVENT, CONFLICTING_FUTURE, CONFLICTING_EVENT)
"""Rules that rows in quarantine broke."""

_OWN = "__tidecast_own"
"""The time of an event without an id, which is what it is known by."""

_QUERY = re.compile(r"\s*(select|with)\s", re.IGNORECASE)
"""How a query begins; a table of that name would have no blank after it."""


@dataclass(frozen=True)
class AheadRows:
    """Rows of a source, read.

    Attributes
    ----------
    name : str
        The source's, for messages.
    rows : polars.DataFrame
        The readable rows, in the order of the source, with the columns of the table but `as_of`.
    dated : bool
        Whether the source has a column that says from when a row was known.
    conflicting : polars.DataFrame
        Rows like `rows` that contradict each other, and so are not among them.
    bad : polars.DataFrame
        What goes to quarantine: `series_id`, `time`, `rule`, and `original`, the row as JSON.
    left_out : str
        Sentences on them; empty without any.
    """

    name: str
    rows: pl.DataFrame
    dated: bool
    conflicting: pl.DataFrame
    bad: pl.DataFrame
    left_out: str


def read_future(settings: Settings, stored: pl.DataFrame | None = None) -> AheadRows:
    """Read the source of future covariates that the settings name.

    Parameters
    ----------
    settings : Settings
        `future` and `future_table` say where, `future_covariates` which columns.
    stored : polars.DataFrame, optional
        ``series_id`` and ``calendar`` of the series with a calendar of their own. None: no series has one.

    Raises
    ------
    SourceError
        It cannot be opened or read, a column is missing, no row is readable, all contradict each other, or a time is
        another day in each market that it is for.
    """
    frame, name = _table(settings, "future", settings.future or "", settings.future_table)
    time = _time(frame, settings, name)
    since = next((column for column in SINCE if column in frame.columns), None)
    taken = [name for name in (time, since, "series_id", settings.series_id, settings.group) if name]
    _require(frame, settings.future_covariates, "future_covariates", name, taken)
    whom = _whom(frame, settings)
    day, clock = _days(frame[time], whom, settings, stored, name)
    read = whom.with_columns(day.alias("time"), _known(frame, since).alias("available_at"))
    _refuse_hours(read.with_columns(clock.alias("clock")), settings.future_covariates[0], name)
    bad = [read["time"].is_null(), _unread(frame, since, read["available_at"])]
    for covariate in settings.future_covariates:
        number, was_there = _number(frame[covariate])
        read = read.with_columns(number.alias(covariate))
        bad.append(was_there & number.is_null())
    conflict = _conflict(["series_id", "group_name", "time", "available_at"], settings.future_covariates)
    rules = (UNREADABLE_FUTURE, CONFLICTING_FUTURE)
    return _readable(read, frame, bad, since, name, rules, conflict, "a session and an instant", "available_at")


def read_events(settings: Settings) -> AheadRows:
    """Read the source of events that the settings name.

    Parameters
    ----------
    settings : Settings
        `events` and `events_table` say where.

    Raises
    ------
    SourceError
        As of `read_future`.
    """
    frame, name = _table(settings, "events", settings.events or "", settings.events_table)
    time = _time(frame, settings, name)
    _require(frame, ["kind"], "events", name)
    since = next((column for column in reversed(SINCE) if column in frame.columns), None)
    kind = names(frame["kind"]).str.strip_chars()
    ids = names(frame["event_id"]) if "event_id" in frame.columns else pl.Series([None] * len(frame), dtype=pl.String)
    off, was_there = pl.Series([0.0] * len(frame)), pl.Series([False] * len(frame))
    if "cancelled" in frame.columns:
        off, was_there = _number(frame["cancelled"])
    read = _whom(frame, settings).with_columns(
        kind.alias("kind"), ids.fill_null("").alias("event_id"), instants(frame[time]).alias("time"),
        _known(frame, since).alias("known_at"), (off.fill_null(0.0) != 0).alias("cancelled"),
    )  # fmt: skip
    inside = read["time"].is_between(*TIMES).fill_null(False)
    bad = [read["kind"].is_null(), ~inside]
    bad += [_unread(frame, since, read["known_at"]), was_there & off.is_null()]
    read = read.with_columns(pl.when(pl.col("event_id") == "").then("time").alias(_OWN))
    conflict = _conflict(["series_id", "group_name", "kind", "event_id", _OWN, "known_at"], ["time", "cancelled"])
    rules = (UNREADABLE_EVENT, CONFLICTING_EVENT)
    found = _readable(read, frame, bad, since, name, rules, conflict, "an event and an instant", "known_at")
    return replace(found, rows=found.rows.drop(_OWN), conflicting=found.conflicting.drop(_OWN))


def _table(settings: Settings, setting: str, address: str, table: str | None) -> tuple[pl.DataFrame, str]:
    """The columns of a source as they are written, and its name."""
    is_query = table is not None and _QUERY.match(table) is not None
    own = {"source": address, "table": None if is_query else table, "query": table if is_query else None}
    source = open_source(settings.model_copy(update=own))
    if not hasattr(source, "table"):
        raise SourceError(
            f"{setting} must name a file, a folder, a database or a web address, got {source.name}. Write its rows "
            "into a file or a table."
        )
    with one_clear_error(source.name, "Check that it is still there and that its columns hold what they should."):
        frame: pl.DataFrame = source.table()
    return frame, source.name


def _time(frame: pl.DataFrame, settings: Settings, name: str) -> str:
    found = next((column for column in ("time", settings.time) if column in frame.columns), None)
    if found is None:
        _require(frame, ["time"], "time", name)
    return found or "time"


def _require(frame: pl.DataFrame, columns: Sequence[str], setting: str, name: str, taken: Sequence[str] = ()) -> None:
    """Raise SourceError for a missing column; columns that are `taken` cannot be it."""
    others = [column for column in frame.columns if column not in taken]
    for column in columns:
        if column not in frame.columns:
            near = near_match(column, others)
            advice = f"Did you mean {near!r}?" if near else _advice(column, setting, len(others))
            raise SourceError(f"{name} must have a column {column!r}, found {shorten(frame.columns)}. {advice}")


def _advice(column: str, setting: str, others: int) -> str:
    """What to do where no column has a name like the missing one."""
    if setting != "future_covariates" or others < 2:
        return f"Rename one, or change {setting}."
    return (
        f"If each column is a series, write a row for each session and series: series_id, time, {column}. Else rename "
        f"one, or change {setting}."
    )


def _refuse_hours(rows: pl.DataFrame, covariate: str, name: str) -> None:
    """Refuse values of hours: the daily run has one value a session. Vintages repeat the time, so they pass."""
    times = rows.drop_nulls(["time", "clock"]).group_by("series_id", "group_name", "time", maintain_order=True)
    sessions = times.agg(pl.col("clock").n_unique())
    several = sessions.filter(pl.col("clock") > 1)
    if several.height <= FEW * sessions.height:
        return
    day, count = several.row(0, named=True)["time"], several["clock"][0]
    raise SourceError(
        f"{name} must have one value a session, found {counted(count, 'time')} of day on {day} "
        f"({counted(several.height, 'session is', 'sessions are')} like it). Average the hours, or give each its own "
        f"column: {covariate}_00, {covariate}_01, …"
    )


def _days(
    times: pl.Series, whom: pl.DataFrame, settings: Settings, stored: pl.DataFrame | None, name: str
) -> tuple[pl.Series, pl.Series]:
    """Day and time of day of each row, by the clocks of the market of its series, or of its group of one calendar.

    A row for series of several markets must be of one day in all of them.
    """
    own = own_calendars(whom.clear(), pl.DataFrame() if stored is None else stored)
    usual = market_zone(settings)
    zones = market_zones(whom["series_id"], settings, own)
    if settings.group == "calendar":
        named = {one.name: one.market_zone for one in own.values()}
        of_group = whom["group_name"].replace_strict(named, default=None, return_dtype=pl.String)
        zones = zones.zip_with(whom["group_name"] == "", of_group.fill_null(pl.lit(usual)))
    day, clock, _ = dates_by_zone(times, zones)
    others = {one.market_zone for one in own.values()} - {usual}
    shared = (whom["series_id"] == "") & ((whom["group_name"] == "") | (settings.group != "calendar"))
    if not others or not shared.any():
        return day, clock
    for zone in sorted(others, key=str):
        there, here = dates(times.filter(shared), zone)[0], day.filter(shared)
        differs = there.ne_missing(here).arg_true()
        if len(differs):
            first = differs[0]
            raise SourceError(
                f"{name} must have times of one day in all markets of the panel where a row is for several series, "
                f"found {times.filter(shared)[first]}, which is {here[first]} {_in(usual)} and {there[first]} "
                f"{_in(zone)}. Write days, or give each row its series_id."
            )
    return day, clock


def _in(zone: str | None) -> str:
    return "as it is written" if zone is None else f"in {zone}"


def _whom(frame: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The series and the group of each row, "" for none."""
    series = next((column for column in ("series_id", settings.series_id) if column in frame.columns), None)
    group = settings.group if settings.group in frame.columns else None
    columns = {"series_id": series, "group_name": group}
    found = {
        ours: pl.Series([""] * len(frame)) if theirs is None else names(frame[theirs]).fill_null("")
        for ours, theirs in columns.items()
    }
    both = pl.select(column.alias(name) for name, column in found.items())
    own_group = pl.when(pl.col("series_id") == "").then("group_name").otherwise(pl.lit(""))  # a series comes first
    return both.with_columns(group_name=own_group)


def _known(frame: pl.DataFrame, since: str | None) -> pl.Series:
    return pl.Series([None] * len(frame), dtype=pl.Datetime("us", "UTC")) if since is None else instants(frame[since])


def _unread(frame: pl.DataFrame, since: str | None, known: pl.Series) -> pl.Series:
    """Whether something is there that cannot be read as an instant."""
    return pl.Series([False] * len(frame)) if since is None else is_present(frame[since]) & known.is_null()


def _number(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Finite numbers, true and false as 1 and 0; and whether anything was there."""
    if (truth := truths(values)) is not None:
        return truth, truth.is_not_null()
    number, present = numbers(values)
    return number.set((~number.is_finite()).fill_null(False), None), present


def _conflict(key: Sequence[str], values: Sequence[str]) -> pl.Expr:
    """Whether another row has the same key and other values."""
    return pl.struct(values).n_unique().over(key) > 1


def _readable(
    read: pl.DataFrame, frame: pl.DataFrame, bad: Sequence[pl.Series], since: str | None, name: str,
    rules: tuple[str, str], conflict: pl.Expr, one_row_for: str, known: str,
) -> AheadRows:  # fmt: skip
    """The rows that can be read and contradict no other, and sentences on those that do not."""
    broken = pl.select(pl.any_horizontal(*bad)).to_series()
    unreadable, originals = _to_quarantine(read, frame, broken, rules[0])
    if len(originals) == len(frame):
        first = f"; the first is {originals[0]}" if originals else ""
        raise SourceError(f"{name} must have rows that can be read, found none{first}.")
    kept, texts = read.filter(~broken), []
    if originals:
        texts.append(f"{len(originals):,} of {len(frame):,} rows of {name} cannot be read")
        texts[0] += f" and go to quarantine; the first is {originals[0]}."
    twice = kept.select(conflict).to_series()
    against, contradicting = _to_quarantine(kept, frame.filter(~broken), twice, rules[1])
    if contradicting:
        advice = f"Keep one of them, or give each its own {known}."
        if twice.all():
            raise SourceError(
                f"{name} must have one row for {one_row_for}, found {counted(len(contradicting), 'row')} that "
                f"contradict others; the first is {contradicting[0]}. {advice}"
            )
        texts.append(
            f"{len(contradicting):,} of {len(frame):,} rows of {name} contradict others about {one_row_for} and go to "
            f"quarantine; the first is {contradicting[0]}. {advice}"
        )
    return AheadRows(
        name, kept.filter(~twice), since is not None, kept.filter(twice), pl.concat([unreadable, against]),
        " ".join(texts),
    )  # fmt: skip


def _to_quarantine(
    read: pl.DataFrame, frame: pl.DataFrame, which: pl.Series, rule: str
) -> tuple[pl.DataFrame, list[str]]:
    """Some rows as quarantine has them, and the beginnings of what they were."""
    originals = rows_as_json(frame.filter(which))
    placed = pl.when(pl.col("time").cast(pl.Date).is_between(TIMES[0].date(), TIMES[1].date())).then("time")
    whom = read.filter(which).select(pl.col("series_id").replace("", None), placed.cast(pl.Date).alias("time"))
    rows = whom.with_columns(pl.lit(rule).alias("rule"), pl.Series("original", originals, dtype=pl.String))
    return rows, [beginning(text, 200) for text in originals]
