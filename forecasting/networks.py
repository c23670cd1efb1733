"""One recurrent network with a choice of cell, and the quantiles its outputs stand for.

Axes: B sequences, T rows, F features, D hidden units, H horizon steps, Q quantiles, N origins.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

CELLS: dict[str, type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}

State = Tensor | tuple[Tensor, Tensor]


class RecurrentNetwork(nn.Module):
    """Rows in, ``H × Q`` outputs at every row out; all horizons come from the state at that row.

    The head starts at zero, so an untrained network forecasts what its `QuantileLayer` is given as a base.

    Parameters
    ----------
    cell : {"rnn", "lstm", "gru"}
    n_features, hidden_size, num_layers : int
    dropout : float
        Between layers; no effect with one layer.
    horizon, n_quantiles : int
    """

    def __init__(
        self, cell: str, n_features: int, hidden_size: int, num_layers: int, dropout: float, horizon: int,
        n_quantiles: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.horizon, self.n_quantiles = horizon, n_quantiles
        between_layers = dropout if num_layers > 1 else 0.0
        self.encoder = CELLS[cell](n_features, hidden_size, num_layers, batch_first=True, dropout=between_layers)
        self.head = nn.Linear(hidden_size, horizon * n_quantiles)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if cell == "lstm":
            self._open_forget_gates()

    def _open_forget_gates(self) -> None:
        """Start with a forget-gate bias of 1, so that cells remember (Jozefowicz et al. 2015, section 2.2)."""
        D = self.encoder.hidden_size
        for name, bias in self.encoder.named_parameters():
            if name.startswith("bias_ih"):  # torch orders the gates: input, forget, cell, output
                nn.init.ones_(bias[D : 2 * D])
            elif name.startswith("bias_hh"):
                nn.init.zeros_(bias[D : 2 * D])

    def encode(self, x_BTF: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """States of the last layer at every row, shape (B, T, D), and the state to carry on from."""
        return self.encoder(x_BTF, state)

    def read_out(self, h: Tensor) -> Tensor:
        """Outputs of shape (..., H, Q) from states of shape (..., D)."""
        return self.head(h).unflatten(-1, (self.horizon, self.n_quantiles))

    def forward(self, x_BTF: Tensor) -> Tensor:
        """Outputs at every row, shape (B, T, H, Q), from a zero state."""
        h_BTD, _ = self.encode(x_BTF)
        return self.read_out(h_BTD)


class QuantileLayer(nn.Module):
    """Turns outputs into quantiles that cannot cross, on top of base quantiles.

    The median is ``base median + output × scale``; the other quantiles follow outwards from it, each gap being the
    base's gap times ``softplus(output) / softplus(0)``. Zero outputs give back the base.

    Parameters
    ----------
    base_HQ : Tensor of shape (horizon, n_quantiles)
        Non-decreasing along the last axis.
    scale_H : Tensor of shape (horizon,)
        What one unit of output moves the median.
    median : int
        Position of the level 0.5.
    """

    base_HQ: Tensor
    scale_H: Tensor

    def __init__(self, base_HQ: Tensor, scale_H: Tensor, median: int) -> None:
        super().__init__()
        self.register_buffer("base_HQ", base_HQ)
        self.register_buffer("scale_H", scale_H)
        self.median = median

    def forward(self, o_HQ: Tensor) -> Tensor:
        """Quantiles of shape (..., H, Q) from outputs of the same shape."""
        m = self.median
        widening = softplus(o_HQ) / softplus(o_HQ.new_zeros(()))
        gaps = self.base_HQ.diff(dim=-1)
        centre = self.base_HQ[:, m : m + 1] + (o_HQ[..., m] * self.scale_H).unsqueeze(-1)
        below = (gaps[:, :m] * widening[..., :m]).flip(-1).cumsum(-1).flip(-1)
        above = (gaps[:, m:] * widening[..., m + 1 :]).cumsum(-1)
        return torch.cat([centre - below, centre, centre + above], dim=-1)
