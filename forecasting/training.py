"""The training loop, once, for every network.

Axes: B sequences, T rows, F features, H horizon steps, Q quantiles.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor, nn

from forecasting.losses import pinball
from forecasting.networks import QuantileLayer, RecurrentNetwork

GRADIENT_NORM = 1.0
WEIGHT_DECAY = 1e-4
SMALLEST = 1e-30  # sum of weights that a batch is divided by at least: one without any target moves nothing
WARM_UP = 0.15  # share of the steps until the learning rate peaks


@dataclass(frozen=True)
class Batch:
    """Sequences with their targets; a weight of 0 means: no target here.

    Attributes
    ----------
    x_BTF : Tensor of shape (B, T, F)
    y_BTH, weight_BTH : Tensor of shape (B, T, H)
        With T = 1 while x has more rows, the targets belong to the last row.
    """

    x_BTF: Tensor
    y_BTH: Tensor
    weight_BTH: Tensor


@dataclass(frozen=True)
class Epoch:
    """One line of the learning curve; the losses are mean pinball losses in scaled units."""

    epoch: int
    train_loss: float
    validation_loss: float | None


LEARNING_CURVE = {"epoch": pl.Int32, "train_loss": pl.Float64, "validation_loss": pl.Float64}


def learning_curve(epochs: list[Epoch]) -> pl.DataFrame:
    """The learning curve as a table: ``epoch``, ``train_loss``, ``validation_loss``."""
    return pl.DataFrame([vars(epoch) for epoch in epochs], schema=LEARNING_CURVE)


@contextmanager
def isolated(random_state: int) -> Iterator[None]:
    """Seeded, on one thread, leaving the global random state and thread count as they were.

    One thread per process: more threads spend their time at a barrier in every step of a recurrent network, and would
    make results depend on the machine's load.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(random_state)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def batch_loss(
    network: RecurrentNetwork, layer: QuantileLayer, levels_Q: Tensor, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Weighted sum of the pinball losses at every position that has a target, and the sum of the weights."""
    h_BTD, _ = network.encode(batch.x_BTF)
    q_BTHQ = layer(network.read_out(h_BTD[:, -batch.y_BTH.shape[1] :]))
    loss_BTH = pinball(q_BTHQ, batch.y_BTH, levels_Q)
    return (loss_BTH * batch.weight_BTH).sum(), batch.weight_BTH.sum()


def mean_loss(network: RecurrentNetwork, layer: QuantileLayer, levels_Q: Tensor, batches: Iterable[Batch]) -> float:
    """Weighted mean pinball loss over `batches`, without training."""
    network.eval()
    with torch.inference_mode():
        return _mean([torch.stack(batch_loss(network, layer, levels_Q, batch)) for batch in batches])


def _mean(sums: list[Tensor]) -> float:
    """Mean loss from every batch's sum of losses and sum of weights; NaN where no weight is above 0."""
    loss, weight = torch.stack(sums).double().sum(0).tolist()
    return loss / weight if weight else math.nan


def train_network(
    network: RecurrentNetwork,
    layer: QuantileLayer,
    levels_Q: Tensor,
    epoch_batches: Callable[[], Iterable[Batch]],
    steps_per_epoch: int,
    validation: Sequence[Batch] = (),
    *,
    max_epochs: int,
    learning_rate: float,
    patience: int,
) -> list[Epoch]:
    """Train `network` in place by AdamW on a one-cycle schedule; the learning curve.

    With `validation`, training stops after `patience` epochs without a better validation loss, and the best epoch's
    weights stay; epoch 0, the untrained network, takes part.

    Parameters
    ----------
    epoch_batches : callable
        Fresh, shuffled batches, once an epoch.
    steps_per_epoch : int
        How many of them.
    validation : sequence of Batch
        On later rows than any training target.
    """
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, one_cycle(max_epochs * steps_per_epoch))
    curve: list[Epoch] = []
    best_loss, best_weights, best_epoch = math.inf, copy.deepcopy(network.state_dict()), 0
    if validation:
        best_loss = mean_loss(network, layer, levels_Q, validation)
        curve.append(Epoch(0, math.nan, best_loss))

    for epoch in range(1, max_epochs + 1):
        network.train()
        sums = []
        for batch in epoch_batches():
            loss, weight = batch_loss(network, layer, levels_Q, batch)
            optimiser.zero_grad()
            (loss / weight.clamp(min=SMALLEST)).backward()
            nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)
            optimiser.step()
            schedule.step()
            sums.append(torch.stack([loss.detach(), weight]))
        train_loss = _mean(sums)
        if not validation:
            curve.append(Epoch(epoch, train_loss, None))
            continue
        held_out = mean_loss(network, layer, levels_Q, validation)
        curve.append(Epoch(epoch, train_loss, held_out))
        if held_out < best_loss:
            best_loss, best_weights, best_epoch = held_out, copy.deepcopy(network.state_dict()), epoch
        elif epoch - best_epoch >= patience:
            break

    if validation:
        network.load_state_dict(best_weights)
    network.eval()
    return curve


def one_cycle(steps: int) -> Callable[[int], float]:
    """Factor on the learning rate: a linear rise, then half a cosine down to zero (Smith 2018, arXiv:1803.09820)."""
    rise = max(1, round(WARM_UP * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))

    return factor
