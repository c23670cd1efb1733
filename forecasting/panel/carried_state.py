"""What a forecaster keeps of the history it has seen, and the rows that may be added to it.

Axes: N series, M rows of one time, F features.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, cast

import numpy as np
import polars as pl

from tidecast.features.error_text import shorten
from tidecast.features.panel import PanelSchema, as_seen, check_rows
from tidecast.features.segments import at_places, places_of
from tidecast.features.transformers.streaming import Stream
from tidecast.forecasting.network.recurrent import RecurrentNetwork, State
from tidecast.forecasting.panel.flat_panel import FlatPanel
from tidecast.forecasting.panel.snapshot import Snapshot


@dataclass(frozen=True)
class CarriedState:
    """Per series, sorted by name: where it stands, and for networks what they remember of it.

    Attributes
    ----------
    standing : Snapshot
    state : State, optional
        Of the network, after the row that each series stands at.
    stream : Stream, optional
        The features, ready for the next row.
    """

    standing: Snapshot
    state: State | None = None
    stream: Stream | None = None

    def atomic(self) -> AbstractContextManager[None]:
        """On an error inside, the stream is as it was before; the other parts are never changed in place."""
        return nullcontext() if self.stream is None else self.stream.atomic()

    def __copy__(self) -> CarriedState:
        """One that goes its own way: of its parts the stream alone is changed in place."""
        return replace(self, stream=copy.deepcopy(self.stream))

    def with_room(self, series_id: pl.Series, network: RecurrentNetwork | None) -> CarriedState:
        """A copy with further series, of which nothing is known yet; the stream alone is the same one, see `atomic`."""
        standing, order = self.standing.with_room(series_id)
        state = self.state
        if state is not None and network is not None:
            state = State.cat([state, network.zero_state(len(series_id))]).take(order)
        return CarriedState(standing, state, self.stream)


def newer_rows(panel: Any, schema: PanelSchema, target: str, seen: pl.DataFrame) -> pl.DataFrame:
    """The rows of a panel, sorted by time and series, all of them newer than what has been `seen` of their series.

    Parameters
    ----------
    panel : polars or pandas DataFrame
        Rows without a target are left out.
    seen : DataFrame
        ``series_id`` and the newest ``time`` of each.

    Raises
    ------
    TypeError, ValueError
        As `check_panel`, and for rows at or before what was seen.
    """
    rows = as_seen(check_rows(panel, schema, target).drop_nulls(target), seen)
    newest = at_places(seen["time"], places_of(rows["series_id"], seen["series_id"])).alias("newest")
    known = rows.select("series_id", "time").with_columns(newest)
    not_newer = known["time"] <= known["newest"]
    if not_newer.any():
        late = known.filter(not_newer)
        names = late["series_id"].unique(maintain_order=True).to_list()
        first, time, newest = late.row(0)
        raise ValueError(
            f"Every row of an update must be newer than what was seen of its series, found {len(late)} rows of "
            f"{len(names)} series ({shorten(names)}) that are not, first {first!r} at {time}, seen up to {newest}. "
            "Give newer rows only; for corrections, give the whole history to predict or fit."
        )
    return rows.sort("time", maintain_order=True)  # of one time, they come sorted by series


def check_goes_on(rows: FlatPanel, end: date | datetime, seen: Snapshot, lookback: int) -> None:
    """Refuse a panel that does not go on from what has been learned up to `end` and `seen` of its series.

    Raises
    ------
    ValueError
        When no row is newer, when the panel ends before what was seen, or when a known series lacks history.
    """
    newest: Any = rows.frame["time"].max()
    known_up_to = max(end, cast("date | datetime", seen.time.max()))
    if newest <= end or newest < known_up_to:
        raise ValueError(
            f"To learn on, a panel must have rows newer than fit_end_ = {end} and reach what has been seen, up to "
            f"{known_up_to}; found rows up to {newest}. Give the newest rows with their history."
        )
    first = rows.series[:-1]
    given = pl.DataFrame(
        {
            "series_id": rows.frame["series_id"][first.numpy()],
            "first": rows.session[first].numpy(),
            "newer": ~rows.before(end, included=True).numpy()[rows.newest.numpy()],
            "before": np.add.reduceat(rows.before(end, included=True).numpy().astype(np.int64), first.numpy()),
        }
    )
    kept = pl.DataFrame({"series_id": seen.series_id, "begins": seen.first_session.numpy()})
    bare = given.join(kept, on="series_id", maintain_order="left").filter(
        pl.col("newer") & (pl.col("before") < lookback) & (pl.col("first") > pl.col("begins"))
    )
    if len(bare):
        raise ValueError(
            f"To learn on, known series need at least lookback = {lookback} rows up to fit_end_ = {end} before "
            f"their newer ones; {len(bare)} of {len(given)} have fewer: {shorten(bare['series_id'].to_list())}. Give "
            "more of their history."
        )
