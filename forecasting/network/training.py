"""Settings of training, batches, weights of rows, and an isolated random state.

Axes: B sequences, T rows, F features, N rows of a panel, H horizon steps, Z future covariates.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tidecast.features.error_text import check_whole
from tidecast.features.frozen_settings import FrozenSettings
from tidecast.forecasting.estimator.threads import one_thread
from tidecast.forecasting.network.heads import check_head
from tidecast.forecasting.network.progress import Epoch

RANDOM_STATE = threading.RLock()  # guards torch's global random state


@dataclass(frozen=True)
class Training(FrozenSettings):
    """Settings of training besides epochs, batch size and learning rate.

    Parameters
    ----------
    patience : int, optional
        Epochs without a better validation loss until training stops; 3 for a forecaster, 10 for a regressor, whose
        epochs are shorter.
    average : bool, default=False
        Use the mean of the weights after the last ``patience + 1`` epochs instead of the best epoch's, which varies
        less from seed to seed (Izmailov et al. 2018, arXiv:1803.05407). If it is not better on the validation rows
        than no training at all, the untrained network is used.
    half_life : float, optional
        Age in sessions at which a training row counts half; for panels whose distant past differs from today.
        Regressors refuse it, because windows have no time.
    gradient_norm : float, default=1.0
        Longer gradients are cut to this length.
    windows_per_epoch : int, optional
        Windows that an epoch visits at most, drawn at random without replacement and anew for each epoch, so that all
        series and days count alike; 4,096 for a forecaster, all for a regressor. What many series teach on the same
        days is mostly the same: beyond this number a larger panel costs no more.
    head : {"scale", "quantile", "student_t"}, optional
        The network's outputs and the loss: one scale a step, and a median where it was earned; each quantile by
        itself, also by the pinball loss; or location, scale and degrees of freedom of a Student-t distribution, by its
        log score. "scale" for a forecaster, "quantile" for a regressor. With any head the untrained network is the
        random walk, and epochs are compared by the pinball loss.
    checkpoint : str, optional
        A folder. The training's state is written there after every epoch. A `fit` with the same settings and data
        resumes from it and gives the same bits. Deleted when training is done. Not part of a recipe.
    on_epoch : callable, optional
        Called with each `Epoch` as it ends; with validation rows, first with epoch 0, the untrained network. An
        exception that it raises ends the `fit`; `StopTraining` ends only the training, as if it were the last epoch.
        Not part of a recipe.

    Examples
    --------
    >>> Training(patience=5, half_life=504).average
    False
    """

    patience: int | None = None
    average: bool = False
    half_life: float | None = None
    gradient_norm: float = 1.0
    windows_per_epoch: int | None = field(default=None, metadata={"recipe": "unless default"})
    head: str | None = field(default=None, metadata={"recipe": "unless default"})
    checkpoint: str | None = field(default=None, metadata={"recipe": False})
    on_epoch: Callable[[Epoch], None] | None = field(default=None, metadata={"recipe": False})

    def __post_init__(self) -> None:
        if self.patience is not None:
            check_whole("patience", self.patience, at_least=1)
        if self.windows_per_epoch is not None:
            check_whole("windows_per_epoch", self.windows_per_epoch, at_least=1)
        if not isinstance(self.average, bool):
            raise TypeError(f"average must be True or False, got {self.average!r}.")
        for name in ("half_life", "gradient_norm"):
            value = getattr(self, name)
            if value is None and name == "half_life":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
                raise TypeError(f"{name} must be a number, got {value!r}.")
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value!r}.")
        if self.head is not None:
            check_head(self.head)
        if self.checkpoint is not None and not isinstance(self.checkpoint, str):
            raise TypeError(f"checkpoint must be a folder's path as text, got {self.checkpoint!r}.")
        if self.on_epoch is not None and not callable(self.on_epoch):
            raise TypeError(f"on_epoch must be a function of an Epoch, got {self.on_epoch!r}.")

    def __deepcopy__(self, memo: dict[int, object]) -> Training:
        """Return itself: it never changes, and a cloned forecaster must call the same `on_epoch`, not a copy of it."""
        return self


@dataclass(frozen=True)
class Batch:
    """Sequences with their targets; a weight of 0 marks a missing target.

    Attributes
    ----------
    x_BTF : Tensor of shape (B, T, F)
    y_BTH, weight_BTH : Tensor of shape (B, T, H)
        With T = 1 while x has more rows, the targets belong to the last row.
    z_BTHZ : Tensor of shape (B, T, H, Z), optional
        Future covariates of the targets' sessions, or the inputs of each step.
    at_BT : BoolTensor of shape (B, T), optional
        The rows that have targets, where few have: y, weights and z are then those of these n rows, without the axes B
        and T, as (n, H).
    """

    x_BTF: Tensor
    y_BTH: Tensor
    weight_BTH: Tensor
    z_BTHZ: Tensor | None = None
    at_BT: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x_BTF)


NO_SEQUENCE = Batch(torch.empty(0, 1, 1), torch.empty(0, 1, 1), torch.empty(0, 1, 1))
"""What a process computes of a batch that has fewer sequences than there are processes."""


@contextmanager
def isolated(random_state: int) -> Iterator[None]:
    """Run the body seeded and on one thread, then restore the global random state and thread count.

    The random state belongs to the process, so only one thread is inside at a time: otherwise threads would draw each
    other's numbers.

    Parameters
    ----------
    random_state : int
        The seed.
    """
    with RANDOM_STATE, torch.random.fork_rng(devices=range(torch.cuda.device_count())), one_thread():
        torch.manual_seed(random_state)
        yield


def recency(session_N: Tensor, newest: int | Tensor, half_life: float) -> Tensor:
    """Weights of rows by age: halved with every `half_life` sessions before `newest`, 1 from there on.

    Parameters
    ----------
    session_N : Tensor of shape (N,) or any other
    newest : int or Tensor
    half_life : float
        In sessions.

    Returns
    -------
    Tensor of the same shape
    """
    return 0.5 ** ((newest - session_N).clamp(min=0) / half_life)
