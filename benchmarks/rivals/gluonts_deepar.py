"""gluonts' DeepAR with its own defaults: two LSTM layers of 40 units, 100 epochs of 50 batches of 32, Student's t."""

import logging
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import numpy as np
import pandas as pd
import torch
from gluonts.dataset.common import ListDataset
from gluonts.torch import DeepAREstimator
from task import LEVELS, answer_with


def dataset(histories, freq):
    """Series that all end at the same time."""
    end = pd.Period("2020-01-01", freq=freq)
    return ListDataset([{"start": end - len(values), "target": values} for values in histories], freq=freq)


def fit(task, options):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 – the library draws from the global generator
    trainer = {"accelerator": "cpu", "enable_progress_bar": False, "logger": False, "enable_model_summary": False}
    trainer |= options.get("trainer_kwargs", {})
    others = {name: value for name, value in options.items() if name != "trainer_kwargs"}
    estimator = DeepAREstimator(
        freq=task.freq, prediction_length=task.horizon, context_length=task.lookback, trainer_kwargs=trainer, **others
    )
    return estimator.train(dataset(task.training(), task.freq))


def forecast(task, predictor, options):
    answers = []
    for found in predictor.predict(dataset([values for _, _, values in task.histories()], task.freq)):
        paths = np.cumsum(found.samples, 1) if task.kind == "prices" else found.samples
        answers.append(np.quantile(paths, LEVELS, axis=0).T)
    return np.array(answers)


answer_with(fit, forecast)
