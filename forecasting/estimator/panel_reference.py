"""A panel as tasks carry it: a reference, which a worker opens.

A file is written once, and every process of a machine maps the same pages. Where workers cannot see the file, the
engine sends them the panel once.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import polars as pl
import pyarrow as pa
from joblib.externals.loky.backend import resource_tracker

NAME = "panel.arrow"
PREFIX = "tidecast-panel-"
"""Of a folder that holds one panel while fits use it."""


class PanelReference(ABC):
    """What a task carries instead of a panel."""

    @abstractmethod
    def read(self) -> Any:
        """Return the panel."""

    def is_seen(self) -> bool:
        """Whether this process can read the panel."""
        return True


@dataclass(frozen=True)
class PanelFile(PanelReference):
    """A panel in an Arrow file.

    Parameters
    ----------
    path : str
    """

    path: str

    def read(self) -> pl.DataFrame:
        """Return the panel; its pages are read when they are used, and shared with other processes."""
        with pa.memory_map(self.path) as file:
            return cast("pl.DataFrame", pl.from_arrow(pa.ipc.open_file(file).read_all(), rechunk=False))


class HeldPanel(PanelReference):
    """A panel in memory, or another value, which is pickled with a task, or sent to each worker once.

    Parameters
    ----------
    panel : polars or pandas DataFrame, or any value
    """

    def __init__(self, panel: Any) -> None:
        self._panel, self._name = panel, uuid.uuid4().hex

    def read(self) -> Any:
        """Return the panel."""
        return self._panel

    def __dask_tokenize__(self) -> str:
        """Return a name of its own: equal panels that are sent twice must not share one, which the first deletes."""
        return self._name

    def __sizeof__(self) -> int:
        """Bytes in memory, which Dask adds up for each worker."""
        return int(self._panel.estimated_size()) if isinstance(self._panel, pl.DataFrame) else object.__sizeof__(self)


def opened(panel: Any) -> Any:
    """Return the panel of a reference; a panel itself is returned as it is.

    Parameters
    ----------
    panel : PanelReference, or polars or pandas DataFrame
    """
    return panel.read() if isinstance(panel, PanelReference) else panel


@contextmanager
def panel_file(panel: pl.DataFrame, folder: str | None = None) -> Iterator[PanelFile | None]:
    """Write the panel into a file that is deleted at the end, also when this process is killed.

    Parameters
    ----------
    panel : polars.DataFrame
    folder : str, optional
        Where to write. None: the folder for temporary files.

    Yields
    ------
    PanelFile or None
        None if the panel cannot be stored there, because the disk is full or a column would change its type.
    """
    made = None
    try:
        made = tempfile.mkdtemp(prefix=PREFIX, dir=folder)
        resource_tracker.register(made, "folder")  # joblib's watcher, which outlives this process
        file = _written(panel, Path(made) / NAME)
    except OSError:
        file = None
    try:
        yield file
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
            resource_tracker.unregister(made, "folder")


def _written(panel: pl.DataFrame, path: Path) -> PanelFile | None:
    """The file, in one piece, so that a column is one array; None if it does not give back the same types."""
    table = panel.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    file = PanelFile(str(path))
    return file if file.read().schema == panel.schema else None
