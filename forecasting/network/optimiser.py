"""AdamW and its schedule, written out.

`torch.optim` gives the same bits, but loads torch's compiler into every process that trains, which costs 2 CPU seconds
and 67 MB of memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.999)  # decay per step of the mean gradient and of the mean squared gradient
EPSILON = 1e-8
WEIGHT_DECAY = 1e-4
WARM_UP = 0.15  # share of the steps until the learning rate peaks


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2).

    Parameters
    ----------
    network : Module
        The network to train.
    learning_rate : float
        Peak of the schedule.
    schedule : callable
        Factor on the learning rate at each step, counted from 0.

    Attributes
    ----------
    steps : int
        Steps taken.
    means, squares : list of Tensor
        Moving averages of each weight's gradient and of its square.
    """

    def __init__(self, network: nn.Module, learning_rate: float, schedule: Callable[[int], float]) -> None:
        self.weights = list(network.parameters())
        self.learning_rate, self.schedule = learning_rate, schedule
        self.steps = 0
        self.means = [torch.zeros_like(weight) for weight in self.weights]
        self.squares = [torch.zeros_like(weight) for weight in self.weights]

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights by their gradients."""
        rate = self.learning_rate * self.schedule(self.steps)
        self.steps += 1
        unbiased, unbiased_square = (1 - beta**self.steps for beta in BETAS)
        for weight, mean, square in zip(self.weights, self.means, self.squares, strict=True):
            gradient = weight.grad
            if gradient is None:
                continue
            weight.mul_(1 - rate * WEIGHT_DECAY)
            mean.lerp_(gradient, 1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            deviation = (square.sqrt() / math.sqrt(unbiased_square)).add_(EPSILON)
            weight.addcdiv_(mean, deviation, value=-rate / unbiased)

    def tensors(self) -> dict[str, Tensor]:
        """Return the averages by name, to be saved with `steps`."""
        averages = {"mean": self.means, "square": self.squares}
        return {f"{name}-{k}": tensor for name, tensors in averages.items() for k, tensor in enumerate(tensors)}

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor], steps: int) -> None:
        """Take back the averages that `tensors` returned, and the number of steps.

        Parameters
        ----------
        tensors : dict
            As `tensors` returned them.
        steps : int
        """
        self.steps = steps
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])


def one_cycle(steps: int) -> Callable[[int], float]:
    """Schedule with a linear rise, then half a cosine down to zero (Smith 2018, arXiv:1803.09820).

    Parameters
    ----------
    steps : int
        Length of the training.

    Returns
    -------
    callable
        From a step, counted from 0, to the factor on the learning rate.
    """
    rise = max(1, round(WARM_UP * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))

    return factor
