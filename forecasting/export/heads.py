"""The heads as ONNX nodes, in double precision; a new head is one more entry of `HEAD_NODES`.

Axes: H horizon steps, Q quantiles, P outputs of a step, K nodes of a table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tidecast.forecasting.export.graph import INTEGER, Graph, numbers
from tidecast.forecasting.network.heads import Head
from tidecast.forecasting.network.quantile_head import QuantileHead
from tidecast.forecasting.network.scale_head import WIDEST, ScaleHead
from tidecast.forecasting.network.student_t import NARROWEST, NODES, StudentTHead


def head_nodes(graph: Graph, head: Head, o_HP: str) -> str:
    """Add the nodes from outputs (..., H, P) to quantiles (..., H, Q), both float64.

    Parameters
    ----------
    graph : Graph
    head : Head
    o_HP : str
        Outputs of the network.

    Raises
    ------
    TypeError
        The head has no entry in `HEAD_NODES`.
    """
    nodes = HEAD_NODES.get(type(head))
    if nodes is None:
        raise TypeError(
            f"A head must have an entry in HEAD_NODES to be exported, {type(head).__name__} has none. Add one in "
            "forecasting/export/heads.py."
        )
    return nodes(graph, head, o_HP)


def double(graph: Graph, values: Any) -> str:
    """Store an array in double precision.

    Parameters
    ----------
    graph : Graph
    values : Tensor or array
    """
    return graph.constant(numbers(values), np.float64)


def outwards_nodes(graph: Graph, q_HQ: str, n_levels: int, median: int, distance_HQ: str | None = None) -> str:
    """Add what keeps each quantile at least as far from the median as its inner neighbour plus a least gap.

    Parameters
    ----------
    graph : Graph
    q_HQ : str
        Of shape (..., H, Q).
    n_levels, median : int
        Q, and the index of the median.
    distance_HQ : str, optional
        Least distance of each quantile from the median; None for ties.
    """
    inner, outer = graph.cut(q_HQ, -1, 0, median + 1), graph.cut(q_HQ, -1, median)
    if distance_HQ is None:
        below, above = _least(graph, inner, median + 1), _most(graph, outer, n_levels - median)
    else:
        near, far = graph.cut(distance_HQ, -1, 0, median + 1), graph.cut(distance_HQ, -1, median)
        below = graph.node("Sub", _least(graph, graph.node("Add", inner, near), median + 1), near)
        above = graph.node("Add", _most(graph, graph.node("Sub", outer, far), n_levels - median), far)
    return graph.joined([graph.cut(below, -1, 0, -1), above], -1) if median else above


def _most(graph: Graph, x: str, size: int) -> str:
    """Cumulative maximum from the first place on: the maximum over a table whose other places are −∞."""
    excluded = np.triu(np.full((size, size), -np.inf), 1)
    table = graph.node("Add", graph.node("Unsqueeze", x, graph.whole(-2)), double(graph, excluded))
    return graph.node("ReduceMax", table, axes=[-1], keepdims=0)


def _least(graph: Graph, x: str, size: int) -> str:
    """Cumulative minimum from the last place back."""
    excluded = np.tril(np.full((size, size), np.inf), -1)
    table = graph.node("Add", graph.node("Unsqueeze", x, graph.whole(-2)), double(graph, excluded))
    return graph.node("ReduceMin", table, axes=[-1], keepdims=0)


def _scale(graph: Graph, head: ScaleHead, o_HP: str) -> str:
    base = numbers(head.base_HQ).astype(np.float64)
    centre_H1 = base[:, head.median : head.median + 1]
    limits = double(graph, -WIDEST), double(graph, WIDEST)
    width_H1 = graph.node("Exp", graph.node("Clip", _output(graph, o_HP, head.scale_output), *limits))
    scale_H1 = double(graph, numbers(head.scale_H).astype(np.float64)[:, None])
    move_H1 = graph.node("Mul", _output(graph, o_HP, head.median_output), scale_H1)
    q_HQ = graph.node("Mul", double(graph, base - centre_H1), width_H1)
    return graph.node("Add", q_HQ, graph.node("Add", move_H1, double(graph, centre_H1)))


def _quantile(graph: Graph, head: QuantileHead, o_HQ: str) -> str:
    m, base = head.median_output, numbers(head.base_HQ).astype(np.float64)
    factors, gaps = _widening(graph, o_HQ), np.diff(base, axis=-1)
    scale_H1 = double(graph, numbers(head.scale_H).astype(np.float64)[:, None])
    moved = graph.node("Mul", _output(graph, o_HQ, m), scale_H1)
    median_H1 = graph.node("Add", moved, double(graph, base[:, m : m + 1]))
    parts = [median_H1]
    if m:
        gaps_below = graph.node("Mul", graph.cut(factors, -1, 0, m), double(graph, gaps[:, :m]))
        parts.insert(0, graph.node("Sub", median_H1, _sums(graph, gaps_below, reverse=1)))
    if m < base.shape[1] - 1:
        gaps_above = graph.node("Mul", graph.cut(factors, -1, m + 1), double(graph, gaps[:, m:]))
        parts.append(graph.node("Add", median_H1, _sums(graph, gaps_above, reverse=0)))
    return graph.joined(parts, -1)


def _student_t(graph: Graph, head: StudentTHead, o_HP: str) -> str:
    base, m = numbers(head.base_HQ).astype(np.float64), head.median
    gaps_HQ, tails_H = base - base[:, m : m + 1], numbers(head.tails_H).astype(np.float64)[:, None]
    scale_H1 = double(graph, numbers(head.scale_H).astype(np.float64)[:, None])
    shift_H1 = graph.node("Mul", _output(graph, o_HP, 0), scale_H1)
    width_H1 = graph.node("Max", _widening(graph, _output(graph, o_HP, 1)), double(graph, NARROWEST))
    tail_H1 = _tail(graph, _output(graph, o_HP, 2), tails_H)
    untrained_HQ = numbers(head._inverse(head._shape(head.base_HQ.new_zeros(len(base), 3))[2])).astype(np.float64)
    bent_HQ = graph.node("Sub", _inverse(graph, head, tail_H1), double(graph, untrained_HQ))
    bent_HQ = graph.node("Mul", double(graph, numbers(head.sigma_H).astype(np.float64)[:, None]), bent_HQ)
    bent_HQ = graph.node("Add", double(graph, gaps_HQ), bent_HQ)
    wider_HQ = graph.node("Sub", graph.node("Mul", width_H1, bent_HQ), double(graph, gaps_HQ))
    q_HQ = graph.node("Add", graph.node("Add", double(graph, base), shift_H1), wider_HQ)
    return outwards_nodes(graph, q_HQ, base.shape[1], m)


def _tail(graph: Graph, o_H1: str, tails_H1: Any) -> str:
    """Tails as a share of the way to the heaviest, shape (..., H, 1)."""
    heavier = graph.node("Sigmoid", o_H1)
    up = graph.node("Mul", heavier, double(graph, tails_H1))
    lighter = graph.node("Sub", double(graph, 1.0), heavier)
    down = graph.node("Mul", lighter, double(graph, 1 - tails_H1))
    return graph.node("Div", up, graph.node("Add", up, down))


def _inverse(graph: Graph, head: StudentTHead, tail_H1: str) -> str:
    """F⁻¹ of the base quantiles' probabilities, between two nodes of the table, shape (..., H, Q)."""
    table_HKQ = numbers(head.table_KHQ).astype(np.float64).transpose(1, 0, 2)
    flat = double(graph, table_HKQ.reshape(-1, table_HKQ.shape[-1]))
    position = graph.node("Mul", tail_H1, double(graph, float(NODES - 1)))
    lower = graph.node("Min", graph.node("Floor", position), double(graph, float(NODES - 2)))
    share = graph.node("Sub", position, lower)
    first_H = graph.constant(NODES * np.arange(len(table_HKQ)), np.int64)
    at_H = graph.node("Add", graph.cast(graph.node("Squeeze", lower, graph.whole(-1)), INTEGER), first_H)
    low = graph.node("Gather", flat, at_H, axis=0)
    high = graph.node("Gather", flat, graph.node("Add", at_H, graph.whole(1)), axis=0)
    return graph.node("Add", low, graph.node("Mul", share, graph.node("Sub", high, low)))


def _output(graph: Graph, o_HP: str, index: int) -> str:
    """One output of each step, shape (..., H, 1)."""
    return graph.node("Gather", o_HP, graph.whole(index), axis=-1)


def _widening(graph: Graph, o: str) -> str:
    """softplus(o) ÷ softplus(0), the former as max(o, 0) + log(1 + exp(−|o|)): runtimes lack it in double precision."""
    tail = graph.node("Exp", graph.node("Neg", graph.node("Abs", o)))
    rest = graph.node("Log", graph.node("Add", tail, double(graph, 1.0)))
    softplus = graph.node("Add", graph.node("Max", o, double(graph, 0.0)), rest)
    return graph.node("Div", softplus, double(graph, np.log(2.0)))


def _sums(graph: Graph, x: str, reverse: int) -> str:
    return graph.node("CumSum", x, graph.whole_scalar(-1), reverse=reverse)


HEAD_NODES: dict[type, Callable[[Graph, Any, str], str]] = {
    ScaleHead: _scale,
    QuantileHead: _quantile,
    StudentTHead: _student_t,
}
"""By the class of a head."""
