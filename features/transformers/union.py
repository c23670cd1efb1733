"""Several transformers of one panel in a single pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import polars as pl

from tidecast.features.error_text import shorten
from tidecast.features.frames import Frame
from tidecast.features.transformers.base import PanelTransformer


class PanelUnion(PanelTransformer):
    """The columns of several transformers, as of a Pipeline of them, but the panel is checked and cut up once.

    Each is computed from the panel's own columns, none from what another adds. A pipeline takes longer, as every step
    checks what it gets.

    Parameters
    ----------
    transformers : sequence of PanelTransformer
        Of one series at a time and rows with a target, such as `LogReturn`; what compares series, or describes
        sessions to come, goes beside the union in a pipeline.
    target : str, default="close"
        Column of prices, that of all.

    Examples
    --------
    >>> from datetime import date
    >>> from features import LogReturn, RollingMean
    >>> rows = {"series_id": ["a", "a"], "time": [date(2024, 1, 2), date(2024, 1, 3)], "close": [2.0, 2.0]}
    >>> PanelUnion([LogReturn(), RollingMean(2)]).fit_transform(pl.DataFrame(rows)).row(-1)[3:]
    (0.0, 2.0)
    """

    def __init__(self, transformers: Sequence[PanelTransformer], target: str = "close") -> None:
        self.transformers = transformers
        self.target = target

    @property
    def min_history(self) -> int:
        """The longest of all."""
        return max(part.min_history for part in self.transformers)

    @property
    def added_(self) -> list[str]:
        """Names of the columns that `transform` adds."""
        return [name for part in self.transformers for name in part.added_]

    @property
    def inputs_(self) -> list[str]:
        """Columns that any reads beside ``series_id``, ``time`` and the target."""
        return sorted({name for part in self.transformers for name in part.inputs_})

    def fit(self, X: Frame, y: Any = None) -> Self:
        """Learn the names of the columns of the panel `X`, for all."""
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
                    "Put it beside the union in a pipeline."
                )
            if part.target != self.target:
                raise ValueError(f"transformers must have the target {self.target!r}, got {part!r}. Use a pipeline.")
            part._check_parameters()
        if twice := [name for place, name in enumerate(self.added_) if name in self.added_[:place]]:
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
                    f"shared() of all must mean the same by a name, {part!r} differs in {shorten(clash)}. Rename its."
                )

    def shared(self) -> dict[str, pl.Expr]:
        """Those of all that are made of expressions: what several start from is computed once."""
        return {name: value for part in self.transformers if _plain(part) for name, value in part.shared().items()}

    def expressions(self) -> dict[str, pl.Expr]:
        """Those of all that are made of expressions: polars then finds the series once for all of them."""
        return {name: value for part in self.transformers if _plain(part) for name, value in part.expressions().items()}

    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        for part in self.transformers:
            if not _plain(part):
                rows = part._add(rows)
        return super()._add(rows)


def _plain(part: PanelTransformer) -> bool:
    return type(part)._add is PanelTransformer._add
