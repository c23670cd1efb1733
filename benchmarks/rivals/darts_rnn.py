"""darts' RNNModel as an LSTM with its own defaults: one layer of 25 units, training length 24, mean squared error.

Its default of 100 epochs over every window takes hours of CPU time; `n_epochs` is given, and said in the results.
"""

import logging
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import numpy as np
import torch
from darts import TimeSeries
from darts.models import RNNModel
from task import answer_with


def series(values):
    return TimeSeries.from_values(np.asarray(values, dtype=np.float32))


def fit(task, options):
    torch.set_num_threads(1)
    trainer = {"accelerator": "cpu", "enable_progress_bar": False, "logger": False, "enable_model_summary": False}
    model = RNNModel(
        input_chunk_length=task.lookback, model="LSTM", pl_trainer_kwargs=trainer,
        **{"random_state": 0, "training_length": task.lookback + task.horizon, **options},
    )  # fmt: skip
    scales = [(values.mean(), values.std()) for values in task.training()]  # as its users do with its Scaler
    model.fit([series((v - m) / s) for v, (m, s) in zip(task.training(), scales, strict=True)], verbose=False)
    return model, scales


def forecast(task, fitted, options):
    model, scales = fitted
    tails = [series((v[-4 * task.lookback :] - scales[k][0]) / scales[k][1]) for k, _, v in task.histories()]
    found = model.predict(n=task.horizon, series=tails, verbose=False)
    points = [
        f.values()[:, 0] * scales[k][1] + scales[k][0] for f, (k, _, _) in zip(found, task.histories(), strict=True)
    ]
    return np.cumsum(points, 1) if task.kind == "prices" else np.array(points)


answer_with(fit, forecast)
