"""The sLSTM: an LSTM with a scalar memory and exponential gating.

Axes: B sequences, T rows, F features, D hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from tidecast.forecasting.network.cells import LONGEST, StackedCell


class SLSTM(StackedCell):
    """An LSTM whose input gate is exponential (Beck et al. 2024, arXiv:2405.04517, section 2.2).

    With pre-activations ``z̃, ĩ, f̃, õ = W x + R h + b`` of a row x and the state h before it::

        c ← f c + i z            cell state                   (8)
        n ← f n + i              normaliser                   (9)
        h ← o c / n              hidden state                 (10)
        z = tanh(z̃)              cell input                   (11)
        i = exp(ĩ)               input gate                   (12)
        f = σ(f̃)                 forget gate, of the two that (13) allows
        o = σ(õ)                 output gate                  (14)

    As written, i overflows. So c and n are kept divided by ``exp(m)``, which cancels in ``c / n``::

        m ← max(log f + m, ĩ)    stabiliser                   (15)
        i' = exp(ĩ − m)          instead of i in (8) and (9)  (16)
        f' = exp(log f + m₋ − m) instead of f, m₋ being the m before the row  (17)

    One of i' and f' is 1, so n is at least 1 from the first row on and ``|c / n|`` at most 1, whatever the
    pre-activations. Before the first row c = n = 0 and there is nothing to scale: m then starts as ĩ, because with
    m = 0 a strongly negative ĩ would give 0 / 0.

    R is one full matrix (the paper: one head). For the arguments see `torch.nn.GRU`. The parts of a state are h, c, n
    and m.

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

    n_parts: ClassVar[int] = 4

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **others: Any) -> None:
        super().__init__(input_size, hidden_size, num_layers, **others)
        inputs = [nn.Linear(size, 4 * hidden_size) for size in self.sizes]
        self.inputs = nn.ModuleList(inputs)  # W and b; in the order z, i, f, o
        self.recurrent = nn.ModuleList(nn.Linear(hidden_size, 4 * hidden_size, bias=False) for _ in self.sizes)
        forget = slice(2 * hidden_size, 3 * hidden_size)
        for layer in inputs:  # forget gates from 1/2 to 15/16: units with a memory of 2 to 16 rows
            layer.bias.data[forget] = torch.linspace(0.0, math.log(LONGEST - 1), hidden_size)

    def run(self, layer: int, x_TBF: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See `StackedCell.run`; the parts of the state are h, c, n, m."""
        h, c, n, m = state
        mixed = self.recurrent[layer]
        rows = []
        for wx in self.inputs[layer](x_TBF).unbind():
            z, i, f, o = (wx + mixed(h)).chunk(4, dim=-1)
            log_f = (logsigmoid(f) + m).masked_fill(n == 0, -math.inf)  # log f + m; −∞ before the first row
            m = torch.maximum(log_f, i).detach()  # h does not depend on m, so its gradient is 0
            i, f = torch.exp(i - m), torch.exp(log_f - m)
            c = f * c + i * torch.tanh(z)
            n = f * n + i
            h = torch.sigmoid(o) * c / n
            rows.append(h)
        return torch.stack(rows), (h, c, n, m)
