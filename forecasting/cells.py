"""The recurrent cells, all with the face of `torch.nn.GRU`: one more cell is one more entry of `CELLS`.

Axes: B sequences, T rows, F features, D hidden units, L layers (times directions).
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CellState = Tensor | tuple[Tensor, ...]  # each of shape (L, B, D); an LSTM has two


LONGEST = 16  # rows that a minimal GRU's slowest unit remembers before training (Tallec and Ollivier 2018, section 3)


class Cell(Protocol):
    """What makes a cell: stacked layers from rows to states, built like `torch.nn.GRU` with ``batch_first=True``."""

    def __call__(
        self, input_size: int, hidden_size: int, num_layers: int, *, batch_first: bool, dropout: float,
        bidirectional: bool,
    ) -> nn.Module:  # fmt: skip
        """A module: rows (B, T, F) and a `CellState` or None in, states (B, T, D or 2 D) and a `CellState` out."""


class MinGRU(nn.Module):
    """A GRU whose gate and candidate see the input alone (Feng et al. 2024, arXiv:2410.01201, section 3.1).

    Without the state in its gates all of them come from one matrix product, and what is left to do row by row is a
    multiplication and an addition. For the arguments see `torch.nn.GRU`.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, *, batch_first: bool = True,
        dropout: float = 0.0, bidirectional: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if not batch_first:
            raise ValueError("batch_first must be True, got False. Give sequences as (B, T, F).")
        self.hidden_size, self.directions = hidden_size, 2 if bidirectional else 1
        sizes = [input_size] + [hidden_size * self.directions] * (num_layers - 1)
        sizes = [size for size in sizes for _ in range(self.directions)]
        gates = [nn.Linear(size, hidden_size) for size in sizes]
        self.gates = nn.ModuleList(gates)
        self.candidates = nn.ModuleList(nn.Linear(size, hidden_size) for size in sizes)
        self.dropout = nn.Dropout(dropout)
        for gate in gates:  # units that remember for 1 row, for 16, and for all between
            gate.bias.data = -torch.linspace(0.0, math.log(LONGEST), hidden_size)

    def forward(self, x_BTF: Tensor, state_LBD: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """States of the last layer at every row, and the state to carry on from."""
        x_TBF = x_BTF.transpose(0, 1).contiguous()  # a row of all sequences lies together
        if state_LBD is None:
            state_LBD = x_BTF.new_zeros(len(self.gates), len(x_BTF), self.hidden_size)
        ends = []
        for first in range(0, len(self.gates), self.directions):
            if first:
                x_TBF = self.dropout(x_TBF)
            ahead_TBD = self._run(first, x_TBF, state_LBD[first])
            ends.append(ahead_TBD[-1])
            if self.directions == 2:
                back_TBD = self._run(first + 1, x_TBF.flip(0), state_LBD[first + 1])
                ends.append(back_TBD[-1])
                ahead_TBD = torch.cat([ahead_TBD, back_TBD.flip(0)], dim=-1)
            x_TBF = ahead_TBD
        return x_TBF.transpose(0, 1), torch.stack(ends)

    def _run(self, layer: int, x_TBF: Tensor, h_BD: Tensor) -> Tensor:
        z_TBD = torch.sigmoid(self.gates[layer](x_TBF))
        n_TBD = self.candidates[layer](x_TBF)
        return blend(z_TBD, n_TBD, h_BD)


def blend(z_TBD: Tensor, n_TBD: Tensor, h_BD: Tensor) -> Tensor:
    """States ``h ← (1 − z) h + z n``, row after row from the state `h_BD`; shape (T, B, D).

    Row by row on a CPU, where a row then stays in the cache; by doubling on a GPU, where each row would be a launch.
    Both with gradients written by hand: autograd through the rows costs half as much again.
    """
    form = BlendByRow if z_TBD.device.type == "cpu" else BlendByDoubling
    return form.apply(z_TBD, n_TBD, h_BD)


class BlendByRow(torch.autograd.Function):
    """`blend`, one row after the other."""

    @staticmethod
    def forward(ctx: Any, z_TBD: Tensor, n_TBD: Tensor, h_BD: Tensor) -> Tensor:
        h_TBD, h = torch.empty_like(z_TBD), h_BD
        for z, n, out in zip(z_TBD.unbind(), n_TBD.unbind(), h_TBD.unbind(), strict=True):
            h = torch.lerp(h, n, z, out=out)
        ctx.save_for_backward(z_TBD, n_TBD, h_BD, h_TBD)
        return h_TBD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z_TBD, n_TBD, h_BD, h_TBD = ctx.saved_tensors
        dz_TBD, dn_TBD, dh = torch.empty_like(z_TBD), torch.empty_like(n_TBD), torch.zeros_like(h_BD)
        for t in reversed(range(len(z_TBD))):
            dh = dh + gradients[0][t]
            dn = torch.mul(z_TBD[t], dh, out=dn_TBD[t])
            torch.sub(n_TBD[t], h_TBD[t - 1] if t else h_BD, out=dz_TBD[t]).mul_(dh)
            dh -= dn  # what is left for the row before: (1 − z) dh
        return dz_TBD, dn_TBD, dh


class BlendByDoubling(torch.autograd.Function):
    """`blend`, all rows at once; its gradient is the same kind of recurrence, backwards in time."""

    @staticmethod
    def forward(ctx: Any, z_TBD: Tensor, n_TBD: Tensor, h_BD: Tensor) -> Tensor:
        h_TBD = scan(1 - z_TBD, z_TBD * n_TBD, h_BD)
        ctx.save_for_backward(z_TBD, n_TBD, h_BD, h_TBD)
        return h_TBD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z_TBD, n_TBD, h_BD, h_TBD = ctx.saved_tensors
        keep_TBD = 1 - z_TBD
        kept_by_next_TBD = torch.cat([keep_TBD[1:], torch.zeros_like(keep_TBD[:1])])
        dh_TBD = scan(kept_by_next_TBD.flip(0), gradients[0].flip(0), torch.zeros_like(h_BD)).flip(0)
        before_TBD = torch.cat([h_BD.unsqueeze(0), h_TBD[:-1]])
        return dh_TBD * (n_TBD - before_TBD), dh_TBD * z_TBD, dh_TBD[0] * keep_TBD[0]


def scan(keep_TBD: Tensor, add_TBD: Tensor, h_BD: Tensor) -> Tensor:
    """``h ← keep · h + add`` at every row, in log₂ T steps over all of them (Hillis and Steele 1986).

    After the step of width w each row holds the effect of the 2 w rows up to it. Products only: logarithms lose
    digits, and a division by a product of gates is one by zero before long. doi:10.1145/7902.7903.
    """
    h_TBD = torch.cat([torch.addcmul(add_TBD[:1], keep_TBD[:1], h_BD), add_TBD[1:]])
    for width in (2**k for k in range((len(h_TBD) - 1).bit_length())):
        reached = torch.addcmul(h_TBD[width:], keep_TBD[width:], h_TBD[:-width])
        h_TBD = torch.cat([h_TBD[:width], reached])
        keep_TBD = torch.cat([keep_TBD[:width], keep_TBD[width:] * keep_TBD[:-width]])
    return h_TBD


CELLS: dict[str, Cell] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU, "mingru": MinGRU}
