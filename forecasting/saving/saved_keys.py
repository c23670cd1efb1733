"""Series and times of a saved model, as model.json holds them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl

from tidecast.forecasting.saving.saved_classes import UnreadableModel


def time_parser(description: dict[str, Any]) -> Any:
    """Return the function that reads a saved model's times: days, or datetimes of an intraday panel.

    Parameters
    ----------
    description : dict
        As in model.json.
    """
    return date.fromisoformat if len(description["fit_end"]) == len("2026-01-01") else datetime.fromisoformat


def saved_keys(description: dict[str, Any]) -> pl.DataFrame:
    """Return ``series_id`` and newest ``time`` of each series of a saved model.

    Parameters
    ----------
    description : dict
        As in model.json.
    """
    parse = time_parser(description)
    kind = pl.Date if parse == date.fromisoformat else pl.Datetime("us")
    types: Any = {"series_id": _type_of(description["series_id_type"]), "time": kind}
    keys = pl.DataFrame(
        {"series_id": description["series_id"], "time": [parse(time) for time in description["time"]]},
        schema=types,
    )
    if keys["series_id"].is_duplicated().any():
        raise UnreadableModel("A saved model must name each series once, found one twice. Save the model again.")
    return keys


def _type_of(name: str) -> type[pl.DataType]:
    found = getattr(pl, name, None)
    if not (isinstance(found, type) and issubclass(found, pl.DataType)):
        raise UnreadableModel(f"series_id_type must be a type of polars such as 'String', found {name!r}.")
    return found
