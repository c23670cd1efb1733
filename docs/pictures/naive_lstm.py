"""A price forecaster as many tutorials build it, next to yesterday's price.

    python -m docs.pictures.naive_lstm            # draw naive_lstm.png and naive_lstm_dark.png again
    python -m docs.pictures.naive_lstm --measure  # train again first

For each exchange rate: closes scaled to 0 … 1 on the training rows, windows of 60 sessions, two layers of 50 LSTM
units, the next close as target, Adam on the squared error. Training rows end before the first test day. Nothing of the
package forecasts here: the script shows what the package is not.
"""

import argparse
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from docs.pictures.light_and_dark import keep, kept, write
from tidecast.flows.reporting.figure import Picture
from tidecast.forecasting.plotting.canvas import new_figure, title, zero
from tidecast.forecasting.plotting.palette import BLUE, ORANGE, Theme

PRICES = Path(__file__).parents[2] / "flows" / "data" / "ecb_fx_daily.parquet"
SERIES = ("USD", "JPY", "GBP", "CHF")
FIRST_TEST_DAY = date(2022, 11, 14)
WINDOW, UNITS, EPOCHS, BATCH = 60, 50, 20, 64
DAYS = 80  # that are drawn


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


def measured() -> dict[str, Any]:
    """Return skill and correlation of each series on the test days, and the newest days of the first series."""
    table = pl.read_parquet(PRICES).filter(pl.col("value").is_not_null()).sort("date")
    found: dict[str, Any] = {"series": list(SERIES), "skill": [], "correlation": []}
    for name in SERIES:
        rows = table.filter(pl.col("series_id") == name)
        closes, n_train = rows["value"].to_numpy(), rows.filter(pl.col("date") < FIRST_TEST_DAY).height
        truths, before, made = closes[n_train:], closes[n_train - 1 : -1], forecast(closes, n_train)
        found["skill"].append(round(skill(made, before, truths), 2))
        found["correlation"].append(round(float(np.corrcoef(made, truths)[0, 1]), 4))
        if name == SERIES[0]:
            found["truth"] = truths[-DAYS:].tolist()
            found["forecast"] = made[-DAYS:].round(6).tolist()
    return found


def skill(made: np.ndarray, before: np.ndarray, truths: np.ndarray) -> float:
    """Return the skill of the absolute error against the close of the day before, in per cent."""
    return 100 * float(1 - np.abs(made - truths).mean() / np.abs(before - truths).mean())


def draw(numbers: dict[str, Any], theme: Theme) -> Picture:
    """Draw the newest days of one series, and the skill of all."""
    figure, (left, right) = new_figure(1, 2, height=3.0, widths=(1.4, 1), theme=theme)
    left.plot(numbers["truth"], color=theme.prices, label="price")
    left.plot(numbers["forecast"], color=ORANGE, label="forecast of the day before")
    left.set(xlabel="session", ylabel=f"{numbers['series'][0]} for one euro")
    left.legend(frameon=False, fontsize=8, labelcolor=theme.ink)
    looks = f"It looks right: correlation {numbers['correlation'][0]:.3f}"
    title(left, looks, theme, max_length=60)
    right.barh(numbers["series"][::-1], numbers["skill"][::-1], color=BLUE)
    right.set_xlabel("skill of the absolute error, %")
    zero(right, "yesterday's price", flat=True, theme=theme)
    return Picture(
        "An LSTM on prices, next to yesterday's price",
        "Left: the last 80 test days of a typical LSTM price forecast. Right: its error against the error of repeating "
        "yesterday's price, over four test years. Below 0 it is worse.",
        figure,
    )


def main() -> None:
    """Draw both pictures from the numbers that are kept, or from new ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="train again; four minutes of CPU time")
    if parser.parse_args().measure:
        torch.set_num_threads(1)
        keep("naive_lstm", measured())
    numbers = kept("naive_lstm")
    for name, gain, alike in zip(numbers["series"], numbers["skill"], numbers["correlation"], strict=True):
        print(f"{name}  skill {gain:+.1f} %  correlation {alike:.3f}")
    write("naive_lstm", lambda theme: draw(numbers, theme))


if __name__ == "__main__":
    main()
