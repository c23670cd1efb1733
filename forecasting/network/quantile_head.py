"""The quantile head: every quantile by itself, in order.

Axes: H horizon steps, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from tidecast.forecasting.network.losses import total_pinball
from tidecast.forecasting.tables.quantiles import MEDIAN


class QuantileHead(nn.Module):
    """Turns outputs into quantiles that cannot cross, on top of base quantiles.

    The median is ``base median + output × scale``. The other quantiles follow outwards from it: each gap is the base's
    gap times ``softplus(output) / softplus(0)``. Zero outputs give back the base.

    Parameters
    ----------
    base_HQ : Tensor of shape (horizon, n_quantiles)
        Non-decreasing along the last axis.
    scale_H : Tensor of shape (horizon,)
        The distance by which one unit of output moves the median.
    levels : sequence of float
        Of the quantiles, in rising order, 0.5 among them.
    """

    base_HQ: Tensor
    scale_H: Tensor
    levels_Q: Tensor

    forecasts = "quantiles"

    def __init__(self, base_HQ: Tensor, scale_H: Tensor, levels: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("base_HQ", base_HQ)
        self.register_buffer("scale_H", scale_H)
        self.register_buffer("levels_Q", torch.tensor(levels, dtype=torch.float64), persistent=False)
        self.n_outputs, self.median_output = len(levels), list(levels).index(MEDIAN)

    def forward(self, o_HQ: Tensor) -> Tensor:
        """Quantiles of shape (..., H, Q) from outputs of the same shape.

        Parameters
        ----------
        o_HQ : Tensor of shape (..., H, Q)
            The network's outputs.
        """
        m = self.median_output
        factors = widening(o_HQ)
        gaps = self.base_HQ.diff(dim=-1)
        median_H1 = self.base_HQ[:, m : m + 1] + (o_HQ[..., m] * self.scale_H).unsqueeze(-1)
        below_HQ = (gaps[:, :m] * factors[..., :m]).flip(-1).cumsum(-1).flip(-1)
        above_HQ = (gaps[:, m:] * factors[..., m + 1 :]).cumsum(-1)
        return torch.cat([median_H1 - below_HQ, median_H1, median_H1 + above_HQ], dim=-1)

    def losses(self, o_HQ: Tensor, y_H: Tensor, weight_H: Tensor) -> tuple[Tensor, Tensor]:
        """See `tidecast.forecasting.network.heads.Head.losses`; both are the pinball loss.

        Parameters
        ----------
        o_HQ : Tensor of shape (..., H, Q)
            The network's outputs.
        y_H : Tensor of shape (..., H)
            Truths.
        weight_H : Tensor of shape (..., H)
            Weight of each truth.
        """
        levels_Q = self.levels_Q.to(o_HQ.dtype)
        total = total_pinball(o_HQ, y_H, weight_H, levels_Q, self.base_HQ, self.scale_H, self.median_output)
        return total, total.detach()


def widening(o: Tensor) -> Tensor:
    """Return positive factors: ``softplus(output) / softplus(0)``, 1 for outputs of 0.

    Parameters
    ----------
    o : Tensor
        Outputs of the network.
    """
    return softplus(o) / softplus(o.new_zeros(()))
