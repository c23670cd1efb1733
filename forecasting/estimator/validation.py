"""Checks of settings that several estimators share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from tidecast.features.error_text import check_whole
from tidecast.forecasting.network.training import Training


def check_network_settings(model: Any) -> None:
    """Refuse impossible settings of a network, forecaster or regressor alike."""
    check_whole("hidden_size", model.hidden_size, at_least=1)
    check_whole("num_layers", model.num_layers, at_least=1)
    check_whole("max_epochs", model.max_epochs, at_least=0)
    check_whole("batch_size", model.batch_size, at_least=1)
    for name in ("dropout", "learning_rate"):
        value = getattr(model, name)
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise TypeError(f"{name} must be a number, got {value!r}.")
    if not 0 <= model.dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1, got {model.dropout!r}.")
    if not 0 < model.learning_rate < 1:
        raise ValueError(f"learning_rate must lie between 0 and 1, got {model.learning_rate!r}.")
    if not (model.random_state is None or isinstance(model.random_state, np.random.RandomState)):
        check_whole("random_state", model.random_state, at_least=0)
    _check_training(model)
    pick_device(model.device)


def _check_training(model: Any) -> None:
    if not (model.training is None or isinstance(model.training, Training)):
        raise TypeError(f"training must be a Training or None, got {model.training!r}.")
    if model.training and model.training.checkpoint and not isinstance(model.random_state, int | np.integer):
        raise ValueError(
            "With a checkpoint random_state must be a whole number, or a fit that goes on would draw other numbers; "
            f"got {model.random_state!r}. Give one."
        )


def pick_device(device: str) -> torch.device:
    """The torch device by that name; "auto" is a GPU where there is one."""
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
    """An integer seed from scikit-learn's three kinds of `random_state`."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
