"""The contract of every forecaster: a panel in, a forecast table out."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, Self, TypeVar, cast, overload

import numpy as np
import polars as pl
import torch
from torch import Tensor

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import check_whole, ended
from tidecast.features.frames import Frame, FrameLike, is_pandas, to_polars
from tidecast.features.panel import RESERVED, PanelSchema, as_seen, check_panel
from tidecast.features.stray_rows import settle
from tidecast.forecasting.estimator.fitted_settings import (
    NOT_SAVED_AS_LEARNED,
    all_or_nothing,
    check_fitted,
    remember_settings,
)
from tidecast.forecasting.estimator.freed_memory import give_back_memory
from tidecast.forecasting.estimator.sklearn_callers import refuse_callers
from tidecast.forecasting.estimator.threads import one_thread
from tidecast.forecasting.estimator.validation import seed_from
from tidecast.forecasting.evaluation.metrics import evaluate
from tidecast.forecasting.forecasters.sampling import blocks, sample_table
from tidecast.forecasting.forecasters.shown import ShownForecaster
from tidecast.forecasting.panel.carried_state import check_continues, newer_rows
from tidecast.forecasting.panel.holdout import holdout_of
from tidecast.forecasting.panel.made_columns import check_made, made_columns
from tidecast.forecasting.panel.recent_prices import RecentPrices
from tidecast.forecasting.panel.seasonal_target import SeasonalTarget
from tidecast.forecasting.saving.model_files import restoring
from tidecast.forecasting.saving.recipes import encode, read_model, write_model
from tidecast.forecasting.saving.saved_classes import UnreadableModel
from tidecast.forecasting.saving.saved_keys import saved_keys, time_parser
from tidecast.forecasting.tables.check import check_finite, check_forecasts
from tidecast.forecasting.tables.facts import noted
from tidecast.forecasting.tables.names import loss_in
from tidecast.forecasting.tables.quantiles import check_quantiles

WEIGHT = f"{RESERVED}sample_weight"

Kind = TypeVar("Kind", bound="PanelForecaster")


class PanelForecaster(ShownForecaster):
    """Public methods of all forecasters; `QuantileForecaster` has the machinery below them."""

    # ------------------------------------------------------------------ fit
    @one_thread()
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit on a panel, from scratch.

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
            A setting or the panel is invalid; the forecaster then stays as it was.
        """
        refuse_callers(self)
        self._check_settings()
        with all_or_nothing(self):
            self._fit_afresh(X, sample_weight)
            remember_settings(self)
        return self

    def _fit_afresh(self, X: Any, sample_weight: Any) -> None:
        self._schema = self.schema or PanelSchema()
        self._kind = "pandas" if is_pandas(X) else "polars"
        self.quantiles_ = check_quantiles(self.quantiles)
        panel, weights = _weighted(X, sample_weight, self._schema, self.target)
        self.calendar_ = PanelCalendar.of(panel, self._schema.calendar).meeting(panel)
        panel, weights = _settled(panel, weights, self.calendar_)
        self.fit_end_ = cast("date | datetime", panel["time"].max())
        self._seasonal = SeasonalTarget.of(panel, self.target, self._schema.positive, self.calendar_)
        rows = self._with_known_covariates(self._rows(panel, self.calendar_), X)
        if not rows.ready.any():
            raise ValueError(self._too_short(rows))
        give_back_memory()

        holdout = holdout_of(rows.frame["time"].filter(pl.Series(rows.ready.numpy())), self.horizon)
        self._quantile_model = self._learned_quantiles(rows, holdout, weights)
        give_back_memory()
        self._fit_network(rows, holdout, weights)
        give_back_memory()
        self._carried, self._quantile_model = self._calibrated(rows, holdout, weights)
        give_back_memory()
        self._learn_all(rows, weights)
        self._dependence = self._measure_dependence(rows, holdout, weights)
        self._recent = RecentPrices.of(panel, self.target)
        made, schema = made_columns(X), self._schema
        self._made = tuple(name for name in made if name in (*schema.covariates, *schema.future, *schema.static))
        self._warn_of_unseen(made)

    @one_thread()
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None, epochs: int = 1) -> Self:
        """Continue training from the present weights, on rows newer than ``fit_end_``.

        Use it between two fits, when markets have changed and a `fit` takes too long. For daily rows use `update`,
        which learns nothing and costs next to nothing. Only targets after ``fit_end_`` are learned, at a tenth of the
        learning rate, with a new optimiser and without early stopping. Scalers, base quantiles and calibration stay, so
        `fit` from time to time. Afterwards ``fit_end_`` is the end of this panel. Baselines take in the rows and learn
        nothing. A forecaster that is not fitted yet is fitted as by `fit`.

        Parameters
        ----------
        X : polars or pandas DataFrame
            The newer rows, including those that `update` took in, after their history: all of it, or at least
            `lookback` rows up to ``fit_end_`` of each series (states then start at the first of them).
        y, sample_weight
            As for `fit`.
        epochs : int, default=1
            Passes over the newer rows. They are appended to a network's ``learning_curve_``.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            As `fit`, and if the panel lacks newer rows or their history; the forecaster then stays as it was.
        """
        check_whole("epochs", epochs, at_least=1)
        if not hasattr(self, "fit_end_"):
            return self.fit(X, y, sample_weight)
        self._check_settings()
        check_fitted(self, "fit_end_")
        check_made(X, self._made)
        panel, weights = _weighted(X, sample_weight, self._schema_of_rows, self.target)
        panel = as_seen(panel, self._carried.snapshot.keys)
        calendar = self.calendar_.meeting(panel, self._carried.snapshot.series_id)
        panel, weights = _settled(panel, weights, calendar)
        updated = copy.copy(self)  # replaces this one only when all has succeeded
        rows = updated._with_known_covariates(updated._rows(panel, calendar), X)
        check_continues(rows, self.fit_end_, self._carried.snapshot, self.lookback)
        updated._continue_training(rows, weights, epochs)
        updated.calendar_, updated.fit_end_ = rows.calendar, cast("date | datetime", panel["time"].max())
        updated._carried, _ = updated._carry(rows, rows.newest[:0])
        updated._recent = self._recent.with_rows(panel) if self._recent else RecentPrices.of(panel, self.target)
        remember_settings(updated)
        self.__dict__.update(vars(updated))
        return self

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags, or refuse the meta-estimator that asks for them; see `refuse_callers`."""
        refuse_callers(self, asked_for_tags=True)
        return super().__sklearn_tags__()

    def __copy__(self) -> Self:
        """Return an independent copy: updates of one do not affect the other."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        if hasattr(self, "_carried"):
            twin._carried = copy.copy(self._carried)
        return twin

    # -------------------------------------------------------------- predict
    @overload
    def predict(self, X: None = None, origins: str | Sequence[Any] = "last", future: Any = None) -> Any: ...
    @overload
    def predict(self, X: FrameLike, origins: str | Sequence[Any] = "last", future: Any = None) -> FrameLike: ...

    @one_thread()
    def predict(self, X: Any = None, origins: str | Sequence[Any] = "last", future: Any = None) -> Frame:
        """Forecast from each origin, using rows at or before it and future covariates of the sessions after it.

        Parameters
        ----------
        X : polars or pandas DataFrame, optional
            The panel with its history; without it, forecasts start at the newest rows that `fit` and `update` saw.
        origins : {"last", "new", "all"} or list of times
            Each series' last row; every row from ``fit_end_`` on whose whole horizon lies in the panel; every row with
            `lookback` rows up to it; rows at these times.
        future : polars or pandas DataFrame, optional
            The schema's future covariates: ``series_id``, ``time`` and their columns, one row for each session after
            the panel. If the panel has such a row as well (it needs no target), this one counts.

        Returns
        -------
        DataFrame
            ``series_id``, ``origin``, ``step``, ``time`` (the forecast session), ``forecast`` (the median) and a column
            per other quantile, in the unit of the target. Sorted by series, origin and step; polars for polars,
            pandas for pandas. Series with fewer than `lookback` rows have none and are named in ``skipped_``.

        Raises
        ------
        ValueError
            No origin is left, a future covariate is missing after the newest row of the panel, or a forecast would
            not be finite.
        """
        refuse_callers(self)
        check_fitted(self, "fit_end_")
        found = self._origins_of(X, origins, future)
        values_NHQ = self._in_prices(found, self._quantile_model.quantiles(found.outputs_NHQ))
        table = check_forecasts(found.table(values_NHQ, self.quantiles_), type(self).__name__)
        return noted(self._in_kind_of(X, table), self.target, self._schema.positive)

    @overload
    def sample(
        self,
        n: int,
        X: None = None,
        origins: str | Sequence[Any] = "last",
        random_state: Any = None,
        future: Any = None,
    ) -> Any: ...
    @overload
    def sample(
        self, n: int, X: FrameLike, origins: str | Sequence[Any] = "last", random_state: Any = None, future: Any = None
    ) -> FrameLike: ...

    @one_thread()
    def sample(
        self,
        n: int,
        X: Any = None,
        origins: str | Sequence[Any] = "last",
        random_state: Any = None,
        future: Any = None,
    ) -> Frame:
        """Joint paths over the horizon; at each step they are distributed as the quantiles say.

        Use them for anything that depends on several steps at once: the lowest price of the week, the mean, the chance
        to touch a level. The steps of an origin depend on each other as past residuals did (a Gaussian copula,
        estimated in `fit`); series are drawn independently. Between two levels a step follows a normal distribution
        through both. Beyond the outermost levels it decays exponentially, with the mean excess of past residuals.

        Parameters
        ----------
        n : int
            Paths per origin. Ranks are stratified, so a few hundred paths already have the table's quantiles.
        X, origins
            As for `predict`.
        random_state : int, RandomState or None, default=None
            The same seed gives the same paths; None gives new ones each time.
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
            As `predict`, and if `quantiles` lacks a level on either side of 0.5.
        """
        check_fitted(self, "fit_end_")
        check_whole("n", n, at_least=1)
        levels = np.array(self.quantiles_)
        if not 0 < self._quantile_model.median < len(levels) - 1:
            raise ValueError(
                f"To sample, quantiles must have a level below 0.5 and one above, got {self.quantiles_}. Add some."
            )
        found = self._origins_of(X, origins, future)
        quantiles_NHQ = self._quantile_model.quantiles(found.outputs_NHQ)
        generator = np.random.default_rng(None if random_state is None else seed_from(random_state))
        scaled_NSH = np.empty((len(found), n, self.horizon))
        for block in blocks(len(found), n, self.horizon):
            ranks_NSH = self._dependence.draw(len(quantiles_NHQ[block]), n, generator)
            scaled_NSH[block] = self._dependence.quantile(ranks_NSH, quantiles_NHQ[block], levels)
        values_NSH = self._in_prices(found, scaled_NSH.transpose(0, 2, 1)).transpose(0, 2, 1)
        paths = check_finite(sample_table(found, values_NSH), ["value"], type(self).__name__)
        return self._in_kind_of(X, paths)

    @one_thread()
    def update(self, X: Any) -> Self:
        """Take in new rows; `predict` without a panel then forecasts from them.

        Use it every day between two fits: a row costs the same however long its history is, and the forecasts equal, to
        rounding, those of ``predict(whole history)``. Nothing is learned: weights, scalers, base quantiles,
        calibration and ``fit_end_`` stay. Any number of rows of any of the series may come at once; a new series
        begins with its first row. All rows are taken in, or, on an error, none.

        It does not correct rows taken in before: for corrections pass the whole history to `predict`, or fit again.

        Parameters
        ----------
        X : polars or pandas DataFrame
            The new rows only, with the columns of the fitted panel.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            A row is not newer than those seen of its series, or the panel is invalid.
        """
        check_fitted(self, "fit_end_")
        check_made(X, self._made)
        rows = newer_rows(X, self._schema_of_rows, self.target, self._carried.snapshot.keys)
        calendar = self.calendar_.meeting(rows, self._carried.snapshot.series_id)
        rows = settle(rows, calendar)[0].sort("time", maintain_order=True)
        if len(rows):
            with self._carried.atomic():
                self._carried = self._after_update(rows, calendar)
            self._recent = self._recent and self._recent.with_rows(rows)
        return self

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Negative mean scaled CRPS over the ``"new"`` origins of a panel; greater is better.

        Each loss is divided by price × volatility at its origin, so that all series count alike.

        Parameters
        ----------
        X : polars or pandas DataFrame
        y : ignored
        sample_weight : array-like of shape (n_rows,), optional
            Weight of each row as an origin.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            No new origin has a truth to compare with.
        """
        refuse_callers(self)
        check_fitted(self, "fit_end_")
        check_made(X, self._made)
        panel, weights = _weighted(X, sample_weight, self._schema_of_rows, self.target)
        table = self.predict(to_polars(X), origins="new")  # rows without a target may hold future covariates
        panel = self.calendar_.meeting(panel, self._carried.snapshot.series_id).marked(panel)
        losses = evaluate(table, panel, self.target, self._schema.positive).losses
        of_origin = panel.select("series_id", origin="time", weight=pl.Series(weights.numpy()))
        weighted = losses.join(of_origin, on=["series_id", "origin"], how="left").sort("series_id", "origin", "step")
        if not weighted["weight"].sum() > 0:
            raise ValueError(
                f"A score needs a forecast from {self.fit_end_} or later that has come true, of a series that moves "
                "and with a weight above 0; found none. Give newer rows."
            )
        loss = weighted[loss_in(losses.columns)]
        return -float(np.average(loss.to_numpy(), weights=weighted["weight"].to_numpy()))

    # -------------------------------------------------- recipe, save and load
    def search_space(self) -> dict[str, Any]:
        """Settings that `tune` tries by default: Optuna's distributions, or lists of choices, by name."""
        return {}

    def recipe(self) -> dict[str, Any]:
        """Return class, settings and features, as JSON holds them; equal recipes are equal dictionaries."""
        return cast(dict[str, Any], json.loads(json.dumps(encode(self))))

    def save(self, path: Any) -> None:
        """Write ``model.json`` and ``weights.safetensors``; no pickle.

        Parameters
        ----------
        path : path-like
            The folder; created if missing.

        Raises
        ------
        NotFittedError
            The forecaster is not fitted.
        TypeError, ValueError
            A setting cannot be saved, or has changed since `fit`.
        """
        check_fitted(self, "fit_end_", free=NOT_SAVED_AS_LEARNED)
        write_model(path, self, self._common_description() | self._described(), self._learned())

    @classmethod
    def load(cls, path: Any, trusted: Iterable[type] = ()) -> Self:
        """Load a forecaster of this class that `save` wrote.

        Parameters
        ----------
        path : path-like
            The folder.
        trusted : iterable of type, optional
            Transformers of your own that the model may use, as ``[MyFeatures]``.

        Raises
        ------
        TypeError
            The folder holds a forecaster of another class.
        FileNotFoundError, UnreadableModel
            As `load_forecaster`.
        """
        return load_saved(cls, path, trusted)

    def _common_description(self) -> dict[str, Any]:
        """Return what every forecaster learned that is not a tensor, as JSON holds it."""
        keys = self._carried.snapshot.keys
        return {
            "fit_end": self.fit_end_.isoformat(),
            "calendar": self.calendar_.describe(),
            "kind": self._kind,
            "series_id": keys["series_id"].to_list(),
            "series_id_type": str(keys.schema["series_id"]),
            "time": [time.isoformat() for time in keys["time"]],
            "skipped": list(self.skipped_),
            "made": list(self._made),
            "relative_offsets": self._quantile_model.relative,
        }

    def _restore_common(self, description: dict[str, Any]) -> None:
        """Take back what `_common_description` wrote, the keys of the series aside."""
        self._schema = self.schema or PanelSchema()
        self.quantiles_ = check_quantiles(self.quantiles)
        self.calendar_ = PanelCalendar.described(description["calendar"])
        self._kind = description["kind"]
        self.skipped_ = tuple(description["skipped"])
        self._made = tuple(description.get("made", ()))  # which older models lack
        self.fit_end_ = time_parser(description)(description["fit_end"])


def load_saved(kind: type[Kind], path: Any, trusted: Iterable[type]) -> Kind:
    """Return the fitted forecaster that a folder holds, if it is of that class; see `PanelForecaster.load`.

    Parameters
    ----------
    kind : type
        The class that the caller expects, or a base of it.
    path : path-like
        A folder that `save` wrote.
    trusted : iterable of type
        Classes of other packages that may be built.

    Raises
    ------
    UnreadableModel
        The folder holds no whole forecaster.
    TypeError
        It holds a forecaster of another class.
    """
    model, description, learned = read_model(path, trusted, stacklevel=4)
    if not isinstance(model, PanelForecaster):
        raise UnreadableModel(f"{path} must hold a forecaster, found a {type(model).__name__}.")
    if not isinstance(model, kind):
        raise TypeError(f"{path} must hold a {kind.__name__}, found a {type(model).__name__}.")
    with restoring(path):
        model._restore_common(description)
        model._restore(description, learned, saved_keys(description))
        remember_settings(model)
    return model


def _weighted(panel: Any, sample_weight: Any, schema: PanelSchema, target: str) -> tuple[pl.DataFrame, Tensor]:
    """Return the checked panel and a weight for each of its rows, float64."""
    if sample_weight is None:
        checked = check_panel(panel, schema, target)
        return checked, torch.ones((), dtype=torch.float64).expand(len(checked))  # one number, shared by all rows
    frame = to_polars(panel)
    try:
        weight = np.asarray(sample_weight, dtype=float)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"sample_weight must be {len(frame)} numbers, one for each row of the panel: {ended(error)}"
        ) from None
    wrong = ~np.isfinite(weight) | (weight < 0)
    if weight.shape != (len(frame),) or wrong.any() or not weight.any():
        found = f"shape {weight.shape}" if weight.shape != (len(frame),) else f"{weight[wrong.argmax()]} for a row"
        raise ValueError(
            f"sample_weight must be {len(frame)} finite numbers of at least 0, one a row and not all 0; got "
            f"{found if weight.any() else 'zeros only'}. Give one weight for each row of the panel."
        )
    checked = check_panel(frame.with_columns(pl.Series(WEIGHT, weight)), schema, target)
    return checked.drop(WEIGHT), torch.from_numpy(checked[WEIGHT].to_numpy().copy())


def _settled(panel: pl.DataFrame, weights: Tensor, calendar: PanelCalendar) -> tuple[pl.DataFrame, Tensor]:
    """As `settle`, with the weights of the rows that are left."""
    panel, kept = settle(panel, calendar)
    return panel, weights[kept] if len(kept) < len(weights) else weights
