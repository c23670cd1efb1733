"""Large arrays in a temporary file: the system reads pages when they are used, and drops them when it needs memory."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

MAPPED_FROM = 32 << 20
"""Bytes from which an array lies in a file."""

BLOCK = 1 << 20
"""Bytes that are written at a time where a system cannot reserve a file's blocks."""


def new_array(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array for a panel's rows, not filled: in memory, or from `MAPPED_FROM` bytes on in a temporary file.

    The file has no name, so that it ends with the array, also when the process is killed. It lies in the folder for
    temporary files (`TMPDIR`), which must be on a disk, not in memory. Without room there, the array is in memory.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype

    Examples
    --------
    >>> new_array((2, 3), np.float16).shape
    (2, 3)
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if not is_mapped(n_bytes):
        return np.empty(shape, dtype)
    try:
        with tempfile.TemporaryFile(prefix="tidecast-array-") as file:
            _reserve(file, n_bytes)
            pages = mmap.mmap(file.fileno(), n_bytes)
    except OSError:
        return np.empty(shape, dtype)
    return np.frombuffer(pages, dtype).reshape(shape)


def is_mapped(n_bytes: int) -> bool:
    """Whether `new_array` puts an array of that size into a file.

    Parameters
    ----------
    n_bytes : int
    """
    return n_bytes >= MAPPED_FROM


def _reserve(file: IO[bytes], n_bytes: int) -> None:
    """Make a file that long, or raise: a write to a page for which the disk has no room would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, n_bytes)
        return
    for begin in range(0, n_bytes, BLOCK):
        file.write(bytes(min(BLOCK, n_bytes - begin)))
    file.flush()
