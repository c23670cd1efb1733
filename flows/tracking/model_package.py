"""A forecaster in MLflow's layout for models: code, safetensors, JSON, a signature and an example. No pickle."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import polars as pl
import yaml
from mlflow.models import Model, infer_signature

from tidecast.features.known_ahead.table import has_lists
from tidecast.features.panel import AHEAD
from tidecast.flows.tracking.environment import installed
from tidecast.flows.training.result import TrainingResult

MLMODEL = "MLmodel"
SERVED_MODEL = Path(__file__).with_name("served_model.py")
SERVED_BY = (
    "tidecast", "mlflow", "numpy", "pandas", "polars", "safetensors", "scikit-learn", "scipy", "torch",
    "exchange_calendars",
)  # fmt: skip


def package(training: TrainingResult, folder: Path) -> None:
    """Write a training's model into `folder`, which must not exist yet; `adopt` links it to its run.

    Parameters
    ----------
    training : TrainingResult
    folder : Path
    """
    from mlflow.pyfunc import save_model  # here, because its import warns

    forecaster = training.model
    parts = folder.with_name("forecaster")
    forecaster.save(parts)
    example = _example(training)
    forecast = forecaster.predict(example).astype({"origin": "datetime64[us]", "time": "datetime64[us]"})
    example = example.astype({"time": "datetime64[us]"})
    save_model(
        folder,
        python_model=str(SERVED_MODEL),
        artifacts={"forecaster": parts.as_uri()},  # MLflow reads %20 in a plain path as a space
        signature=infer_signature(example, forecast),
        input_example=example,
        pip_requirements=[f"{name}=={installed(name)}" for name in SERVED_BY],
    )


def adopt(folder: Path, run_id: str, model_id: str, location: str) -> None:
    """Write the ids of its run and logged model into a packaged model.

    Parameters
    ----------
    folder : Path
        A packaged model.
    run_id, model_id : str
    location : str
        Where MLflow stores its files.
    """
    layout = Model.from_dict(yaml.safe_load((folder / MLMODEL).read_text(encoding="utf-8")))  # load() unquotes the path
    layout.run_id, layout.model_id, layout.artifact_path = run_id, model_id, location
    layout.save(folder / MLMODEL)


def _example(training: TrainingResult) -> pd.DataFrame:
    """The newest rows of two series, just enough for a forecast."""
    forecaster = training.model
    names = forecaster.predict()["series_id"].unique(maintain_order=True)[:2].implode()
    rows = training.panel.filter(pl.col("series_id").is_in(names)).sort("series_id", "time")
    newest = rows.group_by("series_id", maintain_order=True).tail(forecaster.lookback + 1)
    ahead = forecaster.schema.future if forecaster.schema else ()
    lists = [name + AHEAD for name in ahead if has_lists(newest, name)]
    newest = newest.with_columns(pl.col(lists).arr.to_list().list.eval(pl.element().fill_nan(0.0)))  # JSON has no NaN
    return newest.select(list(dict.fromkeys([*forecaster.columns_, *ahead, *lists]))).to_pandas()
