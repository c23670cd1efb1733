"""Recurrent cells with the interface of `torch.nn.GRU`; `tidecast.forecasting.network.cell_registry` lists them all.

Axes: B sequences, T rows, F features, D hidden units, L layers (times directions).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

CellState = Tensor | tuple[Tensor, ...]  # each of shape (L, B, D); the next layer, or the head, reads the first

LONGEST = 16  # memory, in rows, of a cell's slowest unit before training (Tallec and Ollivier 2018, section 3)


class CellModule(Protocol):
    """Class of a cell: stacked layers from rows to states, built like `torch.nn.GRU` with ``batch_first=True``."""

    def __call__(
        self, input_size: int, hidden_size: int, num_layers: int, *, batch_first: bool, dropout: float,
        bidirectional: bool,
    ) -> nn.Module:  # fmt: skip
        """Return a module from rows (B, T, F) and a `CellState` or None to states (B, T, D or 2 D) and a `CellState`.

        The state before the first row is zero.
        """


class LSTM(nn.LSTM):
    """torch's LSTM with forget gates that start open: a bias of 1 (Jozefowicz et al. 2015, section 2.2)."""

    def reset_parameters(self) -> None:
        """Draw the weights, then open the forget gates."""
        super().reset_parameters()
        D = self.hidden_size
        for name, bias in self.named_parameters():
            if name.startswith("bias_ih"):  # torch orders the gates: input, forget, cell, output
                nn.init.ones_(bias[D : 2 * D])
            elif name.startswith("bias_hh"):
                nn.init.zeros_(bias[D : 2 * D])


class StackedCell(nn.Module):
    """Layers and directions around a recurrence that a subclass defines in `run`.

    For the arguments see `torch.nn.GRU`. Layers and directions are numbered in turn: with two directions, layer 0 reads
    forwards and layer 1 backwards.

    Parameters
    ----------
    input_size : int
        Features of a row.
    hidden_size : int
        Units of a layer and direction.
    num_layers : int, default=1
    batch_first : bool, default=True
        Must be True: sequences are (B, T, F).
    dropout : float, default=0.0
        Share of a layer's outputs set to zero in training; none after the last layer.
    bidirectional : bool, default=False
        Whether each layer also reads backwards.

    Attributes
    ----------
    sizes : list of int
        Inputs of each layer.
    n_parts : int
        Tensors in a state.
    """

    n_parts: ClassVar[int] = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, *, batch_first: bool = True,
        dropout: float = 0.0, bidirectional: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if not batch_first:
            raise ValueError("batch_first must be True, got False. Give sequences as (B, T, F).")
        self.hidden_size, self.directions = hidden_size, 2 if bidirectional else 1
        sizes = [input_size] + [hidden_size * self.directions] * (num_layers - 1)
        self.sizes = [size for size in sizes for _ in range(self.directions)]
        self.dropout = nn.Dropout(dropout)

    def run(self, layer: int, x_TBF: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return one layer's states at every row, shape (T, B, D), and the parts of its state after the last row.

        Parameters
        ----------
        layer : int
        x_TBF : Tensor of shape (T, B, F)
        state : sequence of Tensor of shape (B, D)
            Parts of the state before the first row.
        """
        raise NotImplementedError

    def forward(self, x_BTF: Tensor, state: CellState | None = None) -> tuple[Tensor, CellState]:
        """Return the last layer's states at every row, and the state to continue from.

        Parameters
        ----------
        x_BTF : Tensor of shape (B, T, F)
        state : CellState, optional
            Each part of shape (layers and directions, B, D). None: zero.
        """
        x_TBF = x_BTF.transpose(0, 1).contiguous()  # so that one row of all sequences is contiguous
        if state is None:
            state = (x_BTF.new_zeros(len(self.sizes), len(x_BTF), self.hidden_size),) * self.n_parts
        parts = (state,) if isinstance(state, Tensor) else state
        ends = []
        for first in range(0, len(self.sizes), self.directions):
            if first:
                x_TBF = self.dropout(x_TBF)
            forward_TBD, end = self.run(first, x_TBF, [part[first] for part in parts])
            ends.append(end)
            if self.directions == 2:
                backward_TBD, end = self.run(first + 1, x_TBF.flip(0), [part[first + 1] for part in parts])
                ends.append(end)
                forward_TBD = torch.cat([forward_TBD, backward_TBD.flip(0)], dim=-1)
            x_TBF = forward_TBD
        after = tuple(torch.stack(part) for part in zip(*ends, strict=True))
        return x_TBF.transpose(0, 1), after if self.n_parts > 1 else after[0]


class MinGRU(StackedCell):
    """A GRU whose gate and candidate see the input alone (Feng et al. 2024, arXiv:2410.01201, section 3.1).

    Because no gate sees the state, one matrix product computes all gates, and each row then takes one multiplication
    and one addition. For the arguments see `torch.nn.GRU`.

    Parameters
    ----------
    input_size : int
        Features of a row.
    hidden_size : int
        Units of a layer and direction.
    num_layers : int, default=1
    **others : object
        Those of `StackedCell`.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **others: Any) -> None:
        super().__init__(input_size, hidden_size, num_layers, **others)
        gates = [nn.Linear(size, hidden_size) for size in self.sizes]
        self.gates = nn.ModuleList(gates)
        self.candidates = nn.ModuleList(nn.Linear(size, hidden_size) for size in self.sizes)
        for gate in gates:  # units with a memory of 1 to 16 rows
            gate.bias.data = -torch.linspace(0.0, math.log(LONGEST), hidden_size)

    def run(self, layer: int, x_TBF: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See `StackedCell.run`; the state is h alone."""
        z_TBD = torch.sigmoid(self.gates[layer](x_TBF))
        n_TBD = self.candidates[layer](x_TBF)
        h_TBD = blend(z_TBD, n_TBD, state[0])
        return h_TBD, (h_TBD[-1],)


def blend(z_TBD: Tensor, n_TBD: Tensor, h_BD: Tensor) -> Tensor:
    """States ``h ← (1 − z) h + z n``, row after row from the state `h_BD`; shape (T, B, D).

    Row by row on a CPU, where a row stays in the cache; by doubling on a GPU, where each row would be a kernel launch.
    Gradients are written by hand, because autograd through the rows takes 50 % longer.

    Parameters
    ----------
    z_TBD : Tensor of shape (T, B, D)
        Gates in (0, 1): the share of the candidate.
    n_TBD : Tensor of shape (T, B, D)
        Candidates.
    h_BD : Tensor of shape (B, D)
        The state before the first row.
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
            dh -= dn  # the rest goes to the row before: (1 − z) dh
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

    After the step of width w each row holds the effect of the 2 w rows up to it. It uses products only: logarithms
    lose digits, and a product of many gates underflows, so it cannot divide. doi:10.1145/7902.7903.

    Parameters
    ----------
    keep_TBD : Tensor of shape (T, B, D)
        Factors of the state before a row.
    add_TBD : Tensor of shape (T, B, D)
    h_BD : Tensor of shape (B, D)
        The state before the first row.

    Returns
    -------
    Tensor of shape (T, B, D)
    """
    h_TBD = torch.cat([torch.addcmul(add_TBD[:1], keep_TBD[:1], h_BD), add_TBD[1:]])
    for width in (2**k for k in range((len(h_TBD) - 1).bit_length())):
        reached = torch.addcmul(h_TBD[width:], keep_TBD[width:], h_TBD[:-width])
        h_TBD = torch.cat([h_TBD[:width], reached])
        keep_TBD = torch.cat([keep_TBD[:width], keep_TBD[width:] * keep_TBD[:-width]])
    return h_TBD


class NoMemory(nn.Module):
    """A cell without units, for a network whose head reads the row's inputs alone.

    Parameters
    ----------
    input_size, hidden_size, num_layers, batch_first, dropout, bidirectional
        As of `torch.nn.GRU`; it has no units, one layer and one direction.
    """

    def __init__(
        self, input_size: int, hidden_size: int = 0, num_layers: int = 1, *, batch_first: bool = True,
        dropout: float = 0.0, bidirectional: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if (hidden_size, num_layers, batch_first, bidirectional) != (0, 1, True, False):
            raise ValueError(
                f"A cell without memory must have no units and one layer, got hidden_size={hidden_size} and "
                f"num_layers={num_layers}. Choose a cell of CELLS."
            )

    def forward(self, x_BTF: Tensor, state: CellState | None = None) -> tuple[Tensor, CellState]:
        """Return states of no width, shape (B, T, 0) and (1, B, 0).

        Parameters
        ----------
        x_BTF : Tensor of shape (B, T, F)
        state : Tensor, optional
        """
        return x_BTF[..., :0], x_BTF.new_zeros(1, len(x_BTF), 0)
