"""darts' historical forecasts of an LSTM that is not refit: CPU seconds for every one of the last origins."""

import logging
import sys
import time
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import numpy as np
import torch
from darts import TimeSeries
from darts.models import RNNModel

HORIZON, LOOKBACK = 5, 64

torch.set_num_threads(1)
returns = np.diff(np.log(np.load(sys.argv[1])), axis=1).astype(np.float32)
series, n_origins = [TimeSeries.from_values(values) for values in returns], int(sys.argv[2])
trainer = {"accelerator": "cpu", "enable_progress_bar": False, "logger": False, "enable_model_summary": False}
model = RNNModel(
    LOOKBACK, model="LSTM", hidden_dim=25, training_length=LOOKBACK + HORIZON, n_epochs=1, pl_trainer_kwargs=trainer
)
model.fit(series[:1])
started = time.process_time()
model.historical_forecasts(
    series, start=-(n_origins + HORIZON - 1), start_format="position", forecast_horizon=HORIZON, retrain=False,
    last_points_only=False, verbose=False,
)  # fmt: skip
print(time.process_time() - started)
