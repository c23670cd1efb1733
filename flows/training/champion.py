"""The champion: the version whose forecasts are published."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl


@dataclass(frozen=True)
class Champion:
    """The version that forecasts.

    Attributes
    ----------
    name : str
        Which model won, as in `TrainingResult.winner`: "GRU", "random_walk".
    version, run_id : str
        Registered version, and the training run that made it.
    trained_through : date
        Last session of its training rows. It forecasts origins at or after it only.
    recipe : dict
        ``model.recipe()``: class, settings, features.
    model : forecaster
        Fitted, ready to predict.
    decision : dict
        The decision at its last gate: outcome, reason, verdict, numbers.
    gate_as_of : date or None
        Session of that gate. None when no gate was held yet.
    evidence : polars.DataFrame or None
        ``evaluate(...).summary`` of that gate's folds. None when no gate was held yet, or when its MLflow run was
        deleted.
    """

    name: str
    version: str
    run_id: str
    trained_through: date
    recipe: dict[str, Any]
    model: Any
    decision: dict[str, Any]
    gate_as_of: date | None
    evidence: pl.DataFrame | None
