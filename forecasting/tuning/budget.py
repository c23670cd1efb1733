"""The time of a search: what a fit costs, and what is kept back for the last one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tidecast.forecasting.network.progress import Epoch, StopTraining

OVER = 0.05
"""Share of the timeout by which the last fit may run over before it is cut short."""


@dataclass(frozen=True)
class Cost:
    """What a fit took, or may take.

    Attributes
    ----------
    epochs : int
    epoch : float
        Seconds of each.
    rest : float
        Seconds of all that is no training: inputs, calibration, forecasts.
    """

    epochs: int = 0
    epoch: float = 0.0
    rest: float = 0.0

    @property
    def seconds(self) -> float:
        """Of the whole fit."""
        return self.epochs * self.epoch + self.rest

    @staticmethod
    def most(costs: Sequence[Cost]) -> Cost:
        """What a fit may cost where these have been measured: the most epochs, the longest, and the longest rest."""
        if not costs:
            return Cost()
        return Cost(*(max(part) for part in zip(*((c.epochs, c.epoch, c.rest) for c in costs), strict=True)))


class FitClock:
    """Measures one fit, from its making on; give it `on_epoch` to listen."""

    def __init__(self) -> None:
        self._begun = time.time()
        self._ends: list[float] = []
        self._epochs = 0

    def on_epoch(self, epoch: Epoch) -> None:
        """Note the end of an epoch."""
        self._ends.append(time.time())
        self._epochs = epoch.epoch

    def cost(self, rows: float) -> Cost:
        """What a fit on `rows` times as many rows would cost."""
        seconds = time.time() - self._begun
        ends = self._ends if len(self._ends) > 1 else [self._begun, *self._ends]
        epoch = (ends[-1] - ends[0]) / (len(ends) - 1) if self._ends else 0.0
        return Cost(self._epochs, epoch * rows, max(seconds - self._epochs * epoch, 0.0) * rows)


@dataclass(frozen=True)
class Budget:
    """When a search began, and how many seconds it may take, its last fit included; None: any number.

    Times are those of `time.time`, which the processes of one search share.
    """

    begun: float
    timeout: float | None

    def left(self, last_fit: Cost) -> float:
        """Seconds until the last fit has to begin."""
        return float("inf") if self.timeout is None else self.begun + self.timeout - time.time() - last_fit.seconds

    def keeper(self, expected: Cost) -> Callable[[Epoch], None]:
        """Listens to the last fit, and ends its training where one more epoch would take it too far over the time.

        The first epoch is always trained: an untrained network is no result.
        """
        last: list[float] = []

        def on_epoch(epoch: Epoch) -> None:
            now = time.time()
            took = now - last[-1] if last else expected.epoch
            last.append(now)
            if self.timeout and epoch.epoch and now + took + expected.rest > self.begun + (1 + OVER) * self.timeout:
                raise StopTraining

        return on_epoch
