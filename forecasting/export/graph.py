"""A small builder of ONNX graphs, and the file they are written to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

OPSET = 17
"""Version of ONNX's operators that exported graphs use; onnxruntime runs it from version 1.12 on."""

IR_VERSION = 8
"""Version of ONNX's file format that belongs to it."""

FLOAT, DOUBLE, INTEGER, BOOLEAN = 1, 11, 7, 9
"""ONNX's numbers of the types float32, float64, int64 and bool."""

Shape = tuple[int | str, ...]


@dataclass
class Graph:
    """An ONNX graph under construction; each method that adds a node returns the name of its output.

    Parameters
    ----------
    title : str
        Its name.
    """

    title: str
    _nodes: list[Any] = field(default_factory=list, init=False)
    _constants: dict[str, Any] = field(default_factory=dict, init=False)
    _inputs: list[Any] = field(default_factory=list, init=False)
    _outputs: list[Any] = field(default_factory=list, init=False)
    _count: int = field(default=0, init=False)
    _outer: Graph | None = field(default=None, init=False)

    def part(self, title: str) -> Graph:
        """Return the body of a loop: a graph of its own that shares constants and names with this one.

        Parameters
        ----------
        title : str
        """
        inner = Graph(title)
        inner._outer = self._root
        return inner

    @property
    def _root(self) -> Graph:
        return self if self._outer is None else self._outer

    def _name(self, kind: str) -> str:
        root = self._root
        root._count += 1
        return f"{kind}_{root._count}"

    def input(self, name: str, kind: int, shape: Shape, doc: str = "") -> str:
        """Declare an input.

        Parameters
        ----------
        name : str
        kind : int
            `FLOAT`, `DOUBLE`, …
        shape : tuple of int or str
            A text is an axis of any length.
        doc : str, optional
            What it holds.
        """
        self._inputs.append(_onnx().helper.make_tensor_value_info(name, kind, shape, doc))
        return name

    def output(self, value: str, name: str, kind: int, shape: Shape, doc: str = "") -> None:
        """Declare an output.

        Parameters
        ----------
        value : str
            Name of the value.
        name : str
            Name of the output.
        kind, shape, doc
            As of `input`.
        """
        self._nodes.append(_onnx().helper.make_node("Identity", [value], [name]))
        self._outputs.append(_onnx().helper.make_tensor_value_info(name, kind, shape, doc))

    def constant(self, values: Any, kind: type = np.float32) -> str:
        """Store an array.

        Parameters
        ----------
        values : array-like
        kind : type, default=numpy.float32
        """
        root, name = self._root, self._name("constant")
        array = np.ascontiguousarray(np.asarray(values, dtype=kind)).reshape(np.shape(values))
        root._constants[name] = _onnx().numpy_helper.from_array(array, name)
        return name

    def whole(self, *values: int) -> str:
        """Store whole numbers, such as axes.

        Parameters
        ----------
        *values : int
        """
        return self.constant(values, np.int64)

    def whole_scalar(self, value: int) -> str:
        """Store one whole number, without an axis.

        Parameters
        ----------
        value : int
        """
        return self.constant(value, np.int64)

    def nodes(self, operator: str, inputs: Sequence[str], n_outputs: int, **attributes: Any) -> list[str]:
        """Add a node with several outputs.

        Parameters
        ----------
        operator : str
            Of ONNX.
        inputs : sequence of str
            An empty name leaves out an optional input.
        n_outputs : int
        **attributes : object
        """
        names = [self._name(operator.lower()) for _ in range(n_outputs)]
        self._nodes.append(_onnx().helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output.

        Parameters
        ----------
        operator : str
            Of ONNX.
        *inputs : str
        **attributes : object
        """
        return self.nodes(operator, inputs, 1, **attributes)[0]

    def linear(self, x: str, weight_OI: Any, bias_O: Any = None) -> str:
        """Add ``x Wᵀ + b``, as `torch.nn.Linear` computes it.

        Parameters
        ----------
        x : str
            Of shape (..., I).
        weight_OI : Tensor of shape (O, I)
        bias_O : Tensor of shape (O,), optional
        """
        product = self.node("MatMul", x, self.constant(numbers(weight_OI).T))
        return product if bias_O is None else self.node("Add", product, self.constant(numbers(bias_O)))

    def cut(self, x: str, axis: int, begin: int, end: int | None = None) -> str:
        """Add a slice along one axis.

        Parameters
        ----------
        x : str
        axis, begin : int
        end : int, optional
            None: up to the end.
        """
        last = np.iinfo(np.int64).max if end is None else end
        return self.node("Slice", x, self.whole(begin), self.whole(last), self.whole(axis))

    def joined(self, parts: Sequence[str], axis: int) -> str:
        """Add a concatenation; one part stays as it is.

        Parameters
        ----------
        parts : sequence of str
        axis : int
        """
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=axis)

    def cast(self, x: str, kind: int) -> str:
        """Add a conversion to another type.

        Parameters
        ----------
        x : str
        kind : int
        """
        return self.node("Cast", x, to=kind)

    def silu(self, x: str) -> str:
        """Add ``x σ(x)``.

        Parameters
        ----------
        x : str
        """
        return self.node("Mul", x, self.node("Sigmoid", x))

    def built(self) -> Any:
        """Return the graph as ONNX holds it."""
        helper = _onnx().helper
        constants = list(self._constants.values())
        return helper.make_graph(self._nodes, self.title, self._inputs, self._outputs, constants)

    def write(self, path: str | os.PathLike[str], facts: dict[str, str], doc: str) -> Self:
        """Check the graph and write it to a file.

        Parameters
        ----------
        path : path
            Missing folders are made.
        facts : dict of str to str
            Become the file's metadata.
        doc : str
            What the model does.
        """
        onnx = _onnx()
        opset = [onnx.helper.make_opsetid("", OPSET)]
        model = onnx.helper.make_model(
            self.built(), producer_name="tidecast", opset_imports=opset, ir_version=IR_VERSION, doc_string=doc
        )
        onnx.helper.set_model_props(model, facts)
        onnx.checker.check_model(model, full_check=True)
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(model.SerializeToString())
        return self


def numbers(values: Any) -> Any:
    """Return a tensor's values as an array.

    Parameters
    ----------
    values : Tensor or array
    """
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def check_onnx() -> None:
    """Refuse to export without the package onnx.

    Raises
    ------
    ModuleNotFoundError
        It is not installed.
    """
    try:
        _onnx()
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"To write ONNX files, the package onnx must be installed, {error.name!r} was not found. Write "
            "pip install 'tidecast[onnx]'.",
            name=error.name,
        ) from None


def _onnx() -> Any:
    import onnx  # an optional package
    import onnx.checker
    import onnx.helper
    import onnx.numpy_helper

    return onnx
