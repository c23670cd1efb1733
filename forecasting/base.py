"""What every forecaster shares: panel in, forecast table out, around the random walk.

Axes: N origins, H horizon steps, Q quantiles.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Self, cast

import numpy as np
import polars as pl
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from features.calendar import PanelCalendar
from features.panel import PanelSchema, as_seen, check_panel, check_rows, is_pandas, like, places_of, to_polars
from forecasting.covariates import Ahead, check_future
from forecasting.cuts import Cuts, cut
from forecasting.intervals import calibrate, outwards
from forecasting.kept import Kept, check_goes_on, newer_rows
from forecasting.metrics import evaluate
from forecasting.networks import QuantileLayer
from forecasting.origins import Origins, find_origins
from forecasting.persistence import encode, load_forecaster, save_forecaster, under
from forecasting.quantiles import MEDIAN, check_quantiles
from forecasting.rows import BLOCK, PanelRows, panel_rows, root_steps
from forecasting.sampling import MOST_ORIGINS, Dependence, blocks, sample_table
from forecasting.scaling import weighted_quantiles
from forecasting.settings import check_whole, seed_from
from forecasting.standing import Standing, standing
from forecasting.training import isolated

CENTRE_SCALE = 0.1  # volatilities that one unit of output moves the median: prices hardly drift, so it learns slowly
MOST_RESIDUALS = 1 << 17  # per step, from which base quantiles are estimated: a level is out by 0.1 % at most
MOST_CALIBRATED = 1 << 15  # per step, from which they are calibrated, each with all its quantiles
QUANTILES = 1 << 7  # origins whose quantiles are put together at a time: they stay in the cache
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
        self.calendar_ = PanelCalendar.of(panel, self._schema.calendar)
        self.fit_end_ = cast("date | datetime", panel["time"].max())
        rows = self._with_ahead(self._rows(panel), X)
        if not rows.ready.any():
            raise ValueError(self._too_short(rows))

        cuts = cut(rows.frame["time"].filter(pl.Series(rows.ready.numpy())), self.horizon)
        self._layer = self._quantile_layer(torch.from_numpy(self._base_quantiles(rows, cuts, weights)))
        self._offsets = np.zeros((self.horizon, len(self.quantiles_)))
        self._fit_network(rows, cuts, weights)
        self._offsets = self._calibrate(rows, cuts, weights)
        self._dependence = self._measure_dependence(rows, cuts, weights)
        self._kept = self._keep(rows)
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None, epochs: int = 1) -> Self:
        """Go on training from the present weights, on what is newer than ``fit_end_``.

        Between two fits, where markets have changed and a `fit` takes too long; the daily rows are `update`'s, which
        learns nothing, and costs nothing. Only targets after ``fit_end_`` are learned, at a tenth of the learning rate,
        with a fresh optimiser and none held back to stop on; scalers, base quantiles and calibration stay as they are,
        so `fit` now and then. What has been seen is then this panel up to its end, the new ``fit_end_``. Baselines
        take in the rows and learn nothing. A forecaster that is not fitted yet is, as by `fit`.

        Parameters
        ----------
        X : polars or pandas DataFrame
            The newer rows, those that `update` took in among them, after their history: all of it, or at least
            `lookback` rows up to ``fit_end_`` of each series (states then start at the first of them).
        y : ignored
        sample_weight : array-like of shape (n_rows,), optional
            Weight of each row as an origin to learn from, in the order of `X`.
        epochs : int, default=1
            Passes over the newer rows. They are appended to a network's ``learning_curve_``.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            As `fit`, and for a panel without newer rows or their history; the forecaster then stays as it was.
        """
        check_whole("epochs", epochs, at_least=1)
        if not hasattr(self, "fit_end_"):
            return self.fit(X, y, sample_weight)
        self._check_settings()
        panel, weights = _weighted(X, sample_weight, self._schema, self.target)
        further = copy.copy(self)  # what is learned replaces what was known once all has gone well
        rows = further._with_ahead(further._rows(as_seen(panel, self._kept.standing.keys)), X)
        check_goes_on(rows, self.fit_end_, self._kept.standing, self.lookback)
        further._go_on(rows, weights, epochs)
        further.calendar_, further.fit_end_ = rows.calendar, cast("date | datetime", panel["time"].max())
        further._kept = further._keep(rows)
        self.__dict__.update(vars(further))
        return self

    def _check_settings(self) -> None:
        """Refuse impossible settings; subclasses add theirs."""
        for name in ("horizon", "lookback"):
            check_whole(name, getattr(self, name), at_least=1)
        if self.schema is not None and not isinstance(self.schema, PanelSchema):
            raise TypeError(f"schema must be a PanelSchema or None, got {type(self.schema).__name__}.")
        if self.schema is not None and self.target in (*self.schema.future, *self.schema.static):
            raise ValueError(
                f"The target cannot be known ahead, {self.target!r} is among the schema's covariates. Take it out."
            )

    def _base_quantiles(self, rows: PanelRows, cuts: Cuts, weights: Tensor) -> np.ndarray:
        """Quantiles of standardised training changes, shape (H, Q), the median put to exactly 0."""
        levels = np.array(self.quantiles_)
        base = np.zeros((self.horizon, len(levels)))
        if not rows.moving.any():  # pegged, all of them: there is no spread to learn, and none to forecast
            return base
        at = _thin(rows.moving & rows.before(cuts.train) & (weights > 0), MOST_RESIDUALS)
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

    def _go_on(self, rows: PanelRows, weights: Tensor, epochs: int) -> None:
        """Train further what `_fit_network` trained, in place of it and leaving it as it was."""

    def _calibrate(self, rows: PanelRows, cuts: Cuts, weights: Tensor) -> np.ndarray:
        """Offsets of the quantiles, shape (H, Q), from the newest training rows."""
        at = _thin(rows.moving & ~rows.before(cuts.validation) & (weights > 0), MOST_CALIBRATED)
        quantiles = self._scaled_quantiles(self._origins(rows, at))
        residuals = self._residuals(rows, at, until=cuts.calibration).numpy()
        return calibrate(residuals, quantiles, np.array(self.quantiles_), weights[at].numpy())

    def _measure_dependence(self, rows: PanelRows, cuts: Cuts, weights: Tensor) -> Dependence:
        """How the steps move together, on all training rows: a correlation is hardly overfitted, but needs many."""
        at = _thin(rows.moving & (weights > 0), most=MOST_ORIGINS)
        residuals = self._residuals(rows, at, until=cuts.calibration).numpy()
        return Dependence.measure(residuals, weights[at].numpy(), np.array(self.quantiles_))

    def _residuals(self, rows: PanelRows, at: Tensor, until: date | datetime) -> Tensor:
        """Changes less the centre, standardised, shape (N, H); NaN where the truth lies past the time `until`."""
        scale = rows.volatility[at].unsqueeze(-1) * root_steps(self.horizon)
        scaled = (rows.changes(at, self.horizon) - self._centre(standing(rows, at, self._n_levels))) / scale
        known = rows.session[at].unsqueeze(-1) + torch.arange(1, self.horizon + 1)
        known = known <= rows.sessions_at(until)[rows.sequence(at)].unsqueeze(-1)
        return torch.where(known & rows.moving[at].unsqueeze(-1), scaled, torch.nan)

    # -------------------------------------------------------------- predict
    def predict(self, X: Any = None, origins: str | Sequence[Any] = "last", future: Any = None) -> Any:
        """Forecast table, each origin using rows at or before it, and future covariates of the sessions ahead.

        Parameters
        ----------
        X : polars or pandas DataFrame, optional
            The panel with its history; without it, forecasts from the end of what `fit` and `update` have seen.
        origins : {"last", "new", "all"} or list of times
            Each series' last row; every row from ``fit_end_`` on whose whole horizon lies in the panel; every row with
            `lookback` rows up to it; rows at these times.
        future : polars or pandas DataFrame, optional
            The schema's future covariates: ``series_id``, ``time`` and their columns, one row for each session ahead of
            the panel. Where the panel has such a row itself (it needs no target), this one counts.

        Returns
        -------
        DataFrame
            ``series_id``, ``origin``, ``step``, ``time`` (the forecast session), ``forecast`` (the median) and a column
            per further quantile, in the unit of the target. Sorted by series, origin and step; polars for polars,
            pandas for pandas. Series with fewer than `lookback` rows have none and are named in ``skipped_``.

        Raises
        ------
        ValueError
            When no origin is left, or a future covariate is not known after the newest row of the panel.
        """
        check_is_fitted(self, "fit_end_")
        return self._given_back(self._table(self._origins_of(X, origins, future)), X)

    def sample(
        self,
        n: int,
        X: Any = None,
        origins: str | Sequence[Any] = "last",
        random_state: Any = None,
        future: Any = None,
    ) -> Any:
        """Joint paths over the horizon, whose distribution at each step is that of the quantiles.

        For whatever depends on several steps at once: the lowest price of the week, the mean, the chance to touch a
        level. The steps of an origin depend on one another as past residuals did (a Gaussian copula, estimated in
        `fit`); series are drawn independently of one another. Between two levels a step follows a normal distribution
        through both; beyond the outermost levels it falls off exponentially, as far on average as past residuals did.

        Parameters
        ----------
        n : int
            Paths of each origin. Ranks are stratified, so that also some hundreds of them have the table's quantiles.
        X, origins
            As for `predict`.
        random_state : int, RandomState or None, default=None
            The same seed gives the same paths; None gives others each time.
        future
            As for `predict`.

        Returns
        -------
        DataFrame
            ``series_id``, ``origin``, ``sample`` (1…n), ``step``, ``time`` and ``value`` in the unit of the target, in
            that order; polars for polars, pandas for pandas.

        Raises
        ------
        ValueError
            As `predict`, and where `quantiles` has no level on either side of 0.5.
        """
        check_is_fitted(self, "fit_end_")
        check_whole("n", n, at_least=1)
        levels = np.array(self.quantiles_)
        if not 0 < self._median < len(levels) - 1:
            raise ValueError(
                f"To sample, quantiles must have a level below 0.5 and one above, got {self.quantiles_}. Add some."
            )
        found = self._origins_of(X, origins, future)
        quantiles_NHQ = self._scaled_quantiles(found)
        generator = np.random.default_rng(None if random_state is None else seed_from(random_state))
        scaled_NSH = np.empty((len(found), n, self.horizon))
        for part in blocks(len(found), n, self.horizon):
            ranks_NSH = self._dependence.draw(len(quantiles_NHQ[part]), n, generator)
            scaled_NSH[part] = self._dependence.quantile(ranks_NSH, quantiles_NHQ[part], levels)
        values_NSH = self._in_prices(found, scaled_NSH.transpose(0, 2, 1)).transpose(0, 2, 1)
        return self._given_back(sample_table(found, values_NSH), X)

    def _origins_of(self, X: Any, origins: str | Sequence[Any], future: Any) -> Origins:
        """The origins of a panel, or, without one, of what has been seen."""
        if future is not None and not self._schema.future:
            raise ValueError(
                "future= needs future covariates, the schema names none. Leave it out, or say "
                "PanelSchema(future=(…,)) and fit again."
            )
        if X is None:
            if not isinstance(origins, str) or origins != "last":
                raise ValueError(f'Without a panel, origins must be "last", got {origins!r}. Give the panel, too.')
            return self._kept_origins(future)
        rows = self._with_ahead(self._rows(check_panel(X, self._schema, self.target)), X, future)
        at = self._find(rows, origins)
        if not len(at):
            times: Any = rows.frame["time"]
            raise ValueError(
                f"No origin to forecast from: origins={origins!r} with lookback={self.lookback} and horizon="
                f"{self.horizon} leave none of the panel's {len(rows)} rows, {times.min()} to {times.max()}. "
                "Give a longer panel or other origins."
            )
        if rows.ahead is not None:
            rows.ahead.check(rows.series_of(at).numpy(), rows.session[at].numpy(), self.horizon)
        return self._origins(rows, at)

    def _given_back(self, table: pl.DataFrame, X: Any) -> Any:
        """A table in the kind of `X`, or of the panel that was fitted."""
        return like(table, X) if X is not None or self._kind == "polars" else table.to_pandas()

    def update(self, X: Any) -> Self:
        """Take in new rows; `predict` without a panel then forecasts from them.

        For every day between two fits: a row costs the same however long its history is, and the forecasts equal, to
        rounding, those of ``predict(whole history)``. Nothing is learned: weights, scalers, base quantiles,
        calibration and ``fit_end_`` stay. Any number of rows of any of the series may come at once; a series that was
        not there before begins with its first row. All rows are taken in, or, on an error, none.

        Corrections of rows that were taken in before are no update: give the whole history to `predict`, or fit again.

        Parameters
        ----------
        X : polars or pandas DataFrame
            The new rows alone, with the columns of the panel that was fitted.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            For rows at or before what was seen of their series, and as `fit` for an impossible panel.
        """
        check_is_fitted(self, "fit_end_")
        rows = newer_rows(X, self._schema_of_rows, self.target, self._kept.standing.keys)
        if len(rows):
            with isolated(0):  # on one thread: more of them wait for each other longer than the work takes
                self._kept = self._taken_in(rows)
        return self

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
        table = self.predict(to_polars(X), origins="new")  # rows without a target may tell what was known ahead
        losses = evaluate(table, panel, self.target, self._schema.positive).losses
        of_origin = panel.select("series_id", origin="time", weight=pl.Series(weights.numpy()))
        weighted = losses.join(of_origin, on=["series_id", "origin"], how="left").sort("series_id", "origin", "step")
        if not weighted["weight"].sum() > 0:
            raise ValueError(
                f"A score needs a forecast from {self.fit_end_} or later that has come true, of a series that moves "
                "and with a weight above 0; found none. Give newer rows."
            )
        loss = weighted["crps" if "crps" in losses.columns else "pinball"]
        return -float(np.average(loss.to_numpy(), weights=weighted["weight"].to_numpy()))

    # ---------------------------------------------------- what has been seen
    def _keep(self, rows: PanelRows) -> Kept:
        """What is needed of the panel's series to go on from their last rows."""
        return Kept(standing(rows, rows.newest, self._n_levels))

    def _taken_in(self, rows: pl.DataFrame) -> Kept:
        """What is kept once these rows, sorted by time and series, have been seen; all of one time move on together."""
        new = rows["series_id"].filter(pl.Series(places_of(rows["series_id"], self._kept.standing.series_id) < 0))
        kept = self._with_room(new.unique())
        at_N = torch.from_numpy(places_of(rows["series_id"], kept.standing.series_id))
        calendar = self.calendar_.joined(rows) if "calendar" in rows.columns else self.calendar_
        session_N = torch.from_numpy(calendar.numbers(rows.select("series_id", "time")))
        price_N = torch.from_numpy(rows[self.target].to_numpy().copy())
        level_N = torch.from_numpy(np.log(price_N.numpy())) if self._schema.positive else price_N
        ends = [*np.flatnonzero(np.diff(rows["time"].to_physical().to_numpy())) + 1, len(rows)]
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            now, at_M = slice(start, end), at_N[start:end]
            here, begins_M = kept.standing.moved_on(at_M, rows["time"][now], session_N[now], price_N[now], level_N[now])
            kept = self._moved_on(replace(kept, standing=here), at_M, begins_M, rows[now])
        self.calendar_ = calendar
        return kept

    def _with_room(self, series_id: pl.Series) -> Kept:
        """A copy of what is kept, with room for these series, too."""
        return Kept(self._kept.standing.with_room(series_id)[0])

    def _moved_on(self, kept: Kept, at_M: Tensor, begins_M: Tensor, rows: pl.DataFrame) -> Kept:
        """What a network remembers, moved on by a row of each series at the places `at_M`."""
        return kept

    def _kept_origins(self, future: Any) -> Origins:
        """The newest row of each series that has `lookback` of them."""
        here = self._kept.standing
        ready = here.rows >= self.lookback
        self.skipped_ = tuple(here.series_id.filter(pl.Series((~ready).numpy())))
        if not ready.any():
            raise ValueError(
                f"No origin to forecast from: none of the {len(here)} series has lookback="
                f"{self.lookback} rows up to its last one, since its start or last pause. Lower lookback."
            )
        at = torch.nonzero(ready)[:, 0]
        ahead = self._kept_ahead(future)
        if ahead is not None:
            ahead.check(at.numpy(), here.session[at].numpy(), self.horizon)
        return self._origins_at(here.take(at), self._kept_outputs(at, ahead), self.calendar_)

    def _kept_outputs(self, at: Tensor, ahead: Ahead | None) -> Tensor:
        """As `_outputs`, of the series at these places."""
        return torch.zeros(len(at), self.horizon, len(self.quantiles_), dtype=torch.float64)

    # ------------------------------------------------------ future covariates
    @property
    def _ahead_names(self) -> tuple[str, ...]:
        """The future covariates that forecasts depend on."""
        return ()

    def _with_ahead(self, rows: PanelRows, X: Any, future: Any = None) -> PanelRows:
        """The rows of the panel `X` with its future covariates, those of rows without a target, too."""
        names = self._ahead_names
        if not names:
            return rows
        series_id = rows.frame["series_id"][rows.series[:-1].numpy()]
        known = check_rows(X, self._schema, self.target).filter(pl.col("series_id").is_in(series_id.implode()))
        newest: Any = known["time"].max()
        known = known.select("series_id", "time", *names)
        sessions = rows.calendar.is_session(known.select("series_id", "time"))
        known = known.filter(pl.Series(sessions))  # rows without a target may lie on any day
        if future is not None:
            known = pl.concat([known, check_future(future, self._schema_of_rows, known.select("series_id", "time"))])
        until_S = rows.calendar.through(series_id, newest)
        return replace(rows, ahead=Ahead.of(known, names, series_id, rows.calendar, until_S))

    def _kept_ahead(self, future: Any) -> Ahead | None:
        """As `_with_ahead`, of the series that have been seen."""
        names, here = self._ahead_names, self._kept.standing
        if not names:
            return None
        kinds: Any = {**here.keys.schema, **dict.fromkeys(names, pl.Float64)}
        known = pl.DataFrame(schema=kinds) if future is None else check_future(future, self._schema_of_rows, here.keys)
        return Ahead.of(known, names, here.series_id, self.calendar_, here.session.numpy())

    @property
    def _schema_of_rows(self) -> PanelSchema:
        """The schema, with the calendar where that is of bars within the day: midnights are hours like any other."""
        if self.calendar_.default is not None and self.calendar_.intraday:
            return replace(self._schema, calendar=self.calendar_.default.name)
        return self._schema

    def _rows(self, panel: pl.DataFrame) -> PanelRows:
        rows = panel_rows(panel, self._schema.positive, self.target, self.calendar_, self.lookback)
        without = rows.newest[~rows.ready[rows.newest]]
        self.skipped_ = tuple(panel["series_id"][without.numpy()])
        return rows

    def _find(self, rows: PanelRows, origins: str | Sequence[Any]) -> Tensor:
        return find_origins(rows, origins, self.fit_end_, self.horizon)

    def _origins(self, rows: PanelRows, at: Tensor) -> Origins:
        return self._origins_at(standing(rows, at, self._n_levels), self._outputs(rows, at), rows.calendar)

    def _origins_at(self, here: Standing, outputs: Tensor, calendar: PanelCalendar) -> Origins:
        return Origins(here.keys, here.session, here.price, here.volatility, self._centre(here), outputs, calendar)

    def _centre(self, here: Standing) -> Tensor:
        """Expected change of the level for each step, shape (N, H)."""
        return torch.zeros(len(here), self.horizon, dtype=torch.float64)

    @property
    def _n_levels(self) -> int:
        """Newest levels of a series that `_centre` looks at."""
        return 1

    def _outputs(self, rows: PanelRows, at: Tensor) -> Tensor:
        """Outputs that shape the base quantiles, shape (N, H, Q), float64."""
        return torch.zeros(len(at), self.horizon, len(self.quantiles_), dtype=torch.float64)

    def _scaled_quantiles(self, origins: Origins) -> np.ndarray:
        """Calibrated quantiles in units of volatility · √step, shape (N, H, Q), never crossing."""
        quantiles = np.empty(tuple(origins.outputs_NHQ.shape))
        with torch.inference_mode():
            for begin in range(0, len(origins), QUANTILES):  # what lies between is several times as large
                block = slice(begin, begin + QUANTILES)
                scaled = self._layer(origins.outputs_NHQ[block]).numpy() + self._offsets
                quantiles[block] = outwards(scaled, self._median)
        return quantiles

    def _table(self, origins: Origins) -> pl.DataFrame:
        """The forecasts, in the unit of the target."""
        values_NHQ = self._in_prices(origins, self._scaled_quantiles(origins))
        return origins.table(values_NHQ, self.quantiles_)

    def _in_prices(self, origins: Origins, scaled: np.ndarray) -> np.ndarray:
        """Values in units of volatility · √step, shape (N, H, any), in the unit of the target."""
        scale_NH1 = (origins.volatility.unsqueeze(-1) * root_steps(self.horizon)).numpy()[..., None]
        change = origins.centre_NH.numpy()[..., None] + scale_NH1 * scaled
        price_N11 = origins.price.numpy()[:, None, None]
        return price_N11 * np.exp(change) if self._schema.positive else price_N11 + change

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
        kept = {f"standing.{name}": values for name, values in self._kept.standing.tensors().items()}
        estimated = {
            "offsets": self._offsets,
            **{f"paths.{name}": value for name, value in vars(self._dependence).items()},
        }
        tensors = {name: torch.from_numpy(value) for name, value in estimated.items()}
        return {"base": self._layer.base_HQ} | tensors | kept

    def _restore(self, description: dict[str, Any], learned: dict[str, Tensor], keys: pl.DataFrame) -> None:
        """The inverse of `_described` and `_learned`; `keys` say up to when each series has been seen."""
        self._layer = self._quantile_layer(learned["base"])
        self._offsets = learned["offsets"].numpy()
        self._dependence = Dependence(**{name: value.numpy() for name, value in under("paths", learned).items()})
        self._kept = Kept(Standing(keys["series_id"], keys["time"], **under("standing", learned)))

    def _too_short(self, rows: PanelRows) -> str:
        n_series, longest = rows.keys["series_id"].n_unique(), int(rows.starts.diff().max())
        return (
            f"A series needs lookback + horizon = {self.lookback} + {self.horizon} rows; all {n_series} series of the "
            f"panel are shorter, the longest has {longest} rows. Give more history or lower lookback."
        )


def _weighted(panel: Any, sample_weight: Any, schema: PanelSchema, target: str) -> tuple[pl.DataFrame, Tensor]:
    """The checked panel, and a weight for each of its rows, float64."""
    frame = to_polars(panel)
    if sample_weight is None:
        checked = check_panel(frame, schema, target)
        return checked, torch.ones((), dtype=torch.float64).expand(len(checked))  # seen by all rows, kept once
    weight = np.asarray(sample_weight, dtype=float)
    if weight.shape != (len(frame),) or not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise ValueError(
            f"sample_weight must be {len(frame)} finite numbers of at least 0, one a row and not all 0; "
            f"got shape {weight.shape}."
        )
    checked = check_panel(frame.with_columns(pl.Series(WEIGHT, weight)), schema, target)
    return checked.drop(WEIGHT), torch.from_numpy(checked[WEIGHT].to_numpy().copy())


def _thin(mask: Tensor, most: int) -> Tensor:
    """Where `mask` holds, every k-th place, so that estimates of quantiles need bounded memory."""
    every, seen, kept = max(1, -(-int(mask.sum()) // most)), 0, []
    for begin in range(0, len(mask), BLOCK):
        at = torch.nonzero(mask[begin : begin + BLOCK])[:, 0] + begin
        kept.append(at[-seen % every :: every])
        seen += len(at)
    return torch.cat(kept)
