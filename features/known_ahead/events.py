"""Events known ahead, such as earnings dates and central-bank meetings: columns for each row of a panel.

Axes: N rows of the panel, M rows of the table, H horizon steps, V changes of the number of events in a session.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.error_text import check_whole, shorten
from tidecast.features.frames import FrameLike, like
from tidecast.features.known_ahead.instants import sessions_holding
from tidecast.features.known_ahead.places import ROW, Origins, Places
from tidecast.features.known_ahead.table import as_column, blocks, read_both
from tidecast.features.known_ahead.vintages import Array, Vintages, Whole
from tidecast.features.panel import AHEAD, SINCE, TO, WITHIN, PanelSchema

FURTHEST = 63
"""Sessions to an event, at most: a quarter."""

KNOWN, EVENT, CANCELLED = "known_at", "event_id", "cancelled"


def with_events(
    panel: FrameLike,
    events: Any,
    horizon: int = 5,
    schema: PanelSchema | None = None,
    group: str | None = None,
    kinds: Sequence[str] | None = None,
    furthest: int = FURTHEST,
) -> FrameLike:
    """Return the panel with columns for events, as they were known at each row.

    Each kind of event, such as ``earnings``, gives

    - ``earnings``: 1 if the row's own session holds such an event, else 0; ``earnings_ahead``: a list of the same for
      the next `horizon` sessions;
    - ``earnings_within_ahead``: a list of 1 where such an event lies after the row and at or before that step, because
      a forecast of step k is about all sessions up to it; ``earnings_within`` is 0;
    - ``sessions_to_earnings`` and ``sessions_since_earnings``: sessions to the next and since the last one, at most
      `furthest`; also where none is known.

    ``PanelSchema().with_events("earnings")`` makes all of them inputs. Every column holds what was known when the row's
    session closed. An event that is moved or cancelled later changes no earlier row.

    An event on a day without trading counts for the next session of the series. An instant counts for the first session
    that closes at it or later: earnings after the close move the next session. For bars, that is the bar it falls in.

    Parameters
    ----------
    panel : polars or pandas DataFrame
        ``series_id`` and ``time``.
    events : polars or pandas DataFrame
        ``time``, a date or an instant, and ``kind``. Optional: ``series_id`` and the column `group`, see `with_future`
        (with neither, an event is for all series); ``known_at``, from when it was known, as ``available_at`` of
        `with_future`; ``event_id``, the same in all rows about one event: the newest known row says when it is;
        ``cancelled``, true in a row that calls it off. Without an ``event_id``, rows with the same kind, series or
        group, and time are about one event, so a moved event needs a row that cancels the old date.
    horizon : int, default=5
        Sessions ahead, at least as many as are forecast.
    schema : PanelSchema, optional
        Its calendar is that of series without one of their own.
    group : str, optional
        A column of the panel and of the table.
    kinds : sequence of str, optional
        None: those of the table.
    furthest : int, default=63

    Returns
    -------
    DataFrame
        The same rows in the same order.

    Raises
    ------
    TypeError, ValueError
        A column is missing or of another type, a kind is also a column of the panel, or two rows about one event were
        known from the same instant and say different things.

    Examples
    --------
    >>> from datetime import date
    >>> days = pl.date_range(date(2024, 7, 1), date(2024, 7, 4), eager=True)
    >>> prices = pl.DataFrame({"series_id": "a", "time": days, "close": [1.0, 1.1, 1.0, 1.2]})
    >>> earnings = {"event_id": "Q2", "kind": "earnings", "time": [date(2024, 7, 3), date(2024, 7, 5)]}
    >>> events = pl.DataFrame(earnings | {"known_at": [date(2024, 6, 1), date(2024, 7, 2)]})  # moved on 2 July
    >>> found = with_events(prices, events, horizon=2, schema=PanelSchema(calendar="24/7"))
    >>> found["earnings_ahead"].to_list()
    [[0.0, 1.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    >>> found["sessions_to_earnings"].to_list()
    [2.0, 3.0, 2.0, 1.0]
    """
    try:
        check_whole("furthest", furthest, at_least=1)
        joined = read_both(panel, events, ["time", "kind"], horizon, schema, group)
        table = joined.table.with_columns(pl.col("kind").cast(pl.String))
        names = list(kinds) if kinds is not None else table["kind"].unique().sort().to_list()
        _check_kinds(names, joined.panel)
        changes, origins = _changes(table.filter(pl.col("kind").is_in(names)), joined.places), joined.places.origins()
        columns = [column for name in names for column in _columns(name, changes, origins, horizon, furthest)]
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        kind = type(error) if isinstance(error, TypeError | ValueError) else ValueError
        raise kind(f"events: {error}") from error
    return cast("FrameLike", like(joined.panel.with_columns(columns), panel))


def _check_kinds(names: Sequence[str], panel: pl.DataFrame) -> None:
    """Refuse kinds that are columns of the panel, unless they come from earlier events."""
    taken = [name for name in names if name in panel.columns and name + WITHIN + AHEAD not in panel.columns]
    made = [made for name in names for made in (name, name + AHEAD, name + WITHIN, name + WITHIN + AHEAD)]
    if len(set(made)) < len(made):
        twice = sorted({name for name in names if made.count(name) > 1})
        raise ValueError(f"Kinds must differ in more than an ending {AHEAD!r} or {WITHIN!r}, found {shorten(twice)}.")
    if taken:
        raise ValueError(
            f"A kind of event must not be a column of the panel, found {shorten(taken)}. Rename the kind or the column."
        )


def _changes(table: pl.DataFrame, places: Places) -> pl.DataFrame:
    """Changes of the number of events: `kind`, `place`, `session`, `known`, and `change`, 1 or −1."""
    if table.is_empty():
        return pl.DataFrame(
            schema={"kind": pl.String, **dict.fromkeys(("place", "session", "known", "change"), pl.Int64)}
        )
    rows = places.of_table(table)
    row = rows[ROW].to_numpy()

    def sessions(calendar: Calendar, at: Whole) -> Whole:
        return sessions_holding(table["time"], calendar)[row[at]]

    if CANCELLED in table.columns and not (
        table.schema[CANCELLED].is_numeric() or table.schema[CANCELLED] == pl.Boolean
    ):
        raise ValueError(f"{CANCELLED!r} must be true or false, got {table.schema[CANCELLED]}. Cast it.")
    off = pl.col(CANCELLED).cast(pl.Boolean).fill_null(False) if CANCELLED in table.columns else pl.lit(False)
    told = table.select("kind", event=_event(table), off=off)[row].with_columns(
        place=rows["place"],
        session=pl.Series(places.numbers(rows, sessions)),
        known=pl.Series(places.known(table, KNOWN)[row]),
        order=pl.Series(row),
    )
    _refuse_contradictions(told, table)
    told = told.sort("known", "order", maintain_order=True)  # rows that agree may repeat
    told = told.unique(["kind", "place", "event", "known"], keep="last", maintain_order=True)
    until = pl.col("known").shift(-1).over("kind", "place", "event")
    held = told.with_columns(until=until).filter(~pl.col("off"))
    keys = ("kind", "place", "session")
    begins = held.select(*keys, "known", change=pl.lit(1, pl.Int64))
    ends = held.drop_nulls("until").select(*keys, known="until", change=pl.lit(-1, pl.Int64))
    return pl.concat([begins, ends]).group_by(*keys, "known").agg(pl.col("change").sum()).sort(*keys, "known")


def _refuse_contradictions(told: pl.DataFrame, table: pl.DataFrame) -> None:
    """Raise ValueError for two rows about one event that were known from the same instant and say different things."""
    said = pl.when("off").then(None).otherwise("session").alias("said")
    several = told.group_by("kind", "place", "event", "known", maintain_order=True).agg(said, "order")
    several = several.filter(pl.col("said").list.n_unique() > 1)
    if several.is_empty():
        return
    first = [table.row(row, named=True) for row in several["order"][0].to_list()[:2]]
    raise ValueError(
        f"An event must have one time from each instant, found {several['kind'][0]!r} at {first[0]['time']} and "
        f"{first[1]['time']}, cancelled or not, with the same {EVENT} and {KNOWN}; {len(several)} are like it. Give "
        f"the later row its own {KNOWN}, or each event its own {EVENT}."
    )


def _event(table: pl.DataFrame) -> pl.Expr:
    """A text that is the same in all rows about one event: its id, else its time."""
    own = pl.col("time").cast(pl.String)
    if EVENT not in table.columns:
        return "time " + own
    return pl.coalesce("id " + pl.col(EVENT).cast(pl.String), "time " + own)


def _columns(name: str, changes: pl.DataFrame, origins: Origins, horizon: int, furthest: int) -> list[pl.Series]:
    """The columns of one kind."""
    own = changes.filter(pl.col("kind") == name)
    counts = own.select(pl.col("change").cum_sum().over("place", "session")).to_series()
    place, session, known = (own[column].to_numpy() for column in ("place", "session", "known"))
    vintages = Vintages.of(place, session, known, counts.cast(pl.Float64).to_numpy())
    n_rows = len(origins.session_N)
    held_NH, to_N, since_N = np.zeros((n_rows, horizon + 1)), np.empty(n_rows), np.empty(n_rows)
    for some in blocks(n_rows):
        session, instant = origins.session_N[some], origins.instant_N[some]
        places, later_NH = [place[some] for place in origins.places], session[:, None] + np.arange(horizon + 1)
        for place in places:
            held_NH[some] = np.maximum(held_NH[some], vintages.newest(place[:, None], later_NH, instant[:, None]) > 0)
        to_N[some] = _distance(vintages, places, session, instant, furthest, 1)
        since_N[some] = _distance(vintages, places, session, instant, furthest, -1)
    for values in (held_NH, to_N, since_N):
        values[~origins.is_session] = np.nan
    within_NH = np.maximum.accumulate(held_NH[:, 1:], axis=1)
    return [
        as_column(name, held_NH[:, 0]), as_column(name + AHEAD, held_NH[:, 1:]),
        as_column(name + WITHIN, np.where(origins.is_session, 0.0, np.nan)),
        as_column(name + WITHIN + AHEAD, within_NH), as_column(TO + name, to_N), as_column(SINCE + name, since_N),
    ]  # fmt: skip


def _distance(
    vintages: Vintages, places: Sequence[Whole], session: Whole, instant: Whole, furthest: int, side: int
) -> Array:
    """Sessions from rows to the next event after them (`side` 1), or back to the last one at or before them (−1)."""
    found = np.full(len(session), float(furthest))
    place_P, session_P = vintages.pairs()
    for place in places if len(place_P) else ():
        row, at = np.arange(len(session)), vintages.following(place, session) - (side < 0)
        while len(row):  # from one session that ever had an event to the next, while those were cancelled or not known
            near = at.clip(0, len(place_P) - 1)
            apart = side * (session_P[near] - session[row])
            close = (near == at) & (place_P[near] == place[row]) & (apart < found[row])
            row, at, near, apart = row[close], at[close], near[close], apart[close]
            held = vintages.newest(place[row], session_P[near], instant[row]) > 0
            found[row[held]] = apart[held]
            row, at = row[~held], at[~held] + side
    return found
