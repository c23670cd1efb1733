"""Facts about a forecast table that its columns do not show: its target, and whether prices move by log returns."""

from __future__ import annotations

from typing import TypeVar

import polars as pl

from tidecast.features.frame_notes import note_of, with_note
from tidecast.features.frames import Frame, to_polars
from tidecast.forecasting.tables.check import quantiles_by_level

NOTE = "forecasts"
USUAL = {"target": "close", "positive": True}

Kind = TypeVar("Kind")


def noted(table: Kind, target: str, positive: bool) -> Kind:
    """Return the forecast table with a note of its target and of `positive`.

    Parameters
    ----------
    table : polars or pandas DataFrame
    target : str
    positive : bool
    """
    return with_note(table, NOTE, {"target": target, "positive": positive})


def facts_of(table: Frame, target: str | None, positive: bool | None) -> tuple[str, bool]:
    """Return target and `positive` of a forecast table: as passed, else as noted, else the defaults.

    Parameters
    ----------
    table : polars or pandas DataFrame
    target : str, optional
    positive : bool, optional

    Returns
    -------
    target : str
    positive : bool

    Raises
    ------
    ValueError
        An argument contradicts the note, or `positive` is neither passed nor noted and a quantile is at or below zero.
    """
    note = note_of(table, NOTE, {})
    passed = {"target": target, "positive": positive}
    for name, value in passed.items():
        if value is not None and name in note and value != note[name]:
            raise ValueError(
                f"{name} must be as in the model that made the forecasts, {note[name]!r}; got {value!r}. Leave it out, "
                "or forecast again with a model of that setting."
            )
    found = {name: note.get(name, USUAL[name]) if value is None else value for name, value in passed.items()}
    if positive is None and "positive" not in note:
        _check_above_zero(to_polars(table))
    return str(found["target"]), bool(found["positive"])


def _check_above_zero(table: pl.DataFrame) -> None:
    names = [name for name in quantiles_by_level(table.columns) if table.schema[name].is_numeric()]
    below = table.filter(pl.any_horizontal(pl.lit(False), *(pl.col(name) <= 0 for name in names)))
    if len(below):
        raise ValueError(
            f"positive must be given for forecasts at or below zero, found in {len(below)} of {len(table)} rows. Pass "
            "positive=False as in the model's schema (losses are then in units of the volatility of differences), or "
            "positive=True if prices are above zero and only the forecasts are not."
        )
