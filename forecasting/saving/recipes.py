"""Forecasters and regressors as JSON and safetensors: readable, exact, no pickle.

A folder may come from a stranger: its names are looked up and not imported (`saved_classes`), its sizes are compared
with its tensors before anything is allocated (`saved_tensors`), and a digest tells damage (`model_files`).
"""

from __future__ import annotations

import copy
import dataclasses
import os
import warnings
from collections.abc import Iterable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator
from torch import Tensor

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.panel import PanelSchema
from tidecast.forecasting.estimator.fitted_settings import NOT_SAVED_AS_LEARNED, check_fitted, remember_settings
from tidecast.forecasting.saving.model_files import DIGEST, read_files, restoring, write_files
from tidecast.forecasting.saving.saved_classes import UnreadableModel, build, class_of, name_of, settings_of
from tidecast.forecasting.tables.quantiles import check_quantiles

if TYPE_CHECKING:
    from tidecast.forecasting.forecasters.base import PanelForecaster

FORMAT = 3  # of model.json; a newer number means a newer Tidecast wrote it; no release wrote 1
OLDEST = 2  # had no digest, and named a class by its module
CODE = "class"


def encode(value: Any) -> Any:
    """A value as JSON holds it: estimators and dataclasses by class and settings."""
    if isinstance(value, BaseEstimator):
        return {CODE: name_of(type(value)), "settings": encode(value.get_params(deep=False))}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        told = [name for name in settings_of(type(value)) if _told(value, name)]
        return {CODE: name_of(type(value)), "settings": encode({name: getattr(value, name) for name in told})}
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [encode(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"A setting must be a number, text, list, estimator or dataclass to be saved, got {type(value).__name__}: "
        f"{value!r}. Give random_state as a whole number, features as a transformer."
    )


def _told(value: Any, name: str) -> bool:
    """Whether a recipe names this setting; one that came later than saved recipes is named unless it is the default."""
    field = type(value).__dataclass_fields__[name]
    return field.metadata.get("recipe") != "unless default" or bool(getattr(value, name) != field.default)


def decode(value: Any, trusted: Iterable[type] = ()) -> Any:
    """Return the inverse of `encode`; lists come back as tuples.

    Parameters
    ----------
    value : JSON value
    trusted : iterable of type
        Classes of the caller's own that may be named besides the public ones.

    Raises
    ------
    UnreadableModel
        A class is neither public nor trusted, or its settings are impossible.
    """
    if isinstance(value, dict) and set(value) == {CODE, "settings"} and isinstance(value["settings"], dict):
        kind = class_of(value[CODE], trusted)
        return build(kind, {name: decode(item, trusted) for name, item in value["settings"].items()})
    if isinstance(value, dict):
        return {key: decode(item, trusted) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(decode(item, trusted) for item in value)
    return value


def under(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Those saved under ``name.``, without it."""
    return {key.removeprefix(f"{name}."): value for key, value in values.items() if key.startswith(f"{name}.")}


def save_forecaster(model: PanelForecaster, path: str | os.PathLike[str]) -> None:
    """Write a fitted forecaster into the folder `path`, made where missing."""
    check_fitted(model, "fit_end_", free=NOT_SAVED_AS_LEARNED)
    keys = model._kept.standing.keys
    description = {
        "fit_end": model.fit_end_.isoformat(),
        "calendar": model.calendar_.describe(),
        "kind": model._kind,
        "series_id": keys["series_id"].to_list(),
        "series_id_type": str(keys.schema["series_id"]),
        "time": [time.isoformat() for time in keys["time"]],
        "skipped": list(model.skipped_),
        "made": list(model._made),
        **model._described(),
    }
    write_model(path, model, description, model._learned())


def write_model(
    path: str | os.PathLike[str], model: BaseEstimator, described: dict[str, Any], learned: dict[str, Tensor]
) -> None:
    """Write a recipe, and what was learned by it, into the folder `path`, made where missing."""
    write_files(path, {"format": FORMAT, "recipe": encode(model), **described}, learned)


def read_model(
    path: str | os.PathLike[str], trusted: Iterable[type] = ()
) -> tuple[Any, dict[str, Any], dict[str, Tensor]]:
    """Return the model of that recipe, not fitted, what `write_model` was told of it, and its tensors.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_forecaster`.
    """
    description, learned = read_files(path)
    written = description.get("format")
    if not isinstance(written, int) or isinstance(written, bool):
        raise UnreadableModel(f"{path} must say its format as a whole number, found {written!r}. Save the model again.")
    if written > FORMAT:
        raise UnreadableModel(
            f"{path} was written in format {written}; this Tidecast reads up to {FORMAT}. Upgrade it."
        )
    if written < OLDEST:
        raise UnreadableModel(
            f"{path} was written in format {written}, which holds no state to go on from; this "
            f"Tidecast reads formats {OLDEST} and {FORMAT}. Fit the forecaster again."
        )
    if DIGEST not in description:
        if written > OLDEST:
            raise UnreadableModel(f"{path} must have a digest, found none: model.json was altered. Save it again.")
        warnings.warn(
            f"{path} has no digest, because an earlier version saved it: damage to its weights cannot be noticed. Save "
            "the model again to give it one.",
            stacklevel=3,
        )
    with restoring(path):
        model = decode(description["recipe"], trusted)
        _check_settings(model)
    return model, description, learned


def load_forecaster(path: str | os.PathLike[str], trusted: Iterable[type] = ()) -> PanelForecaster:
    """Read any forecaster that `save` wrote; its class comes from the file.

    Nothing in the folder is run or imported: it may name Tidecast's public classes only, and those passed as `trusted`.

    Parameters
    ----------
    path : path
        The folder.
    trusted : iterable of type, optional
        Transformers of your own that the model may use, as ``[MyFeatures]``: their code runs.

    Raises
    ------
    FileNotFoundError
        When the folder holds no forecaster.
    UnreadableModel
        A `ValueError`: the files are damaged or do not fit together, a newer Tidecast wrote them, or a class is neither
        public nor trusted.

    Warns
    -----
    UserWarning
        The model has no digest, because an earlier version saved it: damage to its weights would not be noticed.
    """
    from tidecast.forecasting.forecasters.base import PanelForecaster  # which has save and load as methods

    model, description, learned = read_model(path, trusted)
    if not isinstance(model, PanelForecaster):
        raise UnreadableModel(f"{path} must hold a forecaster, found a {type(model).__name__}.")
    with restoring(path):
        model._schema = model.schema or PanelSchema()
        model.quantiles_ = check_quantiles(model.quantiles)
        model.calendar_ = PanelCalendar.described(description["calendar"])
        model._kind = description["kind"]
        model.skipped_ = tuple(description["skipped"])
        model._made = tuple(description.get("made", ()))  # which models lack that were saved before it was noted
        daily = len(description["fit_end"]) == len("2026-01-01")
        parse: Any = date.fromisoformat if daily else datetime.fromisoformat
        model.fit_end_ = parse(description["fit_end"])
        types = {"series_id": _type_of(description["series_id_type"]), "time": pl.Date if daily else pl.Datetime("us")}
        keys = pl.DataFrame(
            {"series_id": description["series_id"], "time": [parse(time) for time in description["time"]]},
            schema=types,
        )
        if keys["series_id"].is_duplicated().any():
            raise UnreadableModel(f"{path} must name each series once, found one twice. Save the model again.")
        model._restore(description, learned, keys)
        remember_settings(model)
    return model


def _check_settings(model: Any) -> None:
    """Refuse impossible settings. Any device passes, because forecasts are made on the CPU."""
    if hasattr(model, "_check_settings"):
        checked = copy.copy(model)
        if hasattr(checked, "device"):
            checked.device = "cpu"
        checked._check_settings()


def _type_of(name: str) -> type[pl.DataType]:
    found = getattr(pl, name, None)
    if not (isinstance(found, type) and issubclass(found, pl.DataType)):
        raise UnreadableModel(f"series_id_type must be a type of polars such as 'String', found {name!r}.")
    return found
