"""Training throughput of every cell compared with torch's own modules, and the cost of our loop over a bare one.

CPU seconds of this process, one thread, the least of several repeats by turns; trust ratios.

    python -m benchmarks.cells [--repeats 5]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from tidecast.forecasting import DEFAULT_QUANTILES
from tidecast.forecasting.network.cell_registry import CELLS
from tidecast.forecasting.network.losses import pinball
from tidecast.forecasting.network.quantile_head import QuantileHead
from tidecast.forecasting.network.recurrent import RecurrentNetwork
from tidecast.forecasting.network.trainer import Lessons, Trainer
from tidecast.forecasting.network.training import Batch, Training, isolated

B, T, D, F, H, Q, STEPS = 256, 128, 64, 8, 5, 19, 2
LEVELS = torch.linspace(0.05, 0.95, Q)


def least_cpu_seconds(works: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Minimum CPU seconds of each function, measured in turn after one warm-up call."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            start = time.process_time()
            work()
            if turn:
                seconds[name].append(time.process_time() - start)
    return {name: min(spent) for name, spent in seconds.items()}


def cell_step(cell: nn.Module, x_BTF: torch.Tensor, last_only: bool) -> Callable[[], None]:
    """Forward and backward through a cell, with a loss at the last position or at every one."""

    def step() -> None:
        h_BTD, _ = cell(x_BTF)
        (h_BTD[:, -1] if last_only else h_BTD).square().mean().backward()

    return step


def bare_loop(network: RecurrentNetwork, head: QuantileHead, batches: list[Batch]) -> Callable[[], None]:
    """The plain loop: AdamW over the same network, loss and batches, with torch's gradients."""

    def train() -> None:
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
        for batch in batches:
            loss_BTH = batch.weight_BTH * pinball(head(network(batch.x_BTF)), batch.y_BTH, LEVELS)
            optimiser.zero_grad()
            (loss_BTH.sum() / batch.weight_BTH.sum()).backward()
            optimiser.step()

    return train


def our_loop(network: RecurrentNetwork, head: QuantileHead, batches: list[Batch]) -> Callable[[], None]:
    """Our `Trainer` on the same network, loss and batches."""

    def train() -> None:
        Trainer(
            network, head, Lessons(lambda _: batches, len(batches)), Training(patience=3), max_epochs=1,
            learning_rate=1e-3, shuffle=np.random.default_rng(0),
        ).run()  # fmt: skip

    return train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with isolated(0):
        x_BTF = torch.randn(B, T, F)
        steps = {
            f"{name}, {'last' if last else 'every'} position": cell_step(
                cell.load()(F, D, 1, batch_first=True, dropout=0.0, bidirectional=False), x_BTF, last
            )
            for name, cell in CELLS.items()
            for last in (True, False)
        }
        found = least_cpu_seconds(steps, repeats)
        gru = found["gru, every position"]
        print(f"one training step of the cell alone, B={B} T={T} F={F} D={D}; rnn, lstm, gru are torch.nn's")
        for name, seconds in found.items():
            print(f"  {name:24} {1e3 * seconds:7.0f} ms {B / seconds:8.0f} windows/s {gru / seconds:6.2f} × nn.GRU")

        batch = Batch(x_BTF, torch.randn(B, T, H), torch.ones(B, T, H))
        head = QuantileHead(torch.linspace(-1, 1, Q).expand(H, Q).clone(), torch.ones(H), DEFAULT_QUANTILES)
        loops: dict[str, Callable[[], None]] = {}
        for name in CELLS:
            network = RecurrentNetwork(name, F, D, 1, 0.0, H, Q)
            loops[f"{name} bare"] = bare_loop(network, head, [batch] * STEPS)
            loops[f"{name} ours"] = our_loop(network, head, [batch] * STEPS)
        found = least_cpu_seconds(loops, repeats)
        print("whole training, loss at every position: windows per CPU second")
        for name in CELLS:
            bare, ours = (STEPS * B / found[f"{name} {loop}"] for loop in ("bare", "ours"))
            print(f"  {name:8} bare {bare:7.0f}   ours {ours:7.0f}   ratio {ours / bare:5.2f}")


if __name__ == "__main__":
    main()
