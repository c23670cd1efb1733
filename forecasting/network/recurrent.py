"""One recurrent network with a choice of cell; a `Head` gives its outputs their meaning.

Axes: B sequences, T rows, F features, K rows a convolution sees, D hidden units, L layers, H horizon steps,
P outputs of a step, Z future covariates, N sequences selected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from tidecast.forecasting.network.cell_registry import load_cell
from tidecast.forecasting.network.cells import CellState

LEAST = 64  # units of a decoder with fewer in its state

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class State:
    """State of a network after each of its sequences; only this class knows its parts.

    Attributes
    ----------
    hidden : tuple of Tensor of shape (L, B, D)
        State of the cell; the head reads its first part, of the last layer.
    inputs_BKF : Tensor of shape (B, K − 1, F)
        The newest inputs: the convolution sees them again, and a shortcut to the head reads the last one. Empty
        without either.
    """

    hidden: tuple[Tensor, ...]
    inputs_BKF: Tensor

    def __len__(self) -> int:
        return len(self.inputs_BKF)

    def take(self, at_N: Tensor) -> State:
        """Return the state of the sequences at these indices.

        Parameters
        ----------
        at_N : Tensor of shape (N,)
            Indices of sequences.
        """
        return State(tuple(part[:, at_N] for part in self.hidden), self.inputs_BKF[at_N])

    def put(self, at_N: Tensor, other: State) -> None:
        """Overwrite the state of the sequences at these indices with `other`.

        Parameters
        ----------
        at_N : Tensor of shape (N,)
            Indices of sequences.
        other : State
            One sequence for each index.
        """
        for part, new in zip(self.hidden, other.hidden, strict=True):
            part[:, at_N] = new
        self.inputs_BKF[at_N] = other.inputs_BKF

    @staticmethod
    def cat(states: Sequence[State]) -> State:
        """Concatenate the sequences of states.

        Parameters
        ----------
        states : sequence of State
            Of networks with the same settings.
        """
        parts = zip(*(state.hidden for state in states), strict=True)
        return State(tuple(torch.cat(part, dim=1) for part in parts), torch.cat([state.inputs_BKF for state in states]))

    def to(self, device: torch.device | str) -> State:
        """Return the state on that device.

        Parameters
        ----------
        device : torch.device or str
        """
        return State(tuple(part.to(device) for part in self.hidden), self.inputs_BKF.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """Return its parts by name, to be saved."""
        return {f"hidden_{k}": part for k, part in enumerate(self.hidden)} | {"inputs": self.inputs_BKF}

    @staticmethod
    def from_tensors(parts: dict[str, Tensor]) -> State:
        """Rebuild a state from its `tensors`.

        Parameters
        ----------
        parts : dict
            By name.
        """
        return State(tuple(parts[f"hidden_{k}"] for k in range(len(parts) - 1)), parts["inputs"])


class RecurrentNetwork(nn.Module):
    """Maps rows to ``H × P`` outputs at every row; all steps are read from the state at that row.

    The outputs start at zero, so an untrained network forecasts the base quantiles of its `Head`.

    Parameters
    ----------
    cell : str
        A key of `tidecast.forecasting.network.cell_registry.CELLS`, or `NO_MEMORY` with a `hidden_size` of 0.
    n_features, hidden_size, num_layers : int
    dropout : float
        Between layers; no effect with one layer.
    horizon : int
    n_outputs : int
        Outputs of each step, as the head needs them.
    kernel_size : int, default=1
        Rows that a causal convolution in front of the cell sees at once; 1 is none.
    bidirectional : bool, default=False
        Every layer reads the rows from both ends. It must read them all first, so it gives one state for a whole
        sequence instead of one for every row.
    n_future : int, default=0
        Future covariates. Those of all steps join the state just before the head: ``h ← tanh(W [h, z])`` (the global
        part of the decoder of MQ-RNN, Wen et al. 2017, arXiv:1711.11053, section 3.2). The carried state does not
        depend on them.
    shortcut : bool, default=False
        The head also reads the row's inputs, so that a linear effect needs no cell (the autoregressive part of
        LSTNet, Lai et al. 2018, arXiv:1703.07015, section 3.6).
    n_step : int, default=0
        Inputs of each step, which then take the place of future covariates, see `StepDecoder`.
    """

    def __init__(
        self, cell: str, n_features: int, hidden_size: int, num_layers: int, dropout: float, horizon: int,
        n_outputs: int, kernel_size: int = 1, bidirectional: bool = False, n_future: int = 0, shortcut: bool = False,
        n_step: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.n_features, self.horizon, self.n_outputs = n_features, horizon, n_outputs
        self.kernel_size, self.bidirectional, self.shortcut = kernel_size, bidirectional, shortcut
        self.n_hidden = hidden_size * (2 if bidirectional else 1)
        self.width = self.n_hidden + (n_features if shortcut else 0)  # of what the head reads
        self.n_recent = max(kernel_size - 1, int(shortcut))  # newest inputs in a state
        if kernel_size > 1:
            self.convolution = nn.Linear(n_features * kernel_size, hidden_size)
        self.encoder = load_cell(cell)(
            hidden_size if kernel_size > 1 else n_features, hidden_size, num_layers,
            batch_first=True, dropout=dropout if num_layers > 1 else 0.0, bidirectional=bidirectional,
        )  # fmt: skip
        self.head = nn.Linear(self.width, horizon * n_outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.n_step = n_step
        if n_step:
            self.decoder = StepDecoder(self.n_hidden, n_step, horizon, n_outputs)
        self.n_future = n_future
        if n_future:
            self.join = nn.Linear(self.n_hidden + horizon * n_future, self.n_hidden)

    def encode(self, x_BTF: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run over rows.

        Parameters
        ----------
        x_BTF : Tensor of shape (B, T, F)
        state : State, optional
            State before the first row; zero by default.

        Returns
        -------
        h_BTD : Tensor of shape (B, T, D)
            Input of the head at every row: states of the last layer, then with a shortcut the row's inputs.
            Bidirectional, of shape (B, 1, 2 D): the forward state at the last row and the backward state at the first.
        state : State
            State after the last row.

        Raises
        ------
        ValueError
            A bidirectional network gets a state.
        """
        if self.bidirectional and state is not None:
            raise ValueError("A bidirectional network must read a sequence whole, got a state to continue from.")
        before_BKF = x_BTF.new_zeros(len(x_BTF), self.n_recent, self.n_features) if state is None else state.inputs_BKF
        seen_BTF = torch.cat([before_BKF, x_BTF], dim=1)
        newest_BKF = seen_BTF[:, seen_BTF.shape[1] - self.n_recent :].clone()
        in_BTF = x_BTF
        if self.kernel_size > 1:
            in_BTF = silu(self.convolution(seen_BTF.unfold(1, self.kernel_size, 1).flatten(2)))

        h_BTD, carried = self.encoder(in_BTF, None if state is None else _for_cell(state.hidden))
        if self.bidirectional:
            forward_BTD, backward_BTD = h_BTD.chunk(2, dim=-1)
            h_BTD = torch.cat([forward_BTD[:, -1:], backward_BTD[:, :1]], dim=-1)
        if self.shortcut:
            h_BTD = torch.cat([h_BTD, x_BTF], dim=-1)
        return h_BTD, State(carried if isinstance(carried, tuple) else (carried,), newest_BKF)

    def top(self, state: State) -> Tensor:
        """Return the head's input for a state, shape (N, D), as `encode` gives it at the last row.

        Parameters
        ----------
        state : State
            Of N sequences.
        """
        h_ND = state.hidden[0][-1]
        return torch.cat([h_ND, state.inputs_BKF[:, -1]], dim=-1) if self.shortcut else h_ND

    def begin_linear(self, weights_FH: Tensor, output: int, bias_H: Tensor | None = None) -> None:
        """Make one output of each step a linear function of the row's inputs and the step's own; needs the shortcut.

        Parameters
        ----------
        weights_FH : Tensor of shape (F, H)
            The inputs of the row, then those of the step.
        output : int
            Index of the output.
        bias_H : Tensor of shape (H,), optional
        """
        with torch.no_grad():
            rows_HPD = self.head.weight.view(self.horizon, self.n_outputs, self.width)
            rows_HPD[:, output, self.n_hidden :] = weights_FH[: self.n_features].T.to(rows_HPD)
            if bias_H is not None:
                self.head.bias.view(self.horizon, self.n_outputs)[:, output] = bias_H.to(rows_HPD)
            if self.n_step:
                linear_HUP = self.decoder.linear
                linear_HUP[..., output] = weights_FH[self.n_features :].T.to(linear_HUP)

    def read_out(self, h: Tensor, z: Tensor | None = None) -> Tensor:
        """Return outputs of shape (..., H, P).

        Parameters
        ----------
        h : Tensor of shape (..., D)
            From `encode` or `top`.
        z : Tensor of shape (..., H, Z), optional
            Future covariates, or the inputs of each step.
        """
        if self.n_step and z is not None:
            o_HP = self.decoder(h[..., : self.n_hidden], z)
            return self.head(h).unflatten(-1, (self.horizon, self.n_outputs)) + o_HP
        if z is not None:
            h, x = h[..., : self.n_hidden], h[..., self.n_hidden :]
            h = torch.cat([torch.tanh(self.join(torch.cat([h, z.flatten(-2)], dim=-1))), x], dim=-1)
        return self.head(h).unflatten(-1, (self.horizon, self.n_outputs))

    def weights(self, share: float = 1.0) -> Weights:
        """Return a copy of the weights, for outputs of that share of what they are.

        Parameters
        ----------
        share : float, default=1.0
        """
        weights = {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}
        last = ("head.weight", "head.bias", "decoder.outputs", "decoder.linear")
        return weights | {name: share * weights[name] for name in last if name in weights}

    def forward(self, x_BTF: Tensor) -> Tensor:
        """Return outputs at every row, shape (B, T, H, P), from a zero state; bidirectional, (B, 1, H, P).

        Parameters
        ----------
        x_BTF : Tensor of shape (B, T, F)
        """
        h_BTD, _ = self.encode(x_BTF)
        return self.read_out(h_BTD)

    def zero_state(self, n: int) -> State:
        """Return the state of `n` sequences before their first row.

        Parameters
        ----------
        n : int
        """
        hidden = (self.head.weight.new_zeros(n_layers, n, width) for n_layers, width in self._parts)
        return State(tuple(hidden), self.head.weight.new_zeros(n, self.n_recent, self.n_features))

    @cached_property
    def _parts(self) -> list[tuple[int, int]]:
        """Numbers of layers and units of each part of the cell's state, found by running the cell."""
        with torch.no_grad():
            _, state = self.encode(self.head.weight.new_zeros(0, 1, self.n_features))
        return [(len(part), part.shape[-1]) for part in state.hidden]


class StepDecoder(nn.Module):
    """Reads each step's own inputs together with the state; its layers are shared by the steps.

    With h the state and u the inputs of a step::

        e = silu(W h + U u + c_k)    c_k is learned for each step
        e ← e + silu(M e)
        o_k = A_k e + B_k u

    A and B start at zero, so an untrained network forecasts the base quantiles. The state that is carried on does
    not depend on u. Without a state only the last term is left.

    Parameters
    ----------
    n_hidden, n_step, horizon, n_outputs : int
        D, U, H and P.
    """

    def __init__(self, n_hidden: int, n_step: int, horizon: int, n_outputs: int) -> None:
        super().__init__()
        self.has_state = n_hidden > 0
        if self.has_state:
            width = max(n_hidden, LEAST)
            self.state, self.step = nn.Linear(n_hidden, width), nn.Linear(n_step, width)
            self.position = nn.Parameter(0.1 * torch.randn(horizon, width))
            self.mixed = nn.Linear(width, width)
            self.outputs = nn.Parameter(torch.zeros(horizon, width, n_outputs))
        self.linear = nn.Parameter(torch.zeros(horizon, n_step, n_outputs))

    def forward(self, h: Tensor, u_HU: Tensor) -> Tensor:
        """Return outputs of shape (..., H, P).

        Parameters
        ----------
        h : Tensor of shape (..., D)
            States.
        u_HU : Tensor of shape (..., H, U)
            Inputs of the steps.
        """
        linear_HP = torch.einsum("...hu,hup->...hp", u_HU, self.linear)
        if not self.has_state:
            return linear_HP
        e_HE = silu(self.state(h).unsqueeze(-2) + self.step(u_HU) + self.position)
        e_HE = e_HE + silu(self.mixed(e_HE))
        return torch.einsum("...he,hep->...hp", e_HE, self.outputs) + linear_HP


def _for_cell(hidden: tuple[Tensor, ...]) -> CellState:
    return hidden if len(hidden) > 1 else hidden[0]
