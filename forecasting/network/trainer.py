"""The training loop of every network.

Axes: B sequences, T rows, H horizon steps, P outputs of a step.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tidecast.forecasting.estimator.time_left import Work
from tidecast.forecasting.network.checkpoints import Checkpoint
from tidecast.forecasting.network.heads import Head
from tidecast.forecasting.network.optimiser import AdamW, one_cycle
from tidecast.forecasting.network.progress import Epoch, Progress, StopTraining, average
from tidecast.forecasting.network.recurrent import RecurrentNetwork
from tidecast.forecasting.network.training import Batch, Training

logger = logging.getLogger(__name__)

SHARES = (0.25, 0.5, 0.75, 1.0)  # of a trained network's outputs, compared on the validation rows
SMALLEST = 1e-30  # least sum of weights to divide a batch by, so that one without targets changes nothing


@dataclass(frozen=True)
class Lessons:
    """Training and validation data of a network.

    Attributes
    ----------
    epoch_batches : callable
        Returns the batches of one epoch, in the order of a generator.
    steps_per_epoch : int
        Number of these batches.
    validation : sequence of Batch
        On rows after every training target.
    fingerprint : str
        Digest of settings and data, which names a checkpoint.
    """

    epoch_batches: Callable[[np.random.Generator], Iterable[Batch]]
    steps_per_epoch: int
    validation: Sequence[Batch] = ()
    fingerprint: str = ""


class Trainer:
    """Trains a network in place by AdamW on a one-cycle schedule.

    With validation batches, training stops after `patience` epochs without a better validation loss, and the weights of
    the best epoch are used; epoch 0, the untrained network, counts.

    Few sessions are held out, and a network that has learned the right thing too strongly is soon worse on them than an
    untrained one. So each epoch is judged, and used, with the best of four shares of its outputs: a quarter, a half,
    three quarters, all. As losses are convex in the share, no share is better than none only if the outputs point the
    wrong way: then there was nothing to learn.

    Parameters
    ----------
    network : RecurrentNetwork
    head : Head
    lessons : Lessons
    training : Training
        Its `patience` must be set.
    max_epochs : int
    learning_rate : float
        Peak of the schedule.
    shuffle : Generator
        Source of the order of batches; part of a checkpoint.
    whole : bool, default=False
        Run every epoch, and use the last one's outputs, all of them, unless no share of them is better than none: for
        panels that have so much to teach that the loss falls most at the schedule's end.
    """

    def __init__(
        self, network: RecurrentNetwork, head: Head, lessons: Lessons, training: Training, *, max_epochs: int,
        learning_rate: float, shuffle: np.random.Generator, whole: bool = False,
    ) -> None:  # fmt: skip
        assert training.patience is not None, "callers know their default"
        self.network, self.head, self.lessons, self.training = network, head, lessons, training
        self.max_epochs, self.patience, self.whole = max_epochs, training.patience, whole
        self.optimiser = AdamW(network, learning_rate, one_cycle(max_epochs * lessons.steps_per_epoch))
        keep = self.patience + 1 if training.average else 0
        self.progress = Progress(network, self.optimiser, shuffle, keep)
        self.checkpoint = None
        if training.checkpoint and max_epochs:
            self.checkpoint = Checkpoint(training.checkpoint, lessons.fingerprint)
        self.is_stopped = False

    def run(self, start: Callable[[], None] | None = None) -> list[Epoch]:
        """Train to the end, and return the learning curve; for `start` see `begin`.

        Parameters
        ----------
        start : callable, optional
            Called once, before the first epoch of a new training.
        """
        self.begin(start)
        work = Work("Training", self.max_epochs, "epochs at most", since=self.progress.epoch)
        while not self.is_over:
            self.epoch()
            work.at(self.progress.epoch)
        return self.finish()

    def begin(self, start: Callable[[], None] | None = None) -> None:
        """Resume from a checkpoint, or evaluate the untrained network as epoch 0.

        Parameters
        ----------
        start : callable, optional
            Sets weights that are known without training; called after epoch 0 was evaluated.
        """
        saved = self.checkpoint.read() if self.checkpoint else None
        if self.checkpoint and saved:
            self.progress.restore(saved)
            done, path = self.progress.epoch, self.checkpoint.path
            logger.info("Training resumes after epoch %d of %d, from %s.", done, self.max_epochs, path)
        elif self.lessons.validation:
            self.progress.record(Epoch(0, math.nan, self._validation_loss((1.0,))[0]))
            self._notify()
        if start and self.max_epochs and not self.progress.epoch:
            start()

    @property
    def is_over(self) -> bool:
        """Whether training has ended: stopped, all epochs done, or too long without a better epoch."""
        impatient = (
            bool(self.lessons.validation) and not self.whole and self.progress.epochs_since_best >= self.patience
        )
        return self.is_stopped or self.progress.epoch >= self.max_epochs or impatient

    def epoch(self) -> None:
        """Train for one epoch, evaluate it, write a checkpoint and call `Training.on_epoch`."""
        batches = self.lessons.epoch_batches(self.progress.shuffle)
        train_loss = _train_epoch(self.network, self.head, batches, self.optimiser, self.training.gradient_norm)
        held_out, share = self._validation_loss() if self.lessons.validation else (None, 1.0)
        self.progress.record(Epoch(self.progress.epoch + 1, train_loss, held_out), share)
        if self.checkpoint:
            self.checkpoint.write(*self.progress.saved())
        self._notify()

    def finish(self) -> list[Epoch]:
        """Set the final weights, delete the checkpoint, and return the learning curve."""
        network, progress = self.network, self.progress
        averaged = self.training.average and bool(progress.recent)
        if averaged:
            network.load_state_dict(average(progress.recent))
        if averaged or self.whole:
            if self.lessons.validation:
                loss, share = self._validation_loss()
                better, share = loss < progress.untrained_loss, 1.0 if self.whole else share
                network.load_state_dict(network.weights(share) if better else progress.best)
        elif self.lessons.validation:
            network.load_state_dict(progress.best)
        network.eval()
        if self.checkpoint:
            self.checkpoint.remove()
        return progress.curve

    def _validation_loss(self, shares: Sequence[float] = SHARES) -> tuple[float, float]:
        """Smallest validation loss, and the share of the outputs that has it."""
        losses = mean_losses(self.network, self.head, self.lessons.validation, shares)
        return min(zip(losses, shares, strict=True))

    def _notify(self) -> None:
        """Call `Training.on_epoch` with the newest epoch; stop if it raised `StopTraining`."""
        try:
            if self.training.on_epoch is not None:
                self.training.on_epoch(self.progress.curve[-1])
        except StopTraining:
            self.is_stopped = True


def batch_losses(network: RecurrentNetwork, head: Head, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted sums over every position with a target.

    Parameters
    ----------
    network : RecurrentNetwork
    head : Head
    batch : Batch

    Returns
    -------
    loss, pinball, weight : Tensor of shape ()
        Sums of the head's loss, of pinball losses and of weights.
    """
    o_BTHP = outputs(network, batch)
    return *head.losses(o_BTHP, batch.y_BTH, batch.weight_BTH), batch.weight_BTH.sum()


def outputs(network: RecurrentNetwork, batch: Batch) -> Tensor:
    """Outputs at every position of a batch with targets, shape (B, T, H, P); for `Batch.at_BT`, (n, H, P).

    Parameters
    ----------
    network : RecurrentNetwork
    batch : Batch
    """
    h_BTD, _ = network.encode(batch.x_BTF)
    if batch.at_BT is not None:
        return network.read_out(h_BTD[batch.at_BT], batch.z_BTHZ)
    return network.read_out(h_BTD[:, -batch.y_BTH.shape[1] :], batch.z_BTHZ)


def mean_losses(
    network: RecurrentNetwork, head: Head, batches: Iterable[Batch], shares: Sequence[float] = (1.0,)
) -> list[float]:
    """Weighted mean pinball losses over batches, without training, for shares of the outputs.

    Parameters
    ----------
    network : RecurrentNetwork
    head : Head
    batches : iterable of Batch
    shares : sequence of float, default=(1.0,)

    Returns
    -------
    list of float
        One for each share; NaN if no weight is above 0.
    """
    network.eval()
    sums: list[list[Tensor]] = [[] for _ in shares]
    with torch.inference_mode():
        for batch in batches:
            o_BTHP = outputs(network, batch)
            for of_share, share in zip(sums, shares, strict=True):
                _, pinball = head.losses(share * o_BTHP, batch.y_BTH, batch.weight_BTH)
                of_share.append(torch.stack([pinball, batch.weight_BTH.sum()]))
    return [_mean(of_share) for of_share in sums]


def _train_epoch(
    network: RecurrentNetwork, head: Head, batches: Iterable[Batch], optimiser: AdamW, gradient_norm: float
) -> float:
    """Step along the gradient of each batch's mean loss; return the mean pinball loss before each step."""
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


def _mean(sums: list[Tensor]) -> float:
    """Mean loss from each batch's sums of losses and of weights; NaN if no weight is above 0."""
    loss, weight = torch.stack(sums).double().sum(0).tolist()
    return loss / weight if weight else math.nan
