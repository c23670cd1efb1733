"""The future covariates of a panel, or of the series seen so far: from lists, rows and a frame passed to `predict`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.frames import to_polars
from tidecast.features.known_ahead.future_values import AVAILABLE, joined_future
from tidecast.features.known_ahead.table import has_lists
from tidecast.features.panel import AHEAD, PanelSchema
from tidecast.forecasting.panel.carried_state import CarriedState
from tidecast.forecasting.panel.flat_panel import FlatPanel
from tidecast.forecasting.panel.known_covariates import CovariatesAhead, covariates_of_future, covariates_of_panel
from tidecast.forecasting.panel.values_ahead import JoinedCovariates, ValuesAhead

Names = tuple[str, ...]


def panel_covariates(
    rows: FlatPanel, X: Any, future: Any, schema: PanelSchema, schema_of_rows: PanelSchema, names: Names, horizon: int
) -> FlatPanel:
    """Return the rows of a panel with its future covariates.

    Lists in the panel say what was known at each row, see `with_future`. So does `future`, if it has `available_at`.
    Any other covariate is looked up by session, among the panel's rows and in `future`.

    Parameters
    ----------
    rows : FlatPanel
    X, future : polars or pandas DataFrame
        As the user passed them.
    schema, schema_of_rows : PanelSchema
        That of the panel; the same with a calendar, where `future` needs one to be read.
    names : tuple of str
        The covariates.
    horizon : int

    Raises
    ------
    TypeError, ValueError
        A column or a row is missing, or of another type.
    """
    if future is not None and _joins(rows.frame, future, names):
        frame = joined_future(rows.frame, future, horizon, replace(schema_of_rows, future=names), None, rows.calendar)
        rows, future = replace(rows, frame=frame), None
    lists = tuple(name for name in names if has_lists(rows.frame, name))
    parts: list[CovariatesAhead] = []
    if lists:
        series = rows.series_of(torch.arange(len(rows))).numpy()
        session = rows.session.numpy().astype(np.int64)
        parts.append(ValuesAhead.of(rows.frame, lists, rows.series_id, series, session, horizon))
    if plain := tuple(name for name in names if name not in lists):
        of_rows = replace(schema, future=plain), replace(schema_of_rows, future=plain)
        parts.append(covariates_of_panel(rows.series_id, rows.calendar, X, future, *of_rows, rows.target))
    known = JoinedCovariates(names, tuple(parts)) if len(parts) > 1 else parts[0]
    return replace(rows, known_covariates=known)


def carried_covariates(
    carried: CarriedState, future: Any, calendar: PanelCalendar, schema: PanelSchema, names: Names, horizon: int
) -> CovariatesAhead:
    """Return the future covariates of the series seen so far: those that their newest rows brought, and `future`.

    Parameters
    ----------
    carried : CarriedState
    future : polars or pandas DataFrame, optional
        As the user passed it.
    calendar : PanelCalendar
    schema : PanelSchema
        With a calendar.
    names : tuple of str
        The covariates.
    horizon : int

    Raises
    ------
    TypeError, ValueError
        A column is missing or of another type.
    """
    here, session = carried.snapshot, carried.snapshot.session.numpy()
    frame = here.keys
    if carried.ahead is not None:
        lists = {name + AHEAD: carried.ahead[..., z].numpy() for z, name in enumerate(names)}
        frame = frame.with_columns(pl.Series(name, np.ascontiguousarray(values)) for name, values in lists.items())
    if future is not None and _joins(frame, future, names):
        frame = joined_future(frame, future, horizon, replace(schema, future=names), None, calendar)
    elif carried.ahead is None:
        return covariates_of_future(future, here.keys, session, calendar, schema)
    absent = [name for name in names if not has_lists(frame, name)]
    empty = np.full((len(frame), horizon), np.nan)
    frame = frame.with_columns(pl.Series(name + AHEAD, empty) for name in absent)
    return ValuesAhead.of(frame, names, here.series_id, np.arange(len(here)), session, horizon)


def _joins(frame: pl.DataFrame, future: Any, names: Names) -> bool:
    """Whether `future` is joined as by `with_future`: it or the panel says when values were known, or it is for all."""
    columns = to_polars(future).columns
    is_for_all = "time" in columns and "series_id" not in columns
    return is_for_all or AVAILABLE in columns or any(has_lists(frame, name) for name in names)
