"""Forecasters and regressors as JSON and safetensors: readable, exact, no pickle."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from safetensors.torch import load_file, save_file
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from features.panel import PanelSchema
from features.panel_calendar import PanelCalendar
from forecasting.quantiles import check_quantiles
from forecasting.training import Training

if TYPE_CHECKING:
    from forecasting.base import PanelForecaster

FORMAT = 2  # of model.json; a newer number means a newer Tidecast wrote it; no release wrote 1
CODE = "class"


def encode(value: Any) -> Any:
    """A value as JSON holds it: estimators and dataclasses by class and settings."""
    if isinstance(value, BaseEstimator):
        return {CODE: _name_of(type(value)), "settings": encode(value.get_params(deep=False))}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        told = [field.name for field in dataclasses.fields(value) if _told(value, field)]
        settings = {name: getattr(value, name) for name in told}
        return {CODE: _name_of(type(value)), "settings": encode(settings)}
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


def _told(value: Any, field: dataclasses.Field[Any]) -> bool:
    """Whether a recipe names this field; one that came later than saved recipes is named unless it is the default."""
    told = field.metadata.get("recipe", True)
    return bool(getattr(value, field.name) != field.default if told == "unless default" else told)


def decode(value: Any) -> Any:
    """The inverse of `encode`; lists come back as tuples."""
    if isinstance(value, dict) and set(value) == {CODE, "settings"}:
        return _class_of(value[CODE])(**{name: decode(item) for name, item in value["settings"].items()})
    if isinstance(value, dict):
        return {key: decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(decode(item) for item in value)
    return value


def under(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Those saved under ``name.``, without it."""
    return {key.removeprefix(f"{name}."): value for key, value in values.items() if key.startswith(f"{name}.")}


def save_forecaster(model: PanelForecaster, path: str | os.PathLike[str]) -> None:
    """Write a fitted forecaster into the folder `path`, made where missing."""
    check_is_fitted(model, "fit_end_")
    keys = model._kept.standing.keys
    description = {
        "fit_end": model.fit_end_.isoformat(),
        "calendar": model.calendar_.describe(),
        "kind": model._kind,
        "series_id": keys["series_id"].to_list(),
        "series_id_type": str(keys.schema["series_id"]),
        "time": [time.isoformat() for time in keys["time"]],
        "skipped": list(model.skipped_),
        **model._described(),
    }
    write_model(path, model, description, model._learned())


def write_model(
    path: str | os.PathLike[str], model: BaseEstimator, described: dict[str, Any], learned: dict[str, Tensor]
) -> None:
    """Write a recipe, and what was learned by it, into the folder `path`, made where missing."""
    folder = Path(path)
    description = {"format": FORMAT, "recipe": encode(model), **described}
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in learned.items()}, folder / "weights.safetensors")
    (folder / "model.json").write_text(json.dumps(description, indent=1, allow_nan=True) + "\n", encoding="utf-8")


def read_model(path: str | os.PathLike[str]) -> tuple[Any, dict[str, Any], dict[str, Tensor]]:
    """The model of that recipe, not fitted; what `write_model` was told of it, and its tensors.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_forecaster`.
    """
    folder = Path(path)
    if not (folder / "model.json").is_file():
        raise FileNotFoundError(f"{folder} must hold model.json and weights.safetensors; found no model.json there.")
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if description["format"] > FORMAT:
        raise ValueError(
            f"{folder} was written in format {description['format']}; this Tidecast reads up to {FORMAT}. Upgrade it."
        )
    if description["format"] < FORMAT:
        raise ValueError(
            f"{folder} was written in format {description['format']}, which holds no state to go on from; this "
            f"Tidecast reads format {FORMAT}. Fit the forecaster again."
        )
    return decode(description["recipe"]), description, load_file(folder / "weights.safetensors")


def load_forecaster(path: str | os.PathLike[str]) -> PanelForecaster:
    """Read any forecaster that `save` wrote; its class comes from the file.

    Raises
    ------
    FileNotFoundError
        When the folder holds no forecaster.
    ValueError
        When a newer Tidecast wrote it, or a class named in it is no forecaster, transformer or schema.
    """
    from forecasting.base import PanelForecaster  # which has save and load as methods

    model, description, learned = read_model(path)
    if not isinstance(model, PanelForecaster):
        raise ValueError(f"{path} must hold a forecaster, found a {type(model).__name__}.")
    model._schema = model.schema or PanelSchema()
    model.quantiles_ = check_quantiles(model.quantiles)
    model.calendar_ = PanelCalendar.described(description["calendar"])
    model._kind = description["kind"]
    model.skipped_ = tuple(description["skipped"])
    daily = len(description["fit_end"]) == len("2026-01-01")
    parse: Any = date.fromisoformat if daily else datetime.fromisoformat
    model.fit_end_ = parse(description["fit_end"])
    types = {"series_id": getattr(pl, description["series_id_type"]), "time": pl.Date if daily else pl.Datetime("us")}
    keys = pl.DataFrame(
        {"series_id": description["series_id"], "time": [parse(time) for time in description["time"]]}, schema=types
    )
    model._restore(description, learned, keys)
    return model


def _name_of(kind: type) -> str:
    if "<" in kind.__qualname__ or kind.__module__ == "__main__":
        raise ValueError(
            f"{kind.__qualname__} must live in a module that can be imported to be saved by name; it is defined in "
            f"{kind.__module__}, inside a function or a script. Move it into a module."
        )
    return f"{kind.__module__}:{kind.__qualname__}"


def _class_of(name: str) -> type:
    module, _, qualname = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"A class of the saved forecaster must be importable, {name!r} is not: {error}.") from error
    if not isinstance(found, type) or not (issubclass(found, BaseEstimator) or found in (PanelSchema, Training)):
        raise ValueError(f"A saved model may name estimators, PanelSchema and Training only, found {name!r}.")
    return found
