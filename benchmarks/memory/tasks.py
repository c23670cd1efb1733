"""Tasks that need a memory of a known length.

Axes: B sequences, T rows, F inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

SYMBOLS = 4
NOISE = 0.5  # standard deviation, in the channels of the symbols, which are 0 or 1
MARKED = 10  # rows among which the first summand stands, as in the paper
VARIANCE = 2 / 3  # of the sum of two independent numbers, each uniform between −1 and 1


@dataclass(frozen=True)
class Task:
    """One task: its sequences, its loss and its score.

    Attributes
    ----------
    key, title : str
    n_inputs, n_outputs : int
        F and O.
    draw : callable
        From lag, number of sequences and a generator to inputs (B, T, F) and answers (B,).
    loss, score : callable
        From outputs (B, O) and answers (B,). The score is 1 for perfect answers.
    chance : float
        Expected score without any memory.
    solved : float
        A training ends when ten batches in turn have at least this score.
    """

    key: str
    title: str
    n_inputs: int
    n_outputs: int
    draw: Callable[[int, int, torch.Generator], tuple[Tensor, Tensor]]
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], float]
    chance: float
    solved: float


def draw_recall(lag: int, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return sequences with a symbol first, then `lag` rows of noise, then a row that asks for it.

    Parameters
    ----------
    lag, n : int
    generator : torch.Generator
    """
    symbol_B = torch.randint(SYMBOLS, (n,), generator=generator)
    x_BTF = torch.zeros(n, lag + 2, SYMBOLS + 2)
    x_BTF[:, 1:-1, :SYMBOLS] = NOISE * torch.randn(n, lag, SYMBOLS, generator=generator)
    x_BTF[:, 0, :SYMBOLS] = one_hot(symbol_B, SYMBOLS).float()
    x_BTF[:, 0, SYMBOLS] = 1  # marks the symbol
    x_BTF[:, -1, SYMBOLS + 1] = 1  # asks for it
    return x_BTF, symbol_B


def draw_adding(lag: int, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return sequences of numbers of which two are marked, and the sum of these two.

    The first stands among the first ten rows and must be held for at least `lag` rows; the second stands among the
    first `lag / 2` after them (Hochreiter and Schmidhuber 1997, experiment 4).

    Parameters
    ----------
    lag, n : int
    generator : torch.Generator
    """
    rows_B = torch.arange(n)
    number_BT = 2 * torch.rand(n, lag + MARKED, generator=generator) - 1
    mark_BT = torch.zeros_like(number_BT)
    mark_BT[rows_B, torch.randint(MARKED, (n,), generator=generator)] = 1
    mark_BT[rows_B, torch.randint(MARKED, MARKED + max(1, lag // 2), (n,), generator=generator)] = 1
    return torch.stack([number_BT, mark_BT], dim=-1), (number_BT * mark_BT).sum(1)


def share_right(o_BO: Tensor, symbol_B: Tensor) -> float:
    """Return the share of symbols that are recalled."""
    return (o_BO.argmax(-1) == symbol_B).double().mean().item()


def share_explained(o_BO: Tensor, sum_B: Tensor) -> float:
    """Return the share of the sums' variance that is explained; below 0 for answers worse than their mean."""
    return 1 - squared_error(o_BO, sum_B).item() / VARIANCE


def squared_error(o_BO: Tensor, sum_B: Tensor) -> Tensor:
    """Return the mean squared error of the sums."""
    return (o_BO[:, 0] - sum_B).square().mean()


TASKS = {
    task.key: task
    for task in (
        Task("recall", "delayed recall", SYMBOLS + 2, SYMBOLS, draw_recall, cross_entropy, share_right, 1 / SYMBOLS,
             0.99),
        Task("adding", "adding", 2, 1, draw_adding, squared_error, share_explained, 0.0, 0.98),
    )
}  # fmt: skip
