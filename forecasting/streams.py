"""Features row by row: what a forecaster keeps of a panel so that `update` need not go back to its start."""

from __future__ import annotations

import copy
import io
from typing import Any, Protocol, cast

import numpy as np
import polars as pl
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor

from features.panel import to_polars
from forecasting.persistence import under


class Stream(Protocol):
    """Features of the next row of each series, from what has been pushed before."""

    def push(self, rows: pl.DataFrame) -> np.ndarray:
        """Added columns of these rows, one a series and sorted by it: shape (n_rows, n_added), NaN for none."""

    def state(self) -> dict[str, Any]:
        """Arrays and frames that the stream goes on from."""


def open_stream(features: Any, added: list[str], panel: pl.DataFrame) -> Stream | None:
    """The stream that goes on where `panel`, sorted, ends; None where the features do not say what they look back at.

    Parameters
    ----------
    features : transformer
        Fitted. With a `stream` of its own; else with `min_history`, or a Pipeline of such.
    added : list of str
        The columns wanted of it.
    """
    if hasattr(features, "stream"):
        return cast("Stream", features.stream(panel))
    history = _history(features)
    return None if history is None else TailStream(features, added, _tails(panel, history))


def resume_stream(features: Any, added: list[str], tensors: dict[str, Tensor]) -> Stream:
    """The stream whose `stream_tensors` these are."""
    arrays = {name: values.numpy() for name, values in under("array", tensors).items()}
    frames = {name: pl.read_ipc(values.numpy().tobytes()) for name, values in under("frame", tensors).items()}
    state = arrays | frames
    if hasattr(features, "resume"):
        return cast("Stream", features.resume(state))
    return TailStream(features, added, state["tails"])


def stream_tensors(stream: Stream) -> dict[str, Tensor]:
    """A stream's state as tensors, to be saved; a frame is the bytes of an Arrow file."""
    state = stream.state()
    return {
        f"frame.{name}" if isinstance(value, pl.DataFrame) else f"array.{name}": torch.from_numpy(
            _bytes_of(value) if isinstance(value, pl.DataFrame) else np.array(value)
        )
        for name, value in state.items()
    }


class TailStream:
    """The stream of any transformer that looks back a bounded number of rows: transform the newest of each series.

    Parameters
    ----------
    features, added
        As for `open_stream`.
    tails : DataFrame
        The newest rows of each series, sorted, as many as the transformer looks back at.
    """

    def __init__(self, features: Any, added: list[str], tails: pl.DataFrame) -> None:
        self.features, self.added, self.tails = features, added, tails

    def push(self, rows: pl.DataFrame) -> np.ndarray:
        """As `Stream`."""
        history = cast("int", _history(self.features))
        pushed = pl.col("series_id").is_in(rows["series_id"].implode())
        longer = pl.concat([self.tails.filter(pushed), rows], how="diagonal_relaxed").sort("series_id", "time")
        table = to_polars(self.features.transform(longer)).group_by("series_id", maintain_order=True).last()
        self.tails = pl.concat([self.tails.filter(~pushed), _tails(longer, history)], how="diagonal_relaxed")
        return table.select(pl.col(self.added).cast(pl.Float64).fill_null(float("nan"))).to_numpy()

    def state(self) -> dict[str, Any]:
        """As `Stream`."""
        return {"tails": self.tails.sort("series_id", "time")}

    def __deepcopy__(self, memo: dict[int, Any]) -> TailStream:
        return copy.copy(self)  # frames are never changed in place


def _history(features: Any) -> int | None:
    """Rows that the features of the last one depend on, itself among them; None where they do not say."""
    if isinstance(features, Pipeline):
        steps = [_history(step) for _, step in features.steps if step not in (None, "passthrough")]
        return None if None in steps else 1 + sum(history - 1 for history in cast("list[int]", steps))
    return getattr(features, "min_history", None)


def _bytes_of(frame: pl.DataFrame) -> np.ndarray:
    buffer = io.BytesIO()
    frame.rechunk().write_ipc(buffer)
    return np.frombuffer(buffer.getvalue(), dtype=np.uint8).copy()


def _tails(panel: pl.DataFrame, rows: int) -> pl.DataFrame:
    return panel.group_by("series_id", maintain_order=True).tail(rows)
