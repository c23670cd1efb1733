"""The problem that a search for settings solves, as a value."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from tidecast.flows.config.settings import Settings
from tidecast.forecasting.evaluation.splits import RollingOrigin


@dataclass(frozen=True)
class SearchProblem:
    """Rows, folds and settings of a search.

    Attributes
    ----------
    as_of : date
        The session it stands on.
    panel : DataFrame
        Rows before the first target of a gate held at `as_of`.
    looked_through : date
        The last session of `panel`.
    cv : RollingOrigin
        The folds that a selection at `as_of` would use.
    model : forecaster
        Unfitted, with its default settings: the first trial.
    space : dict
        Settings to try.
    settings : Settings
    key : str
        Equal for equal rows and settings.
    """

    as_of: date
    panel: pl.DataFrame
    looked_through: date
    cv: RollingOrigin
    model: Any
    space: dict[str, Any]
    settings: Settings
    key: str
