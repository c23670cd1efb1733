"""What every forecaster shares: panel in, forecast table out, around the random walk.

Axes: N origins, H horizon steps, Q quantiles.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Self, cast

import numpy as np
import polars as pl
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from features.calendar import get_calendar, infer_calendar
from features.panel import PanelSchema, check_panel, like, to_polars
from forecasting.intervals import calibrate, outwards
from forecasting.networks import QuantileLayer
from forecasting.quantiles import check_quantiles, quantile_columns
from forecasting.rows import PanelRows, panel_rows, root_steps
from forecasting.scaling import weighted_quantiles
from forecasting.settings import check_whole

# The newest sessions of the training rows are kept back, in this order, to stop training on and to calibrate on.
VALIDATION_SHARE = 0.1
CALIBRATION_SHARE = 0.1
FEWEST_HORIZONS = 4  # the training part must span this many horizons, or nothing is kept back
CENTRE_SCALE = 0.1  # volatilities that one unit of output moves the median: prices hardly drift, so it learns slowly
WEIGHT = "_sample_weight"


@dataclass(frozen=True)
class Origins:
    """Where forecasts start, and what a forecaster makes of each place.

    Attributes
    ----------
    keys : DataFrame
        ``series_id`` and ``time``, one row an origin.
    session : LongTensor of shape (N,)
    price, volatility : Tensor of shape (N,), float64
    centre_NH : Tensor of shape (N, H), float64
        Change of the level expected for each step; 0 for the random walk.
    outputs_NHQ : Tensor of shape (N, H, Q), float64
        What the network adds to the base quantiles; 0 for the random walk.
    """

    keys: pl.DataFrame
    session: Tensor
    price: Tensor
    volatility: Tensor
    centre_NH: Tensor
    outputs_NHQ: Tensor


@dataclass(frozen=True)
class Cuts:
    """Session numbers that end the parts of the training rows; a part's targets do not pass its end."""

    train: int
    validation: int
    calibration: int


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
            For an impossible setting or panel; nothing is changed then.
        """
        self._check_settings()
        schema = self.schema or PanelSchema()
        levels = check_quantiles(self.quantiles)
        panel = check_panel(_with_weights(X, sample_weight), schema, self.target)
        calendar = get_calendar(schema.calendar) if schema.calendar else infer_calendar(panel["time"])
        rows = panel_rows(panel, schema.positive, self.target, calendar, self.lookback)
        if not bool(rows.ready.any()):
            raise ValueError(_too_short(rows, self.lookback, self.horizon))

        self._schema, self.calendar_, self.quantiles_ = schema, calendar, levels
        self.fit_end_ = cast("date | datetime", panel["time"].max())
        self._kind = "pandas" if not isinstance(X, pl.DataFrame) else "polars"
        weights = _row_weights(rows)
        cuts = _cuts(rows.session[rows.ready], self.horizon)
        self._layer = QuantileLayer(
            torch.from_numpy(self._base_quantiles(rows, cuts, weights)),
            torch.full((self.horizon,), CENTRE_SCALE, dtype=torch.float64),
            self._median,
        )
        self._offsets = np.zeros((self.horizon, len(levels)))
        self._fit_network(rows, cuts, weights)
        self._offsets = self._calibrate(rows, cuts, weights)
        self._last = self._origins(rows, _last_rows(rows))
        self.skipped_ = _skipped(rows)
        return self

    def _check_settings(self) -> None:
        """Refuse impossible settings; subclasses add theirs."""
        for name in ("horizon", "lookback"):
            check_whole(name, getattr(self, name), at_least=1)
        if self.schema is not None and not isinstance(self.schema, PanelSchema):
            raise TypeError(f"schema must be a PanelSchema or None, got {type(self.schema).__name__}.")

    def _base_quantiles(self, rows: PanelRows, cuts: Cuts, weights: Tensor) -> np.ndarray:
        """Quantiles of standardised training changes, shape (H, Q), the median put to exactly 0."""
        at = _thin(torch.nonzero(rows.moving & (rows.session < cuts.train) & (weights > 0))[:, 0])
        residuals = self._residuals(rows, at, until=cuts.train).numpy()
        levels, weight = np.array(self.quantiles_), weights[at].numpy()
        base = np.zeros((self.horizon, len(levels)))
        for step in range(self.horizon):
            known = np.isfinite(residuals[:, step])
            if not rows.moving.any():  # pegged, all of them: there is no spread to learn, and none to forecast
                break
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
        kept_back = rows.moving & (rows.session >= cuts.validation) & (weights > 0)
        at = _thin(torch.nonzero(kept_back)[:, 0])
        if not len(at):
            return self._offsets
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
            table = self._table(self._last)
            return table if self._kind == "polars" else table.to_pandas()
        panel = check_panel(X, self._schema, self.target)
        rows = panel_rows(panel, self._schema.positive, self.target, self.calendar_, self.lookback)
        self.skipped_ = _skipped(rows)
        at = self._find(rows, origins)
        if not len(at):
            raise ValueError(
                f"No origin to forecast from: origins={origins!r} with lookback={self.lookback} and horizon="
                f"{self.horizon} leave none of the panel's {len(rows)} rows, {rows.keys['time'].min()} to "
                f"{rows.keys['time'].max()}. Give a longer panel or other origins."
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
        """
        from forecasting.metrics import evaluate

        panel = _with_weights(X, sample_weight)
        forecasts = self.predict(panel, origins="new")
        losses = evaluate(forecasts, panel, self.target, self._schema.positive).losses
        loss = "crps" if "crps" in losses.columns else "pinball"
        weights = panel.select("series_id", origin="time", weight=WEIGHT)
        weighted = losses.join(weights, on=["series_id", "origin"], how="left")
        return -float((weighted[loss] * weighted["weight"]).sum() / weighted["weight"].sum())

    def _find(self, rows: PanelRows, origins: str | Sequence[Any]) -> Tensor:
        """Row numbers of the origins."""
        wanted = rows.ready
        if isinstance(origins, str):
            if origins == "last":
                return _last_rows(rows)
            if origins == "new":
                since = int(self.calendar_.numbers(pl.Series([self.fit_end_], dtype=rows.keys["time"].dtype))[0])
                wanted = wanted & (rows.session >= since) & (rows.session + self.horizon <= rows.session.max())
            elif origins != "all":
                raise ValueError(f'origins must be "last", "new", "all" or a list of times, got {origins!r}.')
        else:
            times = pl.Series(list(origins)).cast(rows.keys["time"].dtype)
            wanted = wanted & torch.from_numpy(rows.keys["time"].is_in(times.implode()).to_numpy().copy())
        return torch.nonzero(wanted)[:, 0]

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
        scale = (origins.volatility.unsqueeze(-1) * root_steps(self.horizon)).numpy()[..., None]
        change = origins.centre_NH.numpy()[..., None] + scale * self._scaled_quantiles(origins)
        price = origins.price.numpy()[:, None, None]
        values = price * np.exp(change) if self._schema.positive else price + change
        steps = np.tile(np.arange(1, self.horizon + 1), len(values))
        sessions = np.repeat(origins.session.numpy(), self.horizon) + steps
        repeated = origins.keys[np.repeat(np.arange(len(values)), self.horizon)]
        columns = dict(zip(self.quantiles_, values.reshape(-1, len(self.quantiles_)).T, strict=True))
        table = repeated.select(
            "series_id",
            origin="time",
            step=pl.Series(steps, dtype=pl.Int32),
            time=self.calendar_.times(sessions).cast(repeated["time"].dtype),
            forecast=pl.Series(columns.pop(0.5)),
        )
        names = quantile_columns(self.quantiles_)
        return table.with_columns(pl.Series(name, column) for name, column in zip(names, columns.values(), strict=True))

    @property
    def _median(self) -> int:
        return self.quantiles_.index(0.5)

    # -------------------------------------------------- recipe, save and load
    def recipe(self) -> dict[str, Any]:
        """Class, settings and features, as JSON holds them; equal recipes are equal dictionaries."""
        from forecasting.persistence import encode

        return cast(dict[str, Any], json.loads(json.dumps(encode(self))))

    def save(self, path: Any) -> None:
        """Write ``model.json`` and ``weights.safetensors`` into the folder `path`; no pickle."""
        from forecasting.persistence import save_forecaster

        save_forecaster(self, path)

    @classmethod
    def load(cls, path: Any) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        TypeError
            When the folder holds a forecaster of another class.
        """
        from forecasting.persistence import load_forecaster

        model = load_forecaster(path)
        if not isinstance(model, cls):
            raise TypeError(f"{path} must hold a {cls.__name__}, found a {type(model).__name__}.")
        return model

    def _learned(self) -> dict[str, Tensor]:
        """Everything numeric that `fit` learned, by name."""
        return {
            "base": self._layer.base_HQ, "offsets": torch.from_numpy(self._offsets), "session": self._last.session,
            "price": self._last.price, "volatility": self._last.volatility, "centre": self._last.centre_NH,
            "outputs": self._last.outputs_NHQ,
        }  # fmt: skip

    def _restore(self, learned: dict[str, Tensor], keys: pl.DataFrame) -> None:
        """The inverse of `_learned`; `keys` are the last origins."""
        scale = torch.full((self.horizon,), CENTRE_SCALE, dtype=torch.float64)
        self._layer = QuantileLayer(learned["base"], scale, self._median)
        self._offsets = learned["offsets"].numpy()
        self._last = Origins(
            keys, learned["session"], learned["price"], learned["volatility"], learned["centre"], learned["outputs"]
        )


def _with_weights(panel: Any, sample_weight: Any) -> pl.DataFrame:
    frame = to_polars(panel)
    if sample_weight is None:
        return frame.with_columns(pl.lit(1.0).alias(WEIGHT))
    weight = np.asarray(sample_weight, dtype=float)
    if weight.shape != (len(frame),) or not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise ValueError(
            f"sample_weight must be {len(frame)} finite numbers of at least 0, one a row and not all 0; "
            f"got shape {weight.shape}."
        )
    return frame.with_columns(pl.Series(WEIGHT, weight))


def _row_weights(rows: PanelRows) -> Tensor:
    return torch.from_numpy(rows.frame[WEIGHT].to_numpy().copy())


def _cuts(session: Tensor, horizon: int) -> Cuts:
    """Ends of the training, validation and calibration parts, from the sessions of all origins.

    A history too short to keep some of it back is trained on whole.
    """
    sessions = torch.unique(session)
    end = len(sessions) - 1
    validation = end - round(CALIBRATION_SHARE * len(sessions))
    train = validation - round(VALIDATION_SHARE * len(sessions))
    if train < FEWEST_HORIZONS * horizon:
        train = validation = end
    return Cuts(int(sessions[train]), int(sessions[validation]), int(sessions[end]))


def _last_rows(rows: PanelRows) -> Tensor:
    """The last row of each series, where it is ready."""
    series = rows.keys["series_id"]
    last = torch.from_numpy((series != series.shift(-1)).fill_null(True).to_numpy().copy())
    return torch.nonzero(last & rows.ready)[:, 0]


def _skipped(rows: PanelRows) -> tuple[Any, ...]:
    """Series without an origin at their last row."""
    forecast = rows.keys[_last_rows(rows).numpy()]["series_id"].implode()
    return tuple(rows.keys.filter(~pl.col("series_id").is_in(forecast))["series_id"].unique(maintain_order=True))


def _thin(at: Tensor, most: int = 1_000_000) -> Tensor:
    """Every k-th row number, so that estimates of quantiles need bounded memory."""
    return at[:: max(1, -(-len(at) // most))]


def _too_short(rows: PanelRows, lookback: int, horizon: int) -> str:
    n_series = rows.keys["series_id"].n_unique()
    return (
        f"A series needs lookback + horizon = {lookback} + {horizon} rows; all {n_series} series of the panel are "
        f"shorter, the longest has {int((rows.last - rows.first).max()) + 1} rows. Give more history or lower lookback."
    )


