"""State carried over from the history that a forecaster has seen, and the rows that may follow it.

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
import torch
from torch import Tensor

from tidecast.features.error_text import counted, shorten
from tidecast.features.panel import PanelSchema, as_seen, check_rows
from tidecast.features.segments import at_places, places_of
from tidecast.features.transformers.streaming import Stream
from tidecast.forecasting.network.recurrent import RecurrentNetwork, State
from tidecast.forecasting.panel.flat_panel import FlatPanel
from tidecast.forecasting.panel.past_values import NewestValues
from tidecast.forecasting.panel.snapshot import Snapshot


@dataclass(frozen=True)
class CarriedState:
    """Per series, sorted by name: a snapshot of its newest row, and for networks the state after that row.

    Attributes
    ----------
    snapshot : Snapshot
    state : State, optional
        The network's, after the newest row of each series.
    stream : Stream, optional
        The features, ready for the next row.
    newest : NewestValues, optional
        What the inputs of single steps depend on, where the panel has seasons.
    ahead : Tensor of shape (N, H, Z), float64, optional
        Future covariates of the sessions after the newest row, where rows bring them as lists; NaN for others.
    """

    snapshot: Snapshot
    state: State | None = None
    stream: Stream | None = None
    newest: NewestValues | None = None
    ahead: Tensor | None = None

    def atomic(self) -> AbstractContextManager[None]:
        """Restore the stream if the body raises; the other parts are never changed in place."""
        return nullcontext() if self.stream is None else self.stream.atomic()

    def __copy__(self) -> CarriedState:
        """Return an independent copy. Only the stream is copied: nothing else is changed in place."""
        return replace(self, stream=copy.deepcopy(self.stream))

    def with_room(self, series_id: pl.Series, network: RecurrentNetwork | None) -> CarriedState:
        """Return a copy with new series that have no row yet; it shares the stream, see `atomic`.

        Parameters
        ----------
        series_id : Series
            Names of the new series.
        network : RecurrentNetwork or None
            Gives their zero state.
        """
        snapshot, order = self.snapshot.with_room(series_id)
        state = self.state
        if state is not None and network is not None:
            state = State.cat([state, network.zero_state(len(series_id))]).take(order)
        newest = None if self.newest is None else self.newest.with_room(len(series_id), order)
        ahead = self.ahead
        if ahead is not None:
            ahead = torch.cat([ahead, ahead.new_full((len(series_id), *ahead.shape[1:]), torch.nan)])[order]
        return CarriedState(snapshot, state, self.stream, newest, ahead)


def newer_rows(panel: Any, schema: PanelSchema, target: str, seen: pl.DataFrame) -> pl.DataFrame:
    """Rows of a panel, sorted by time and series, if each is newer than the rows seen of its series.

    Parameters
    ----------
    panel : polars or pandas DataFrame
        Rows without a target are left out.
    schema : PanelSchema
    target : str
    seen : DataFrame
        ``series_id`` and the newest ``time`` of each series.

    Raises
    ------
    TypeError, ValueError
        As `check_panel`, and for rows at or before the newest one seen.
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
            f"Every row of an update must be newer than those seen of its series, found {counted(len(late), 'row')} of "
            f"{len(names)} series ({shorten(names)}) that are not, first {first!r} at {time}, seen up to {newest}. "
            "Give newer rows only; for corrections, give the whole history to predict or fit."
        )
    return rows.sort("time", maintain_order=True)  # rows of one time stay sorted by series


def check_continues(rows: FlatPanel, end: date | datetime, seen: Snapshot, lookback: int) -> None:
    """Refuse a panel from which training cannot continue.

    Parameters
    ----------
    rows : FlatPanel
    end : date or datetime
        Time up to which the model has learned.
    seen : Snapshot
        The newest row seen of each series.
    lookback : int

    Raises
    ------
    ValueError
        No row is newer, the panel ends before the newest row seen, or a known series lacks history.
    """
    newest: Any = rows.frame["time"].max()
    known_up_to = max(end, cast("date | datetime", seen.time.max()))
    if newest <= end or newest < known_up_to:
        raise ValueError(
            f"To continue training, a panel must have rows newer than fit_end_ = {end} and reach the newest row seen, "
            f"at {known_up_to}; found rows up to {newest}. Give the newest rows with their history."
        )
    first = rows.series[:-1]
    series = pl.DataFrame(
        {
            "series_id": rows.frame["series_id"][first.numpy()],
            "first": rows.session[first].numpy(),
            "newer": ~rows.before(end, included=True).numpy()[rows.newest.numpy()],
            "before": np.add.reduceat(rows.before(end, included=True).numpy().astype(np.int64), first.numpy()),
        }
    )
    carried = pl.DataFrame({"series_id": seen.series_id, "begins": seen.first_session.numpy()})
    bare = series.join(carried, on="series_id", maintain_order="left").filter(
        pl.col("newer") & (pl.col("before") < lookback) & (pl.col("first") > pl.col("begins"))
    )
    if len(bare):
        raise ValueError(
            f"To continue training, known series need at least lookback = {lookback} rows up to fit_end_ = {end} "
            f"before their newer ones; {len(bare)} of {len(series)} have fewer: "
            f"{shorten(bare['series_id'].to_list())}. Give more of their history."
        )
