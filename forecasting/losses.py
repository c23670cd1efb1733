"""What training minimises.

Axes: H horizon steps, Q quantiles.
"""

from __future__ import annotations

from torch import Tensor


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
