"""What MLflow loads: raw prices in, forecast table out, both pandas.

This file is copied into every logged model ("models from code") and run when the model is loaded; do not import it.
The forecaster itself lies beside it as ``model.json`` and ``weights.safetensors``, so nothing is unpickled.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from forecasting.persistence import load_forecaster


class ServedForecaster(PythonModel):
    """A Tidecast forecaster behind MLflow's ``predict``: its table from each series' last row."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the forecaster's own files."""
        self.forecaster = load_forecaster(context.artifacts["forecaster"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Forecast table of a panel (``series_id``, ``time``, target); times are timestamps, at midnight for days."""
        table = self.forecaster.predict(model_input)
        return table.astype(dict.fromkeys(("origin", "time"), "datetime64[us]"))


set_model(ServedForecaster())
