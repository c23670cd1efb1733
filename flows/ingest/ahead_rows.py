"""Read the rows of a source of future covariates or of events as names, instants and numbers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from tidecast.features.error_text import near_match, shorten
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.parsing.clear_errors import one_clear_error
from tidecast.flows.parsing.values import dates, instants, is_present, names, numbers, truths
from tidecast.flows.sources import open_source

ALWAYS = datetime(1900, 1, 1, tzinfo=UTC)
"""Instant of what was known before the first run, where the source does not say from when."""

TIMES = datetime(1900, 1, 1, tzinfo=UTC), datetime(2150, 1, 1, tzinfo=UTC)
"""The first and the last instant of an event that calendars can place."""

SINCE = ("available_at", "known_at")
"""Columns of a source that say from when a row was known."""

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
    unreadable : str
        A sentence on rows that are left out; empty without any.
    """

    name: str
    rows: pl.DataFrame
    dated: bool
    unreadable: str


def read_future(settings: Settings) -> AheadRows:
    """Read the source of future covariates that the settings name.

    Parameters
    ----------
    settings : Settings
        `future` and `future_table` say where, `future_covariates` which columns.

    Raises
    ------
    SourceError
        It cannot be opened or read, a column is missing, or no row is readable.
    """
    frame, name = _table(settings, "future", settings.future or "", settings.future_table)
    time = _time(frame, settings, name)
    _require(frame, settings.future_covariates, "future_covariates", name)
    since = next((column for column in SINCE if column in frame.columns), None)
    read = _whom(frame, settings).with_columns(
        dates(frame[time], None)[0].alias("time"), _known(frame, since).alias("available_at")
    )
    bad = [read["time"].is_null(), _unread(frame, since, read["available_at"])]
    for covariate in settings.future_covariates:
        number, was_there = _number(frame[covariate])
        read = read.with_columns(number.alias(covariate))
        bad.append(was_there & number.is_null())
    return _readable(read, frame, bad, since, name)


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
    return _readable(read, frame, bad, since, name)


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


def _require(frame: pl.DataFrame, columns: Sequence[str], setting: str, name: str) -> None:
    for column in columns:
        if column not in frame.columns:
            near = near_match(column, frame.columns)
            advice = f"Did you mean {near!r}?" if near else f"Rename one, or change {setting}."
            raise SourceError(f"{name} must have a column {column!r}, found {shorten(frame.columns)}. {advice}")


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


def _readable(
    read: pl.DataFrame, frame: pl.DataFrame, bad: Sequence[pl.Series], since: str | None, name: str
) -> AheadRows:
    """The readable rows, and a sentence on the others."""
    broken = pl.select(pl.any_horizontal(*bad)).to_series()
    left = frame.filter(broken)
    if len(left) == len(frame):
        first = f"; the first is {left.row(0)}" if len(left) else ""
        raise SourceError(f"{name} must have rows that can be read, found none{first}.")
    text = ""
    if len(left):
        count = f"{len(left):,} of {len(frame):,} rows of {name}"
        text = f"{count} cannot be read and are left out, the first is {left.row(0)}."
    return AheadRows(name, read.filter(~broken), since is not None, text)
