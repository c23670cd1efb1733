"""A price forecaster as many tutorials build it, next to yesterday's price.

    python -m docs.pictures.naive_lstm docs/pictures/naive_lstm.png

For each exchange rate: closes scaled to 0 … 1 on the training rows, windows of 60 sessions, two layers of 50 LSTM
units, the next close as target, Adam on the squared error. Training rows end before the first test day. Nothing of the
package forecasts here: the script shows what the package is not.
"""

import argparse
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import torch

from tidecast.flows.reporting.figure import Picture
from tidecast.forecasting.plotting.canvas import new_figure, zero
from tidecast.forecasting.plotting.palette import BLUE, INK, ORANGE

PRICES = Path(__file__).parents[2] / "flows" / "data" / "ecb_fx_daily.parquet"
SERIES = ("USD", "JPY", "GBP", "CHF")
FIRST_TEST_DAY = date(2022, 11, 14)
WINDOW, UNITS, EPOCHS, BATCH = 60, 50, 20, 64


class NaiveLSTM(torch.nn.Module):
    """Two layers of LSTM, and a linear layer on the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(1, UNITS, num_layers=2, batch_first=True)
        self.out = torch.nn.Linear(UNITS, 1)

    def forward(self, x_BT1: torch.Tensor) -> torch.Tensor:
        """Return the scaled close after each window."""
        return self.out(self.lstm(x_BT1)[0][:, -1])[:, 0]


def forecast(closes: np.ndarray, n_train: int) -> np.ndarray:
    """Return the forecast of each close from row `n_train` on, made on the session before."""
    low, high = closes[:n_train].min(), closes[:n_train].max()
    scaled = torch.tensor((closes - low) / (high - low), dtype=torch.float32)
    windows = scaled.unfold(0, WINDOW, 1)[:-1, :, None]  # window i ends on row WINDOW + i - 1
    targets = scaled[WINDOW:]
    n_windows = n_train - WINDOW
    torch.manual_seed(0)
    model = NaiveLSTM()
    optimiser = torch.optim.Adam(model.parameters())
    for _ in range(EPOCHS):
        for batch in torch.randperm(n_windows).split(BATCH):
            optimiser.zero_grad()
            torch.nn.functional.mse_loss(model(windows[batch]), targets[batch]).backward()
            optimiser.step()
    with torch.no_grad():
        return model(windows[n_windows:]).numpy() * (high - low) + low


def measured() -> dict[str, dict[str, np.ndarray]]:
    """Return for each series the truths, the forecasts and the closes of the day before, on the test days."""
    table = pl.read_parquet(PRICES).filter(pl.col("value").is_not_null()).sort("date")
    found = {}
    for name in SERIES:
        rows = table.filter(pl.col("series_id") == name)
        closes, n_train = rows["value"].to_numpy(), rows.filter(pl.col("date") < FIRST_TEST_DAY).height
        found[name] = {
            "truth": closes[n_train:],
            "forecast": forecast(closes, n_train),
            "before": closes[n_train - 1 : -1],
        }
        print(f"{name}  skill {skill(found[name]):+.1f} %  correlation {correlation(found[name]):.3f}", flush=True)
    return found


def skill(one: dict[str, np.ndarray]) -> float:
    """Return the skill of the absolute error against the random walk, in per cent."""
    errors = {name: np.abs(one[name] - one["truth"]).mean() for name in ("forecast", "before")}
    return 100 * (1 - errors["forecast"] / errors["before"])


def correlation(one: dict[str, np.ndarray]) -> float:
    """Return the correlation of forecasts and truths."""
    return float(np.corrcoef(one["forecast"], one["truth"])[0, 1])


def draw(found: dict[str, dict[str, np.ndarray]]) -> Picture:
    """Draw 80 days of one series, and the skill of all."""
    figure, (left, right) = new_figure(1, 2, height=3.0, widths=(1.4, 1))
    shown = found[SERIES[0]]
    left.plot(shown["truth"][-80:], color=INK, label="price")
    left.plot(shown["forecast"][-80:], color=ORANGE, label="forecast of the day before")
    left.set(xlabel="session", ylabel=f"{SERIES[0]} for one euro")
    left.legend(frameon=False, fontsize=8)
    left.set_title(f"It looks right: correlation {correlation(shown):.3f}", size=9, color=INK, loc="left")
    skills = [skill(found[name]) for name in SERIES]
    right.barh(SERIES[::-1], skills[::-1], color=BLUE)
    right.set_xlabel("skill of the absolute error, %")
    zero(right, "yesterday's price", flat=True)
    return Picture(
        "An LSTM on prices, next to yesterday's price",
        "Left: the last 80 test days of a typical LSTM price forecast. Right: its error against the error of repeating "
        "yesterday's price, over four test years. Below 0 it is worse.",
        figure,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("png", type=Path)
    torch.set_num_threads(1)
    arguments = parser.parse_args()
    arguments.png.write_bytes(draw(measured()).png())
