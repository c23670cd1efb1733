"""The time of a search: the cost of a fit, and the time reserved for the last one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tidecast.forecasting.network.progress import Epoch, StopTraining

OVER = 0.05
"""Share of the timeout by which the last fit may overrun before it is stopped."""


@dataclass(frozen=True)
class Cost:
    """Measured or expected cost of a fit.

    Attributes
    ----------
    epochs : int
    epoch : float
        Seconds per epoch.
    rest : float
        Seconds of everything but training: inputs, calibration, forecasts.
    """

    epochs: int = 0
    epoch: float = 0.0
    rest: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of the whole fit."""
        return self.epochs * self.epoch + self.rest

    @staticmethod
    def most(costs: Sequence[Cost]) -> Cost:
        """Upper estimate from measured costs: the most epochs, the longest epoch, and the longest rest.

        Parameters
        ----------
        costs : sequence of Cost
            May be empty: then the cost is 0.
        """
        if not costs:
            return Cost()
        return Cost(*(max(values) for values in zip(*((c.epochs, c.epoch, c.rest) for c in costs), strict=True)))


class FitClock:
    """Measures one fit, from the clock's creation on; pass its `on_epoch` to the fit."""

    def __init__(self) -> None:
        self._begun = time.time()
        self._ends: list[float] = []
        self._epochs = 0

    def on_epoch(self, epoch: Epoch) -> None:
        """Note the end of an epoch.

        Parameters
        ----------
        epoch : Epoch
        """
        self._ends.append(time.time())
        self._epochs = epoch.epoch

    def cost(self, rows: float) -> Cost:
        """Estimate the cost of a fit on `rows` times as many rows.

        Parameters
        ----------
        rows : float
            Factor, such as 2.0.
        """
        seconds = time.time() - self._begun
        ends = self._ends if len(self._ends) > 1 else [self._begun, *self._ends]
        epoch = (ends[-1] - ends[0]) / (len(ends) - 1) if self._ends else 0.0
        return Cost(self._epochs, epoch * rows, max(seconds - self._epochs * epoch, 0.0) * rows)


@dataclass(frozen=True)
class Budget:
    """Time of a search, including its last fit.

    Parameters
    ----------
    begun : float
        As `time.time` gives it, which the processes of one search share.
    timeout : float or None
        Seconds; None for no limit.
    """

    begun: float
    timeout: float | None

    def left(self, last_fit: Cost) -> float:
        """Seconds until the last fit must begin.

        Parameters
        ----------
        last_fit : Cost
            Its expected cost.
        """
        return float("inf") if self.timeout is None else self.begun + self.timeout - time.time() - last_fit.seconds

    def keeper(self, expected: Cost) -> Callable[[Epoch], None]:
        """Return a listener that stops the last fit before an epoch that would overrun the time too far.

        The first epoch always runs, because an untrained network is not a result.

        Parameters
        ----------
        expected : Cost
            Cost of the last fit.

        Returns
        -------
        callable
            To pass as `on_epoch`; it raises `StopTraining`.
        """
        last: list[float] = []

        def on_epoch(epoch: Epoch) -> None:
            now = time.time()
            took = now - last[-1] if last else expected.epoch
            last.append(now)
            if self.timeout and epoch.epoch and now + took + expected.rest > self.begun + (1 + OVER) * self.timeout:
                raise StopTraining

        return on_epoch
