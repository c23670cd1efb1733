"""neuralforecast's LSTM with its own defaults: two layers of 128 units, 1,000 steps, MAE."""

import logging
import os
import warnings

os.environ["NIXTLA_ID_AS_COL"] = "1"
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import numpy as np
import pandas as pd
import torch
from neuralforecast import NeuralForecast
from neuralforecast.models import LSTM
from task import answer_with


def frame(histories, freq):
    """Series as neuralforecast's long table; all end at the same time."""
    parts = []
    for name, values in histories:
        times = pd.date_range(end="2020-01-01", periods=len(values), freq=freq)
        parts.append(pd.DataFrame({"unique_id": name, "ds": times, "y": values}))
    return pd.concat(parts, ignore_index=True)


def fit(task, options):
    torch.set_num_threads(1)
    model = LSTM(
        h=task.horizon, input_size=task.lookback, accelerator="cpu", enable_progress_bar=False, logger=False,
        enable_checkpointing=False, enable_model_summary=False, **options,
    )  # fmt: skip
    library = NeuralForecast(models=[model], freq=task.freq)
    library.fit(frame([(f"{k:05d}", values) for k, values in enumerate(task.training())], task.freq))
    return library


def forecast(task, library, options):
    tails = [(f"{k:06d}", values[-4 * task.lookback :]) for k, (_, _, values) in enumerate(task.histories())]
    table = library.predict(df=frame(tails, task.freq)).sort_values(["unique_id", "ds"])
    points = table["LSTM"].to_numpy().reshape(len(tails), task.horizon)
    return np.cumsum(points, 1) if task.kind == "prices" else points


answer_with(fit, forecast)
