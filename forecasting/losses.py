"""What training minimises.

Axes: H horizon steps, Q quantiles.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from forecasting.networks import QuantileLayer


def pinball(q_HQ: Tensor, y_H: Tensor, levels_Q: Tensor) -> Tensor:
    """Pinball losses, averaged over the levels; shape (..., H).

    Koenker and Bassett (1978), Econometrica 46(1), equation 3.1, doi:10.2307/1913643. Twice its mean over evenly
    spread levels approaches the CRPS (Gneiting and Ranjan 2011, doi:10.1198/jbes.2010.08110).

    Parameters
    ----------
    q_HQ : Tensor of shape (..., H, Q)
    y_H : Tensor of shape (..., H)
    levels_Q : Tensor of shape (Q,)
    """
    error = y_H.unsqueeze(-1) - q_HQ
    return (levels_Q * error - error.clamp(max=0.0)).mean(-1)


def total_loss(layer: QuantileLayer, o_HQ: Tensor, y_H: Tensor, weight_H: Tensor, levels_Q: Tensor) -> Tensor:
    """``(weight · pinball(layer(o), y, levels)).sum()``, in half of the time and memory.

    Its gradient is written by hand, and goes to the outputs alone.

    Parameters
    ----------
    layer : QuantileLayer
    o_HQ : Tensor of shape (..., H, Q)
        A network's outputs.
    y_H, weight_H : Tensor of shape (..., H)
    levels_Q : Tensor of shape (Q,)
    """
    total: Tensor = TotalLoss.apply(o_HQ, y_H, weight_H, levels_Q, layer.base_HQ, layer.scale_H, layer.median)
    return total


class TotalLoss(torch.autograd.Function):
    """`total_loss`, and with it the gradient: both need the same errors.

    With w the weight, e = q − y and α the levels, a loss is ``w/Q Σ e · (1[e ≥ 0] − α)`` and its gradient in a quantile
    ``g = w/Q (1[e ≥ 0] − α)``. A gap moves all quantiles from it outwards; the median, all of them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        o_HQ: Tensor,
        y_H: Tensor,
        weight_H: Tensor,
        levels_Q: Tensor,
        base_HQ: Tensor,
        scale_H: Tensor,
        m: int,
    ) -> Tensor:
        gaps = base_HQ.diff(dim=-1) / softplus(o_HQ.new_zeros(()))
        factors_HQ = torch.cat([-gaps[:, :m], scale_H.unsqueeze(-1), gaps[:, m:]], dim=-1)  # what an output moves by
        e_HQ = softplus(o_HQ)
        e_HQ[..., m] = o_HQ[..., m]
        e_HQ *= factors_HQ
        e_HQ[..., m] += base_HQ[:, m] - y_H
        above = e_HQ[..., m:].cumsum(-1)
        e_HQ = torch.cat([e_HQ[..., : m + 1].flip(-1).cumsum(-1).flip(-1), above[..., 1:]], dim=-1)
        g_HQ = (e_HQ >= 0).to(e_HQ.dtype).sub_(levels_Q)
        share_H = weight_H / len(levels_Q)
        total = torch.einsum("...q,...q->...", e_HQ, g_HQ).mul_(share_H).sum()
        if ctx.needs_input_grad[0]:
            g_HQ *= share_H.unsqueeze(-1)
            inwards = g_HQ[..., m:].flip(-1).cumsum(-1).flip(-1)
            centre_H = g_HQ.sum(-1)
            g_HQ = torch.cat([g_HQ[..., :m].cumsum(-1), inwards], dim=-1)
            slope_HQ = torch.sigmoid(o_HQ)  # of softplus
            slope_HQ[..., m] = 1.0
            g_HQ[..., m] = centre_H
            ctx.save_for_backward(g_HQ.mul_(slope_HQ).mul_(factors_HQ))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g_HQ,) = ctx.saved_tensors
        return g_HQ * gradients[0], None, None, None, None, None, None
