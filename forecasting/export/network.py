"""A recurrent network as ONNX nodes: scaled inputs, encoder, outputs of each step.

Axes: B sequences, T rows, F features, K rows a convolution sees, D hidden units, H horizon steps, P outputs of a step,
U inputs of a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidecast.forecasting.export.cells import cell_nodes
from tidecast.forecasting.export.graph import FLOAT, Graph, numbers
from tidecast.forecasting.export.heads import double
from tidecast.forecasting.network.recurrent import RecurrentNetwork, StepDecoder
from tidecast.forecasting.panel.scaling import CLIP, InputScaler


@dataclass(frozen=True)
class StateNames:
    """Names of the values of a state: parts of the cell's, each (L, B, D), and the newest inputs (B, K − 1, F).

    Attributes
    ----------
    hidden : list of str
        Empty for a state of zeros.
    recent : str, optional
        Without a convolution there are none.
    """

    hidden: list[str]
    recent: str | None = None


def scaled_nodes(graph: Graph, x: str, scaler: InputScaler, flagged: NDArray[np.bool_] | None = None) -> str:
    """Add what `InputScaler.transform` does, in double precision; the result is float32.

    Parameters
    ----------
    graph : Graph
    x : str
        Of shape (..., F), float64; NaN is missing.
    scaler : InputScaler
    flagged : ndarray of bool, optional
        Inputs with an indicator; None: those of the scaler.
    """
    flagged = scaler.flagged if flagged is None else flagged
    missing, mean = graph.node("IsNaN", x), double(graph, scaler.mean)
    known = graph.node("Where", missing, mean, x)
    scaled = graph.node("Div", graph.node("Sub", known, mean), double(graph, scaler.scale))
    parts = [graph.cast(graph.node("Clip", scaled, double(graph, -CLIP), double(graph, CLIP)), FLOAT)]
    if flagged.any():
        at = graph.constant(np.flatnonzero(flagged), np.int64)
        parts.append(graph.node("Gather", graph.cast(missing, FLOAT), at, axis=-1))
    return graph.joined(parts, -1)


def encoder_nodes(graph: Graph, network: RecurrentNetwork, x_BTF: str, state: StateNames) -> tuple[str, StateNames]:
    """Add what `RecurrentNetwork.encode` does.

    Parameters
    ----------
    graph : Graph
    network : RecurrentNetwork
    x_BTF : str
        Scaled inputs.
    state : StateNames
        Before the first row.

    Returns
    -------
    h_BTD : str
        What the head reads at every row; bidirectional: (B, 1, 2 D).
    after : StateNames
        After the last row.
    """
    in_BTF, recent = x_BTF, None
    if network.kernel_size > 1:
        before = state.recent or _blank(graph, x_BTF, network)
        seen_BTF = graph.node("Concat", before, x_BTF, axis=1)
        recent = graph.cut(seen_BTF, 1, 1 - network.kernel_size)
        in_BTF = graph.silu(_convolution(graph, network, seen_BTF))
    in_TBF = graph.node("Transpose", in_BTF, perm=[1, 0, 2])
    h_TBD, ends = cell_nodes(graph, network.encoder, in_TBF, state.hidden)
    h_BTD = graph.node("Transpose", h_TBD, perm=[1, 0, 2])
    if network.bidirectional:
        half = network.n_hidden // 2
        forward = graph.cut(graph.cut(h_BTD, 1, -1), -1, 0, half)
        backward = graph.cut(graph.cut(h_BTD, 1, 0, 1), -1, half)
        h_BTD = graph.node("Concat", forward, backward, axis=-1)
    if network.shortcut:
        h_BTD = graph.node("Concat", h_BTD, x_BTF, axis=-1)
    return h_BTD, StateNames(ends, recent)


def outputs_nodes(graph: Graph, network: RecurrentNetwork, h: str, z: str | None = None) -> str:
    """Add what `RecurrentNetwork.read_out` does, from (B, T, D) to (B, T, H, P).

    Parameters
    ----------
    graph : Graph
    network : RecurrentNetwork
    h : str
        From `encoder_nodes`.
    z : str, optional
        Scaled future covariates, or inputs of each step, (B, T, H, U).
    """
    steps = None
    if z is not None and network.n_step:
        steps = _decoder(graph, network.decoder, graph.cut(h, -1, 0, network.n_hidden), z)
    elif z is not None:
        flat = graph.node("Reshape", z, graph.whole(0, 0, network.horizon * network.n_future))
        known = graph.node("Concat", graph.cut(h, -1, 0, network.n_hidden), flat, axis=-1)
        joined = graph.node("Tanh", graph.linear(known, network.join.weight, network.join.bias))
        h = graph.node("Concat", joined, graph.cut(h, -1, network.n_hidden), axis=-1)
    o = graph.linear(h, network.head.weight, network.head.bias)
    o_HP = graph.node("Reshape", o, graph.whole(0, 0, network.horizon, network.n_outputs))
    return o_HP if steps is None else graph.node("Add", o_HP, steps)


def _convolution(graph: Graph, network: RecurrentNetwork, seen_BTF: str) -> str:
    K, F = network.kernel_size, network.n_features
    weight_KDF = numbers(network.convolution.weight).reshape(-1, F, K).transpose(2, 0, 1)
    parts = [graph.linear(graph.cut(seen_BTF, 1, k, k + 1 - K if k + 1 < K else None), weight_KDF[k]) for k in range(K)]
    return graph.node("Add", graph.node("Sum", *parts), graph.constant(numbers(network.convolution.bias)))


def _blank(graph: Graph, x_BTF: str, network: RecurrentNetwork) -> str:
    """Zeros in place of the inputs before the first row."""
    size_B = graph.cut(graph.node("Shape", x_BTF), 0, 0, 1)
    shape = graph.node("Concat", size_B, graph.whole(network.kernel_size - 1, network.n_features), axis=0)
    return graph.node("Expand", graph.constant([0.0]), shape)


def _decoder(graph: Graph, decoder: StepDecoder, h: str, u_HU: str) -> str:
    """As `StepDecoder.forward`."""
    linear = _each_step(graph, u_HU, decoder.linear)
    if not decoder.has_state:
        return linear
    state = graph.node("Unsqueeze", graph.linear(h, decoder.state.weight, decoder.state.bias), graph.whole(-2))
    step = graph.linear(u_HU, decoder.step.weight, decoder.step.bias)
    position = graph.constant(numbers(decoder.position))
    e_HE = graph.silu(graph.node("Add", graph.node("Add", state, step), position))
    mixed = graph.silu(graph.linear(e_HE, decoder.mixed.weight, decoder.mixed.bias))
    return graph.node("Add", _each_step(graph, graph.node("Add", e_HE, mixed), decoder.outputs), linear)


def _each_step(graph: Graph, x_HE: str, weights_HEP: Any) -> str:
    """The product of each step with its own matrix, (..., H, E) to (..., H, P)."""
    row = graph.node("Unsqueeze", x_HE, graph.whole(-2))
    return graph.node("Squeeze", graph.node("MatMul", row, graph.constant(numbers(weights_HEP))), graph.whole(-2))
