"""The base of every forecaster: from a panel's rows to quantiles in prices, around the random walk.

Axes: N origins, H horizon steps, Q quantiles.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torch import Tensor

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import check_whole, counted, shorten
from tidecast.features.frames import like
from tidecast.features.frozen_settings import FrozenSettings
from tidecast.features.panel import PanelSchema, as_seen, check_panel
from tidecast.features.segments import longest_gap, longest_gaps, places_of
from tidecast.features.stray_rows import settle
from tidecast.forecasting.estimator.nested_settings import HoldsFrozenSettings
from tidecast.forecasting.forecasters.quantile_model import QuantileModel, slow
from tidecast.forecasting.forecasters.sampling import MOST_ORIGINS, Dependence
from tidecast.forecasting.panel.carried_state import CarriedState
from tidecast.forecasting.panel.covariates_ahead import carried_covariates, panel_covariates
from tidecast.forecasting.panel.flat_panel import FlatPanel, panel_rows, root_steps, thinned
from tidecast.forecasting.panel.holdout import Holdout
from tidecast.forecasting.panel.known_covariates import CovariatesAhead
from tidecast.forecasting.panel.made_columns import check_made
from tidecast.forecasting.panel.origins import NoOriginError, Origins, find_origins
from tidecast.forecasting.panel.seasonal_target import LEVELS, SeasonalTarget
from tidecast.forecasting.panel.snapshot import Snapshot, snapshot_of
from tidecast.forecasting.saving.recipes import under
from tidecast.forecasting.saving.saved_tensors import blank, check_tensors

MOST_RESIDUALS = 1 << 17  # per step, to estimate base quantiles from: a level is wrong by 0.1 % at most
BLOCK = 1 << 14  # origins whose residuals are computed at a time
SEASONAL_SESSIONS = 1512  # that a seasonal panel's calibration counts for: 3/4 of an offset, see `credibility`
SPARSE = 4  # sessions to a row, from which the calendar of a series that came row by row must be wrong
MOST_CALIBRATED = 1 << 15  # origins per step to calibrate on, each with all its quantiles

SNAPSHOT = "standing"  # prefix of its tensors in saved files


class QuantileForecaster(HoldsFrozenSettings, BaseEstimator):
    """The random walk, with methods for subclasses to add a median change or a network's outputs.

    A forecast is ``last price · exp(median change + volatility · √step · quantile)``. Volatility is the EWMA at the
    origin. The quantiles are those of standardised training changes, shifted to a median of 0 and calibrated on the
    newest training rows. With ``positive=False`` in the schema, changes are differences and are added.
    """

    frozen_settings: ClassVar[dict[str, type[FrozenSettings]]] = {"schema": PanelSchema}

    horizon: int
    lookback: int
    quantiles: Sequence[float]
    target: str
    schema: PanelSchema | None
    calendar_: PanelCalendar
    fit_end_: date | datetime
    quantiles_: tuple[float, ...]
    skipped_: tuple[Any, ...]
    _schema: PanelSchema
    _kind: str
    _quantile_model: QuantileModel
    _dependence: Dependence
    _carried: CarriedState
    _seasonal: SeasonalTarget = SeasonalTarget()
    _made: tuple[str, ...] = ()  # covariates that a transformer added before `fit`

    def _check_settings(self) -> None:
        """Refuse impossible settings; subclasses add theirs."""
        for name in ("horizon", "lookback"):
            check_whole(name, getattr(self, name), at_least=1)
        if self.schema is not None and not isinstance(self.schema, PanelSchema):
            raise TypeError(f"schema must be a PanelSchema or None, got {type(self.schema).__name__}.")
        if not isinstance(self.target, str):
            raise TypeError(f"target must be the name of a column, got {self.target!r}.")
        schema = self.schema or PanelSchema()
        if self.target in (*schema.covariates, *schema.future, *schema.static):
            raise ValueError(
                f"The target must not be a covariate, found {self.target!r} among the schema's. Remove it there: "
                "networks see the target through their features."
            )

    # ------------------------------------------------------- panel to rows
    def _rows(self, panel: pl.DataFrame, calendar: PanelCalendar | None = None) -> FlatPanel:
        """Lay out a checked panel; pass the calendar if the rows are known to be its sessions."""
        if calendar is None:
            as_seen(panel.head(0), self._carried.snapshot.keys)  # refuses keys of another type
            known = self._carried.snapshot.series_id  # a whole history shows the calendar of a series that was unproven
            calendar = self.calendar_.meeting(panel, known.filter(~known.is_in(list(self.calendar_.unproven))))
            panel, _ = settle(panel, calendar)
        rows = panel_rows(
            self._seasonal.levels(calendar.marked(panel), self.target), self._schema.positive, self.target, calendar,
            self.lookback, self._seasonal.decay,
        )  # fmt: skip
        rows = replace(rows, season=max(self._seasonal.seasons, default=0))
        if self._schema.origin_time is not None:
            rows = replace(rows, ready=rows.ready & torch.from_numpy(self._schema.may_start(rows.frame["time"])))
        not_ready = rows.newest[~rows.ready[rows.newest]]
        self.skipped_ = tuple(panel["series_id"][not_ready.numpy()])
        return rows

    def _too_short(self, rows: FlatPanel) -> str:
        n_series, longest = rows.keys["series_id"].n_unique(), int(rows.starts.diff().max())
        pause = max(longest_gap(calendar.name) for calendar in rows.calendar.calendars)
        return (
            f"A series needs lookback + horizon = {self.lookback} + {self.horizon} rows; all {n_series} series of the "
            f"panel are shorter, the longest has {counted(longest, 'row')} without a pause of {pause.days} days. "
            "Give more history or lower lookback."
        )

    def _find(self, rows: FlatPanel, origins: str | Sequence[Any]) -> Tensor:
        return find_origins(rows, origins, self.fit_end_, self.horizon)

    def _origins_of(self, X: Any, origins: str | Sequence[Any], future: Any) -> Origins:
        """The origins of a panel; without a panel, the newest rows seen."""
        if future is not None and not self._schema.future:
            raise ValueError(
                "future= needs future covariates, but the schema names none. Leave it out, or set "
                "PanelSchema(future=(…,)) and fit again."
            )
        if X is None:
            if not isinstance(origins, str) or origins != "last":
                raise ValueError(f'Without a panel, origins must be "last", got {origins!r}. Pass the panel as well.')
            return self._carried_origins(future)
        check_made(X, self._made)
        panel = check_panel(X, self._schema_of_rows, self.target).rechunk()  # one chunk makes the rest faster
        rows = self._with_known_covariates(self._rows(panel), X, future)
        at = self._find(rows, origins)
        if not len(at):
            raise NoOriginError(self._no_origin(rows, origins))
        if rows.known_covariates is not None:
            rows.known_covariates.check(rows.series_of(at).numpy(), rows.session[at].numpy(), self.horizon)
        return self._origins(rows, at)

    def _no_origin(self, rows: FlatPanel, origins: str | Sequence[Any]) -> str:
        times: Any = rows.frame["time"]
        advice = "Give a longer panel or other origins."
        if isinstance(origins, str) and origins == "new":
            advice = (
                f"Give a panel that reaches {counted(self.horizon, 'session')} or more past fit_end_, {self.fit_end_}."
            )
        return (
            f"No origin to forecast from: origins={origins!r} with lookback={self.lookback} and horizon="
            f"{self.horizon} leave none of the panel's {len(rows)} rows, {times.min()} to {times.max()}. {advice}"
            + self._of_origin_time
        )

    @property
    def _of_origin_time(self) -> str:
        """End of an error that names the schema's time of day, if it has one."""
        at = self._schema.origin_time
        return "" if at is None else f" The schema's origin_time leaves rows of {at} only."

    def _in_kind_of(self, X: Any, table: pl.DataFrame) -> Any:
        """Return the table in polars or pandas, as `X` is; without `X`, as the fitted panel was."""
        return like(table, X) if X is not None or self._kind == "polars" else table.to_pandas()

    def _with_known_covariates(self, rows: FlatPanel, X: Any, future: Any = None) -> FlatPanel:
        """Add the future covariates of the panel `X` to its rows."""
        if not self._future_names:
            return rows
        return panel_covariates(rows, X, future, self._schema, self._schema_of_rows, self._future_names, self.horizon)

    def _carried_covariates(self, future: Any) -> CovariatesAhead | None:
        """Future covariates of the series seen so far, from `future`; None if forecasts depend on none."""
        if not self._future_names:
            return None
        return carried_covariates(
            self._carried, future, self.calendar_, self._schema_of_rows, self._future_names, self.horizon
        )

    @property
    def _schema_of_rows(self) -> PanelSchema:
        """The schema with the fitted calendar, which says whether times are days or bars within the day."""
        named = self.calendar_.default
        if named is None and self.calendar_.intraday:
            named = self.calendar_.calendars[0]
        return self._schema if named is None else replace(self._schema, calendar=named.name)

    # ------------------------------------------------------ estimates of `fit`
    def _learned_quantiles(self, rows: FlatPanel, holdout: Holdout, weights: Tensor) -> QuantileModel:
        """Quantiles of standardised training changes, not calibrated yet."""
        all_pegged = not rows.moving.any() and len(rows) > len(rows.newest)
        reach = rows.longest_span - (0 if all_pegged else self.lookback - 1)
        if reach < self.horizon:  # before arrays of that many steps are made
            raise ValueError(self._no_truth(rows, max(reach, 0) + 1))
        if all_pegged:  # no distribution to learn or forecast
            return QuantileModel.none(self.horizon, self.quantiles_)
        at = thinned(rows.moving & rows.before(holdout.train) & (weights > 0), MOST_RESIDUALS)
        residuals = self._residuals(rows, at, until=holdout.train)
        unknown = ~np.isfinite(residuals).any(axis=0)
        if unknown.any():
            raise ValueError(self._no_truth(rows, int(unknown.argmax()) + 1))
        return QuantileModel.of(residuals, weights[at].numpy(), self.quantiles_)

    def _no_truth(self, rows: FlatPanel, step: int) -> str:
        advice = "Give a longer panel, or lower lookback or horizon."
        if (apart := rows.usual_distance) > 1:
            advice = (
                f"Its rows are mostly {counted(apart, 'session')} of {rows.calendar.name!r} apart: name a calendar "
                "that fits "
                'them, such as PanelSchema(calendar="monthly last XNYS"); see get_calendar.'
            )
        return (
            f"Step {step} needs at least one series with lookback + horizon = {self.lookback} + {self.horizon} rows "
            f"that moves; found none. {advice}"
        )

    def _calibrated(self, rows: FlatPanel, holdout: Holdout, weights: Tensor) -> tuple[CarriedState, QuantileModel]:
        """The carried state, and the quantiles calibrated on the newest training rows."""
        at = thinned(rows.moving & ~rows.before(holdout.validation) & (weights > 0), MOST_CALIBRATED)
        carried, outputs_NHQ = self._carry(rows, at)
        residuals = self._residuals(rows, at, until=holdout.calibration)
        n_sessions = SEASONAL_SESSIONS if self._seasonal.seasons else len(np.unique(rows.times[at.numpy()]))
        return carried, self._quantile_model.calibrated(residuals, outputs_NHQ, weights[at].numpy(), n_sessions)

    def _measure_dependence(self, rows: FlatPanel, holdout: Holdout, weights: Tensor) -> Dependence:
        """Dependence between steps, from all training rows: a correlation hardly overfits but needs many rows."""
        at = thinned(rows.moving & (weights > 0), MOST_ORIGINS)
        residuals = self._residuals(rows, at, until=holdout.calibration)
        return Dependence.measure(residuals, weights[at].numpy(), np.array(self.quantiles_))

    def _residuals(self, rows: FlatPanel, at: Tensor, until: date | datetime) -> NDArray[np.float64]:
        """Standardised changes less the median change, shape (N, H); NaN where the truth lies after `until`."""
        residuals, until_S = torch.empty(len(at), self.horizon, dtype=torch.float64), rows.sessions_at(until)
        for some, here in zip(residuals.split(BLOCK), at.split(BLOCK), strict=True):
            scale = rows.volatility[here].unsqueeze(-1) * root_steps(self.horizon)
            scaled = (
                rows.changes(here, self.horizon) - self._median_change(snapshot_of(rows, here, self._n_levels))
            ) / scale
            target = rows.session[here].unsqueeze(-1) + torch.arange(1, self.horizon + 1)
            known = target <= until_S[rows.segment(here)].unsqueeze(-1)
            some[:] = torch.where(known & rows.moving[here].unsqueeze(-1), scaled, torch.nan)
        return residuals.numpy()

    # ---------------------------------------------- rows to quantiles in prices
    def _origins(self, rows: FlatPanel, at: Tensor) -> Origins:
        return self._origins_at(snapshot_of(rows, at, self._n_levels), self._outputs(rows, at), rows.calendar)

    def _origins_at(self, here: Snapshot, outputs: Tensor, calendar: PanelCalendar) -> Origins:
        return Origins(
            here.keys, here.session, here.price, here.volatility, self._median_change(here), outputs, calendar
        )

    def _in_prices(self, origins: Origins, scaled: np.ndarray) -> np.ndarray:
        """Turn values in units of volatility · √step, shape (N, H, any), into the unit of the target, in place."""
        scale_NH1 = (origins.volatility[:, None] * root_steps(self.horizon))[..., None]
        change = torch.from_numpy(scaled).mul_(scale_NH1).add_(origins.median_change_NH[..., None])
        price_N11 = origins.price[:, None, None]
        values = (change.exp_().mul_(price_N11) if self._schema.positive else change.add_(price_N11)).numpy()
        return self._seasonal.prices(values, origins.keys["series_id"], origins.price.numpy())

    # ---------------------------------------------------------- carried state
    def _carry(self, rows: FlatPanel, at: Tensor) -> tuple[CarriedState, Tensor]:
        """State to continue from after the panel's last rows, and `_outputs` of the rows `at` on the way."""
        return CarriedState(snapshot_of(rows, rows.newest, self._n_levels)), self._outputs(rows, at)

    def _after_update(self, rows: pl.DataFrame, calendar: PanelCalendar) -> CarriedState:
        """State after these rows, sorted by time and series; all rows of one time are taken in together."""
        rows = self._seasonal.levels(calendar.marked(rows), self.target)
        longest = longest_gaps(rows)
        is_new = pl.Series(places_of(rows["series_id"], self._carried.snapshot.series_id) < 0)
        new = rows["series_id"].filter(is_new).unique(maintain_order=True)
        carried = self._with_room(rows["series_id"].filter(is_new).unique())
        calendar = calendar.with_unproven(new.filter(~new.is_in(list(calendar.own))).to_list())
        at_N = torch.from_numpy(places_of(rows["series_id"], carried.snapshot.series_id))
        session_N = torch.from_numpy(calendar.numbers(rows.select("series_id", "time")))
        price_N = torch.from_numpy(rows[self.target].to_numpy().copy())
        level_N = torch.from_numpy(np.log(price_N.numpy())) if self._schema.positive else price_N
        ends = [*np.flatnonzero(np.diff(rows["time"].to_physical().to_numpy())) + 1, len(rows)]
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            now, at_M = slice(start, end), at_N[start:end]
            here, begins_M = carried.snapshot.advanced(
                at_M, rows["time"][now], session_N[now], price_N[now], level_N[now],
                None if longest is None else longest[now], self._seasonal.decay,
            )  # fmt: skip
            carried = self._advanced(replace(carried, snapshot=here), at_M, begins_M, rows[now])
        self.calendar_ = calendar
        return carried

    def _with_room(self, series_id: pl.Series) -> CarriedState:
        """A copy of the carried state with room for these new series."""
        return CarriedState(self._carried.snapshot.with_room(series_id)[0])

    def _advanced(self, carried: CarriedState, at_M: Tensor, begins_M: Tensor, rows: pl.DataFrame) -> CarriedState:
        """Advance a network's state by one row of each series at the places `at_M`."""
        return carried

    def _carried_origins(self, future: Any) -> Origins:
        """The newest row of each series that has `lookback` of them."""
        here = self._carried.snapshot
        ready = here.rows >= self.lookback
        ready &= ~self._sparse(here)
        if self._schema.origin_time is not None:
            ready &= torch.from_numpy(self._schema.may_start(here.time))
        self.skipped_ = tuple(here.series_id.filter(pl.Series((~ready).numpy())))
        if not ready.any():
            raise NoOriginError(
                f"No origin to forecast from: none of the {len(here)} series has lookback="
                f"{self.lookback} rows up to its last one, since its start or last pause. Lower lookback."
                + self._of_origin_time
            )
        at = torch.nonzero(ready)[:, 0]
        known = self._carried_covariates(future)
        if known is not None:
            known.check(at.numpy(), here.session[at].numpy(), self.horizon)
        return self._origins_at(here.take(at), self._carried_outputs(at, known), self.calendar_)

    def _sparse(self, here: Snapshot) -> Tensor:
        """Series that came a few rows at a time, with a row in few sessions: their calendar must be wrong."""
        sparse = (here.session - here.first_session) >= SPARSE * (here.rows - 1).clamp(min=1)
        unproven = here.series_id.is_in(list(self.calendar_.unproven)) if self.calendar_.unproven else None
        if unproven is None or self.calendar_.default is None:
            return torch.zeros(len(here), dtype=torch.bool)
        sparse &= torch.from_numpy(unproven.to_numpy().copy()) & (here.rows >= self.lookback)
        if sparse.any():
            names = here.series_id.filter(pl.Series(sparse.numpy())).to_list()
            warnings.warn(
                f"The rows of a series should fit its calendar {self.calendar_.default.name!r}, but "
                f"{shorten(names, 3)} {'has' if len(names) == 1 else 'have'} a row in one of {SPARSE} "
                "sessions or fewer, and no forecast. Name its calendar in a column 'calendar', or fit again.",
                UserWarning,
                stacklevel=4,
            )
        return sparse

    def _carried_outputs(self, at: Tensor, known: CovariatesAhead | None) -> Tensor:
        """As `_outputs`, for the carried state of the series at these places."""
        return self._no_outputs(at)

    def for_panels(self) -> Self:
        """Return a copy that forecasts panels only: it lacks the state to continue from without one.

        What is left hardly grows with the number of series, so that it can travel to workers.
        """
        twin = object.__new__(type(self))  # not `copy`, which copies the state first
        twin.__dict__.update({name: value for name, value in vars(self).items() if name != "_recent"})
        twin._carried = CarriedState(self._carried.snapshot)
        return twin

    # ---------------------------------------------------- subclasses override
    def _fit_network(self, rows: FlatPanel, holdout: Holdout, weights: Tensor) -> None:
        """Train what `_outputs` needs; nothing for the baselines."""

    def _learn_all(self, rows: FlatPanel, weights: Tensor) -> None:
        """Learn from the rows that were held out before; nothing for the baselines."""

    def _continue_training(self, rows: FlatPanel, weights: Tensor, epochs: int) -> None:
        """Train a copy of the network further and replace it."""

    def _warn_of_unseen(self, made: list[str]) -> None:
        """Warn of made columns that are not inputs; baselines have none."""

    def _median_change(self, here: Snapshot) -> Tensor:
        """Expected change of the level for each step, shape (N, H)."""
        return torch.zeros(len(here), self.horizon, dtype=torch.float64)

    @property
    def _n_levels(self) -> int:
        """Newest levels of a series that `_median_change` uses."""
        return 1

    def _outputs(self, rows: FlatPanel, at: Tensor) -> Tensor:
        """Outputs that shape the base quantiles, shape (N, H, P), in the network's precision."""
        return self._no_outputs(at)

    def _no_outputs(self, at: Tensor) -> Tensor:
        """Outputs of zero, which leave the base quantiles as they are."""
        return torch.zeros(len(at), self.horizon, self._quantile_model.layer.n_outputs, dtype=torch.float64)

    @property
    def looks_across(self) -> bool:
        """Whether the forecasts of a series depend on the other series of the panel."""
        return False

    @property
    def columns_(self) -> list[str]:
        """The columns that a panel to forecast must have, except `future` covariates."""
        return ["series_id", "time", self.target, *self._schema.covariates, *self._schema.static]

    @property
    def _future_names(self) -> tuple[str, ...]:
        """The future covariates that forecasts depend on."""
        return ()

    # -------------------------------------------------------- save and load
    def _described(self) -> dict[str, Any]:
        """Return what a subclass learned that is not a tensor, as JSON holds it."""
        return {"seasons": list(self._seasonal.seasons)} if self._seasonal.seasons else {}

    def _learned(self) -> dict[str, Tensor]:
        """Return every tensor that `fit` learned, by its name in saved files."""
        carried = {f"{SNAPSHOT}.{name}": values for name, values in self._carried.snapshot.tensors().items()}
        paths = {f"paths.{name}": torch.from_numpy(value) for name, value in vars(self._dependence).items()}
        model = self._quantile_model
        quantiles = {"base": model.base_HQ, "scale": model.scale_H, "offsets": torch.from_numpy(model.offsets_HQ)}
        return quantiles | paths | carried | self._levels()

    def _levels(self) -> dict[str, Tensor]:
        """Centre, spread and range of the levels of each series seen, and of others; empty without such levels."""
        levels = self._seasonal.of_series(self._carried.snapshot.series_id.to_list())
        arrays = {name: getattr(levels, name) for name in LEVELS}
        return {f"levels.{name}": torch.from_numpy(array) for name, array in arrays.items() if array is not None}

    def _expected(self, n_series: int) -> dict[str, Tensor]:
        """Placeholders for the tensors of `_learned`, except those that subclasses add."""
        horizon, n_levels = self.horizon, len(self.quantiles_)
        whole = dict.fromkeys(("session", "rows", "first_session"), blank(n_series, dtype=torch.int64))
        real = dict.fromkeys(("price", "volatility", "first_level"), blank(n_series))
        snapshot = whole | real | {"levels_NK": blank(n_series, self._n_levels)}
        return {
            "base": blank(horizon, n_levels),
            "scale": blank(horizon),
            "offsets": blank(horizon, n_levels),
            "paths.correlation_HH": blank(horizon, horizon),
            "paths.excess_H2": blank(horizon, 2),
            **{f"{SNAPSHOT}.{name}": tensor for name, tensor in snapshot.items()},
        }

    def _restore(self, description: dict[str, Any], learned: dict[str, Tensor], keys: pl.DataFrame) -> None:
        """Restore `_described` and `_learned`; `keys` hold the newest time seen of each series."""
        seasons, levels = tuple(description.get("seasons", ())), under("levels", learned)
        expected = self._expected(len(keys))
        if seasons and not self._schema.positive:
            expected |= {f"levels.{name}": blank(len(keys) + 1) for name in LEVELS}
        check_tensors(
            expected, learned, optional=["scale", "levels.lowest", "levels.highest"]
        )  # lacking in older models
        arrays = {name: values.numpy() for name, values in levels.items()}
        self._seasonal = SeasonalTarget(seasons, tuple(keys["series_id"]) if arrays else (), **arrays)
        scale_H = learned.get("scale", slow(self.horizon))
        self._quantile_model = QuantileModel(
            self.quantiles_, learned["base"], learned["offsets"].numpy(), scale_H,
            relative=description.get("relative_offsets", False),
        )  # fmt: skip
        self._dependence = Dependence(**{name: value.numpy() for name, value in under("paths", learned).items()})
        self._carried = CarriedState(Snapshot(keys["series_id"], keys["time"], **under(SNAPSHOT, learned)))
