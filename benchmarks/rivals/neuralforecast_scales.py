"""neuralforecast's LSTM with its own defaults, as `scales_of.py` answers: two layers of 128 units, 1,000 steps.

It learns the log returns of the coming sessions with Student's t. Its scale of a step is the root of the summed squares
of the widths of its intervals, its move the sum of its medians. It forecasts from the rows with `origin`, from the
newest tenth before them, and from every tenth of the older rows; the others have no scale.
"""

import logging
import os
import warnings

os.environ["NIXTLA_ID_AS_COL"] = "1"
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import numpy as np
import pandas as pd
import polars as pl
import torch
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import DistributionLoss
from neuralforecast.models import LSTM
from scales_of import answer_with, answered
from scipy import stats

LOOKBACK, EVERY, LEVEL = 64, 10, 90


def frame(histories):
    """Series as neuralforecast's long table; all end on the same day, because it only counts rows."""
    parts = [
        pd.DataFrame({"unique_id": name, "ds": pd.date_range(end="2020-01-01", periods=len(values)), "y": values})
        for name, values in histories
    ]
    return pd.concat(parts, ignore_index=True)


def neural_lstm(rows, horizon):
    """An LSTM over all series; changes in per cent of the series' usual one, because it must not see other scales."""
    torch.set_num_threads(1)
    known, failures = rows.drop_nulls("change").with_columns(row=pl.int_range(pl.len())), []
    parts = {series: part for (series,), part in known.group_by("series_id", maintain_order=True)}
    units = {series: part.filter("learn")["change"].std() for series, part in parts.items()}
    for series in [series for series, unit in units.items() if not unit or len(parts[series]) < 2 * LOOKBACK]:
        failures.append((str(series), f"{len(parts[series])} changes, or none to learn from"))
        del parts[series], units[series]
    model = LSTM(
        h=horizon, input_size=LOOKBACK, loss=DistributionLoss("StudentT", level=[LEVEL]), accelerator="cpu",
        enable_progress_bar=False, logger=False, enable_checkpointing=False, enable_model_summary=False,
    )  # fmt: skip
    library = NeuralForecast(models=[model], freq="D")
    library.fit(
        frame(
            (str(series), part.filter("learn")["change"].to_numpy() / units[series]) for series, part in parts.items()
        )
    )
    scale = np.full((len(known), horizon), np.nan)
    move = np.zeros_like(scale)
    for series, part in parts.items():
        change, row = part["change"].to_numpy() / units[series], part["row"].to_numpy()
        wanted = ~part["learn"].to_numpy() | (np.arange(len(part)) % EVERY == 0)
        at = np.flatnonzero(wanted & (np.arange(len(part)) >= LOOKBACK - 1))
        histories = ((f"{place:06d}", change[place - LOOKBACK + 1 : place + 1]) for place in at)
        found = library.predict(df=frame(histories)).sort_values(["unique_id", "ds"])
        columns = (f"LSTM-{name}" for name in (f"lo-{LEVEL}", "median", f"hi-{LEVEL}"))
        low, median, high = (found[column].to_numpy().reshape(len(at), horizon) for column in columns)
        deviation = (high - low) / (2 * stats.norm.ppf(0.5 + LEVEL / 200))
        steps, sigma = np.arange(1, horizon + 1), part["volatility"].to_numpy()[at][:, None] / units[series]
        scale[row[at]] = 0.5 * np.log(np.cumsum(deviation**2, axis=1) / steps) - np.log(sigma)
        move[row[at]] = np.cumsum(median, axis=1) / (sigma * np.sqrt(steps))
    scale = np.where(np.isfinite(scale), scale, np.nan)
    return answered(known, scale, np.nan_to_num(move, posinf=0.0, neginf=0.0)), failures


answer_with({"neural_lstm": neural_lstm})
