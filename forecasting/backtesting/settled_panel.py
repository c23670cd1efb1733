"""The panel of a fold as forecasters read it: rows that are no session of an inferred calendar left out or moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.panel import PanelSchema, check_panel
from tidecast.features.stray_rows import settle
from tidecast.forecasting.evaluation.splits import Fold


@dataclass(frozen=True)
class SettledFrame:
    """A panel with a session in each row.

    Attributes
    ----------
    frame : polars.DataFrame
        The panel in its own columns and types.
    priced : polars.DataFrame
        Its rows with a target, checked and sorted; `__tidecast_given` is their time in `frame`.
    given : polars.Series
        For each row of `frame`, the time that it was given with.
    calendar : PanelCalendar
    """

    frame: pl.DataFrame
    priced: pl.DataFrame
    given: pl.Series
    calendar: PanelCalendar

    def origins(self, fold: Fold) -> list[object]:
        """Return the times of the fold's origins in `frame`, the oldest first.

        Parameters
        ----------
        fold : Fold
        """
        inside = self.given.is_between(fold.first_origin, fold.last_origin)
        return self.frame["time"].filter(inside).unique().sort().to_list()


def settled_frame(
    frame: pl.DataFrame, calendar: PanelCalendar, schema: PanelSchema, target: str, known: pl.Series
) -> SettledFrame:
    """Return the panel as forecasters read it, see `settle`.

    Parameters
    ----------
    frame : polars.DataFrame
        The panel up to a fold's end.
    calendar : PanelCalendar
        Of the training rows.
    schema : PanelSchema
    target : str
    known : polars.Series
        Names of the series in the training rows, which keep their calendars.
    """
    checked = check_panel(frame.with_row_index("__tidecast_row"), schema, target)
    calendar = calendar.meeting(checked, known.unique())
    priced, kept = settle(checked, calendar)
    given, time, stays = frame["time"], frame["time"], np.ones(len(frame), dtype=bool)
    before = checked["time"][kept]
    if len(kept) < len(checked) or not (priced["time"] == before).all():
        stays[np.setdiff1d(checked["__tidecast_row"].to_numpy(), priced["__tidecast_row"].to_numpy())] = False
        moves = priced.select("__tidecast_row", by=priced["time"] - before).filter(pl.col("by") != pl.duration())
        zone = getattr(time.dtype, "time_zone", None)
        wall = time.dt.replace_time_zone(None) if zone else time
        rows = moves["__tidecast_row"].to_numpy()
        wall = wall.scatter(rows, (wall[rows] + moves["by"]).cast(wall.dtype)) if len(rows) else wall
        time = wall.dt.replace_time_zone(zone, ambiguous="earliest") if zone else wall
    priced = priced.with_columns(time.gather(priced["__tidecast_row"]).alias("__tidecast_given"))
    return SettledFrame(frame.with_columns(time.alias("time")).filter(stays), priced, given.filter(stays), calendar)
