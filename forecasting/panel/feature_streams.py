"""Features row by row: the state that lets `update` continue without the history."""

from __future__ import annotations

import io
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from torch import Tensor

from tidecast.features.transformers.streaming import Stream, TailStream, history_of
from tidecast.forecasting.saving.recipes import under


def open_stream(features: Any, added: list[str], panel: pl.DataFrame) -> Stream | None:
    """Open the stream that continues after `panel`, sorted; None if the features do not state their history.

    Parameters
    ----------
    features : transformer
        Fitted; with a `stream` method, with `min_history`, or a Pipeline of such.
    added : list of str
        The columns that it adds.
    panel : DataFrame
    """
    if hasattr(features, "stream"):
        return cast("Stream", features.stream(panel))
    return None if history_of(features) is None else TailStream(features, added, panel)


def resume_stream(features: Any, added: list[str], tensors: dict[str, Tensor]) -> Stream:
    """Return the stream from its `stream_tensors`.

    Parameters
    ----------
    features : transformer
        The transformer, or Pipeline, whose stream it is.
    added : list of str
        Names of its columns.
    tensors : dict
        By name.
    """
    arrays = {name: values.numpy() for name, values in under("array", tensors).items()}
    frames = {name: _frame_of(values.numpy().tobytes()) for name, values in under("frame", tensors).items()}
    state = arrays | frames
    if hasattr(features, "resume"):
        return cast("Stream", features.resume(state))
    return TailStream(features, added, state["tail"])


def stream_tensors(stream: Stream) -> dict[str, Tensor]:
    """Return a stream's state as tensors, to be saved; a frame becomes the bytes of an Arrow file.

    Parameters
    ----------
    stream : Stream
    """
    state = stream.state()
    return {
        f"frame.{name}" if isinstance(value, pl.DataFrame) else f"array.{name}": torch.from_numpy(
            _bytes_of(value) if isinstance(value, pl.DataFrame) else np.array(value)
        )
        for name, value in state.items()
    }


def _frame_of(content: bytes) -> pl.DataFrame:
    """Read the frame from the bytes of an Arrow file.

    pyarrow checks them first: polars trusts lengths and offsets in a file, and wrong ones may crash the process.
    """
    with pa.ipc.open_file(pa.BufferReader(content)) as file:
        file.read_all().validate(full=True)
    return pl.read_ipc(content)


def _bytes_of(frame: pl.DataFrame) -> np.ndarray:
    buffer = io.BytesIO()
    frame.rechunk().write_ipc(buffer)
    return np.frombuffer(buffer.getvalue(), dtype=np.uint8).copy()
