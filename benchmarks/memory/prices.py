"""Memory on real prices: influence by lag, length of a training stretch, GRU next to LSTM.

ECB rates to the end of 2019, the years on which design choices were made.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import torch

from benchmarks.memory.store import Line
from tidecast.features import PanelSchema
from tidecast.forecasting import RollingOrigin, evaluate, timed_backtest
from tidecast.forecasting.forecasters.diagnostics import remembered
from tidecast.forecasting.network.cell_registry import CELLS, load_cell
from tidecast.forecasting.network.training import isolated

RATES = Path(__file__).parents[2] / "flows" / "data" / "ecb_fx_daily.parquet"
HORIZON, STEPS_BACK, ORIGINS = 5, 256, 64
TWO_YEARS = RollingOrigin(n_splits=1, horizon=HORIZON, stride=504)
PAIR_EPOCHS, PAIR_SERIES = 2, ["USD", "JPY", "GBP", "CHF"]
B, T, F = 256, 64, 8  # sequences, rows and inputs of a batch for the cells alone


@cache
def development_years() -> pl.DataFrame:
    """The 41 rates up to the end of 2019."""
    panel = pl.read_parquet(RATES).rename({"date": "time", "value": "close"}).drop_nulls("close")
    return panel.filter(pl.col("time").dt.year() < 2020).sort("series_id", "time")


def forecaster(cell: str, seed: int, **settings: Any) -> Any:
    """A forecaster of that cell with default settings and those given.

    Parameters
    ----------
    cell : str
    seed : int
    **settings : object
    """
    from tidecast import forecasting  # its classes are made by name

    kind = getattr(forecasting, CELLS[cell].forecaster)
    return kind(horizon=HORIZON, schema=PanelSchema(calendar="TARGET"), random_state=seed, **settings)


def profile(cell: str, seed: int) -> Line:
    """Fit with default settings, and measure the influence of each of the 257 newest rows on the quantiles.

    Parameters
    ----------
    cell : str
    seed : int
    """
    panel = development_years()
    model = forecaster(cell, seed).fit(panel)
    table = model.memory_profile(panel, STEPS_BACK, ORIGINS)
    by_row = table.group_by("k").agg(pl.col("influence").mean()).sort("k")
    total = by_row["influence"].sum()
    return {
        "influence": [round(value, 9) for value in by_row["influence"]],
        "share_of_own_row": by_row["influence"][0] / total if total else None,
        "rows_of_90": remembered(table) + 1,
        "rows_of_99": remembered(table, 0.99) + 1,
        "lookback": model.lookback,
    }


def stretch(rows: int, seed: int) -> Line:
    """Backtest a GRU trained on stretches of that many rows, on 504 origins of 2018 and 2019.

    Parameters
    ----------
    rows : int
    seed : int
    """
    panel = development_years()
    table, seconds = timed_backtest({"gru": forecaster("gru", seed, lookback=rows)}, panel, TWO_YEARS)
    pooled = evaluate(table, panel).summary.filter(group="pooled", model="gru")
    return {
        "crps": pooled["crps"].item(),
        "skill": pooled["skill"].item(),
        "n_origins": pooled["n_origins"].item(),
        "seconds": seconds["gru"],
    }


def speed(pair: int) -> Line:
    """CPU seconds of two epochs of a GRU and an LSTM on four rates, the first of a pair by turns.

    Parameters
    ----------
    pair : int
        Its number, also the seed.
    """
    panel = development_years().filter(pl.col("series_id").is_in(PAIR_SERIES))
    order = ("gru", "lstm") if pair % 2 else ("lstm", "gru")
    seconds: dict[str, float] = {}
    for cell in order:
        model = forecaster(cell, pair, max_epochs=PAIR_EPOCHS)
        began = time.process_time()
        model.fit(panel)
        seconds[cell] = time.process_time() - began
    return {**seconds, "hidden_size": model.hidden_size, "epochs": PAIR_EPOCHS}


def speed_alone(width: int, pair: int) -> Line:
    """CPU seconds of a forward and a backward pass of the cells alone, a GRU and an LSTM by turns.

    Parameters
    ----------
    width : int
        Hidden units.
    pair : int
        Its number, also the seed.
    """
    seconds: dict[str, float] = {}
    with isolated(pair):
        x_BTF = torch.randn(B, T, F)
        for cell in ("gru", "lstm") if pair % 2 else ("lstm", "gru"):
            module = load_cell(cell)(F, width, 1, batch_first=True, dropout=0.0, bidirectional=False)
            module(x_BTF[:1])  # the first call of a kernel is slower
            began = time.process_time()
            module(x_BTF)[0].square().mean().backward()
            seconds[cell] = time.process_time() - began
    return seconds
