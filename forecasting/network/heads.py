"""The heads of a network: the meaning of its outputs. A new head is a new entry of `HEADS`.

Axes: H horizon steps, Q quantiles, P outputs of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

from torch import Tensor

from tidecast.features.error_text import meant
from tidecast.forecasting.network.quantile_head import QuantileHead
from tidecast.forecasting.network.scale_head import ScaleHead
from tidecast.forecasting.network.student_t import StudentTHead


class Head(Protocol):
    """The meaning of a network's outputs for each step: their loss in training, and their quantiles.

    Outputs of zero give exactly the base quantiles, so with any head an untrained network is the random walk.
    Calibration and sample paths need nothing else from a head, because both work on its quantiles.

    Attributes
    ----------
    base_HQ : Tensor of shape (H, Q)
    scale_H : Tensor of shape (H,)
        With the levels, a head is built from these two, and only they are saved.
    n_outputs : int
        Outputs of a step, P.
    median_output : int
        Index of the output that moves the median, linearly, by the head's scale.
    forecasts : str
        Noun for a summary, after their number: "quantiles".
    """

    base_HQ: Tensor
    scale_H: Tensor
    n_outputs: int
    median_output: int
    forecasts: str

    def __call__(self, o_HP: Tensor) -> Tensor:
        """Return quantiles of shape (..., H, Q) from outputs of shape (..., H, P); they never cross."""

    def losses(self, o_HP: Tensor, y_H: Tensor, weight_H: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of the training loss, and that of the pinball losses.

        Epochs, cells and heads are compared by the second, which needs no gradient.

        Parameters
        ----------
        o_HP : Tensor of shape (..., H, P)
            The network's outputs.
        y_H : Tensor of shape (..., H)
            Truths, as scaled changes.
        weight_H : Tensor of shape (..., H)
            Weight of each truth, 0 where there is none.

        Returns
        -------
        training, pinball : Tensor of shape ()
            Sums, not means.
        """

    def float(self) -> Self:
        """Return the head in single precision."""

    def to(self, device: Any) -> Self:
        """Return the head on that device.

        Parameters
        ----------
        device : torch.device or str
        """


class HeadClass(Protocol):
    """Class of a head. It follows from base quantiles, scale and levels, so nothing else is saved."""

    def __call__(self, base_HQ: Tensor, scale_H: Tensor, levels: Sequence[float]) -> Head:
        """Return the head on these base quantiles, of shape (H, Q) and rising; 0.5 is among the levels.

        One unit of `Head.median_output` moves the median of a step by its scale.
        """


SCALE, QUANTILE = "scale", "quantile"  # the default of forecasters, and of regressors

HEADS: dict[str, HeadClass] = {SCALE: ScaleHead, QUANTILE: QuantileHead, "student_t": StudentTHead}


def check_head(head: object) -> None:
    """Refuse anything but the name of a head.

    Parameters
    ----------
    head : object

    Raises
    ------
    ValueError
        Naming the heads.
    """
    if not (isinstance(head, str) and head in HEADS):
        known = [f'"{name}"' for name in HEADS]
        raise ValueError(f"head must be {', '.join(known[:-1])} or {known[-1]}, got {head!r}.{meant(head, HEADS)}")
