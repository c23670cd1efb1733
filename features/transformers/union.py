"""Several transformers of one panel in a single pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import polars as pl

from tidecast.features.error_text import shorten
from tidecast.features.frames import Frame
from tidecast.features.transformers.base import PanelTransformer


class PanelUnion(PanelTransformer):
    """The columns of several transformers, as from a Pipeline, but the panel is checked and cut into segments once.

    Each transformer reads the panel's own columns, not those that another adds. A pipeline takes longer, because every
    step checks its input.

    Parameters
    ----------
    transformers : sequence of PanelTransformer
        They look at one series at a time and at rows with a target, as `LogReturn` does. Transformers that compare
        series, or describe sessions to come, go next to the union in a pipeline.
    target : str, default="close"
        Column of prices, the same for all.

    Examples
    --------
    >>> from datetime import date
    >>> from tidecast.features import LogReturn, RollingMean
    >>> rows = {"series_id": ["a", "a"], "time": [date(2024, 1, 2), date(2024, 1, 3)], "close": [2.0, 2.0]}
    >>> PanelUnion([LogReturn(), RollingMean(2)]).fit_transform(pl.DataFrame(rows)).row(-1)[3:]
    (0.0, 2.0)
    """

    def __init__(self, transformers: Sequence[PanelTransformer], target: str = "close") -> None:
        self.transformers = transformers
        self.target = target

    @property
    def min_history(self) -> int:
        """The longest history that a transformer needs."""
        return max(part.min_history for part in self.transformers)

    @property
    def added_(self) -> list[str]:
        """Names of the columns that `transform` adds."""
        return [name for part in self.transformers for name in part.added_]

    @property
    def inputs_(self) -> list[str]:
        """Columns that a transformer reads besides ``series_id``, ``time`` and the target."""
        return sorted({name for part in self.transformers for name in part.inputs_})

    def fit(self, X: Frame, y: Any = None) -> Self:
        """Learn the names of the columns of a panel, for all transformers.

        Parameters
        ----------
        X : polars or pandas DataFrame
        y : ignored

        Raises
        ------
        TypeError, ValueError
            For impossible parameters, transformers that do not fit together, and a missing column.
        """
        self._check_parameters()
        for part in self.transformers:
            part.fit(X)
        self.positive = any(part.positive for part in self.transformers)
        return super().fit(X)

    def _check_parameters(self) -> None:
        if not self.transformers:
            raise ValueError("transformers must name at least one, got none.")
        for part in self.transformers:
            if not (isinstance(part, PanelTransformer) and part.per_series and part.needs_target):
                raise TypeError(
                    f"transformers must each look at one series and at rows with a target, got {part!r}. "
                    "Put it next to the union in a pipeline."
                )
            if part.target != self.target:
                raise ValueError(f"transformers must have the target {self.target!r}, got {part!r}. Use a pipeline.")
            part._check_parameters()
        if twice := [name for index, name in enumerate(self.added_) if name in self.added_[:index]]:
            raise ValueError(f"transformers must add different columns, found {shorten(twice)} twice. Take one out.")
        self._check_shared()

    def _check_shared(self) -> None:
        shared = self.shared()
        for part in filter(_plain, self.transformers):
            own = part.shared()
            if clash := [
                name
                for name, value in shared.items()
                if name in part.inputs_ or not own.get(name, value).meta.eq(value)
            ]:
                raise ValueError(
                    f"shared() of all transformers must give a name one meaning, {part!r} differs in {shorten(clash)}. "
                    "Rename its columns."
                )

    def shared(self) -> dict[str, pl.Expr]:
        """Return the shared columns of all transformers made of expressions; each is computed once."""
        return {name: value for part in self.transformers if _plain(part) for name, value in part.shared().items()}

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the columns of all transformers made of expressions; polars then finds the segments once."""
        return {name: value for part in self.transformers if _plain(part) for name, value in part.expressions().items()}

    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        for part in self.transformers:
            if not _plain(part):
                rows = part._add(rows)
        return super()._add(rows)


def _plain(part: PanelTransformer) -> bool:
    """Whether a transformer is made of expressions alone."""
    return type(part)._add is PanelTransformer._add
