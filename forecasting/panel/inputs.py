"""Inputs of a network: columns of its features and covariates, as standardised numbers.

Axes: N rows, M pushed rows, F inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from torch import Tensor

from tidecast.features.error_text import shorten
from tidecast.features.frames import to_polars
from tidecast.features.panel import PanelSchema
from tidecast.features.segments import BLOCK, blocks_of, series_starts
from tidecast.features.transformers.streaming import Stream, per_series
from tidecast.forecasting.estimator.mapped_arrays import new_array
from tidecast.forecasting.panel.feature_streams import open_stream, resume_stream
from tidecast.forecasting.panel.flat_panel import FlatPanel
from tidecast.forecasting.panel.scaling import InputScaler, Moments

PIECE = 1 << 14  # rows whose features a fit computes at a time, in float64 and with all intermediate columns
ROOM = 16 << 20  # bytes of features that a fit caches, because scaling takes two passes over them


@dataclass(frozen=True)
class NetworkInputs:
    """Turns rows of a panel into numbers, with scales estimated on training rows.

    Attributes
    ----------
    features : transformer
        Fitted; adds columns to a panel.
    covariates : tuple of str
        The schema's past covariates that are numbers.
    static : StaticInputs
        The static covariates, and the past ones with categories.
    names : list of str
        The columns used, in order: those that the features add, then the covariates.
    scaler : InputScaler
    """

    features: Any
    covariates: tuple[str, ...]
    static: StaticInputs
    names: list[str]
    scaler: InputScaler

    @classmethod
    def fit_transform(
        cls, features: Any, schema: PanelSchema, rows: FlatPanel, train: NDArray[np.bool_]
    ) -> tuple[NetworkInputs, Tensor]:
        """Fit on the training rows of a panel, and return the inputs of all rows, see `halves`.

        Scales are those of the training rows to learn from (of all training rows, where there are none): the ratios of
        a pegged series are extreme, and would shrink the inputs of those that move. A covariate gets an indicator if
        it is missing in such a row.

        Parameters
        ----------
        features : transformer
        schema : PanelSchema
        rows : FlatPanel
        train : ndarray of shape (N,), bool
            Rows to fit on.

        Returns
        -------
        inputs : NetworkInputs
        inputs_NF : Tensor of shape (N, F), float16

        Raises
        ------
        ValueError
            The features return other rows, text, or no column.
        """
        features = features.fit(rows.frame)
        categorical = [name for name in schema.covariates if rows.frame.schema[name] == pl.String]
        static = StaticInputs.fit(rows.frame, [*categorical, *schema.static])
        past = tuple(name for name in schema.covariates if name not in categorical)
        covariates = [*past, *static.names]
        names: list[str] = []
        moments: Moments | None = None
        flagged: NDArray[np.bool_] = np.zeros(1, dtype=bool)
        learned = train & rows.moving.numpy()
        scaled = learned if learned.any() else train
        known: dict[int, NDArray[np.float64]] = {}
        for piece in _pieces(features, rows.frame):
            table = static.added_to(_transformed(features, rows.frame[piece]))
            names = names or _input_names(features, table, rows.frame.columns, covariates)
            inputs_NF = _numbers(table, names)
            if sum(numbers.nbytes for numbers in known.values()) + inputs_NF.nbytes <= ROOM:
                known[piece.start] = inputs_NF.copy()  # polars would not free its memory
            here = Moments.of(inputs_NF[scaled[piece]])
            moments = here if moments is None else moments + here
            flagged = flagged | np.isnan(inputs_NF[learned[piece]]).any(0)
        scaler = InputScaler.of(cast("Moments", moments), flagged & np.isin(names, covariates))
        inputs = cls(features, past, static, names, scaler)
        return inputs, inputs.halves(rows.frame, known)

    @property
    def added(self) -> list[str]:
        """The inputs that the features add; the covariates follow them."""
        return self.names[: len(self.names) - len(self._covariate_names)]

    @property
    def _covariate_names(self) -> list[str]:
        """The inputs that are past or static covariates."""
        return [*self.covariates, *self.static.names]

    @property
    def read(self) -> list[str]:
        """Columns of a panel that the inputs are computed from, including a target named by the features."""
        steps = [step for _, step in self.features.steps] if isinstance(self.features, Pipeline) else [self.features]
        made = {name for step in steps for name in getattr(step, "added_", ())}
        needed = {name for step in steps for name in getattr(step, "inputs_", ())}
        needed |= {step.target for step in steps if isinstance(getattr(step, "target", None), str)}
        return [*sorted(needed - made), *self.covariates, *self.static.categories]

    def of(self, frame: pl.DataFrame, at_a_time: int = BLOCK) -> Tensor:
        """Inputs of these rows, shape (N, F), float32; `frame` is a block of whole series, see `blocks`.

        About `at_a_time` rows are computed at a time: fewer need less memory and more time.

        Parameters
        ----------
        frame : polars.DataFrame
            Sorted rows.
        at_a_time : int, default=BLOCK
            Rows; whole series, so a piece may be longer.
        """
        inputs_NF = torch.empty(len(frame), self.scaler.width)
        for piece in _pieces(self.features, frame, at_a_time):
            inputs_NF[piece] = self._scaled(self._numbers_of(frame[piece]))
        return inputs_NF

    def halves(self, frame: pl.DataFrame, known: Mapping[int, NDArray[np.float64]] | None = None) -> Tensor:
        """As `of`, in half precision, to train on: between ±8 that is exact to 1/2000.

        Those of many rows lie in a file, see `new_array`. `known` holds features computed before, by the first row of
        each piece.

        Parameters
        ----------
        frame : polars.DataFrame
            A block of whole series, as in `of`.
        known : mapping, optional
            Features of pieces, before scaling.
        """
        known = known or {}
        inputs_NF = torch.from_numpy(new_array((len(frame), self.scaler.width), np.float16))
        for piece in _pieces(self.features, frame):
            numbers_NF = known[piece.start] if piece.start in known else self._numbers_of(frame[piece])
            inputs_NF[piece] = self._scaled(numbers_NF)
        return inputs_NF

    def _numbers_of(self, frame: pl.DataFrame) -> NDArray[np.float64]:
        return _numbers(self.static.added_to(_transformed(self.features, frame)), self.names)

    def blocks(self, rows: FlatPanel) -> Iterator[slice]:
        """Blocks of series whose features can be computed alone: one block if features may look across series.

        Parameters
        ----------
        rows : FlatPanel
        """
        return rows.blocks() if per_series(self.features) else iter([slice(0, len(rows))])

    def _scaled(self, inputs_NF: np.ndarray) -> Tensor:
        return torch.from_numpy(self.scaler.transform(inputs_NF))

    # -------------------------------------------------------------- streams
    def stream(self, panel: pl.DataFrame) -> Stream | None:
        """Open the features' stream after a panel; None if they do not state their history.

        Parameters
        ----------
        panel : polars.DataFrame
            Sorted rows of whole series.
        """
        return open_stream(self.features, self.added, panel)

    def resumed(self, tensors: dict[str, Tensor]) -> Stream:
        """Return the stream from its `stream_tensors`.

        Parameters
        ----------
        tensors : dict
            By name.
        """
        return resume_stream(self.features, self.added, tensors)

    def pushed(self, stream: Stream, rows: pl.DataFrame) -> Tensor:
        """Push rows, one a series, onto a stream and return their inputs, shape (M, F), float32.

        Parameters
        ----------
        stream : Stream
            It takes in the rows.
        rows : polars.DataFrame
            Newer than the stream's.
        """
        added_MA = stream.push(rows)
        rows = self.static.added_to(rows)
        covariates = [_numbers(rows, [name]) for name in self._covariate_names]
        return self._scaled(np.column_stack([added_MA, *covariates]))


@dataclass(frozen=True)
class StaticInputs:
    """Static covariates as inputs: numbers as they are, a 0 or 1 for each category of a text.

    Attributes
    ----------
    categories : dict of str to tuple of str, or None
        By column, the categories of training in order; None for numbers. A new category is 0 in all of them.
    """

    categories: dict[str, tuple[str, ...] | None]

    @classmethod
    def fit(cls, frame: pl.DataFrame, columns: Sequence[str]) -> StaticInputs:
        """Learn the categories from checked rows.

        Parameters
        ----------
        frame : polars.DataFrame
        columns : sequence of str
            Static covariates, of text or numbers.
        """
        return cls(
            {
                name: tuple(frame[name].drop_nulls().unique().sort()) if frame.schema[name] == pl.String else None
                for name in columns
            }
        )

    @property
    def names(self) -> list[str]:
        """The inputs, in order."""
        return [
            name if category is None else f"{name}={category}"
            for name, categories in self.categories.items()
            for category in ([None] if categories is None else categories)
        ]

    def added_to(self, table: pl.DataFrame) -> pl.DataFrame:
        """Return the table with a column for each category.

        Parameters
        ----------
        table : polars.DataFrame
            With the static covariates.

        Raises
        ------
        ValueError
            A column holds numbers where training had text, or text where it had numbers.
        """
        for name, categories in self.categories.items():
            kind = table.schema[name]
            if kind != pl.Null and (kind == pl.String) != (categories is not None) and table[name].count():
                had = "numbers" if categories is None else "text"
                raise ValueError(f"{name!r} must hold {had} as in fit, got {kind}. Cast it.")
        return table.with_columns(
            (pl.col(name).cast(pl.String) == category).fill_null(False).cast(pl.Float64).alias(f"{name}={category}")
            for name, categories in self.categories.items()
            for category in categories or ()
        )


def _input_names(features: Any, table: pl.DataFrame, before: list[str], covariates: list[str]) -> list[str]:
    """Return the columns that the features added to those there were `before`, then the covariates."""
    added = getattr(features, "added_", None) or [name for name in table.columns if name not in (*before, *covariates)]
    names = [*added, *covariates]
    if not names:
        raise ValueError(
            f"The network needs at least one input: {type(features).__name__} added no column and the schema names no "
            "past or static covariates. Give features that add columns."
        )
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(
            f"A network's inputs must have different names, but {shorten(twice)} are both covariates and features. "
            "Rename the covariates, or leave out these features."
        )
    not_numbers = [name for name in names if not (table.schema[name].is_numeric() or table.schema[name] == pl.Boolean)]
    if not_numbers:
        raise ValueError(f"The network's inputs must be numbers, found {shorten(not_numbers)}. Encode them as numbers.")
    return names


def _transformed(features: Any, frame: pl.DataFrame) -> pl.DataFrame:
    table, keys = to_polars(features.transform(frame)), frame.select("series_id", "time")
    if not set(keys.columns) <= set(table.columns) or not table.select(keys.columns).cast(keys.schema).equals(keys):
        raise ValueError(
            f"features must return the rows they were given, in the same order; {type(features).__name__} did not. "
            "Let transform only add columns."
        )
    return table


def _numbers(table: pl.DataFrame, names: list[str]) -> NDArray[np.float64]:
    """Columns as one array of shape (N, F), NaN for missing."""
    if missing := [name for name in names if name not in table.columns]:
        raise ValueError(
            f"The panel must have the inputs that it had in fit, {shorten(missing)} not found. Give it the columns of "
            "fit: range ratios need high and low."
        )
    return table.select(pl.col(names).cast(pl.Float64)).to_numpy()


def _pieces(features: Any, frame: pl.DataFrame, size: int = PIECE) -> Iterator[slice]:
    """Pieces of about `size` rows of whole series; one piece if features may look across series."""
    if not per_series(features) or len(frame) <= size:
        return iter([slice(0, len(frame))])
    return blocks_of(np.append(series_starts(frame), len(frame)), size)
