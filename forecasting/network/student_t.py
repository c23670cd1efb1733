"""The Student-t head: location, scale and tails of each step.

Axes: H horizon steps, Q quantiles, K nodes of a table, P outputs of a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit
from torch import Tensor, nn

from tidecast.forecasting.network.losses import pinball
from tidecast.forecasting.network.quantile_head import widening
from tidecast.forecasting.tables.quantiles import MEDIAN

LIGHTEST, HEAVIEST = 1 / 200, 1 / 2  # tails, as 1 ÷ degrees of freedom: nearly normal, and without a variance
NODES = 129  # of the table of inverse CDFs; between them an error is below 1e-4 standard deviations
USUAL = 1 / 5  # tails of daily returns, used if the base quantiles do not determine them
PRIOR = 1e-6  # of their squares: a fit must be better by this much to move the tails away from `USUAL`
NARROWEST = 1e-3  # of the base's scale: repeated prices would drive an unbounded density to infinity
FURTHEST = 1e-12  # least probability beyond the outermost quantile


class StudentTHead(nn.Module):
    """A Student-t distribution of each step, relative to the one that fits the base quantiles best.

    Let t₀ be the Student-t distribution whose quantiles are closest to the base quantiles (least squares): with
    the base's median μ₀, a scale σ₀ and ν₀ degrees of freedom. Three outputs (a, b, c) of a step then give the
    distribution t with::

        μ = μ₀ + a · scale
        σ = σ₀ · softplus(b) / softplus(0)
        1/ν between 1/200 and 1/2: the logistic function of c, shifted so that c = 0 is ν₀

    Training minimises its log score, ``−log f(y; μ, σ, ν)`` (Gneiting and Raftery 2007, doi:10.1198/016214506000001437,
    section 4.1). A quantile is the base quantile q₀ under the map that turns t₀ into t::

        q = μ + σ · F_ν⁻¹(F_ν₀((q₀ − μ₀) / σ₀))

    If the base quantiles are exactly those of t₀, this is the quantile of t. If not, q keeps their shape, such as a
    skew, which the log score ignores. Outputs of zero are the identity.

    F and F⁻¹ are scipy's. F⁻¹ is interpolated in 1/ν between the nodes of a table, so that it works on any device and
    has a gradient.

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
    sigma_H: Tensor
    tails_H: Tensor
    table_KHQ: Tensor

    n_outputs = 3
    median_output = 0
    forecasts = "quantiles of a Student-t distribution"

    def __init__(self, base_HQ: Tensor, scale_H: Tensor, levels: Sequence[float]) -> None:
        super().__init__()
        self.median = list(levels).index(MEDIAN)
        base = base_HQ.double().cpu().numpy()
        sigma_H, nodes_H = fitted(base - base[:, self.median : self.median + 1], tuple(levels))
        beyond_HQ = (base - base[:, self.median : self.median + 1]) / sigma_H[:, None]
        p_HQ = stdtr(1 / tails()[nodes_H][:, None], beyond_HQ).clip(FURTHEST, 1 - FURTHEST)
        p_HQ[:, self.median] = MEDIAN
        self.register_buffer("base_HQ", base_HQ)
        self.register_buffer("scale_H", scale_H)
        derived = {
            "levels_Q": np.array(levels),
            "sigma_H": sigma_H,
            "tails_H": nodes_H / (NODES - 1),  # as a share of the way from the lightest to the heaviest
            "table_KHQ": stdtrit(1 / tails()[:, None, None], p_HQ),
        }
        for name, values in derived.items():
            self.register_buffer(name, torch.from_numpy(values).to(base_HQ), persistent=False)

    def forward(self, o_HP: Tensor) -> Tensor:
        """Quantiles of shape (..., H, Q) from outputs of shape (..., H, 3).

        Parameters
        ----------
        o_HP : Tensor of shape (..., H, 3)
            The network's outputs.
        """
        o_HP, m = o_HP.to(self.base_HQ.dtype), self.median
        shift_H, width_H, tail_H = self._shape(o_HP)
        *_, untrained_H = self._shape(torch.zeros_like(self.base_HQ[:, :1]).expand(-1, 3))
        gaps_HQ = self.base_HQ - self.base_HQ[:, m : m + 1]
        bent_HQ = gaps_HQ + self.sigma_H.unsqueeze(-1) * (self._inverse(tail_H) - self._inverse(untrained_H))
        q_HQ = self.base_HQ + shift_H.unsqueeze(-1) + (width_H.unsqueeze(-1) * bent_HQ - gaps_HQ)
        above_HQ = q_HQ[..., m:].cummax(-1).values  # rounding may cross them; this restores their order
        below_HQ = q_HQ[..., : m + 1].flip(-1).cummin(-1).values.flip(-1)
        return torch.cat([below_HQ[..., :m], above_HQ], dim=-1)

    def losses(self, o_HP: Tensor, y_H: Tensor, weight_H: Tensor) -> tuple[Tensor, Tensor]:
        """See `tidecast.forecasting.network.heads.Head.losses`; training minimises the log score.

        Parameters
        ----------
        o_HP : Tensor of shape (..., H, 3)
            The network's outputs.
        y_H : Tensor of shape (..., H)
            Truths.
        weight_H : Tensor of shape (..., H)
            Weight of each truth.
        """
        shift_H, width_H, tail_H = self._shape(o_HP)
        sigma_H = self.sigma_H * width_H
        z_H = (y_H - self.base_HQ[:, self.median] - shift_H) / sigma_H
        score_H = log_score(z_H, 1 / (LIGHTEST + (HEAVIEST - LIGHTEST) * tail_H)) + sigma_H.log()
        with torch.no_grad():
            pinball_H = pinball(self(o_HP), y_H, self.levels_Q)
        return (weight_H * score_H).sum(), (weight_H * pinball_H).sum()

    def _shape(self, o_HP: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shift of the location, factor on the scale, and tails as a share of the way to the heaviest."""
        heavier_H = torch.sigmoid(o_HP[..., 2])
        up_H, down_H = heavier_H * self.tails_H, (1 - heavier_H) * (1 - self.tails_H)
        return o_HP[..., 0] * self.scale_H, widening(o_HP[..., 1]).clamp(min=NARROWEST), up_H / (up_H + down_H)

    def _inverse(self, tail_H: Tensor) -> Tensor:
        """F_ν⁻¹ of the base quantiles' probabilities, shape (..., H, Q)."""
        position_H = tail_H * (NODES - 1)
        lower_H = position_H.detach().floor().clamp(max=NODES - 2)
        share_H1 = (position_H - lower_H).unsqueeze(-1)
        step, node_H = torch.arange(len(self.base_HQ), device=tail_H.device), lower_H.long()
        return torch.lerp(self.table_KHQ[node_H, step], self.table_KHQ[node_H + 1, step], share_H1)


def log_score(z: Tensor, nu: Tensor) -> Tensor:
    """Minus the logarithm of the standard Student-t density at z, with nu degrees of freedom.

    Parameters
    ----------
    z : Tensor
        Standardised truths.
    nu : Tensor
        Degrees of freedom, above 0; of a shape that broadcasts with `z`.
    """
    normaliser = torch.lgamma(nu / 2) - torch.lgamma((nu + 1) / 2) + 0.5 * torch.log(math.pi * nu)
    return normaliser + (nu + 1) / 2 * torch.log1p(z**2 / nu)


def tails() -> NDArray[np.float64]:
    """1 ÷ degrees of freedom at the nodes, shape (K,)."""
    return np.linspace(LIGHTEST, HEAVIEST, NODES)


@lru_cache(maxsize=16)
def standard(levels: tuple[float, ...]) -> NDArray[np.float64]:
    """Quantiles of the standard Student-t distributions at the nodes, shape (K, Q).

    Parameters
    ----------
    levels : tuple of float
        Of the quantiles, between 0 and 1.
    """
    return np.asarray(stdtrit(1 / tails()[:, None], np.array(levels)), dtype=np.float64)


def fitted(gaps_HQ: NDArray[np.float64], levels: tuple[float, ...]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scale and node of the Student-t distribution closest to quantiles whose median is 0, shape (H,) each.

    Closest by least squares over the levels, with a slight preference for usual tails, which decides where there are
    too few levels. The scale is 1 where all quantiles are 0.

    Parameters
    ----------
    gaps_HQ : ndarray of shape (H, Q)
        Quantiles less their median.
    levels : tuple of float
        Of the quantiles.
    """
    t_KQ = standard(levels)
    squares_K = (t_KQ**2).sum(-1)
    if not squares_K.all():  # the median alone
        squares_K = np.ones(NODES)
    scale_HK = gaps_HQ @ t_KQ.T / squares_K
    left_HK = ((gaps_HQ[:, None] - scale_HK[..., None] * t_KQ) ** 2).sum(-1)
    whole_H1 = (gaps_HQ**2).sum(-1, keepdims=True)
    left_HK = left_HK / np.where(whole_H1 > 0, whole_H1, 1.0) + PRIOR * np.abs(tails() - USUAL)
    nodes_H = left_HK[:, 1:-1].argmin(-1) + 1  # inside, so that an output can move the tails both ways
    scale_H = scale_HK[np.arange(len(gaps_HQ)), nodes_H]
    return np.where(scale_H > 0, scale_H, 1.0), nodes_H
