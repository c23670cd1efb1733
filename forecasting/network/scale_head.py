"""The scale head: the base quantiles, wider or narrower, and a median that moves only where that was earned.

Axes: H horizon steps, Q quantiles, K = Q + 1 intervals between quantiles, P outputs of a step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tidecast.forecasting.tables.quantiles import MEDIAN

WIDEST = 10.0  # largest logarithm of a scale, either way: exp(10) is 22,000


class ScaleHead(nn.Module):
    """One scale for each step: ``quantiles = median + base × exp(output)``.

    Daily prices teach a network little more than how volatile the coming sessions are, so one output a step learns
    what there is; more outputs learn noise. A second output moves the median by its scale. Where the scale is 0, the
    median is the last price exactly.

    Parameters
    ----------
    base_HQ : Tensor of shape (horizon, n_quantiles)
        Non-decreasing along the last axis.
    scale_H : Tensor of shape (horizon,)
        The distance by which one unit of output moves the median; 0 holds it.
    levels : sequence of float
        Of the quantiles, in rising order, 0.5 among them.
    """

    base_HQ: Tensor
    scale_H: Tensor
    slope_K: Tensor
    intercept_HK: Tensor

    n_outputs = 2
    scale_output, median_output = 0, 1
    forecasts = "quantiles, widened by one scale a step"

    def __init__(self, base_HQ: Tensor, scale_H: Tensor, levels: Sequence[float]) -> None:
        super().__init__()
        self.median = list(levels).index(MEDIAN)
        self.register_buffer("base_HQ", base_HQ)
        self.register_buffer("scale_H", scale_H)
        slope_K, intercept_HK = pinball_lines(base_HQ - base_HQ[:, self.median : self.median + 1], levels)
        self.register_buffer("slope_K", slope_K, persistent=False)
        self.register_buffer("intercept_HK", intercept_HK, persistent=False)

    def forward(self, o_HP: Tensor) -> Tensor:
        """Quantiles of shape (..., H, Q).

        Parameters
        ----------
        o_HP : Tensor of shape (..., H, 2)
            Outputs: the logarithm of the scale, and the move of the median.
        """
        width_H, move_H = self._shape(o_HP)
        centre_H1 = self.base_HQ[:, self.median : self.median + 1]
        q_HQ = (self.base_HQ - centre_H1) * width_H.unsqueeze(-1)
        return q_HQ + (centre_H1 + move_H.unsqueeze(-1))

    def losses(self, o_HP: Tensor, y_H: Tensor, weight_H: Tensor) -> tuple[Tensor, Tensor]:
        """See `tidecast.forecasting.network.heads.Head.losses`; the second is the pinball loss.

        With s the width and e = y − median, the pinball loss is ``s · f(e / s)``, where f is that of the base quantiles
        averaged over the levels: convex, and linear between two quantiles. So the loss of an origin is ``slope · e +
        intercept · s`` for the interval in which e / s lies, whatever the number of levels.

        The scale learns from it with e held. The median learns from its own pinball loss, ``|e| / 2``: where the base
        is much wider than the errors, as that of the random walk is where prices can be predicted, the other quantiles
        would teach the median little but its mean.

        Parameters
        ----------
        o_HP : Tensor of shape (..., H, 2)
        y_H, weight_H : Tensor of shape (..., H)
        """
        width_H, move_H = self._shape(o_HP)
        error_H = y_H - self.base_HQ[:, self.median] - move_H
        interval_H = self._interval((error_H / width_H).detach())
        step_H = torch.arange(len(self.base_HQ), device=o_HP.device)
        loss_H = self.slope_K[interval_H] * error_H.detach() + self.intercept_HK[step_H, interval_H] * width_H
        pinball = (weight_H * loss_H).sum()
        return pinball + (weight_H * error_H.abs()).sum() / 2, pinball.detach()

    def _shape(self, o_HP: Tensor) -> tuple[Tensor, Tensor]:
        """Width of each step, 1 for an output of 0, and the move of its median."""
        width_H = o_HP[..., self.scale_output].clamp(-WIDEST, WIDEST).exp()
        return width_H, o_HP[..., self.median_output] * self.scale_H

    def _interval(self, z_H: Tensor) -> Tensor:
        """Number of base quantiles below each value, shape (..., H)."""
        knots_HQ = self.base_HQ - self.base_HQ[:, self.median : self.median + 1]
        z_HN = z_H.reshape(-1, z_H.shape[-1]).T.contiguous()
        return torch.searchsorted(knots_HQ.contiguous(), z_HN).T.reshape(z_H.shape)


def pinball_lines(knots_HQ: Tensor, levels: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return the lines that a pinball loss, averaged over levels, consists of.

    Koenker and Bassett (1978), Econometrica 46(1), equation 3.1, doi:10.2307/1913643: for z between the knots k − 1
    and k, the mean of ``α (z − q)`` over the quantiles q below and of ``(1 − α)(q − z)`` over those above.

    Parameters
    ----------
    knots_HQ : Tensor of shape (H, Q)
        Quantiles, rising.
    levels : sequence of float
        α of each.

    Returns
    -------
    slope_K : Tensor of shape (Q + 1,)
    intercept_HK : Tensor of shape (H, Q + 1)
        The loss is ``slope · z + intercept``; interval k has k quantiles below it.
    """
    levels_Q = torch.tensor(levels, dtype=torch.float64, device=knots_HQ.device)
    knots, zero = knots_HQ.double(), knots_HQ.new_zeros(len(knots_HQ), 1, dtype=torch.float64)
    slope_K = torch.cat([zero[0], levels_Q.cumsum(0)]) - _above((1 - levels_Q)[None])[0]
    intercept_HK = _above((1 - levels_Q) * knots) - torch.cat([zero, (levels_Q * knots).cumsum(-1)], dim=-1)
    n_levels = len(levels_Q)
    return (slope_K / n_levels).to(knots_HQ), (intercept_HK / n_levels).to(knots_HQ)


def _above(values_HQ: Tensor) -> Tensor:
    """Sum of the values from each place on, and 0 past the last, shape (..., Q + 1)."""
    sums_HQ = values_HQ.flip(-1).cumsum(-1).flip(-1)
    return torch.cat([sums_HQ, torch.zeros_like(sums_HQ[:, :1])], dim=-1)
