"""Progress of a training: its learning curve, its best weights, and everything that a checkpoint needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import nn

from tidecast.forecasting.network.checkpoints import Saved
from tidecast.forecasting.network.optimiser import AdamW
from tidecast.forecasting.network.recurrent import RecurrentNetwork, Weights


@dataclass(frozen=True)
class Epoch:
    """One line of the learning curve; the losses are mean pinball losses in scaled units."""

    epoch: int
    train_loss: float
    validation_loss: float | None


class StopTraining(Exception):
    """Raised by `Training.on_epoch` to end a training and use its weights."""


LEARNING_CURVE = {"epoch": pl.Int32, "train_loss": pl.Float64, "validation_loss": pl.Float64}


def learning_curve(epochs: list[Epoch]) -> pl.DataFrame:
    """Return the learning curve as a table: ``epoch``, ``train_loss``, ``validation_loss``."""
    return pl.from_dicts([vars(epoch) for epoch in epochs], schema=LEARNING_CURVE)


class Progress:
    """Progress of a training: the learning curve, the best weights so far, and all that the next step depends on.

    Parameters
    ----------
    network : RecurrentNetwork
    optimiser, shuffle
        With the network, changed by the training loop.
    keep : int
        Number of newest weights to keep for averaging.
    """

    def __init__(
        self,
        network: RecurrentNetwork,
        optimiser: AdamW,
        shuffle: np.random.Generator,
        keep: int,
    ) -> None:
        self.network, self.optimiser, self.shuffle, self.keep = network, optimiser, shuffle, keep
        self.curve: list[Epoch] = []
        self.best_loss, self.best_epoch, self.best = math.inf, 0, network.weights()
        self.recent: list[Weights] = []

    @property
    def epoch(self) -> int:
        """Epochs trained."""
        return self.curve[-1].epoch if self.curve else 0

    @property
    def epochs_since_best(self) -> int:
        """Epochs trained since the validation loss was smallest."""
        return self.epoch - self.best_epoch

    @property
    def untrained_loss(self) -> float:
        """Validation loss of epoch 0; NaN without validation rows."""
        loss = self.curve[0].validation_loss
        return math.nan if loss is None else loss

    def record(self, epoch: Epoch, share: float = 1.0) -> None:
        """Record an epoch that has just ended.

        Parameters
        ----------
        epoch : Epoch
        share : float, default=1.0
            Share of the outputs that has its validation loss.
        """
        self.curve.append(epoch)
        if epoch.validation_loss is not None and epoch.validation_loss < self.best_loss:
            self.best_loss, self.best_epoch = epoch.validation_loss, epoch.epoch
            self.best = self.network.weights(share)
        if self.keep and epoch.epoch:
            self.recent = [*self.recent, self.network.weights()][-self.keep :]

    def saved(self) -> Saved:
        """Return everything, including random states, as tensors by name and values for JSON."""
        groups = {"network": self.network.weights(), "best": self.best, "random": _random_states(self.network)}
        groups |= {"optimiser": self.optimiser.tensors()}
        groups |= {f"recent-{k}": weights for k, weights in enumerate(self.recent)}
        tensors = {f"{group}/{name}": tensor for group, named in groups.items() for name, tensor in named.items()}
        return tensors, {
            "curve": [vars(epoch) for epoch in self.curve],
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "steps": self.optimiser.steps,
            "shuffle": self.shuffle.bit_generator.state,
        }

    def restore(self, saved: Saved) -> None:
        """Take back what `saved` returned."""
        tensors, state = saved
        device = next(self.network.parameters()).device
        groups: dict[str, Weights] = {}
        for key, tensor in tensors.items():
            group, _, name = key.partition("/")
            groups.setdefault(group, {})[name] = tensor
        self.network.load_state_dict(groups.pop("network"))
        _set_random_states(self.network, groups.pop("random"))
        on_device = {name: {k: t.to(device) for k, t in weights.items()} for name, weights in groups.items()}
        self.best = on_device["best"]
        self.recent = [on_device[f"recent-{k}"] for k in range(self.keep) if f"recent-{k}" in on_device]
        self.optimiser.restore(groups["optimiser"], state["steps"])
        self.shuffle.bit_generator.state = state["shuffle"]
        self.curve = [Epoch(**epoch) for epoch in state["curve"]]
        self.best_loss, self.best_epoch = state["best_loss"], state["best_epoch"]


def _random_states(network: nn.Module) -> Weights:
    """Torch's random states that dropout draws from."""
    device = next(network.parameters()).device
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _set_random_states(network: nn.Module, states: Weights) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], next(network.parameters()).device)


def average(weights: list[Weights]) -> Weights:
    """Return the mean of weights, tensor by tensor."""
    return {name: torch.stack([each[name] for each in weights]).mean(0) for name in weights[0]}
