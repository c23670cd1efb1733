"""What all transformers of panels share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import polars as pl
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from features.panel import Frame, PanelSchema, check_columns, check_rows, is_pandas, to_polars
from features.volatility import with_stretches

if TYPE_CHECKING:
    import pandas as pd


# scikit-learn has no types, so mypy does not know the keyword; it keeps set_output from wrapping what transform gives
class PanelTransformer(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """A panel in, the same rows in the same order out, columns added.

    Subclasses say which columns they add (`added_`) and compute them (`_add`) on sorted rows, over `_stretch`: the
    pieces of series between breaks, rows without a target apart. They look backwards only and are stateless: `fit`
    learns the names of columns and nothing else.
    """

    target: str

    @property
    @abstractmethod
    def added_(self) -> list[str]:
        """Names of the columns that `transform` adds."""

    @property
    @abstractmethod
    def min_history(self) -> int:
        """Rows that a series needs for its last row to have all it can have in every added column."""

    @abstractmethod
    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Sorted rows with `_stretch` in, with the columns of `added_` out."""

    def _check_parameters(self) -> None:
        """Raise ValueError for impossible parameters."""

    @property
    def _positive(self) -> bool:
        """Whether prices must be above zero."""
        return getattr(self, "positive", True)

    def fit(self, X: Frame, y: Any = None) -> Self:
        """Learn the names of the columns of the panel `X`."""
        self._check_parameters()
        frame = to_polars(X)
        check_columns(frame, ["series_id", "time", self.target])
        self.feature_names_in_ = np.array(frame.columns, dtype=object)
        self.n_features_in_ = len(frame.columns)
        return self

    def transform(self, X: Frame) -> Frame:
        """The panel `X` with the columns of `added_`; null (pandas: NaN) where there is no value.

        Raises
        ------
        ValueError
            As `check_panel`.
        """
        self._check_parameters()
        schema = PanelSchema(positive=self._positive)
        rows = check_rows(to_polars(X).with_row_index("_row"), schema, self.target)
        computed = self._add(with_stretches(rows, self.target)).sort("_row").select(self.added_)
        return self._finish(X, computed)

    def _finish(self, X: Frame, computed: pl.DataFrame) -> Frame:
        kind = getattr(self, "_sklearn_output_config", {}).get("transform") or get_config()["transform_output"]
        if is_pandas(X) and kind != "polars":
            return cast("pd.DataFrame", X).assign(**{name: computed[name].to_numpy() for name in computed.columns})
        frame = to_polars(X).with_columns(computed.get_columns())
        return frame.to_pandas() if kind == "pandas" else frame

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Columns of the input, then the added ones."""
        if input_features is None:
            check_is_fitted(self, "feature_names_in_")
            input_features = self.feature_names_in_
        kept = [name for name in input_features if name not in self.added_]
        return np.array(kept + self.added_, dtype=object)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose what `transform` returns: "default" (as the input), "pandas" or "polars"; None changes nothing."""
        if transform not in (None, "default", "pandas", "polars"):
            raise ValueError(f"transform must be 'default', 'pandas' or 'polars', got {transform!r}.")
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "feature_names_in_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags
