"""A panel's history as sequences: cut into stretches to train on, run through whole to read states.

Axes: B sequences, T rows of them, N rows of the panel, F features, D hidden units, H horizon steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from forecasting.networks import RecurrentNetwork, State
from forecasting.rows import SESSIONS, PanelRows
from forecasting.training import Batch

BLOCK = 256  # whole sequences run side by side
CHUNK = 512  # rows of them run at once, the state carried on to the next


@dataclass(frozen=True)
class Stretches:
    """Batches of training history, gathered by index from one tensor.

    Attributes
    ----------
    rows : PanelRows
    inputs_NF : Tensor of shape (N, F), float32
        Where it lies, batches are made: on the network's device.
    weights_N : Tensor of shape (N,)
        Of each row as an origin.
    length : int
        Rows in a stretch.
    horizon : int
    """

    rows: PanelRows
    inputs_NF: Tensor
    weights_N: Tensor
    length: int
    horizon: int

    def epoch(self, until: int, batch_size: int, shuffle: np.random.Generator) -> Iterator[Batch]:
        """Every row up to session `until`, once or more, in stretches cut anew and in random order."""
        firsts, _ = self._sequences(until)
        starts = shuffle.permutation(self.starts(until, shift=shuffle.integers(self.length, size=len(firsts))))
        for i in range(0, len(starts), batch_size):
            rows_BT = torch.from_numpy(starts[i : i + batch_size])[:, None] + torch.arange(self.length)
            yield self._batch(rows_BT, until)

    def held_out(self, since: int, until: int) -> Iterator[Batch]:
        """Every row of the sessions from `since` to `until`, after a stretch that fills the state."""
        firsts, lengths = self._sequences(until)
        ends, begins = firsts + lengths, np.maximum(firsts + self._lengths(firsts, since) - self.length, firsts)
        for i in range(0, len(firsts), BLOCK):
            begin, longest = begins[i : i + BLOCK], int((ends - begins)[i : i + BLOCK].max())
            yield self._batch(torch.from_numpy(begin)[:, None] + torch.arange(longest), until, since)

    def starts(self, until: int, shift: int | np.ndarray = 0) -> np.ndarray:
        """First rows of stretches that cover all rows up to session `until`, laid `shift` rows to the left.

        How many there are does not depend on the shift. A stretch that would leave its sequence is moved inside.
        """
        firsts, lengths = self._sequences(until)
        count = -(-lengths // self.length) + 1
        sequence = np.repeat(np.arange(len(firsts)), count)
        nth = np.arange(len(sequence)) - (count.cumsum() - count)[sequence]
        newest = np.maximum(firsts + lengths - self.length, firsts)
        return ((firsts - shift)[sequence] + nth * self.length).clip(firsts[sequence], newest[sequence])

    def _sequences(self, until: int) -> tuple[np.ndarray, np.ndarray]:
        """First rows of the sequences that have begun by session `until`, and their lengths by then."""
        firsts = np.unique(self.rows.first.numpy())
        lengths = self._lengths(firsts, until)
        return firsts[lengths > 0], lengths[lengths > 0]

    def _lengths(self, firsts: np.ndarray, until: int) -> np.ndarray:
        """How many rows of each sequence are sessions up to `until`."""
        return np.searchsorted(self.rows.position.numpy(), firsts * SESSIONS + until, side="right") - firsts

    def _batch(self, rows_BT: Tensor, until: int, since: float = -math.inf) -> Batch:
        """Inputs and scaled targets of these rows; targets only of origins from `since` on, and not past `until`."""
        rows, device = self.rows, self.inputs_NF.device
        newest = len(rows) - 1
        inside_BT = rows_BT <= rows.last[rows_BT[:, :1]]
        rows_BT = rows_BT.clamp(max=newest)
        y_BTH = rows.scaled_changes(rows_BT, self.horizon)
        session_BT1 = rows.session[rows_BT].unsqueeze(-1)
        known_BTH = (session_BT1 + torch.arange(1, self.horizon + 1) <= until) & (session_BT1 >= since)
        known_BTH = known_BTH & inside_BT.unsqueeze(-1) & y_BTH.isfinite()
        weight_BTH = known_BTH * self.weights_N[rows_BT].unsqueeze(-1)
        return Batch(
            self.inputs_NF[rows_BT.to(device)],
            y_BTH.nan_to_num(0.0).float().to(device),
            weight_BTH.float().to(device),
        )


def carried_states(network: RecurrentNetwork, inputs_NF: Tensor, rows: PanelRows, at: Tensor) -> Tensor:
    """States at the rows `at`, shape (len(at), D), each carried from the first row of its sequence."""
    firsts, sequence = torch.unique(rows.first[at], return_inverse=True)
    lengths = torch.zeros(len(firsts), dtype=torch.int64)
    lengths.scatter_reduce_(0, sequence, at - rows.first[at] + 1, "amax")  # rows up to the last that is asked for
    place_N = torch.full((len(rows),), -1)
    place_N[at] = torch.arange(len(at))
    states = torch.empty(len(at), network.width)
    by_length = torch.argsort(lengths, stable=True)
    for i in range(0, len(firsts), BLOCK):
        block = by_length[i : i + BLOCK]
        state: State | None = None
        for offset_T in torch.arange(int(lengths[block].max())).split(CHUNK):
            rows_BT = (firsts[block, None] + offset_T).clamp(max=len(rows) - 1)
            h_BTD, state = network.encode(inputs_NF[rows_BT], state)
            wanted_BT = (offset_T < lengths[block, None]) & (place_N[rows_BT] >= 0)
            states[place_N[rows_BT[wanted_BT]]] = h_BTD[wanted_BT]
    return states
