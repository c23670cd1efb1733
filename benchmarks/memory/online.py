"""The exact gradient of a minGRU's layer, carried forwards in time: real-time recurrent learning.

Axes: T rows, F inputs, D hidden units, W weights of a unit. A unit's gate and its candidate have F weights and a bias
each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tidecast.forecasting.network.cells import MinGRU


class OnlineGradient:
    """Gradient of a sum of losses, one a row, with respect to a minGRU's weights; memory does not grow with the rows.

    With ``z = σ(a)``, ``a = V [x, 1]`` and ``n = U [x, 1]``, the state of unit d, ``h ← (1 − z) h + z n``, depends on
    the weights of row d alone. So the sensitivities ``e = ∂h / ∂(V, U)`` have one number a weight, and follow the same
    recurrence::

        e ← (1 − z) e + [(n − h) z (1 − z), z] ⊗ [x, 1]

    with the h before the row. The gradient grows by ``∂loss/∂h · e`` a row: O(D F) multiplications, and as much memory.
    A cell whose gates see the state has D numbers a weight: O(D⁴) multiplications a row (Williams and Zipser 1989,
    doi:10.1162/neco.1989.1.2.270).

    Parameters
    ----------
    cell : MinGRU
        With one layer, in one direction.
    """

    def __init__(self, cell: MinGRU) -> None:
        if len(cell.sizes) != 1:
            raise ValueError(f"The cell must have one layer and direction, got {len(cell.sizes)}.")
        self.gate, self.candidate = cell.gates[0], cell.candidates[0]
        n_inputs = cell.sizes[0] + 1
        self.h_D = self.gate.weight.new_zeros(cell.hidden_size)
        self.e_DW = self.gate.weight.new_zeros(cell.hidden_size, 2 * n_inputs)
        self.gradient_DW = torch.zeros_like(self.e_DW)

    @torch.no_grad()
    def step(self, x_F: Tensor) -> Tensor:
        """Take in a row, and return the state after it, shape (D,).

        Parameters
        ----------
        x_F : Tensor of shape (F,)
        """
        z_D, n_D = torch.sigmoid(self.gate(x_F)), self.candidate(x_F)
        x_F = torch.cat([x_F, x_F.new_ones(1)])
        by_gate_D = (n_D - self.h_D) * z_D * (1 - z_D)
        self.e_DW *= (1 - z_D)[:, None]
        self.e_DW += torch.cat([torch.outer(by_gate_D, x_F), torch.outer(z_D, x_F)], dim=1)
        self.h_D = torch.lerp(self.h_D, n_D, z_D)
        return self.h_D

    def add(self, slope_D: Tensor) -> None:
        """Add the gradient of the row's own loss.

        Parameters
        ----------
        slope_D : Tensor of shape (D,)
            Of that loss with respect to the state.
        """
        self.gradient_DW += slope_D[:, None] * self.e_DW

    def by_weight(self) -> dict[str, Tensor]:
        """Return the gradient so far, by the names of the cell's parameters."""
        found = {}
        for name, part_DF in zip(("gates.0", "candidates.0"), self.gradient_DW.chunk(2, dim=1), strict=True):
            found |= {f"{name}.weight": part_DF[:, :-1], f"{name}.bias": part_DF[:, -1]}
        return found
