"""The cells as ONNX nodes; a new cell is one more entry of `CELL_NODES`.

Axes: T rows, B sequences, F features, D hidden units, L layers (times directions), R directions, G gates × D.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import nn

from tidecast.forecasting.export.graph import FLOAT, Graph, numbers
from tidecast.forecasting.network.cells import MinGRU, NoMemory, StackedCell
from tidecast.forecasting.network.slstm import SLSTM

Ends = tuple[str, list[str]]
"""The last layer's states at every row, (T, B, D or 2 D), and the parts of the state after it, each (L, B, D)."""

LayerNodes = Callable[[Graph, Any, int, str, list[str], bool], tuple[str, list[str]]]
"""Nodes of one layer and direction of a `StackedCell`: its states, and the parts of its state after the last row."""


def cell_nodes(graph: Graph, cell: nn.Module, x_TBF: str, state: Sequence[str]) -> Ends:
    """Add the nodes of a cell.

    Parameters
    ----------
    graph : Graph
    cell : Module
        As `tidecast.forecasting.network.cell_registry` builds it.
    x_TBF : str
        Its input.
    state : sequence of str
        Parts of the state before the first row, each of shape (L, B, D); empty for zero.

    Raises
    ------
    TypeError
        The cell has no entry in `CELL_NODES`.
    """
    for kind, nodes in CELL_NODES.items():
        if isinstance(cell, kind):
            return nodes(graph, cell, x_TBF, list(state))
    raise TypeError(
        f"A cell must have an entry in CELL_NODES to be exported, {type(cell).__name__} has none. Add one in "
        "forecasting/export/cells.py."
    )


# ------------------------------------------------------ cells that ONNX has
NATIVE = {"RNN_TANH": ("RNN", (0,)), "GRU": ("GRU", (1, 0, 2)), "LSTM": ("LSTM", (0, 3, 1, 2))}
"""By torch's mode: ONNX's operator, and where its gates stand among torch's."""


def _native(graph: Graph, cell: nn.Module, x_TBF: str, state: list[str]) -> Ends:
    operator, order = NATIVE[str(cell.mode)]
    directions = 2 if cell.bidirectional else 1
    ends: list[list[str]] = [[] for _ in range(2 if operator == "LSTM" else 1)]
    for layer in range(int(cell.num_layers)):  # type: ignore[arg-type]
        begins = [graph.cut(part, 0, layer * directions, (layer + 1) * directions) for part in state]
        weights = _native_weights(graph, cell, layer, directions, order)
        extra = {"linear_before_reset": 1} if operator == "GRU" else {}
        h_TRBD, *after = graph.nodes(
            operator, [x_TBF, *weights, *(["", *begins] if begins else [])], 1 + len(ends),
            hidden_size=cell.hidden_size, direction="bidirectional" if directions == 2 else "forward", **extra,
        )  # fmt: skip
        for part, end in zip(ends, after, strict=True):
            part.append(end)
        h_TBRD = graph.node("Transpose", h_TRBD, perm=[0, 2, 1, 3])
        x_TBF = graph.node("Reshape", h_TBRD, graph.whole(0, 0, directions * int(cell.hidden_size)))  # type: ignore[arg-type]
    return x_TBF, [graph.joined(part, 0) for part in ends]


def _native_weights(graph: Graph, cell: nn.Module, layer: int, directions: int, order: Sequence[int]) -> list[str]:
    """Weights of the inputs (R, G, F) and of the state (R, G, D), and both biases (R, 2 G), in ONNX's order."""
    found: list[list[Any]] = [[], [], []]
    for suffix in ("", "_reverse")[:directions]:
        parts = {
            name: _reordered(numbers(getattr(cell, f"{name}_l{layer}{suffix}")), order)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        found[0].append(parts["weight_ih"])
        found[1].append(parts["weight_hh"])
        found[2].append(np.concatenate([parts["bias_ih"], parts["bias_hh"]]))
    return [graph.constant(np.stack(each)) for each in found]


def _reordered(weights: Any, order: Sequence[int]) -> Any:
    gates = np.split(weights, len(order))
    return np.concatenate([gates[k] for k in order])


# ----------------------------------------- cells of ours: a loop over the rows
def _stacked(one_layer: LayerNodes) -> Callable[[Graph, Any, str, list[str]], Ends]:
    """Return the nodes of a `StackedCell` whose layers these are."""

    def nodes(graph: Graph, cell: StackedCell, x_TBF: str, state: list[str]) -> Ends:
        parts = state or [_zeros(graph, x_TBF, len(cell.sizes), cell.hidden_size)] * cell.n_parts
        ends: list[list[str]] = [[] for _ in parts]
        for first in range(0, len(cell.sizes), cell.directions):
            outputs = []
            for layer in range(first, first + cell.directions):
                begins = [graph.node("Gather", part, graph.whole_scalar(layer), axis=0) for part in parts]
                h_TBD, after = one_layer(graph, cell, layer, x_TBF, begins, layer > first)
                outputs.append(h_TBD)
                for part, end in zip(ends, after, strict=True):
                    part.append(graph.node("Unsqueeze", end, graph.whole(0)))
            x_TBF = graph.joined(outputs, -1)
        return x_TBF, [graph.joined(part, 0) for part in ends]

    return nodes


def _zeros(graph: Graph, x_TBF: str, n_layers: int, width: int) -> str:
    """A state of zeros, shape (L, B, D)."""
    size_B = graph.node("Slice", graph.node("Shape", x_TBF), graph.whole(1), graph.whole(2))
    shape = graph.node("Concat", graph.whole(n_layers), size_B, graph.whole(width), axis=0)
    return graph.node("Expand", graph.constant([0.0]), shape)


def _loop(
    graph: Graph, body: Graph, begins: list[str], rows: list[str], backwards: bool, ends: list[str], out: str
) -> tuple[str, list[str]]:
    """Add a loop over rows whose body is complete but for its outputs."""
    for k, end in enumerate(ends):
        body.output(end, f"{body.title}_next_{k}", FLOAT, ("batch", "units"))
    body.output(out, f"{body.title}_row", FLOAT, ("batch", "units"))
    *after, states = graph.nodes(
        "Scan", [*begins, *rows], len(begins) + 1, body=body.built(), num_scan_inputs=len(rows),
        scan_input_directions=[int(backwards)] * len(rows), scan_output_directions=[int(backwards)],
    )  # fmt: skip
    return states, after


def _opened(graph: Graph, name: str, n_parts: int, n_rows: int) -> tuple[Graph, list[str], list[str]]:
    """Return the body of a loop, with its inputs: the parts of the state, and the rows."""
    body = graph.part(name)
    parts = [body.input(f"{name}_state_{k}", FLOAT, ("batch", "units")) for k in range(n_parts)]
    return body, parts, [body.input(f"{name}_in_{k}", FLOAT, ("batch", "gates")) for k in range(n_rows)]


def _mingru(
    graph: Graph, cell: MinGRU, layer: int, x_TBF: str, begins: list[str], backwards: bool
) -> tuple[str, list[str]]:
    gate, candidate = cell.gates[layer], cell.candidates[layer]
    z_TBD = graph.node("Sigmoid", graph.linear(x_TBF, gate.weight, gate.bias))
    n_TBD = graph.linear(x_TBF, candidate.weight, candidate.bias)
    body, (h,), (z, n) = _opened(graph, f"mingru_{layer}", 1, 2)
    h = body.node("Add", h, body.node("Mul", z, body.node("Sub", n, h)))
    return _loop(graph, body, begins, [z_TBD, n_TBD], backwards, [h], h)


def _slstm(
    graph: Graph, cell: SLSTM, layer: int, x_TBF: str, begins: list[str], backwards: bool
) -> tuple[str, list[str]]:
    inputs = cell.inputs[layer]
    wx_TBG = graph.linear(x_TBF, inputs.weight, inputs.bias)
    body, (h, c, n, m), (wx,) = _opened(graph, f"slstm_{layer}", 4, 1)
    gates = body.node("Add", wx, body.linear(h, cell.recurrent[layer].weight))
    z, i, f, o = body.nodes("Split", [gates], 4, axis=-1)
    log_f = body.node("Sub", m, body.node("Softplus", body.node("Neg", f)))
    first = body.node("Equal", n, body.constant(0.0))
    log_f = body.node("Where", first, body.constant(-np.inf), log_f)
    m = body.node("Max", log_f, i)
    i, f = (body.node("Exp", body.node("Sub", gate, m)) for gate in (i, log_f))
    c = body.node("Add", body.node("Mul", f, c), body.node("Mul", i, body.node("Tanh", z)))
    n = body.node("Add", body.node("Mul", f, n), i)
    h = body.node("Div", body.node("Mul", body.node("Sigmoid", o), c), n)
    return _loop(graph, body, begins, [wx_TBG], backwards, [h, c, n, m], h)


def _nothing(graph: Graph, cell: NoMemory, x_TBF: str, state: list[str]) -> Ends:
    return graph.cut(x_TBF, -1, 0, 0), []


CELL_NODES: dict[type[nn.Module], Callable[[Graph, Any, str, list[str]], Ends]] = {
    nn.RNN: _native,
    nn.GRU: _native,
    nn.LSTM: _native,
    MinGRU: _stacked(_mingru),
    SLSTM: _stacked(_slstm),
    NoMemory: _nothing,
}
"""By the class of a cell."""
