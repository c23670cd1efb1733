"""What every forecaster shares: panel in, forecast table out, around the random walk.

Axes: N origins, H horizon steps, Q quantiles.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Self, cast

import numpy as np
import polars as pl
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from features.calendar import get_calendar, infer_calendar
from features.panel import PanelSchema, check_panel, is_pandas, like, to_polars
from forecasting.cuts import Cuts, cut
from forecasting.intervals import calibrate, outwards
from forecasting.metrics import evaluate
from forecasting.networks import QuantileLayer
from forecasting.origins import Origins, find_origins
from forecasting.persistence import encode, load_forecaster, save_forecaster
from forecasting.quantiles import MEDIAN, check_quantiles
from forecasting.rows import PanelRows, panel_rows, root_steps
from forecasting.scaling import weighted_quantiles
from forecasting.settings import check_whole

CENTRE_SCALE = 0.1  # volatilities that one unit of output moves the median: prices hardly drift, so it learns slowly
MOST_RESIDUALS = 1_000_000  # per step, from which quantiles are estimated
WEIGHT = "_sample_weight"


class PanelForecaster(BaseEstimator):
    """Base of all forecasters; without `_centre` or `_outputs` of a subclass, the random walk.

    A forecast is ``last price · exp(centre + volatility · √step · quantile)``: volatility is the EWMA at the origin,
    the quantiles are those of standardised training changes with their median put to 0, calibrated on the newest
    training rows. Where the schema says ``positive=False`` changes are differences and are added instead.
    """

    horizon: int
    lookback: int
    quantiles: Sequence[float]
    target: str
    schema: PanelSchema | None
    skipped_: tuple[Any, ...]

    # ------------------------------------------------------------------ fit
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit on a panel, afresh.

        Parameters
        ----------
        X : polars or pandas DataFrame
            The panel: ``series_id``, ``time``, the target, and what the features need.
        y : ignored
        sample_weight : array-like of shape (n_rows,), optional
            Weight of each row as an origin to learn from, in the order of `X`.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            For an impossible setting or panel.
        """
        self._check_settings()
        self._schema = self.schema or PanelSchema()
        self._kind = "pandas" if is_pandas(X) else "polars"
        self.quantiles_ = check_quantiles(self.quantiles)
        panel, weights = _weighted(X, sample_weight, self._schema, self.target)
        name = self._schema.calendar
        self.calendar_ = get_calendar(name) if name else infer_calendar(panel["time"])
        self.fit_end_ = cast("date | datetime", panel["time"].max())
        rows = self._rows(panel)
        if not rows.ready.any():
            raise ValueError(self._too_short(rows))

        cuts = cut(rows.session[rows.ready], self.horizon)
        self._layer = self._quantile_layer(torch.from_numpy(self._base_quantiles(rows, cuts, weights)))
        self._offsets = np.zeros((self.horizon, len(self.quantiles_)))
        self._fit_network(rows, cuts, weights)
        self._offsets = self._calibrate(rows, cuts, weights)
        self._last = self._origins(rows, self._find(rows, "last"))
        return self

    def _check_settings(self) -> None:
        """Refuse impossible settings; subclasses add theirs."""
        for name in ("horizon", "lookback"):
            check_whole(name, getattr(self, name), at_least=1)
        if self.schema is not None and not isinstance(self.schema, PanelSchema):
            raise TypeError(f"schema must be a PanelSchema or None, got {type(self.schema).__name__}.")

    def _base_quantiles(self, rows: PanelRows, cuts: Cuts, weights: Tensor) -> np.ndarray:
        """Quantiles of standardised training changes, shape (H, Q), the median put to exactly 0."""
        levels = np.array(self.quantiles_)
        base = np.zeros((self.horizon, len(levels)))
        if not rows.moving.any():  # pegged, all of them: there is no spread to learn, and none to forecast
            return base
        at = _thin(rows.moving & (rows.session < cuts.train) & (weights > 0))
        residuals = self._residuals(rows, at, until=cuts.train).numpy()
        weight = weights[at].numpy()
        for step in range(self.horizon):
            known = np.isfinite(residuals[:, step])
            if not known.any():
                raise ValueError(
                    f"Step {step + 1} needs at least one series with lookback + horizon = {self.lookback} + "
                    f"{self.horizon} rows that moves; found none. Give a longer panel, or lower lookback or horizon."
                )
            base[step] = weighted_quantiles(residuals[known, step], weight[known], levels)
        base[:, self._median] = 0.0
        return outwards(base, self._median)

    def _fit_network(self, rows: PanelRows, cuts: Cuts, weights: Tensor) -> None:
        """Train what `_outputs` needs; nothing for the baselines."""

    def _calibrate(self, rows: PanelRows, cuts: Cuts, weights: Tensor) -> np.ndarray:
        """Offsets of the quantiles, shape (H, Q), from the newest training rows."""
        at = _thin(rows.moving & (rows.session >= cuts.validation) & (weights > 0))
        quantiles = self._scaled_quantiles(self._origins(rows, at))
        residuals = self._residuals(rows, at, until=cuts.calibration).numpy()
        return calibrate(residuals, quantiles, np.array(self.quantiles_), weights[at].numpy())

    def _residuals(self, rows: PanelRows, at: Tensor, until: int) -> Tensor:
        """Changes less the centre, standardised, shape (N, H); NaN where the truth lies past session `until`."""
        scale = rows.volatility[at].unsqueeze(-1) * root_steps(self.horizon)
        scaled = (rows.changes(at, self.horizon) - self._centre(rows, at)) / scale
        known = rows.session[at].unsqueeze(-1) + torch.arange(1, self.horizon + 1) <= until
        return torch.where(known & rows.moving[at].unsqueeze(-1), scaled, torch.nan)

    # -------------------------------------------------------------- predict
    def predict(self, X: Any = None, origins: str | Sequence[Any] = "last") -> Any:
        """Forecast table, each origin using rows at or before it only.

        Parameters
        ----------
        X : polars or pandas DataFrame, optional
            The panel with its history; without it, forecasts from the end of the training rows.
        origins : {"last", "new", "all"} or list of times
            Each series' last row; every row from ``fit_end_`` on whose whole horizon lies in the panel; every row with
            `lookback` rows up to it; rows at these times.

        Returns
        -------
        DataFrame
            ``series_id``, ``origin``, ``step``, ``time`` (the forecast session), ``forecast`` (the median) and a column
            per further quantile, in the unit of the target. Sorted by series, origin and step; polars for polars,
            pandas for pandas. Series with fewer than `lookback` rows have none and are named in ``skipped_``.

        Raises
        ------
        ValueError
            When no origin is left.
        """
        check_is_fitted(self, "fit_end_")
        if X is None:
            if not isinstance(origins, str) or origins != "last":
                raise ValueError(f'Without a panel, origins must be "last", got {origins!r}. Give the panel, too.')
            if not len(self._last):
                raise ValueError(
                    f"No origin to forecast from: none of the {len(self.skipped_)} series has lookback="
                    f"{self.lookback} rows up to its last one, since its start or last pause. Lower lookback."
                )
            table = self._table(self._last)
            return table if self._kind == "polars" else table.to_pandas()
        rows = self._rows(check_panel(X, self._schema, self.target))
        at = self._find(rows, origins)
        if not len(at):
            times: Any = rows.frame["time"]
            raise ValueError(
                f"No origin to forecast from: origins={origins!r} with lookback={self.lookback} and horizon="
                f"{self.horizon} leave none of the panel's {len(rows)} rows, {times.min()} to {times.max()}. "
                "Give a longer panel or other origins."
            )
        return like(self._table(self._origins(rows, at)), X)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Minus the mean scaled CRPS over the ``"new"`` origins of a panel; greater is better.

        Each loss is divided by price × volatility at its origin, so that all series count alike.

        Parameters
        ----------
        X : polars or pandas DataFrame
        y : ignored
        sample_weight : array-like of shape (n_rows,), optional
            Weight of each row as an origin.

        Raises
        ------
        ValueError
            When no new origin has a truth to compare with.
        """
        check_is_fitted(self, "fit_end_")
        panel, weights = _weighted(X, sample_weight, self._schema, self.target)
        losses = evaluate(self.predict(panel, origins="new"), panel, self.target, self._schema.positive).losses
        of_origin = panel.select("series_id", origin="time", weight=pl.Series(weights.numpy()))
        weighted = losses.join(of_origin, on=["series_id", "origin"], how="left").sort("series_id", "origin", "step")
        if not weighted["weight"].sum() > 0:
            raise ValueError(
                f"A score needs a forecast from {self.fit_end_} or later that has come true, of a series that moves "
                "and with a weight above 0; found none. Give newer rows."
            )
        loss = weighted["crps" if "crps" in losses.columns else "pinball"]
        return -float(np.average(loss.to_numpy(), weights=weighted["weight"].to_numpy()))

    def _rows(self, panel: pl.DataFrame) -> PanelRows:
        rows = panel_rows(panel, self._schema.positive, self.target, self.calendar_, self.lookback)
        without = panel.filter((rows.newest & ~rows.ready).numpy())["series_id"]
        self.skipped_ = tuple(without)
        return rows

    def _find(self, rows: PanelRows, origins: str | Sequence[Any]) -> Tensor:
        since = self.calendar_.numbers(pl.Series([self.fit_end_], dtype=rows.frame["time"].dtype))
        return find_origins(rows, origins, int(since[0]), self.horizon)

    def _origins(self, rows: PanelRows, at: Tensor) -> Origins:
        return Origins(
            rows.keys[at.numpy()], rows.session[at], rows.price[at], rows.volatility[at],
            self._centre(rows, at), self._outputs(rows, at),
        )  # fmt: skip

    def _centre(self, rows: PanelRows, at: Tensor) -> Tensor:
        """Expected change of the level for each step, shape (N, H)."""
        return torch.zeros(len(at), self.horizon, dtype=torch.float64)

    def _outputs(self, rows: PanelRows, at: Tensor) -> Tensor:
        """Outputs that shape the base quantiles, shape (N, H, Q), float64."""
        return torch.zeros(len(at), self.horizon, len(self.quantiles_), dtype=torch.float64)

    def _scaled_quantiles(self, origins: Origins) -> np.ndarray:
        """Calibrated quantiles in units of volatility · √step, shape (N, H, Q), never crossing."""
        with torch.inference_mode():
            quantiles = self._layer(origins.outputs_NHQ).numpy()
        return outwards(quantiles + self._offsets, self._median)

    def _table(self, origins: Origins) -> pl.DataFrame:
        """The forecasts, in the unit of the target."""
        scale_NH1 = (origins.volatility.unsqueeze(-1) * root_steps(self.horizon)).numpy()[..., None]
        change_NHQ = origins.centre_NH.numpy()[..., None] + scale_NH1 * self._scaled_quantiles(origins)
        price_N11 = origins.price.numpy()[:, None, None]
        values_NHQ = price_N11 * np.exp(change_NHQ) if self._schema.positive else price_N11 + change_NHQ
        return origins.table(values_NHQ, self.quantiles_, self.calendar_)

    def _quantile_layer(self, base_HQ: Tensor) -> QuantileLayer:
        return QuantileLayer(base_HQ, torch.full((self.horizon,), CENTRE_SCALE, dtype=torch.float64), self._median)

    @property
    def _median(self) -> int:
        return self.quantiles_.index(MEDIAN)

    # -------------------------------------------------- recipe, save and load
    def recipe(self) -> dict[str, Any]:
        """Class, settings and features, as JSON holds them; equal recipes are equal dictionaries."""
        return cast(dict[str, Any], json.loads(json.dumps(encode(self))))

    def save(self, path: Any) -> None:
        """Write ``model.json`` and ``weights.safetensors`` into the folder `path`; no pickle."""
        save_forecaster(self, path)

    @classmethod
    def load(cls, path: Any) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        TypeError
            When the folder holds a forecaster of another class.
        """
        model = load_forecaster(path)
        if not isinstance(model, cls):
            raise TypeError(f"{path} must hold a {cls.__name__}, found a {type(model).__name__}.")
        return model

    def _described(self) -> dict[str, Any]:
        """What a subclass learned that is no tensor, as JSON holds it."""
        return {}

    def _learned(self) -> dict[str, Tensor]:
        """Every tensor that `fit` learned, by name."""
        return {
            "base": self._layer.base_HQ, "offsets": torch.from_numpy(self._offsets), "session": self._last.session,
            "price": self._last.price, "volatility": self._last.volatility, "centre": self._last.centre_NH,
            "outputs": self._last.outputs_NHQ,
        }  # fmt: skip

    def _restore(self, description: dict[str, Any], learned: dict[str, Tensor], keys: pl.DataFrame) -> None:
        """The inverse of `_described` and `_learned`; `keys` are the last origins."""
        self._layer = self._quantile_layer(learned["base"])
        self._offsets = learned["offsets"].numpy()
        self._last = Origins(
            keys, learned["session"], learned["price"], learned["volatility"], learned["centre"], learned["outputs"]
        )

    def _too_short(self, rows: PanelRows) -> str:
        n_series, longest = rows.keys["series_id"].n_unique(), int((rows.last - rows.first).max()) + 1
        return (
            f"A series needs lookback + horizon = {self.lookback} + {self.horizon} rows; all {n_series} series of the "
            f"panel are shorter, the longest has {longest} rows. Give more history or lower lookback."
        )


def _weighted(panel: Any, sample_weight: Any, schema: PanelSchema, target: str) -> tuple[pl.DataFrame, Tensor]:
    """The checked panel, and a weight for each of its rows, float64."""
    frame = to_polars(panel)
    if sample_weight is None:
        checked = check_panel(frame, schema, target)
        return checked, torch.ones(len(checked), dtype=torch.float64)
    weight = np.asarray(sample_weight, dtype=float)
    if weight.shape != (len(frame),) or not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise ValueError(
            f"sample_weight must be {len(frame)} finite numbers of at least 0, one a row and not all 0; "
            f"got shape {weight.shape}."
        )
    checked = check_panel(frame.with_columns(pl.Series(WEIGHT, weight)), schema, target)
    return checked.drop(WEIGHT), torch.from_numpy(checked[WEIGHT].to_numpy().copy())


def _thin(mask: Tensor) -> Tensor:
    """Where `mask` holds, every k-th place, so that estimates of quantiles need bounded memory."""
    at = torch.nonzero(mask)[:, 0]
    return at[:: max(1, -(-len(at) // MOST_RESIDUALS))]
