"""Checks of the settings that every estimator with a network has."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidecast.features.error_text import check_whole
from tidecast.forecasting.estimator.validation import pick_device
from tidecast.forecasting.network.training import Training


def check_network_settings(model: Any) -> None:
    """Refuse impossible settings of a network.

    Parameters
    ----------
    model : RecurrentForecaster or RecurrentRegressor

    Raises
    ------
    TypeError, ValueError
        Naming the setting and its value.
    """
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
            "With a checkpoint, random_state must be a whole number, because a resumed fit would draw other numbers; "
            f"got {model.random_state!r}. Set one."
        )
