"""What MLflow loads: raw prices in, forecast table out, both pandas.

This file is copied into every logged model ("models from code") and run when the model is loaded; do not import it.
The forecaster itself lies beside it as ``model.json`` and ``weights.safetensors``, so nothing is unpickled.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from tidecast.forecasting.persistence import load_forecaster

SHOWN = 5  # series named in a message


class ServedForecaster(PythonModel):
    """A Tidecast forecaster behind MLflow's ``predict``: its table from each series' last row."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the forecaster's own files."""
        self.forecaster = load_forecaster(context.artifacts["forecaster"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Forecast table of a panel (``series_id``, ``time``, target); times are timestamps, at midnight for days.

        Raises
        ------
        MlflowException
            The panel cannot be forecast; a server answers with it, as 400: what must hold, what was found, what to do.
        """
        try:
            self._check_prices(model_input)
            table = self.forecaster.predict(model_input)
            self._check_all_forecast(model_input, table)
        except (TypeError, ValueError) as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return table.astype(dict.fromkeys(("origin", "time"), "datetime64[us]"))

    def _check_prices(self, panel: pd.DataFrame) -> None:
        target = self.forecaster.target
        if target in panel and (missing := int(panel[target].isna().sum())):
            raise ValueError(f"{target!r} must be known in every row, missing in {missing}. Leave these rows out.")

    def _check_all_forecast(self, panel: pd.DataFrame, table: pd.DataFrame) -> None:
        asked, answered = set(panel["series_id"]), set(table["series_id"])
        if short := sorted(asked - answered):
            raise ValueError(
                f"Each series must have {self.forecaster.lookback} rows since its last pause to be forecast, "
                f"{len(short)} of {len(asked)} have not: {_named(short)}. Send more history, or leave them out."
            )


def _named(series: list[str]) -> str:
    return ", ".join(map(repr, series[:SHOWN])) + (f" and {len(series) - SHOWN} more" * (len(series) > SHOWN))


set_model(ServedForecaster())
