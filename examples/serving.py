"""Forecast with the champion as a program does, and write the request that its REST server answers.

`TIDECAST_HOME` names the state folder; without it, `.tidecast-demo`, which `make demo` makes. Writes `request.json`.
Prints the forecast, and the commands that start the server and send the request.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import mlflow
import polars as pl

from examples.prices import prices_of_command

MODEL = "models:/tidecast@champion"
ROWS = 260
"""Newest rows of each series to send. `lookback` (64) are needed; from more, the volatility is more certain."""


def main(prices: pl.DataFrame, home: str) -> tuple[pl.DataFrame, str]:
    """Return the forecast of the champion, and the request as JSON.

    Parameters
    ----------
    prices : polars.DataFrame
        Panel of days with the columns that the champion reads: `series_id`, `time`, `close` and its covariates.
    home : str
        State folder.

    Returns
    -------
    tuple of polars.DataFrame and str
    """
    mlflow.set_tracking_uri(f"sqlite:///{home}/mlflow.db")
    model = mlflow.pyfunc.load_model(MODEL)
    newest = prices.sort("series_id", "time").group_by("series_id", maintain_order=True).tail(ROWS)
    rows = newest.select(model.input_example.columns)
    forecast = pl.from_pandas(model.predict(rows.to_pandas()))
    as_json = rows.with_columns(pl.col("time").cast(pl.String))
    request = {"dataframe_split": {"columns": as_json.columns, "data": as_json.rows()}}
    return forecast.with_columns(pl.col("origin", "time").cast(pl.Date)), json.dumps(request)


if __name__ == "__main__":
    home = os.environ.get("TIDECAST_HOME", ".tidecast-demo")
    result = main(prices_of_command(__doc__), home)
    Path("request.json").write_text(result[1], encoding="utf-8")
    print(
        result[0],
        f"export MLFLOW_TRACKING_URI=sqlite:///{home}/mlflow.db",
        f"mlflow models serve -m {MODEL} --env-manager local --port 8080",
        "curl -s http://127.0.0.1:8080/invocations -H 'Content-Type: application/json' -d @request.json",
        sep="\n",
    )
