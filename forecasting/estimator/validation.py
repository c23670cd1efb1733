"""Device, seed and features that an estimator's settings name."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state


def pick_device(device: str) -> torch.device:
    """Return the torch device of that name; "auto" is a GPU if there is one.

    Parameters
    ----------
    device : str
        "auto", or a name that torch knows, such as "cpu" or "cuda:0".

    Raises
    ------
    TypeError, ValueError
        The name is not text, or this machine has no such device.
    """
    if not isinstance(device, str):
        raise TypeError(f'device must be a name such as "auto", "cpu" or "cuda", got {device!r}.')
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f'device must be "auto", "cpu" or a torch device that this machine has, got {device!r}.'
        ) from error


def seed_from(random_state: int | np.random.RandomState | None) -> int:
    """Return an integer seed from any of scikit-learn's three kinds of `random_state`.

    Parameters
    ----------
    random_state : int or RandomState or None
        None draws a seed from NumPy's global state; a generator advances by one draw.

    Raises
    ------
    ValueError
        It is none of the three.
    """
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def check_transformer(features: Any, example: str) -> None:
    """Refuse features that cannot add columns to a panel; None stands for the default.

    Parameters
    ----------
    features : object
    example : str
        A transformer to name, as code.

    Raises
    ------
    TypeError
    """
    if features is not None and (isinstance(features, type) or not hasattr(features, "transform")):
        raise TypeError(f"features must be a transformer of panels such as {example}, got {features!r}.")
