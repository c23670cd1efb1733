"""The heads of a network: what its outputs mean. One more head is one more entry of `HEADS`.

Axes: H horizon steps, Q quantiles, P outputs of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

from torch import Tensor

from tidecast.forecasting.network.quantile_head import QuantileHead
from tidecast.forecasting.network.student_t import StudentTHead


class Head(Protocol):
    """What a network puts out for each step: the loss it is trained by, and the quantiles it stands for.

    Outputs of zero stand for the base quantiles, exactly: an untrained network is the random walk, whatever its head.
    Calibration and sample paths need nothing further from a head, because both work on its quantiles.

    Attributes
    ----------
    base_HQ : Tensor of shape (H, Q)
    scale_H : Tensor of shape (H,)
        With the levels, all that a head is made from and all that is saved of it.
    n_outputs : int
        Outputs of a step, P.
    centre : int
        Place of the output that moves the median: linearly, by the head's scale.
    forecasts : str
        In words for a summary, after their number: "quantiles".
    """

    base_HQ: Tensor
    scale_H: Tensor
    n_outputs: int
    centre: int
    forecasts: str

    def __call__(self, o_HP: Tensor) -> Tensor:
        """Return quantiles of shape (..., H, Q) from outputs of shape (..., H, P); they never cross."""

    def losses(self, o_HP: Tensor, y_H: Tensor, weight_H: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of what training minimises, and that of the pinball losses.

        Epochs, cells and heads are compared by the second, so it has no need of a gradient.
        """

    def float(self) -> Self:
        """Return the head in single precision."""

    def to(self, device: Any) -> Self:
        """Return the head on that device."""


class HeadClass(Protocol):
    """Class of a head: all that it is follows from base quantiles, scale and levels, so nothing else is saved."""

    def __call__(self, base_HQ: Tensor, scale_H: Tensor, levels: Sequence[float]) -> Head:
        """Return the head on these base quantiles, of shape (H, Q) and rising; 0.5 is among the levels.

        One unit of the centre's output moves the median of a step by its scale.
        """


HEADS: dict[str, HeadClass] = {"quantile": QuantileHead, "student_t": StudentTHead}


def check_head(head: object) -> None:
    """Refuse anything but the name of a head.

    Raises
    ------
    ValueError
    """
    if not (isinstance(head, str) and head in HEADS):
        known = " or ".join(f'"{name}"' for name in HEADS)
        raise ValueError(f"head must be {known}, got {head!r}.")
