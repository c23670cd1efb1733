"""The training loop, once, for every network.

Axes: B sequences, T rows, F features, H horizon steps, Q quantiles, Z future covariates.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from features.messages import check_whole
from forecasting.checkpoints import Checkpoint
from forecasting.heads import Head, check_head
from forecasting.networks import RecurrentNetwork
from forecasting.optimiser import AdamW, one_cycle
from forecasting.progress import Epoch, Progress, StopTraining, average
from forecasting.threads import one_thread

logger = logging.getLogger(__name__)

RANDOM_STATE = threading.RLock()  # torch's global one: whose turn it is
SMALLEST = 1e-30  # sum of weights that a batch is divided by at least: one without any target moves nothing


@dataclass(frozen=True)
class Training:
    """How a network is trained, and for what, beyond epochs, batch size and learning rate.

    Parameters
    ----------
    patience : int, optional
        Epochs without a better validation loss until training stops; 3 for a forecaster, 10 for a regressor, whose
        epochs are shorter.
    average : bool, default=False
        Keep the mean of the weights after the last ``patience + 1`` epochs instead of the best epoch's: steadier
        from seed to seed (Izmailov et al. 2018, arXiv:1803.05407). Where even that is no better on the validation
        rows than no training at all, the untrained network stays.
    half_life : float, optional
        Sessions after which a training row counts half; for panels whose distant past is another world. Regressors
        refuse it: windows have no time.
    gradient_norm : float, default=1.0
        Longer gradients are cut to this length.
    head : {"quantile", "student_t"}, default="quantile"
        What the network puts out and what training minimises: every quantile by itself, by its pinball loss; or
        location, scale and degrees of freedom of a Student-t distribution, by its log score. With any head, the
        untrained network is the random walk, and epochs are compared by the pinball loss.
    checkpoint : str, optional
        A folder: after every epoch the training's whole state is written there, and a `fit` with the same settings
        and data that finds it goes on from it and ends with the same bits. Deleted when training is done. Not part
        of a recipe.
    on_epoch : callable, optional
        Told each `Epoch` as it ends, the untrained network's (0) first where there is something to validate on. What
        it raises ends the `fit`; `StopTraining` ends the training alone, as if there were no more epochs. Not part of
        a recipe.

    Examples
    --------
    >>> Training(patience=5, half_life=504).average
    False
    """

    patience: int | None = None
    average: bool = False
    half_life: float | None = None
    gradient_norm: float = 1.0
    head: str = field(default="quantile", metadata={"recipe": "unless default"})
    checkpoint: str | None = field(default=None, metadata={"recipe": False})
    on_epoch: Callable[[Epoch], None] | None = field(default=None, metadata={"recipe": False})

    def __post_init__(self) -> None:
        if self.patience is not None:
            check_whole("patience", self.patience, at_least=1)
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
        check_head(self.head)
        if self.checkpoint is not None and not isinstance(self.checkpoint, str):
            raise TypeError(f"checkpoint must be a folder's path as text, got {self.checkpoint!r}.")
        if self.on_epoch is not None and not callable(self.on_epoch):
            raise TypeError(f"on_epoch must be a function of an Epoch, got {self.on_epoch!r}.")

    def __deepcopy__(self, memo: dict[int, object]) -> Training:
        """Itself: it never changes, and a cloned forecaster tells whom the forecaster told, not a copy of him."""
        return self


@dataclass(frozen=True)
class Batch:
    """Sequences with their targets; a weight of 0 means: no target here.

    Attributes
    ----------
    x_BTF : Tensor of shape (B, T, F)
    y_BTH, weight_BTH : Tensor of shape (B, T, H)
        With T = 1 while x has more rows, the targets belong to the last row.
    z_BTHZ : Tensor of shape (B, T, H, Z), optional
        Future covariates of the targets' sessions.
    """

    x_BTF: Tensor
    y_BTH: Tensor
    weight_BTH: Tensor
    z_BTHZ: Tensor | None = None


@contextmanager
def isolated(random_state: int) -> Iterator[None]:
    """Seeded, on one thread, leaving the global random state and thread count as they were.

    That state is the process's: of several threads one is inside at a time, or each would draw the others' numbers.
    """
    with RANDOM_STATE, torch.random.fork_rng(devices=range(torch.cuda.device_count())), one_thread():
        torch.manual_seed(random_state)
        yield


def batch_losses(network: RecurrentNetwork, head: Head, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted sums over every position that has a target: of the head's loss, of pinball losses, of the weights."""
    h_BTD, _ = network.encode(batch.x_BTF)
    o_BTHP = network.read_out(h_BTD[:, -batch.y_BTH.shape[1] :], batch.z_BTHZ)
    return *head.losses(o_BTHP, batch.y_BTH, batch.weight_BTH), batch.weight_BTH.sum()


def mean_loss(network: RecurrentNetwork, head: Head, batches: Iterable[Batch]) -> float:
    """Weighted mean pinball loss over `batches`, without training."""
    network.eval()
    with torch.inference_mode():
        return _mean([torch.stack(batch_losses(network, head, batch)[1:]) for batch in batches])


def _mean(sums: list[Tensor]) -> float:
    """Mean loss from every batch's sum of losses and sum of weights; NaN where no weight is above 0."""
    loss, weight = torch.stack(sums).double().sum(0).tolist()
    return loss / weight if weight else math.nan


def train_network(
    network: RecurrentNetwork,
    head: Head,
    epoch_batches: Callable[[np.random.Generator], Iterable[Batch]],
    steps_per_epoch: int,
    validation: Sequence[Batch] = (),
    *,
    max_epochs: int,
    learning_rate: float,
    patience: int,
    shuffle: np.random.Generator,
    training: Training | None = None,
    fingerprint: str = "",
    start: Callable[[], None] | None = None,
) -> list[Epoch]:
    """Train `network` in place by AdamW on a one-cycle schedule; the learning curve.

    With `validation`, training stops after `patience` epochs without a better validation loss, and the best epoch's
    weights stay; epoch 0, the untrained network, takes part.

    Parameters
    ----------
    epoch_batches : callable
        Fresh batches in the generator's order, once an epoch.
    steps_per_epoch : int
        How many of them.
    validation : sequence of Batch
        On later rows than any training target.
    patience : int
        Unless `training` says another.
    shuffle : Generator
        What `epoch_batches` draws from; part of a checkpoint.
    training : Training, optional
    fingerprint : str
        Of settings and data; what a checkpoint is found by.
    start : callable, optional
        Puts weights in place that are known without training; called before the first epoch, after epoch 0 was judged.
    """
    training = training or Training()
    patience = training.patience or patience
    optimiser = AdamW(network, learning_rate, one_cycle(max_epochs * steps_per_epoch))
    progress = Progress(network, optimiser, shuffle, keep=patience + 1 if training.average else 0)
    is_over = False
    checkpoint = Checkpoint(training.checkpoint, fingerprint) if training.checkpoint and max_epochs else None
    if checkpoint and (saved := checkpoint.read()):
        progress.restore(saved)
        logger.info("Training goes on after epoch %d of %d, from %s.", progress.epoch, max_epochs, checkpoint.path)
    elif validation:
        progress.record(Epoch(0, math.nan, mean_loss(network, head, validation)))
        is_over = _is_over(training, progress.curve[-1])
    if start and max_epochs and not progress.epoch:
        start()

    while not is_over and progress.epoch < max_epochs and not (validation and progress.epochs_since_best >= patience):
        train_loss = _train_epoch(network, head, epoch_batches(shuffle), optimiser, training.gradient_norm)
        held_out = mean_loss(network, head, validation) if validation else None
        progress.record(Epoch(progress.epoch + 1, train_loss, held_out))
        if checkpoint:
            checkpoint.write(*progress.saved())
        is_over = _is_over(training, progress.curve[-1])

    if training.average and progress.recent:
        network.load_state_dict(average(progress.recent))
        if validation and not mean_loss(network, head, validation) < progress.untrained_loss:
            network.load_state_dict(progress.best)
    elif validation:
        network.load_state_dict(progress.best)
    network.eval()
    if checkpoint:
        checkpoint.remove()
    return progress.curve


def _train_epoch(
    network: RecurrentNetwork,
    head: Head,
    batches: Iterable[Batch],
    optimiser: AdamW,
    gradient_norm: float,
) -> float:
    """A step along the gradient of each batch's mean loss; the mean pinball loss before each step."""
    network.train()
    sums = []
    for batch in batches:
        loss, pinball, weight = batch_losses(network, head, batch)
        network.zero_grad()
        (loss / weight.clamp(min=SMALLEST)).backward()
        nn.utils.clip_grad_norm_(network.parameters(), gradient_norm)
        optimiser.step()
        sums.append(torch.stack([pinball, weight]))
    return _mean(sums)


def _is_over(training: Training, epoch: Epoch) -> bool:
    """Tell of an epoch; whether the one who hears of it wants no more."""
    try:
        if training.on_epoch is not None:
            training.on_epoch(epoch)
    except StopTraining:
        return True
    return False


def recency(session_N: Tensor, newest: int | Tensor, half_life: float) -> Tensor:
    """Weights of rows: halved with every `half_life` sessions before `newest`, 1 from there on."""
    return 0.5 ** ((newest - session_N).clamp(min=0) / half_life)
