"""The registry of recurrent cells: one entry makes a cell available everywhere.

Forecaster and regressor classes, tuning, the setting `models`, the command line, and colours and names in figures
follow from `CELLS`. A new cell is a module class in its own file and one entry here. This file does not load torch,
because settings and commands read it as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidecast.forecasting.network.cells import CellModule


@dataclass(frozen=True)
class Cell:
    """One recurrent cell: its names, colour, module and defaults.

    Attributes
    ----------
    key : str
        In code: the attribute ``cell`` of an estimator, and the choice in a search space.
    label : str
        In text and class names: ``GRU`` gives `GRUForecaster` and `GRURegressor`.
    module : str
        Its `CellModule`, as "package.module:Class"; loaded when a network is built.
    colour : str
        In figures, as #rrggbb.
    title : str
        With its article: "A GRU".
    equation : str
        The recurrence and its source, for docstrings.
    notes : str
        One or two sentences that help to choose a cell.
    searched : bool, default=True
        Whether `tune` tries it by default.
    regressor_kernel_size : int, default=1
        Default of a regressor's `kernel_size`: rows of the convolution in front of the cell; 1 is none.
    """

    key: str
    label: str
    module: str
    colour: str
    title: str
    equation: str
    notes: str
    searched: bool = True
    regressor_kernel_size: int = 1

    @property
    def name(self) -> str:
        """In the setting `models`, on the command line and in tables: the key in capitals."""
        return self.key.upper()

    @property
    def forecaster(self) -> str:
        """Name of its forecaster class."""
        return f"{self.label}Forecaster"

    @property
    def regressor(self) -> str:
        """Name of its regressor class."""
        return f"{self.label}Regressor"

    def load(self) -> CellModule:
        """Import and return its module class."""
        module, _, name = self.module.partition(":")
        found: CellModule = getattr(import_module(module), name)
        return found


def by_key(cells: Iterable[Cell]) -> dict[str, Cell]:
    """Return cells by their keys.

    Parameters
    ----------
    cells : iterable of Cell

    Returns
    -------
    dict of str to Cell

    Raises
    ------
    ValueError
        Two cells share a key or a label.
    """
    known: dict[str, Cell] = {}
    for cell in cells:
        if cell.key in known or cell.label in [other.label for other in known.values()]:
            raise ValueError(f"Cells must differ in key and label, found {cell.key!r} ({cell.label}) twice.")
        known[cell.key] = cell
    return known


CELLS: dict[str, Cell] = by_key(
    (
        Cell(
            key="rnn",
            label="RNN",
            module="torch.nn:RNN",
            colour="#a56cc1",
            title="An Elman network",
            equation="``h ← tanh(W x + U h + b)`` (Elman 1990)",
            notes="It forgets within some ten rows.",
        ),
        Cell(
            key="lstm",
            label="LSTM",
            module="tidecast.forecasting.network.cells:LSTM",
            colour="#2a9d76",
            title="An LSTM",
            equation="``c ← f c + i g``, ``h ← o tanh(c)`` (Hochreiter and Schmidhuber 1997)",
            notes="The gates i, f, o and the candidate g see x and h; f starts open, so that the cell c remembers.",
        ),
        Cell(
            key="gru",
            label="GRU",
            module="torch.nn:GRU",
            colour="#2f86c9",
            title="A GRU",
            equation="``h ← z h + (1 − z) n`` (Cho et al. 2014, arXiv:1406.1078)",
            notes="The gate z and the candidate n see x and h. It has one gate less than an LSTM and no cell state.",
        ),
        Cell(
            key="mingru",
            label="MinGRU",
            module="tidecast.forecasting.network.cells:MinGRU",
            colour="#d9822b",
            title="A minimal GRU",
            equation="``h ← (1 − z) h + z n`` (Feng et al. 2024, arXiv:2410.01201)",
            notes="The gate z and the candidate n see x alone. On a CPU it trains more than twice as fast as a GRU. "
            "One more layer or ``kernel_size=4`` gives back what its gates do not see.",
            regressor_kernel_size=4,  # as in the paper's own networks
        ),
        Cell(
            key="slstm",
            label="SLSTM",
            module="tidecast.forecasting.network.slstm:SLSTM",
            colour="#b0492e",
            title="An sLSTM",
            equation="``c ← f c + i z``, ``n ← f n + i``, ``h ← o c / n`` with ``i = exp(ĩ)`` (Beck et al. 2024, "
            "arXiv:2405.04517)",
            notes="Its input gate is exponential, so one row can outweigh all that was stored before. It runs row by "
            "row, several times slower than an LSTM.",
        ),
    )
)

NO_MEMORY = "none"
"""Key of the cell without units: a network with it is a linear function of the row's inputs."""


def load_cell(key: str) -> CellModule:
    """Return the module class of a cell.

    Parameters
    ----------
    key : str
        Of `CELLS`, or `NO_MEMORY`, which is no forecaster's choice.

    Returns
    -------
    CellModule
    """
    if key == NO_MEMORY:
        from tidecast.forecasting.network.cells import NoMemory  # loads torch

        return NoMemory
    return CELLS[key].load()
