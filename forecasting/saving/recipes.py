"""Models as JSON and safetensors: readable, exact, no pickle. This file knows no forecaster.

A folder may come from a stranger. Class names are looked up and never imported (`saved_classes`), sizes are compared
with the tensors before anything is allocated (`saved_tensors`), and a digest detects damage (`model_files`).
"""

from __future__ import annotations

import copy
import dataclasses
import os
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from torch import Tensor

from tidecast.forecasting.saving.model_files import DIGEST, read_files, restoring, write_files
from tidecast.forecasting.saving.saved_classes import UnreadableModel, build, class_of, name_of, settings_of

FORMAT = 3  # of model.json; a newer number means a newer Tidecast wrote it; no release wrote 1
OLDEST = 2  # had no digest, and named a class by its module
CODE = "class"


def encode(value: Any) -> Any:
    """Return a value as JSON holds it: estimators and dataclasses by class and settings.

    Raises
    ------
    TypeError
        The value, or a setting of it, has no JSON form.
    """
    if isinstance(value, BaseEstimator):
        settings = value.get_params(deep=False)
        return {CODE: name_of(type(value)), "settings": encode(_hook(value, "_to_recipe")(settings))}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [name for name in settings_of(type(value)) if _is_recorded(value, name)]
        return {CODE: name_of(type(value)), "settings": encode({name: getattr(value, name) for name in names})}
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


def _hook(value: Any, name: str) -> Any:
    """A method by which a class spells out defaults that could change, or reads those of older recipes."""
    return getattr(value, name, dict)


def _is_recorded(value: Any, name: str) -> bool:
    """Whether a recipe names this setting. A setting that older recipes lack is named only if it is not the default."""
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
        settings = {name: decode(item, trusted) for name, item in value["settings"].items()}
        return build(kind, _hook(kind, "_from_recipe")(settings))
    if isinstance(value, dict):
        return {key: decode(item, trusted) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(decode(item, trusted) for item in value)
    return value


def under(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values whose keys start with ``name.``, by the rest of their keys.

    Examples
    --------
    >>> under("state", {"state.hidden": 1, "base": 2})
    {'hidden': 1}
    """
    return {key.removeprefix(f"{name}."): value for key, value in values.items() if key.startswith(f"{name}.")}


def write_model(
    path: str | os.PathLike[str], model: BaseEstimator, described: dict[str, Any], learned: dict[str, Tensor]
) -> None:
    """Write a model's recipe and everything it learned.

    Parameters
    ----------
    path : path
        The folder; created if missing.
    model : estimator
        Its class and settings are the recipe.
    described : dict
        Everything learned that is not a tensor, as JSON holds it.
    learned : dict of str to Tensor
    """
    write_files(path, {"format": FORMAT, "recipe": encode(model), **described}, learned)


def read_model(
    path: str | os.PathLike[str], trusted: Iterable[type] = (), stacklevel: int = 3
) -> tuple[Any, dict[str, Any], dict[str, Tensor]]:
    """Read what `write_model` wrote.

    Parameters
    ----------
    path : path
        The folder.
    trusted : iterable of type
        Classes of the caller's own that the recipe may name.
    stacklevel : int, default=3
        Frames from here to the user's call, for the warning.

    Returns
    -------
    model : estimator
        Not fitted.
    described : dict
    learned : dict of str to Tensor

    Raises
    ------
    FileNotFoundError
        A file is missing.
    UnreadableModel
        The files are damaged, a newer Tidecast wrote them, or a class is neither public nor trusted.

    Warns
    -----
    UserWarning
        The model has no digest.
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
            f"{path} was written in format {written}, which holds no state to continue from; this "
            f"Tidecast reads formats {OLDEST} and {FORMAT}. Fit the forecaster again."
        )
    if DIGEST not in description:
        if written > OLDEST:
            raise UnreadableModel(f"{path} must have a digest, found none: model.json was altered. Save it again.")
        warnings.warn(
            f"{path} has no digest, because an earlier version saved it: damage to its weights cannot be noticed. Save "
            "the model again to give it one.",
            stacklevel=stacklevel,
        )
    with restoring(path):
        model = decode(description["recipe"], trusted)
        _check_settings(model)
    return model, description, learned


def _check_settings(model: Any) -> None:
    """Refuse impossible settings. Any device passes, because forecasts are made on the CPU."""
    if hasattr(model, "_check_settings"):
        checked = copy.copy(model)
        if hasattr(checked, "device"):
            checked.device = "cpu"
        checked._check_settings()
