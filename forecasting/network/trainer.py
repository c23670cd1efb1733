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

from tidecast.forecasting.estimator.data_parallel import ALONE, Processes, processes_in_force
from tidecast.forecasting.estimator.time_left import Work
from tidecast.forecasting.network.checkpoints import Checkpoint, packed, unpacked
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
        Returns the batches of one epoch, in the order of a generator; of each the share of this process.
    steps_per_epoch : int
        Number of these batches.
    validation : sequence of Batch
        On rows after every training target.
    fingerprint : str
        Digest of settings and data, which names a checkpoint.
    given : str
        Digest of the settings and the data that `fit` was given, which must be the same in all processes.
    """

    epoch_batches: Callable[[np.random.Generator], Iterable[Batch]]
    steps_per_epoch: int
    validation: Sequence[Batch] = ()
    fingerprint: str = ""
    given: str = ""


class Trainer:
    """Trains a network in place by AdamW on a one-cycle schedule.

    With validation batches, training stops after `patience` epochs without a better validation loss, and the weights of
    the best epoch are used; epoch 0, the untrained network, counts.

    Few sessions are held out, and a network that has learned the right thing too strongly is soon worse on them than an
    untrained one. So each epoch is judged, and used, with the best of four shares of its outputs: a quarter, a half,
    three quarters, all. As losses are convex in the share, no share is better than none only if the outputs point the
    wrong way: then there was nothing to learn.

    Inside of `data_parallel`, each process computes a share of every batch. Losses and gradients are summed, so that
    all processes take the same steps and the same decisions.

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
        self.processes, self.seed = processes_in_force(), torch.initial_seed()

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
            if self.processes.is_first:
                work.at(self.progress.epoch)
        return self.finish()

    def begin(self, start: Callable[[], None] | None = None) -> None:
        """Resume from a checkpoint, or evaluate the untrained network as epoch 0.

        Parameters
        ----------
        start : callable, optional
            Sets weights that are known without training; called after epoch 0 was evaluated.
        """
        _check_alike(self.processes, self.lessons.given)
        if not (self.checkpoint and self._resume(self.checkpoint)) and self.lessons.validation:
            self.progress.record(Epoch(0, math.nan, self._validation_loss((1.0,))[0]))
            self._notify()
        if start and self.max_epochs and not self.progress.epoch:
            start()
        self.processes.copy_from_first(self.network.state_dict().values())

    def _resume(self, checkpoint: Checkpoint) -> bool:
        """Take back what the first process finds in the checkpoint; return whether there was anything."""
        processes = self.processes
        saved = checkpoint.read() if processes.is_first else None
        if processes.size > 1:  # the folder need not be seen by all
            saved = unpacked(processes.from_first(packed(saved)))
        if saved is None:
            return False
        self.progress.restore(saved)
        if processes.is_first:
            done, path = self.progress.epoch, checkpoint.path
            logger.info("Training resumes after epoch %d of %d, from %s.", done, self.max_epochs, path)
        return True

    @property
    def is_over(self) -> bool:
        """Whether training has ended: stopped, all epochs done, or too long without a better epoch."""
        impatient = (
            bool(self.lessons.validation) and not self.whole and self.progress.epochs_since_best >= self.patience
        )
        return self.is_stopped or self.progress.epoch >= self.max_epochs or impatient

    def epoch(self) -> None:
        """Train for one epoch, evaluate it, write a checkpoint and call `Training.on_epoch`."""
        if self.processes.size > 1:  # a process drops units of its own, and the same ones after a restart
            torch.manual_seed(_seed_of_epoch(self.seed, self.progress.epoch, self.processes.rank))
        batches = self.lessons.epoch_batches(self.progress.shuffle)
        train_loss = self._train_epoch(batches)
        held_out, share = self._validation_loss() if self.lessons.validation else (None, 1.0)
        self.progress.record(Epoch(self.progress.epoch + 1, train_loss, held_out), share)
        if self.checkpoint and self.processes.is_first:
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
        self.processes.copy_from_first(network.state_dict().values())
        if self.checkpoint and self.processes.is_first:
            self.checkpoint.remove()
        return progress.curve

    def _train_epoch(self, batches: Iterable[Batch]) -> float:
        """Step along the gradient of each batch's mean loss; return the mean pinball loss before each step."""
        network, sums = self.network, []
        network.train()
        for batch in batches:
            pinball, weight = set_gradients(network, self.head, batch, self.processes)
            nn.utils.clip_grad_norm_(network.parameters(), self.training.gradient_norm)
            self.optimiser.step()
            sums.append(torch.stack([pinball, weight]))
        return _mean(torch.stack(sums))

    def _validation_loss(self, shares: Sequence[float] = SHARES) -> tuple[float, float]:
        """Smallest validation loss, and the share of the outputs that has it."""
        losses = mean_losses(self.network, self.head, self.lessons.validation, shares, self.processes)
        return min(zip(losses, shares, strict=True))

    def _notify(self) -> None:
        """Call `Training.on_epoch` with the newest epoch; stop if it raised `StopTraining` in some process."""
        try:
            if self.training.on_epoch is not None:
                self.training.on_epoch(self.progress.curve[-1])
        except StopTraining:
            self.is_stopped = True
        self.is_stopped = self.processes.any(self.is_stopped)


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


def set_gradients(
    network: RecurrentNetwork, head: Head, batch: Batch, processes: Processes = ALONE
) -> tuple[Tensor, Tensor]:
    """Set the gradients of the mean loss of a batch, of which each process has a share.

    Processes sum losses and weights, and divide once: how targets are spread over the shares does not matter.

    Parameters
    ----------
    network : RecurrentNetwork
    head : Head
    batch : Batch
    processes : Processes, optional

    Returns
    -------
    pinball, weight : Tensor of shape ()
        Sums over the whole batch.
    """
    network.zero_grad()
    if processes.size == 1:
        loss, pinball, weight = batch_losses(network, head, batch)
        (loss / weight.clamp(min=SMALLEST)).backward()
        return pinball, weight
    weights = list(network.parameters())
    pinball = weight = weights[0].new_zeros(())
    if len(batch):
        loss, pinball, weight = batch_losses(network, head, batch)
        loss.backward()
    used = pinball.new_tensor([each.grad is not None for each in weights])
    own = [torch.zeros_like(each) if each.grad is None else each.grad for each in weights]
    sums = processes.sum(torch.cat([torch.stack([pinball, weight]), used, *(each.flatten() for each in own)]))
    (pinball, weight), used, *gradients = sums.split([2, len(weights), *(each.numel() for each in weights)])
    for each, gradient, count in zip(weights, gradients, used.tolist(), strict=True):
        each.grad = (gradient / weight.clamp(min=SMALLEST)).view_as(each) if count else None
    return pinball, weight


def mean_losses(
    network: RecurrentNetwork, head: Head, batches: Sequence[Batch], shares: Sequence[float] = (1.0,),
    processes: Processes = ALONE,
) -> list[float]:  # fmt: skip
    """Weighted mean pinball losses over batches, without training, for shares of the outputs.

    Parameters
    ----------
    network : RecurrentNetwork
    head : Head
    batches : sequence of Batch
        All of them; each process computes some, and the losses are those of one process to the last bit.
    shares : sequence of float, default=(1.0,)
    processes : Processes, optional

    Returns
    -------
    list of float
        One for each share; NaN if no weight is above 0.
    """
    network.eval()
    sums_SN2 = next(network.parameters()).new_zeros(len(shares), len(batches), 2)
    with torch.inference_mode():
        for number in range(processes.rank, len(batches), processes.size):
            batch = batches[number]
            o_BTHP = outputs(network, batch)
            for at, share in enumerate(shares):
                _, pinball = head.losses(share * o_BTHP, batch.y_BTH, batch.weight_BTH)
                sums_SN2[at, number] = torch.stack([pinball, batch.weight_BTH.sum()])
        return [_mean(sums_N2) for sums_N2 in processes.sum(sums_SN2)]


def _mean(sums_N2: Tensor) -> float:
    """Mean loss from each batch's sums of losses and of weights; NaN if no weight is above 0."""
    loss, weight = sums_N2.double().sum(0).tolist()
    return loss / weight if weight else math.nan


def _check_alike(processes: Processes, given: str) -> None:
    """Refuse processes that were given other data or settings than the first one."""
    differs = processes.from_first(given.encode()) != given.encode()
    if processes.any(differs):
        which = f"process {processes.rank}" if differs else "another process"
        raise ValueError(
            f"All {processes.size} processes must fit the same rows with the same settings; {which} got others than "
            "process 0. Give each the whole panel: the work is divided inside of fit."
        )


def _seed_of_epoch(seed: int, epoch: int, rank: int) -> int:
    """Return the seed of a process for one epoch."""
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
