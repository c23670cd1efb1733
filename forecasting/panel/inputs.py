"""What a network sees of a panel: columns of its features and covariates, as standardised numbers.

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
from tidecast.features.segments import series_starts
from tidecast.features.transformers.streaming import Stream, per_series
from tidecast.forecasting.panel.feature_streams import open_stream, resume_stream
from tidecast.forecasting.panel.flat_panel import BLOCK, FlatPanel, blocks_of
from tidecast.forecasting.panel.scaling import InputScaler, Moments

PIECE = 1 << 14  # rows whose features a fit computes at a time: in float64, and with all that lies between
ROOM = 16 << 20  # bytes of them that a fit remembers until they are scaled, for what that does to them takes two passes


@dataclass(frozen=True)
class NetworkInputs:
    """From rows of a panel to numbers, as training rows have settled it.

    Attributes
    ----------
    features : transformer
        Fitted; adds columns to a panel.
    covariates : tuple of str
        The schema's past covariates.
    static : StaticInputs
    names : list of str
        The columns that are seen, in order: what the features add, then the covariates.
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
        """From a panel and its rows to `train` on, with what a network sees of them all, see `halves`.

        Covariates are flagged that are missing where there is one to learn.

        Raises
        ------
        ValueError
            When the features give back other rows, words, or nothing.
        """
        features = features.fit(rows.frame)
        static = StaticInputs.fit(rows.frame, schema.static)
        given = [*schema.covariates, *static.names]
        names: list[str] = []
        moments: Moments | None = None
        flagged: NDArray[np.bool_] = np.zeros(1, dtype=bool)
        learned_from = rows.moving.numpy()
        known: dict[int, NDArray[np.float64]] = {}
        for piece in _pieces(features, rows.frame):
            table = static.added_to(_transformed(features, rows.frame[piece]))
            names = names or _input_names(features, table, rows.frame.columns, given)
            inputs_NF = _numbers(table, names)
            if sum(numbers.nbytes for numbers in known.values()) + inputs_NF.nbytes <= ROOM:
                known[piece.start] = inputs_NF.copy()  # polars would not give its memory back
            here = Moments.of(inputs_NF[train[piece]])
            moments = here if moments is None else moments + here
            flagged = flagged | np.isnan(inputs_NF[train[piece] & learned_from[piece]]).any(0)
        scaler = InputScaler.of(cast("Moments", moments), flagged & np.isin(names, given))
        inputs = cls(features, schema.covariates, static, names, scaler)
        return inputs, inputs.halves(rows.frame, known)

    @property
    def added(self) -> list[str]:
        """The inputs that come from the features; the covariates follow them."""
        return self.names[: len(self.names) - len(self._given)]

    @property
    def _given(self) -> list[str]:
        """The inputs that are past or static covariates."""
        return [*self.covariates, *self.static.names]

    @property
    def read(self) -> list[str]:
        """Columns of a panel that they are made from, a target of the features' own among them."""
        steps = [step for _, step in self.features.steps] if isinstance(self.features, Pipeline) else [self.features]
        made = {name for step in steps for name in getattr(step, "added_", ())}
        needed = {name for step in steps for name in getattr(step, "inputs_", ())}
        needed |= {step.target for step in steps if isinstance(getattr(step, "target", None), str)}
        return [*sorted(needed - made), *self.covariates, *self.static.categories]

    def of(self, frame: pl.DataFrame, at_a_time: int = BLOCK) -> Tensor:
        """What the network sees of these rows, shape (N, F), float32; a block of whole series, see `blocks`.

        Rows are computed some `at_a_time`: fewer need less memory, and more time.
        """
        inputs_NF = torch.empty(len(frame), self.scaler.width)
        for piece in _pieces(self.features, frame, at_a_time):
            inputs_NF[piece] = self._scaled(self._numbers_of(frame[piece]))
        return inputs_NF

    def halves(self, frame: pl.DataFrame, known: Mapping[int, NDArray[np.float64]] | None = None) -> Tensor:
        """As `of`, in half precision, to train on: of ±8 that is exact to 1/2000.

        What the features gave for some of the pieces may be `known`, by the first row of each.
        """
        known = known or {}
        inputs_NF = torch.empty(len(frame), self.scaler.width, dtype=torch.float16)
        for piece in _pieces(self.features, frame):
            numbers_NF = known[piece.start] if piece.start in known else self._numbers_of(frame[piece])
            inputs_NF[piece] = self._scaled(numbers_NF)
        return inputs_NF

    def _numbers_of(self, frame: pl.DataFrame) -> NDArray[np.float64]:
        return _numbers(self.static.added_to(_transformed(self.features, frame)), self.names)

    def blocks(self, rows: FlatPanel) -> Iterator[slice]:
        """Blocks of series whose features can be computed alone: all series where they may look across them."""
        return rows.blocks() if per_series(self.features) else iter([slice(0, len(rows))])

    def _scaled(self, inputs_NF: np.ndarray) -> Tensor:
        return torch.from_numpy(self.scaler.transform(inputs_NF))

    # -------------------------------------------------------------- streams
    def stream(self, panel: pl.DataFrame) -> Stream | None:
        """The features, ready for the rows that follow a panel; None where they do not say what they look back at."""
        return open_stream(self.features, self.added, panel)

    def resumed(self, tensors: dict[str, Tensor]) -> Stream:
        """The stream whose `stream_tensors` these are."""
        return resume_stream(self.features, self.added, tensors)

    def pushed(self, stream: Stream, rows: pl.DataFrame) -> Tensor:
        """What the network sees of rows that move a stream on, one a series, shape (M, F), float32."""
        added_MA = stream.push(rows)
        rows = self.static.added_to(rows)
        covariates = [_numbers(rows, [name]) for name in self._given]
        return self._scaled(np.column_stack([added_MA, *covariates]))


@dataclass(frozen=True)
class StaticInputs:
    """Static covariates as the network sees them: numbers as they are, a 0 or 1 for each category of a text.

    Attributes
    ----------
    categories : dict of str to tuple of str, or None
        By column, those of training in their order; None for numbers. Another category is 0 in all of them.
    """

    categories: dict[str, tuple[str, ...] | None]

    @classmethod
    def fit(cls, frame: pl.DataFrame, columns: Sequence[str]) -> StaticInputs:
        """From the checked rows of training."""
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
        """The table with a column for each category.

        Raises
        ------
        ValueError
            For numbers where training had text, or text where it had numbers.
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


def _input_names(features: Any, table: pl.DataFrame, before: list[str], given: list[str]) -> list[str]:
    """The columns that the features added to those there were `before`, and the covariates `given`."""
    added = getattr(features, "added_", None) or [name for name in table.columns if name not in (*before, *given)]
    names = [*added, *given]
    if not names:
        raise ValueError(
            f"The network needs at least one input: {type(features).__name__} added no column and the schema names no "
            "past or static covariates. Give features that add columns."
        )
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(
            f"A network's inputs must have different names, but {shorten(twice)} are covariates and are computed from "
            "the panel as well. Rename the covariates, or leave out the features that are called so."
        )
    words = [name for name in names if not (table.schema[name].is_numeric() or table.schema[name] == pl.Boolean)]
    if words:
        raise ValueError(f"The network's inputs must be numbers, found {shorten(words)}. Encode them as numbers.")
    return names


def _transformed(features: Any, frame: pl.DataFrame) -> pl.DataFrame:
    table, keys = to_polars(features.transform(frame)), frame.select("series_id", "time")
    if not set(keys.columns) <= set(table.columns) or not table.select(keys.columns).cast(keys.schema).equals(keys):
        raise ValueError(
            f"features must give back the rows they were given, in their order; {type(features).__name__} did not. "
            "Let transform add columns, and do nothing else."
        )
    return table


def _numbers(table: pl.DataFrame, names: list[str]) -> NDArray[np.float64]:
    """Columns as one array of shape (N, F), NaN for missing."""
    if missing := [name for name in names if name not in table.columns]:
        raise ValueError(
            f"The panel must give the inputs that it gave in fit, {shorten(missing)} not found. Give it the columns it "
            "had then: range ratios need high and low."
        )
    return table.select(pl.col(names).cast(pl.Float64)).to_numpy()


def _pieces(features: Any, frame: pl.DataFrame, size: int = PIECE) -> Iterator[slice]:
    """Some `size` rows of whole series, to compute features of: all rows where they may look across series."""
    if not per_series(features) or len(frame) <= size:
        return iter([slice(0, len(frame))])
    return blocks_of(np.append(series_starts(frame), len(frame)), size)
