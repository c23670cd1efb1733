"""Classes that a saved model may name: Tidecast's public ones, and those that the caller passes as trusted.

A name in a file is looked up in this table and never imported, so a model folder cannot run code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from tidecast import features
from tidecast.features.panel import PanelSchema
from tidecast.features.transformers.base import PanelTransformer
from tidecast.forecasting.network.cell_registry import CELLS

_OWN = {  # loaded on demand: modules of this package, and the public classes in each
    "forecasters.average": ("Average",),
    "forecasters.baselines": ("Drift", "RandomWalk", "SeasonalNaive"),
    "forecasters.recurrent": tuple(cell.forecaster for cell in CELLS.values()),
    "forecasters.seasonal_regression": ("SeasonalRegression",),
    "forecasters.volatility_regression": ("VolatilityRegression",),
    "regressors": tuple(cell.regressor for cell in CELLS.values()),
    "network.training": ("Training",),
}
_PACKAGES = ("features", "forecasting", "tidecast", "sklearn")
"""Packages of public classes in formats up to 2, which named ``module:Class``."""


class UnreadableModel(ValueError):
    """A model folder is damaged, incomplete or not one of ours, or names a class that is not trusted."""


@cache
def _features() -> dict[str, type]:
    """Public transformers, the schema, and scikit-learn's `Pipeline`, by name."""
    public = {name: getattr(features, name) for name in features.__all__}
    transformers = {
        name: found
        for name, found in public.items()
        if isinstance(found, type) and issubclass(found, BaseEstimator) and found is not PanelTransformer
    }
    return transformers | {"PanelSchema": PanelSchema, "Pipeline": Pipeline}


def public_class(name: str) -> type | None:
    """Return the public class of that name, or None.

    Parameters
    ----------
    name : str
        Without its module, such as "GRUForecaster".
    """
    for module, names in _OWN.items():
        if name in names:
            found: type = getattr(import_module(f"tidecast.forecasting.{module}"), name)
            return found
    return _features().get(name)


def name_of(kind: type) -> str:
    """Return the name that a class is saved under: its own if it is public, else ``module:Class``.

    Parameters
    ----------
    kind : type

    Raises
    ------
    ValueError
        The class is defined in a script or function, so no other process could import it.

    Examples
    --------
    >>> name_of(PanelSchema)
    'PanelSchema'
    """
    if public_class(kind.__name__) is kind:
        return kind.__name__
    if "<" in kind.__qualname__ or kind.__module__ == "__main__":
        raise ValueError(
            f"{kind.__qualname__} must live in a module that can be imported to be saved by name; it is defined in "
            f"{kind.__module__}, inside a function or a script. Move it into a module."
        )
    return f"{kind.__module__}:{kind.__qualname__}"


def class_of(name: Any, trusted: Iterable[type] = ()) -> type:
    """Return the class saved under a name.

    Parameters
    ----------
    name : str
        As from `name_of`; for a public class, also as in formats up to 2.
    trusted : iterable of type
        Classes of the caller's own that may be named.

    Raises
    ------
    UnreadableModel
        The name is neither public nor trusted.
    """
    if not isinstance(name, str):
        raise UnreadableModel(f"A saved model must name its classes, found {name!r}. Save the model again.")
    own = {f"{kind.__module__}:{kind.__qualname__}": kind for kind in trusted}
    if name in own:
        return own[name]
    module, _, qualname = name.rpartition(":")
    found = public_class(qualname) if not module or module.partition(".")[0] in _PACKAGES else None
    if found is not None:
        return found
    if module:
        raise UnreadableModel(
            f"A saved model may name Tidecast's public classes and classes passed as trusted, found {name!r}. If you "
            f"trust it, import it and pass it: load_forecaster(path, trusted=[{qualname}])."
        )
    raise UnreadableModel(
        f"A saved model may name Tidecast's public classes and classes passed as trusted, found {name!r}, which is "
        "neither. Load it with the Tidecast that wrote it."
    )


def settings_of(kind: type) -> list[str]:
    """Return the settings that a class is saved with: constructor parameters, or the recipe fields of a dataclass.

    Parameters
    ----------
    kind : type
        An estimator or a dataclass.
    """
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind) if field.metadata.get("recipe", True)]
    return list(kind._get_param_names())  # type: ignore[attr-defined]  # a BaseEstimator


def build(kind: type, settings: dict[str, Any]) -> Any:
    """Build an instance of a saved class.

    Parameters
    ----------
    kind : type
    settings : dict
        By name.

    Raises
    ------
    UnreadableModel
        The class lacks one of the settings, or a value is impossible.
    """
    known = settings_of(kind)
    if unknown := [name for name in settings if name not in known]:
        raise UnreadableModel(
            f"{kind.__name__} must have the settings {', '.join(known)}, found {unknown[0]!r} in the saved model. Load "
            "it with the Tidecast that wrote it, or save it again."
        )
    if kind is Pipeline and settings.get("memory") is not None:  # joblib unpickles files from there
        raise UnreadableModel(
            f"A saved Pipeline must have no memory, found {settings['memory']!r}. Save it with memory=None."
        )
    try:
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise UnreadableModel(f"{kind.__name__} of the saved model has impossible settings: {error}") from None
