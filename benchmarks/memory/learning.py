"""One training of one cell on a task, with a fixed budget.

Axes: B sequences, T rows, D hidden units.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.memory.tasks import Task
from tidecast.forecasting.network.cell_registry import load_cell
from tidecast.forecasting.network.cells import CellState
from tidecast.forecasting.network.optimiser import AdamW
from tidecast.forecasting.network.training import isolated

WIDTH, BATCH, LONGEST_GRADIENT, TESTS = 32, 32, 1.0, 512
RATE = 0.01
RATE_OF_RNN = 0.003  # the best of 0.01, 0.003 and 0.001 at lag 10: with 0.01 one seed of three does not learn
IN_TURN = 10  # batches that must be solved for a training to end early
BUILT, OPEN = "as built", "gates for the lag"
GATED = ("lstm", "gru", "mingru", "slstm")


@dataclass(frozen=True)
class Result:
    """The end of a training.

    Attributes
    ----------
    score, loss : float
        On 512 sequences that it has not seen.
    steps : int
        Updates of the weights.
    seconds : float
        CPU time of the training, without the test.
    """

    score: float
    loss: float
    steps: int
    seconds: float


def open_gates(key: str, cell: nn.Module, lag: int) -> None:
    """Set the gates' biases so that the units begin with memories of 1 to `lag` rows (chrono initialisation).

    Tallec and Ollivier 2018, arXiv:1804.11188, section 3: with u uniform in [1, lag], a forget gate's bias is log(u),
    and the input gate's is its negative where there is one.

    Parameters
    ----------
    key : str
        One of `GATED`.
    cell : Module
        Built from that key, with one layer.
    lag : int
    """
    D = WIDTH
    with torch.no_grad():
        bias_D = torch.log1p(torch.rand(D) * (lag - 1))
        if key == "lstm":  # torch orders the gates: input, forget, cell, output
            cell.bias_ih_l0[: 2 * D] = torch.cat([-bias_D, bias_D])
            cell.bias_hh_l0[: 2 * D] = 0
        elif key == "gru":  # reset, update, candidate; here the update gate keeps
            cell.bias_ih_l0[D : 2 * D] = bias_D
            cell.bias_hh_l0[D : 2 * D] = 0
        elif key == "mingru":  # its gate lets in
            cell.gates[0].bias.copy_(-bias_D)
        elif key == "slstm":  # cell input, input, forget, output
            cell.inputs[0].bias[D : 3 * D] = torch.cat([-bias_D, bias_D])
        else:
            raise ValueError(f"The cell must have gates, one of {', '.join(GATED)}; got {key!r}.")


def train(
    task: Task, key: str, start: str, lag: int, seed: int, steps: int, stretch: int | None = None, early: bool = True
) -> Result:
    """Train one cell, one layer of 32 units, with a linear read-out of its last state.

    Cells of the same seed see the same sequences.

    Parameters
    ----------
    task : Task
    key : str
        Of `tidecast.forecasting.network.cell_registry.CELLS`.
    start : {"as built", "gates for the lag"}
        The cell's own first weights, or these after `open_gates`.
    lag, seed : int
    steps : int
        At most; of 32 sequences each.
    stretch : int, optional
        Newest rows that the gradient reaches; the rows before them only set the state. None: all rows.
    early : bool, default=True
        Whether to end when ten batches in turn are solved.
    """
    with isolated(seed):
        cell = load_cell(key)(task.n_inputs, WIDTH, 1, batch_first=True, dropout=0.0, bidirectional=False)
        if start == OPEN:
            open_gates(key, cell, lag)
        network = nn.ModuleList([cell, nn.Linear(WIDTH, task.n_outputs)])
        optimiser = AdamW(network, RATE_OF_RNN if key == "rnn" else RATE, lambda step: 1.0)
        sequences = torch.Generator().manual_seed(seed)
        solved, done, began = 0, 0, time.process_time()
        while done < steps and not (early and solved >= IN_TURN):
            x_BTF, answer_B = task.draw(lag, BATCH, sequences)
            o_BO = answers(network, x_BTF, stretch)
            loss = task.loss(o_BO, answer_B)
            network.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), LONGEST_GRADIENT)
            optimiser.step()
            solved = solved + 1 if task.score(o_BO.detach(), answer_B) >= task.solved else 0
            done += 1
        seconds = time.process_time() - began
        return _tested(task, network, lag, seed, done, seconds)


def answers(network: nn.ModuleList, x_BTF: Tensor, stretch: int | None = None) -> Tensor:
    """Return outputs after the last row, shape (B, O); gradients reach the last `stretch` rows.

    Parameters
    ----------
    network : ModuleList
        A cell and its read-out.
    x_BTF : Tensor of shape (B, T, F)
    stretch : int, optional
        None: all rows.
    """
    cell, read_out = network
    state: CellState | None = None
    cut = 0 if stretch is None else max(0, x_BTF.shape[1] - stretch)
    if cut:
        with torch.no_grad():
            _, state = cell(x_BTF[:, :cut])
    h_BTD, _ = cell(x_BTF[:, cut:], state)
    return read_out(h_BTD[:, -1])


def _tested(task: Task, network: nn.ModuleList, lag: int, seed: int, steps: int, seconds: float) -> Result:
    """Score the network on new sequences."""
    with torch.no_grad():
        x_BTF, answer_B = task.draw(lag, TESTS, torch.Generator().manual_seed(10_000 + seed))
        o_BO = answers(network, x_BTF)
    loss = task.loss(o_BO, answer_B).item()
    if not math.isfinite(loss):
        raise FloatingPointError(f"The loss must be finite, got {loss} after {steps} steps. Lower the learning rate.")
    return Result(task.score(o_BO, answer_B), loss, steps, seconds)
