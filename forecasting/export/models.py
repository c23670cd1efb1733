"""Whole models as ONNX files: a forecaster with its carried state, and a regressor of windows.

Axes: B sequences, T rows, F features, H horizon steps, Q quantiles, U inputs of a step.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidecast.forecasting.export.graph import DOUBLE, FLOAT, OPSET, Graph, Shape, check_onnx, numbers
from tidecast.forecasting.export.heads import double, head_nodes, outwards_nodes
from tidecast.forecasting.export.network import StateNames, encoder_nodes, outputs_nodes, scaled_nodes
from tidecast.forecasting.network.heads import Head
from tidecast.forecasting.network.recurrent import RecurrentNetwork
from tidecast.forecasting.panel.scaling import InputScaler

Array = NDArray[np.float64]

ROWS: Shape = ("batch", "time")


@dataclass(frozen=True)
class Calibration:
    """What `QuantileModel.quantiles` adds to a head.

    Attributes
    ----------
    offsets_HQ : ndarray of shape (H, Q)
    least_HG : ndarray of shape (H, Q − 1)
        Least gaps between quantiles, for the width of the base.
    relative : bool
        Whether both follow the width of the quantiles.
    """

    offsets_HQ: Array
    least_HG: Array
    relative: bool


@dataclass(frozen=True)
class ForecasterParts:
    """Everything of a fitted forecaster that its graph computes.

    Attributes
    ----------
    network : RecurrentNetwork
    scaler : InputScaler
        Of the inputs.
    head : Head
    calibration : Calibration
    step_scaler : InputScaler, optional
        Of the future covariates, or of the inputs of each step.
    n_steps : int
        Steps that have such inputs: the horizon, or 1 where all share theirs.
    prices : {"exp", "add", ""}
        How a change becomes a price: multiplied by its exponential, added, or not at all.
    facts : dict
        For the file's metadata.
    """

    network: RecurrentNetwork
    scaler: InputScaler
    head: Head
    calibration: Calibration
    step_scaler: InputScaler | None
    n_steps: int
    prices: str
    facts: dict[str, Any]


def write_forecaster(path: str | os.PathLike[str], parts: ForecasterParts) -> None:
    """Write a forecaster as an ONNX file.

    Parameters
    ----------
    path : path
    parts : ForecasterParts
    """
    check_onnx()
    graph, network = Graph("forecaster"), parts.network
    horizon = network.horizon
    x = graph.input("features", DOUBLE, (*ROWS, len(parts.scaler.mean)), "Inputs as `inputs_` names them; NaN: missing")
    z = None
    if parts.step_scaler is not None:
        width = len(parts.step_scaler.mean)
        z = graph.input("future", DOUBLE, (*ROWS, parts.n_steps, width), "Of the sessions after each row; NaN: missing")
        z = scaled_nodes(graph, z, parts.step_scaler)
    state, shapes = _state_inputs(graph, network)
    h, after = encoder_nodes(graph, network, scaled_nodes(graph, x, parts.scaler), state)
    scaled = graph.cast(outputs_nodes(graph, network, h, z), DOUBLE)
    q = _calibrated(graph, parts, scaled)
    shape: Shape = (*ROWS, horizon, len(parts.facts["quantiles"]))
    graph.output(q, "quantiles", DOUBLE, shape, "In units of volatility · √step")
    if parts.prices:
        _price_output(graph, q, horizon, parts.prices, shape)
    for name, value in zip(shapes, [*after.hidden, *([after.recent] if after.recent else [])], strict=True):
        graph.output(value, f"next_{name}", FLOAT, shapes[name])
    facts = parts.facts | {"state": shapes}
    graph.write(path, _encoded(facts), "Rows of features to quantiles; state in, state out.")


def write_regressor(
    path: str | os.PathLike[str], network: RecurrentNetwork, scaler: InputScaler, sparse: Any,
    head: Head, facts: dict[str, Any],
) -> None:  # fmt: skip
    """Write a regressor as an ONNX file.

    Parameters
    ----------
    path : path
    network : RecurrentNetwork
    scaler : InputScaler
    sparse : ndarray of bool of shape (F,)
        Features with an indicator of missing values.
    head : Head
    facts : dict
        For the file's metadata; `window` and `quantiles` are among them.
    """
    check_onnx()
    graph = Graph("regressor")
    x = graph.input("X", DOUBLE, ("batch", *facts["window"]), "Windows; NaN: missing")
    h, _ = encoder_nodes(graph, network, scaled_nodes(graph, x, scaler, sparse), StateNames([]))
    o = outputs_nodes(graph, network, graph.cut(h, 1, -1))
    q = head_nodes(graph, head, graph.cast(o, DOUBLE))
    shape: Shape = ("batch", network.horizon, len(facts["quantiles"]))
    graph.output(graph.node("Squeeze", q, graph.whole(1)), "quantiles", DOUBLE, shape, "In the unit of y")
    graph.write(path, _encoded(facts), "Windows to quantiles.")


def _state_inputs(graph: Graph, network: RecurrentNetwork) -> tuple[StateNames, dict[str, Shape]]:
    """Declare the inputs that hold the state, and return their shapes by name."""
    shapes: dict[str, Shape] = {}
    zero = network.zero_state(1)
    for k, part in enumerate(zero.hidden):
        if part.shape[-1]:
            shapes[f"hidden_{k}"] = (len(part), "batch", part.shape[-1])
    hidden = list(shapes)
    recent = "recent" if network.kernel_size > 1 else None
    if recent:
        shapes[recent] = ("batch", network.kernel_size - 1, network.n_features)
    for name, size in shapes.items():
        graph.input(name, FLOAT, size, "State after the row before; zeros before the first row of a series")
    return StateNames(hidden, recent), shapes


def _calibrated(graph: Graph, parts: ForecasterParts, o_HP: str) -> str:
    """As `QuantileModel.quantiles`."""
    q, calibration = head_nodes(graph, parts.head, o_HP), parts.calibration
    base = numbers(parts.head.base_HQ).astype(np.float64)
    offsets, median = double(graph, calibration.offsets_HQ), parts.facts["quantiles"].index(0.5)
    if not calibration.relative:
        return outwards_nodes(graph, graph.node("Add", q, offsets), base.shape[1], median)
    width = _widths(graph, q, base)
    q = graph.node("Add", q, graph.node("Mul", offsets, width))
    edges = np.concatenate([np.zeros((len(base), 1)), calibration.least_HG.cumsum(-1)], axis=-1)
    distance = graph.node("Mul", double(graph, np.abs(edges - edges[:, median : median + 1])), width)
    return outwards_nodes(graph, q, base.shape[1], median, distance)


def _widths(graph: Graph, q_HQ: str, base_HQ: Array) -> str:
    """Width of quantiles relative to the base, shape (..., H, 1); 1 without a width."""
    of_base = (base_HQ[:, -1] - base_HQ[:, 0])[:, None]
    width = graph.node("Sub", graph.cut(q_HQ, -1, -1), graph.cut(q_HQ, -1, 0, 1))
    share = graph.node("Div", width, double(graph, np.where(of_base > 0, of_base, 1.0)))
    wide = graph.node("And", graph.node("Greater", width, double(graph, 0.0)), graph.constant(of_base > 0, np.bool_))
    return graph.node("Where", wide, share, double(graph, 1.0))


def _price_output(graph: Graph, q_HQ: str, horizon: int, kind: str, shape: Shape) -> None:
    """Add the quantiles in prices, from the price and its volatility at each row."""
    price, volatility = (
        graph.node("Unsqueeze", graph.input(name, DOUBLE, ROWS, doc), graph.whole(2, 3))
        for name, doc in (("price", "Target at each row"), ("volatility", "EWMA volatility at each row"))
    )
    root = double(graph, np.sqrt(np.arange(1, horizon + 1))[:, None])
    change = graph.node("Mul", graph.node("Mul", volatility, root), q_HQ)
    values = graph.node("Mul", price, graph.node("Exp", change)) if kind == "exp" else graph.node("Add", price, change)
    graph.output(values, "prices", DOUBLE, shape, "In the unit of the target")


def _encoded(facts: dict[str, Any]) -> dict[str, str]:
    """Metadata: each value as JSON."""
    return {name: json.dumps(value) for name, value in (facts | {"opset": OPSET}).items()}
