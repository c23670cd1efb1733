"""Settings that a model was fitted with: stored, compared with the present ones, and restored if a fit fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

OF_TRAINING = frozenset(
    ("batch_size", "device", "early_stopping", "learning_rate", "max_epochs", "random_state", "training")
)
"""Settings that only another `fit` or `partial_fit` reads. All others belong to the fitted model."""

NOT_SAVED_AS_LEARNED = frozenset(("device", "training"))
"""Of these, the ones that say where and how to train and do not change the result."""

SHOWN = 120  # characters of a setting in a message


def remember_settings(model: BaseEstimator) -> None:
    """Store the settings of a model that has just been fitted, trained further or loaded.

    Parameters
    ----------
    model : BaseEstimator
        A forecaster or regressor.
    """
    settings = model.get_params(deep=False)
    model._fitted_with = {name: (_frozen(value), _shown(value)) for name, value in settings.items()}


def check_fitted(model: BaseEstimator, attribute: str, free: frozenset[str] = OF_TRAINING) -> None:
    """Refuse a model that is not fitted, or whose settings have changed since `fit`.

    Parameters
    ----------
    model : estimator
    attribute : str
        Name of an attribute that every fitted model of the kind has.
    free : frozenset of str, default=OF_TRAINING
        Settings that may have changed.

    Raises
    ------
    NotFittedError
        It is not fitted.
    ValueError
        Naming the settings that have changed.
    """
    check_is_fitted(model, attribute)
    fitted_with = getattr(model, "_fitted_with", {})  # a pickle of an earlier version has none
    settings = model.get_params(deep=False)
    changed = [
        name
        for name, (frozen, _) in fitted_with.items()
        if name not in free and not _equal(frozen, _frozen(settings[name]))
    ]
    if changed:
        found = "; ".join(f"{name} was {fitted_with[name][1]}, is {_shown(settings[name])}" for name in changed)
        raise ValueError(
            f"{type(model).__name__} must have the settings that it was fitted with; since then changed: {found}. "
            f"Call fit again, or set {' and '.join(changed)} back."
        )


@contextmanager
def all_or_nothing(model: BaseEstimator) -> Iterator[None]:
    """Restore the model's attributes if the body raises.

    Parameters
    ----------
    model : BaseEstimator
        A forecaster or regressor.
    """
    before = dict(vars(model))
    try:
        yield
    except BaseException:
        vars(model).clear()
        vars(model).update(before)
        raise


def _frozen(value: Any) -> Any:
    """Return a copy of a setting that can be compared with the same object later."""
    if isinstance(value, BaseEstimator):
        return type(value), _frozen(value.get_params(deep=False))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        of_recipe = [field.name for field in dataclasses.fields(value) if field.metadata.get("recipe", True)]
        return type(value), {name: _frozen(getattr(value, name)) for name in of_recipe}
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_frozen(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def _equal(one: Any, other: Any) -> bool:
    try:
        return one is other or bool(one == other)
    except (TypeError, ValueError):  # arrays of other libraries
        return False


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
