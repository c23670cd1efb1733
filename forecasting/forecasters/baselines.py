"""Baselines: the forecasts that a network has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tidecast.features.docstrings import complete_docstring
from tidecast.features.error_text import check_whole
from tidecast.features.panel import PanelSchema
from tidecast.forecasting.forecasters.base import PanelForecaster
from tidecast.forecasting.panel.snapshot import Snapshot
from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES


class RandomWalk(PanelForecaster):
    """The last price, with quantiles that scale with the volatility: the reference of every evaluation.

    It equals, to rounding, an untrained network (``max_epochs=0``).

    Parameters
    ----------
    horizon : int, default=5
        Sessions to forecast.
    lookback : int, default=64
        Rows a series needs before its first forecast.
    quantiles : sequence of float
        Levels between 0 and 1; 0.5 is always among them.
    target : str, default="close"
        The column to forecast.
    schema : PanelSchema, optional
        The meaning of the panel's columns.

    Attributes
    ----------
    fit_end_ : date or datetime
        Time of the last training row.
    quantiles_ : tuple of float
    skipped_ : tuple
        Series without a forecast from their last row: fewer than `lookback` rows since their start or last long pause.

    Examples
    --------
    >>> import numpy as np, polars as pl
    >>> times = pl.date_range(pl.date(2020, 1, 1), pl.date(2021, 12, 31), eager=True)
    >>> steps = 0.01 * np.random.default_rng(0).normal(size=len(times))
    >>> prices = pl.DataFrame({"series_id": "a", "time": times, "close": np.exp(steps.cumsum())})
    >>> table = RandomWalk(horizon=2).fit(prices).predict()
    >>> bool((table["forecast"] == prices["close"][-1]).all())
    True
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        complete_docstring(cls)

    def __init__(
        self,
        horizon: int = 5,
        lookback: int = 64,
        quantiles: Sequence[float] = DEFAULT_QUANTILES,
        target: str = "close",
        schema: PanelSchema | None = None,
    ) -> None:
        self.horizon = horizon
        self.lookback = lookback
        self.quantiles = quantiles
        self.target = target
        self.schema = schema


class Drift(RandomWalk):
    """The random walk plus the mean change of the series so far, per step (Hyndman and Athanasopoulos 2021, §5.2).

    Parameters and attributes are those of `RandomWalk`.
    """

    def _median_change(self, here: Snapshot) -> Tensor:
        sessions = (here.session - here.first_session).clamp(min=1)
        drift = (here.levels_NK[:, -1] - here.first_level) / sessions
        return drift.unsqueeze(-1) * torch.arange(1, self.horizon + 1)


class SeasonalNaive(RandomWalk):
    """The last price of the same season, repeated (Hyndman and Athanasopoulos 2021, §5.2).

    Other parameters and the attributes are those of `RandomWalk`.

    Parameters
    ----------
    season : int, default=5
        Rows in a season: 5 for daily prices of a working week.
    """

    def __init__(
        self,
        horizon: int = 5,
        lookback: int = 64,
        quantiles: Sequence[float] = DEFAULT_QUANTILES,
        target: str = "close",
        schema: PanelSchema | None = None,
        season: int = 5,
    ) -> None:
        super().__init__(horizon, lookback, quantiles, target, schema)
        self.season = season

    def _check_settings(self) -> None:
        super()._check_settings()
        check_whole("season", self.season, at_least=1)

    def search_space(self) -> dict[str, Any]:
        """Return seasons of daily prices: a week, a month and a quarter, of working days or of all days."""
        return {"season": [5, 7, 21, 30, 63]}

    @property
    def _n_levels(self) -> int:
        return self.season

    def _median_change(self, here: Snapshot) -> Tensor:
        same_season = torch.arange(self.horizon) % self.season
        return here.levels_NK[:, same_season] - here.levels_NK[:, -1:]
