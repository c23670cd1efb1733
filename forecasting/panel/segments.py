"""Segments of a panel's history: cut into windows to train on, and run through whole to read states.

Axes: B windows or segments, T rows of each, N rows of the panel, S all segments, F features, D hidden units,
H horizon steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import overload

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding

from tidecast.forecasting.estimator.data_parallel import ALONE, Processes
from tidecast.forecasting.network.recurrent import RecurrentNetwork, State
from tidecast.forecasting.network.training import NO_SEQUENCE, Batch, recency
from tidecast.forecasting.panel.flat_panel import FlatPanel, root_steps

BLOCK = 256  # whole segments run side by side
CHUNK = 64  # rows of each run at once, before the state is carried on; more when fewer run side by side
FEW = 0.5  # share of rows with a weight under which those without one are left out
HELD_OUT = 1 << 12  # rows in a validation batch, about as much memory as a training batch
MOST_HELD_OUT = 1 << 17  # rows to evaluate an epoch on, about; of more segments, every k-th is held out


@dataclass(frozen=True)
class Segments:
    """Batches of training windows, cut from segments and gathered by index from one tensor.

    Attributes
    ----------
    rows : FlatPanel
    inputs_NF : Tensor of shape (N, F)
        On the network's device, or on the CPU where they lie in a file. Half precision suffices: networks see float32.
    weights_N : Tensor of shape (N,)
        Weight of each row as an origin.
    length : int
        Rows in a window.
    horizon : int
    half_life : float, optional
        Sessions before the end of training at which an origin counts half.
    learned : date or datetime, optional
        Targets up to this time were learned before: they do not count, and only windows with newer ones are cut.
    future : callable, optional
        Future covariates of the sessions after rows of shape (B, T): a Tensor of shape (B, T, H, Z); None without.
    seasonal : bool, default=False
        Weigh the errors of all steps alike, and leave out the targets and `future` of rows without a weight, where most
        have none. Otherwise errors count in units of volatility · √step: those of a random walk grow so.
    every : int, default=1
        Rows of a window to an origin. Neighbouring hours share nearly all of their targets; as windows are cut anew in
        each epoch, all are seen in a training.
    most : int, optional
        Windows of an epoch, drawn among all.
    device : torch.device, optional
        The network's, for batches; that of `inputs_NF` by default.
    """

    rows: FlatPanel
    inputs_NF: Tensor
    weights_N: Tensor
    length: int
    horizon: int
    half_life: float | None = None
    learned: date | datetime | None = None
    future: Callable[[Tensor], Tensor | None] | None = None
    seasonal: bool = False
    every: int = 1
    most: int | None = None
    device: torch.device | None = None

    def epoch(
        self, until: date | datetime, batch_size: int, shuffle: np.random.Generator, processes: Processes = ALONE
    ) -> Iterator[Batch]:
        """Batches of windows up to the time `until`, cut anew and in random order, which cover every row; or of `most`.

        Parameters
        ----------
        until : date or datetime
            Time of the last row, and of the last target.
        batch_size : int
            Windows.
        shuffle : numpy Generator
            Advances.
        processes : Processes, optional
            Of each batch, only the share of this process is made.
        """
        until_S = self.rows.sessions_at(until)
        n_segments = len(self._bounds(until)[0])
        starts = shuffle.permutation(self.starts(until, shift=shuffle.integers(self.length, size=n_segments)))
        starts = starts[: self.most]
        for i in range(0, len(starts), batch_size):
            batch = starts[i : i + batch_size]
            rows_BT = torch.from_numpy(batch[processes.share(len(batch))])[:, None] + torch.arange(self.length)
            yield self._batch(rows_BT, until_S) if len(rows_BT) else NO_SEQUENCE

    def held_out(self, since: date | datetime, until: date | datetime) -> HeldOut:
        """Batches of the rows from the time `since` to `until`, each after a window that warms up the state.

        Of many segments, every k-th, so that there are about `MOST_HELD_OUT` rows.

        Parameters
        ----------
        since, until : date or datetime
        """
        firsts, _, ends_S = self._bounds(until)
        ends = torch.from_numpy(ends_S)
        before = self.rows.lengths(self.rows.sessions_at(since))[self.rows.segment(torch.from_numpy(firsts))]
        begins = torch.from_numpy(np.maximum(firsts + before.numpy() - self.length, firsts))
        every = max(1, -(-int((ends - begins).sum()) // MOST_HELD_OUT))
        begins, ends = begins[::every], ends[::every]
        return HeldOut(self, begins, ends, self.rows.sessions_at(since), self.rows.sessions_at(until))

    def starts(self, until: date | datetime, shift: int | np.ndarray = 0) -> np.ndarray:
        """First rows of windows that cover all rows to learn from up to `until`, shifted `shift` rows to the left.

        Their number does not depend on the shift. A window that would leave its segment is moved inside.

        Parameters
        ----------
        until : date or datetime
        shift : int or ndarray, default=0
            Rows, one number for all segments or one for each.

        Returns
        -------
        ndarray of int64
            Row numbers.
        """
        firsts, begins, ends = self._bounds(until)
        count = -(-(ends - begins) // self.length) + 1
        segment = np.repeat(np.arange(len(firsts)), count)
        nth = np.arange(len(segment)) - (count.cumsum() - count)[segment]
        newest = np.maximum(ends - self.length, firsts)
        return ((begins - shift)[segment] + nth * self.length).clip(firsts[segment], newest[segment])

    def windows(self, until: date | datetime) -> int:
        """Number of windows that an epoch up to that time visits.

        Parameters
        ----------
        until : date or datetime
        """
        n_windows = len(self.starts(until))
        return n_windows if self.most is None else min(n_windows, self.most)

    def _bounds(self, until: date | datetime) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of segments with rows to learn from up to `until`: the first row, the first such row, one past the last."""
        firsts = self.rows.starts[:-1]
        ends = firsts + self.rows.lengths(self.rows.sessions_at(until))
        begins = firsts
        if self._learned_S is not None:  # the first origin with a new target
            begins = firsts + self.rows.lengths(self._learned_S - self.horizon)
        some = (begins < ends).numpy()
        return firsts.numpy()[some], begins.numpy()[some], ends.numpy()[some]

    @cached_property
    def _learned_S(self) -> Tensor | None:
        return None if self.learned is None else self.rows.sessions_at(self.learned)

    def _batch(self, rows_BT: Tensor, until_S: Tensor, since_S: Tensor | None = None) -> Batch:
        """Inputs of these rows, and scaled targets of origins from session `since_S` on that lie up to `until_S`."""
        rows, device = self.rows, self.device or self.inputs_NF.device
        segment_B = rows.segment(rows_BT[:, 0])
        until_B11 = until_S[segment_B, None, None]
        inside_BT = rows_BT < rows.starts[segment_B + 1, None]
        rows_BT = rows_BT.clamp(max=len(rows) - 1)
        y_BTH = rows.scaled_changes(rows_BT, self.horizon)
        session_BT1 = rows.session[rows_BT].unsqueeze(-1)
        target_BTH = session_BT1 + torch.arange(1, self.horizon + 1)
        known_BTH = (target_BTH <= until_B11) & inside_BT.unsqueeze(-1) & y_BTH.isfinite()
        if self._learned_S is not None:
            known_BTH = known_BTH & (target_BTH > self._learned_S[segment_B, None, None])
        if since_S is not None:
            known_BTH = known_BTH & (session_BT1 >= since_S[segment_B, None, None])
        if self.every > 1:
            known_BTH = known_BTH & (torch.arange(rows_BT.shape[1], 0, -1) % self.every == 0)[:, None]
        weight_BTH = known_BTH * self.weights_N[rows_BT].unsqueeze(-1)
        if self.half_life is not None and since_S is None:
            weight_BTH = weight_BTH * recency(session_BT1, until_B11, self.half_life)
        if self.seasonal:
            weight_BTH = weight_BTH * root_steps(self.horizon)
        x_BTF, at_BT = embedding(rows_BT.to(self.inputs_NF.device), self.inputs_NF).to(device).float(), None
        if self.future is not None and self.seasonal and (some := (weight_BTH > 0).any(-1)).float().mean() < FEW:
            at_BT, rows_BT, y_BTH, weight_BTH = some, rows_BT[some], y_BTH[some], weight_BTH[some]
        z_BTHZ = None if self.future is None else self.future(rows_BT)
        return Batch(
            x_BTF,
            y_BTH.nan_to_num(0.0).float().to(device),
            weight_BTH.float().to(device),
            None if z_BTHZ is None else z_BTHZ.to(device),
            None if at_BT is None else at_BT.to(device),
        )


@dataclass(frozen=True)
class HeldOut(Sequence[Batch]):
    """Batches of held-out rows, made on demand.

    Attributes
    ----------
    segments : Segments
    begins, ends : LongTensor of shape (n_segments,)
        First row of each segment, and one past its last.
    since_S, until_S : LongTensor of shape (S,)
        Sessions of the first origin and of the last target.
    """

    segments: Segments
    begins: Tensor
    ends: Tensor
    since_S: Tensor
    until_S: Tensor

    @property
    def _size(self) -> int:
        """Segments in a batch."""
        longest = int((self.ends - self.begins).max()) if len(self.ends) else 1
        return min(BLOCK, max(1, HELD_OUT // longest))

    def __len__(self) -> int:
        return -(-len(self.begins) // self._size)

    @overload
    def __getitem__(self, number: int) -> Batch: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Batch]: ...
    def __getitem__(self, number: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(f"There are {len(self)} batches, asked for number {number}.")
        some = slice(number * self._size, (number + 1) * self._size)
        longest = int((self.ends - self.begins)[some].max())
        rows_BT = self.begins[some, None] + torch.arange(longest)
        return self.segments._batch(rows_BT, self.until_S, self.since_S)


def run_through(
    network: RecurrentNetwork, inputs_NF: Tensor, rows: FlatPanel, ends: Tensor, at: Tensor, begin: int = 0
) -> tuple[State, Tensor]:
    """Run a network up to the rows `ends`, each from the first row of its segment.

    Segments run side by side, and each leaves where it ends.

    Parameters
    ----------
    network : RecurrentNetwork
    inputs_NF : Tensor of shape (N, F)
        Inputs of a block of rows; the first is the panel's row `begin`.
    rows : FlatPanel
    ends : LongTensor of shape (n_ends,)
    at : LongTensor of shape (n,)
        Rows on the way whose states are wanted, in rising order.
    begin : int, default=0

    Returns
    -------
    state : State
        After the rows `ends`.
    h_ND : Tensor of shape (n, D)
        The last layer's states at the rows `at`.
    """
    by_length, at = torch.argsort(ends - rows.first(ends), stable=True), at.contiguous()
    h_ND = torch.empty(len(at), network.width)
    states = [_side_by_side(network, inputs_NF, rows, ends[block], at, begin, h_ND) for block in by_length.split(BLOCK)]
    return State.cat(states).take(torch.argsort(by_length)), h_ND


def _side_by_side(
    network: RecurrentNetwork, inputs_NF: Tensor, rows: FlatPanel, ends: Tensor, at: Tensor, begin: int, h_ND: Tensor
) -> State:
    """As `run_through`, for segments of rising length; write the states at the rows `at` into `h_ND`."""
    first, lengths = rows.first(ends), ends - rows.first(ends) + 1
    state, done, ended = network.zero_state(len(ends)), 0, []
    for length in torch.unique(lengths).tolist():
        for offset_T in torch.arange(done, length).split(CHUNK * BLOCK // len(first)):
            rows_BT = first[:, None] + offset_T
            h_BTD, state = network.encode(embedding(rows_BT - begin, inputs_NF), state)
            n, b, t = _passed(at, rows_BT)
            h_ND[n] = h_BTD[b, t]
        ending = int((lengths == length).sum())
        ended.append(state.take(torch.arange(ending)))
        state = state.take(torch.arange(ending, len(first)))
        first, lengths, done = first[ending:], lengths[ending:], length
    return State.cat(ended) if ended else state


def _passed(at: Tensor, rows_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find rows `at`, in rising order, among consecutive `rows_BT`: their numbers, and their indices b and t."""
    begin_B, end_B = torch.searchsorted(at, rows_BT[:, [0, -1]] + torch.tensor([0, 1])).unbind(-1)
    count_B = end_B - begin_B
    b = torch.repeat_interleave(count_B)
    n = torch.arange(len(b)) + (begin_B - count_B.cumsum(0) + count_B)[b]
    return n, b, at[n] - rows_BT[b, 0]
