"""The code of a logged model: raw prices in, forecast table out, both pandas.

MLflow copies this file into every logged model ("models from code") and runs it when the model is loaded. Do not
import it. It uses public names only, because a copy must run with later versions of Tidecast. The forecaster lies next
to it as ``model.json`` and ``weights.safetensors``, so nothing is unpickled.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from tidecast import load_forecaster

MAX_NAMED = 5  # series in a message


class ServedForecaster(PythonModel):
    """A Tidecast forecaster behind MLflow's ``predict``: its table from each series' last row."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the forecaster from its own files.

        Parameters
        ----------
        context : PythonModelContext
            Names the folder of the forecaster.
        """
        self.forecaster = load_forecaster(context.artifacts["forecaster"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Forecast table of a panel, from the last row of each series.

        Parameters
        ----------
        context : PythonModelContext
        model_input : pandas.DataFrame
            Panel with ``series_id``, ``time`` and the target.
        params : dict, optional
            Ignored.

        Returns
        -------
        pandas.DataFrame
            ``origin`` and ``time`` are timestamps without a zone, at midnight for daily panels.

        Raises
        ------
        MlflowException
            The panel cannot be forecast. A server answers 400 with the message.
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
            raise ValueError(f"{target!r} must be present in every row, missing in {missing}. Leave these rows out.")

    def _check_all_forecast(self, panel: pd.DataFrame, table: pd.DataFrame) -> None:
        requested, forecast = set(panel["series_id"]), set(table["series_id"])
        if short := sorted(requested - forecast):
            raise ValueError(
                f"Each series must have {self.forecaster.lookback} rows since its last pause to be forecast, "
                f"{len(short)} of {len(requested)} have not: {_named(short)}. Send more history, or leave them out."
            )


def _named(series: list[str]) -> str:
    names = ", ".join(map(repr, series[:MAX_NAMED]))
    if len(series) > MAX_NAMED:
        return f"{names} and {len(series) - MAX_NAMED} more"
    return names


set_model(ServedForecaster())
