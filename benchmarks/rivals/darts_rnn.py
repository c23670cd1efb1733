"""darts' RNNModel as an LSTM with its own defaults: one layer of 25 units, 100 epochs, mean squared error.

Its training length of 24 has to be as long as the input, and is made as long as lookback and horizon. What the network
was after 1, 2, 4 and so on epochs is kept aside, for its curve.
"""

import copy
import logging
import time
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import numpy as np
import torch
from darts import TimeSeries
from darts.models import RNNModel
from pytorch_lightning import Callback
from task import answer_with


class Milestones(Callback):
    """CPU seconds and weights after 1, 2, 4, 8 … epochs."""

    def __init__(self):
        self.started, self.found = time.process_time(), []

    def on_train_epoch_end(self, trainer, module):
        epochs = trainer.current_epoch + 1
        if epochs & (epochs - 1) == 0:
            self.found.append((epochs, time.process_time() - self.started, copy.deepcopy(module.state_dict())))


def series(values):
    return TimeSeries.from_values(np.asarray(values, dtype=np.float32))


def fit(task, options):
    torch.set_num_threads(1)
    milestones = Milestones()
    trainer = {"accelerator": "cpu", "enable_progress_bar": False, "logger": False, "enable_model_summary": False}
    trainer["callbacks"] = [milestones]
    model = RNNModel(
        input_chunk_length=task.lookback, model="LSTM", pl_trainer_kwargs=trainer,
        **{"random_state": 0, "training_length": task.lookback + task.horizon, **options},
    )  # fmt: skip
    scales = [(values.mean(), values.std()) for values in task.training()]  # as its users do with its Scaler
    model.fit([series((v - m) / s) for v, (m, s) in zip(task.training(), scales, strict=True)], verbose=False)
    return model, scales, milestones


def forecast(task, fitted, options):
    model, scales, _ = fitted
    tails = [series((v[-4 * task.lookback :] - scales[k][0]) / scales[k][1]) for k, _, v in task.histories()]
    found = model.predict(n=task.horizon, series=tails, verbose=False)
    points = [
        f.values()[:, 0] * scales[k][1] + scales[k][0] for f, (k, _, _) in zip(found, task.histories(), strict=True)
    ]
    return np.cumsum(points, 1) if task.kind == "prices" else np.array(points)


def curve(task, fitted, options):
    model, _, milestones = fitted
    for epochs, seconds, weights in milestones.found:
        model.model.load_state_dict(weights)
        yield epochs, seconds, forecast(task, fitted, options)


answer_with(fit, forecast, curve)
