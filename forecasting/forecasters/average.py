"""An average of forecasters: their quantiles, averaged level by level.

Axes: N origins, H horizon steps, Q quantiles.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self, cast

import numpy as np
import polars as pl
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor

from tidecast.features.error_text import shorten
from tidecast.features.panel import PanelSchema
from tidecast.forecasting.estimator.engine import on_engine
from tidecast.forecasting.estimator.fitted_settings import check_fitted, remember_settings
from tidecast.forecasting.estimator.orphans import EndsWithParent
from tidecast.forecasting.estimator.panel_reference import opened
from tidecast.forecasting.forecasters.base import PanelForecaster
from tidecast.forecasting.forecasters.sampling import Dependence
from tidecast.forecasting.panel.flat_panel import root_steps
from tidecast.forecasting.panel.origins import Origins
from tidecast.forecasting.saving.recipes import under
from tidecast.forecasting.saving.saved_keys import saved_keys
from tidecast.forecasting.tables.quantiles import MEDIAN, levels_in, quantile_columns

SHARED = ("horizon", "lookback", "quantiles", "target", "schema")
"""Settings that members must share: they forecast the same steps from the same rows."""


class Average(PanelForecaster):
    """The mean of several forecasters' quantiles, level by level, in logarithms of the price.

    An average of quantiles has the mean location and the mean width of its members (Lichtendahl, Grushka-Cockayne and
    Winkler 2013, doi:10.1287/mnsc.1120.1667), so networks of several seeds or cells, and a `VolatilityRegression`, lose
    what each of them got wrong alone. With ``positive=False`` the levels that members forecast in are averaged.

    Parameters
    ----------
    members : list of forecasters
        With the same horizon, lookback, quantiles, target and schema. They are cloned in `fit`.
    n_jobs : int, default=1
        Members to fit at a time, each in a process of its own.

    Attributes
    ----------
    members_ : list of forecasters
        The fitted members.
    fit_end_ : date or datetime
        Time of the last training row.
    quantiles_ : tuple of float
    columns_ : list of str
        The columns of a panel that one of the members needs, except future covariates.
    skipped_ : tuple
        Series without a forecast from their last row.

    Examples
    --------
    >>> import numpy as np, polars as pl
    >>> from tidecast.forecasting.forecasters.baselines import Drift, RandomWalk
    >>> times = pl.date_range(pl.date(2020, 1, 1), pl.date(2021, 12, 31), eager=True)
    >>> steps = 0.01 * np.random.default_rng(0).normal(size=len(times)) + 0.001
    >>> prices = pl.DataFrame({"series_id": "a", "time": times, "close": np.exp(steps.cumsum())})
    >>> walk, drift = RandomWalk(horizon=2), Drift(horizon=2)
    >>> one, other, both = (model.fit(prices).predict() for model in (walk, drift, Average([walk, drift])))
    >>> bool(np.allclose(both["forecast"] ** 2, one["forecast"] * other["forecast"]))
    True
    """

    members_: list[Any]

    def __init__(self, members: Sequence[Any], n_jobs: int = 1) -> None:
        self.members = members
        self.n_jobs = n_jobs

    @classmethod
    def of(cls, fitted: Sequence[Any]) -> Average:
        """Return the average of forecasters that are fitted already, on the same panel.

        Parameters
        ----------
        fitted : sequence of forecasters

        Returns
        -------
        Average
            Fitted; it equals one that fits the same recipes itself.
        """
        average = cls([clone(member) for member in fitted])
        average._check_settings()
        average._take([copy.copy(member) for member in fitted])
        remember_settings(average)
        return average

    def __copy__(self) -> Self:
        """Return an independent copy: updates of one do not affect the other."""
        twin = super().__copy__()
        if hasattr(self, "members_"):
            twin.members_ = [copy.copy(member) for member in self.members_]
            twin._carried = twin.members_[0]._carried
        return twin

    def for_panels(self) -> Self:
        """Return a copy that forecasts panels only; see `QuantileForecaster.for_panels`."""
        twin = super().for_panels()
        twin.members = [clone(member) for member in self.members]  # they may be fitted, too
        twin.members_ = [member.for_panels() for member in self.members_]
        return twin

    # -------------------------------------------------------------- settings
    @property
    def horizon(self) -> int:  # type: ignore[override]
        """Sessions to forecast, as all members do."""
        return int(self.members[0].horizon)

    @property
    def lookback(self) -> int:  # type: ignore[override]
        """Rows that a series needs before its first forecast."""
        return int(self.members[0].lookback)

    @property
    def quantiles(self) -> Sequence[float]:  # type: ignore[override]
        """Levels of the members."""
        return cast("Sequence[float]", self.members[0].quantiles)

    @property
    def target(self) -> str:  # type: ignore[override]
        """The column to forecast."""
        return str(self.members[0].target)

    @property
    def schema(self) -> PanelSchema | None:  # type: ignore[override]
        """The meaning of the panel's columns."""
        return cast("PanelSchema | None", self.members[0].schema)

    def _check_settings(self) -> None:
        members = self.members
        if not isinstance(members, list | tuple) or not members:
            raise TypeError(f"members must be a list of forecasters, at least one, got {members!r}.")
        for member in members:
            if isinstance(member, type) or not isinstance(member, PanelForecaster):
                raise TypeError(f"A member of Average must be a forecaster such as GRUForecaster(), got {member!r}.")
            member._check_settings()
        for name in SHARED:
            found = [getattr(member, name) for member in members]
            if any(value != found[0] for value in found):
                raise ValueError(
                    f"The members of Average must have the same {name}, got {shorten(found)}. Set it alike."
                )

    # ------------------------------------------------------------------ fit
    def _fit_afresh(self, X: Any, sample_weight: Any) -> None:
        members = [clone(member) for member in self.members]
        if self.n_jobs == 1 or len(members) == 1:
            self._take([member.fit(X, None, sample_weight) for member in members])
        else:
            with on_engine(X, min(self.n_jobs, len(members))) as panel:
                jobs = (delayed(EndsWithParent(_fit))(member, panel, sample_weight) for member in members)
                self._take(list(Parallel(batch_size=1)(jobs)))

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None, epochs: int = 1) -> Self:
        """Continue the training of each member; see `PanelForecaster.partial_fit`.

        Parameters
        ----------
        X, y, sample_weight, epochs
            As there.

        Returns
        -------
        self
        """
        if not hasattr(self, "fit_end_"):
            return self.fit(X, y, sample_weight)
        self._check_settings()
        check_fitted(self, "fit_end_")
        self._take([copy.copy(member).partial_fit(X, y, sample_weight, epochs) for member in self.members_])
        return self

    def update(self, X: Any) -> Self:
        """Take in new rows in each member; see `PanelForecaster.update`.

        Parameters
        ----------
        X : polars or pandas DataFrame
            The new rows only.

        Returns
        -------
        self
        """
        check_fitted(self, "fit_end_")
        self._take([copy.copy(member).update(X) for member in self.members_])
        return self

    def _take(self, members: list[Any]) -> None:
        """Let these fitted members forecast; what they share is that of the first."""
        first = members[0]
        self.members_, self._schema, self._kind, self._made = members, first._schema, first._kind, first._made
        self.calendar_, self.fit_end_, self.quantiles_ = first.calendar_, first.fit_end_, first.quantiles_
        self.skipped_, self._carried, self._seasonal = first.skipped_, first._carried, first._seasonal
        self._dependence: Dependence = first._dependence
        self._recent = first._recent
        self._quantile_model = cast("Any", AveragedQuantiles(self.quantiles_))

    # -------------------------------------------------------------- predict
    def _origins_of(self, X: Any, origins: str | Sequence[Any], future: Any) -> Origins:
        """Origins of the first member, whose outputs are the averaged quantiles in units of volatility · √step."""
        total: NDArray[np.float64] | None = None
        for member in self.members_:
            found = member._origins_of(X, origins, future if member._future_names else None)
            scaled_NHQ = member._quantile_model.quantiles(found.outputs_NHQ) + _standardised_median(found)
            total = scaled_NHQ if total is None else total + scaled_NHQ
        assert total is not None
        self.skipped_ = self.members_[0].skipped_
        outputs = torch.from_numpy(total / len(self.members_))
        return replace(found, median_change_NH=torch.zeros_like(found.median_change_NH), outputs_NHQ=outputs)

    @property
    def looks_across(self) -> bool:
        return any(member.looks_across for member in self.members_)

    @property
    def columns_(self) -> list[str]:
        return list(dict.fromkeys(name for member in self.members_ for name in member.columns_))

    @property
    def _future_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for member in self.members_ for name in member._future_names))

    # -------------------------------------------------------- save and load
    def _described(self) -> dict[str, Any]:
        return {"members": [member._common_description() | member._described() for member in self.members_]}

    def _common_description(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.members_[0]._common_description())

    def _learned(self) -> dict[str, Tensor]:
        return {
            f"{k}.{name}": tensor
            for k, member in enumerate(self.members_)
            for name, tensor in member._learned().items()
        }

    def _restore(self, description: dict[str, Any], learned: dict[str, Tensor], keys: pl.DataFrame) -> None:
        members = [clone(member) for member in self.members]
        for k, (member, described) in enumerate(zip(members, description["members"], strict=True)):
            member._restore_common(described)
            member._restore(described, under(str(k), learned), saved_keys(described))
            remember_settings(member)
        self._take(members)


class AveragedQuantiles:
    """Stands for a `QuantileModel` where the outputs are quantiles already.

    Parameters
    ----------
    levels : tuple of float
    """

    relative = True

    def __init__(self, levels: tuple[float, ...]) -> None:
        self.levels = levels

    @property
    def median(self) -> int:
        """Index of the median among the levels."""
        return self.levels.index(MEDIAN)

    def quantiles(self, outputs_NHQ: Tensor) -> NDArray[np.float64]:
        """Return the outputs.

        Parameters
        ----------
        outputs_NHQ : Tensor of shape (N, H, Q)
        """
        return cast("NDArray[np.float64]", outputs_NHQ.numpy())


def _standardised_median(found: Origins) -> NDArray[np.float64]:
    """A member's median change in units of volatility · √step, shape (N, H, 1)."""
    horizon = found.median_change_NH.shape[1]
    scale_NH = found.volatility[:, None] * root_steps(horizon)
    change_NH = torch.where(scale_NH > 0, found.median_change_NH / scale_NH, 0.0)
    return cast("NDArray[np.float64]", change_NH.unsqueeze(-1).numpy())


def _fit(member: Any, panel: Any, sample_weight: Any) -> Any:
    return member.fit(opened(panel), None, sample_weight)


def average_tables(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Average forecast tables of positive prices, as `Average` does: row by row and level by level, in logarithms.

    Parameters
    ----------
    tables : sequence of polars DataFrame
        With the same rows in the same order.

    Returns
    -------
    polars.DataFrame
        The first table with averaged quantiles.
    """
    names = ["forecast", *quantile_columns(levels_in(tables[0].columns))]

    def mean(name: str) -> pl.Series:  # one column at a time: the members' values together may be gigabytes
        total = np.log(tables[0][name].to_numpy())
        for table in tables[1:]:
            total += np.log(table[name].to_numpy())
        return pl.Series(name, np.exp(total / len(tables)))

    return tables[0].with_columns(map(mean, names))
