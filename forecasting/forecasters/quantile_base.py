"""Under every forecaster: from a panel's rows to quantiles in prices, around the random walk.

Axes: N origins, H horizon steps, Q quantiles.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torch import Tensor

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import check_whole, shorten
from tidecast.features.frames import like
from tidecast.features.frozen_settings import FrozenSettings
from tidecast.features.panel import PanelSchema, as_seen, check_panel
from tidecast.features.segments import longest_gap, longest_gaps, places_of
from tidecast.features.stray_rows import settle
from tidecast.forecasting.estimator.nested_settings import HoldsFrozenSettings
from tidecast.forecasting.forecasters.quantile_model import QuantileModel, slow
from tidecast.forecasting.forecasters.sampling import MOST_ORIGINS, Dependence
from tidecast.forecasting.panel.carried_state import CarriedState
from tidecast.forecasting.panel.flat_panel import FlatPanel, panel_rows, root_steps, thinned
from tidecast.forecasting.panel.holdout import Holdout
from tidecast.forecasting.panel.known_covariates import KnownCovariates, given_ahead, known_ahead
from tidecast.forecasting.panel.made_columns import check_made
from tidecast.forecasting.panel.origins import Origins, find_origins
from tidecast.forecasting.panel.snapshot import Snapshot, standing
from tidecast.forecasting.saving.recipes import under
from tidecast.forecasting.saving.saved_tensors import blank, check_tensors

MOST_RESIDUALS = 1 << 17  # per step, from which base quantiles are estimated: a level is out by 0.1 % at most
BLOCK = 1 << 14  # origins whose residuals are computed at a time
SPARSE = 4  # sessions to a row from which on the calendar of a series that came row by row must be another one
MOST_CALIBRATED = 1 << 15  # per step, from which they are calibrated, each with all its quantiles


class QuantileForecaster(HoldsFrozenSettings, BaseEstimator):
    """The random walk, and the places where a subclass adds a centre or a network's outputs to it.

    A forecast is ``last price · exp(centre + volatility · √step · quantile)``: volatility is the EWMA at the origin,
    the quantiles are those of standardised training changes with their median put to 0, calibrated on the newest
    training rows. Where the schema says ``positive=False`` changes are differences and are added instead.
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
    _spread: QuantileModel
    _dependence: Dependence
    _kept: CarriedState
    _made: tuple[str, ...] = ()  # covariates that a transformer made before `fit`

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
                f"The target must be no covariate, {self.target!r} is among the schema's. Take it out: networks see it "
                "through their features."
            )

    # ------------------------------------------------------- panel to rows
    def _rows(self, panel: pl.DataFrame, calendar: PanelCalendar | None = None) -> FlatPanel:
        """The rows of a checked panel; with the calendar where they are known to be its sessions."""
        if calendar is None:
            as_seen(panel.head(0), self._kept.standing.keys)  # refuses keys of another type
            known = self._kept.standing.series_id  # a whole history shows the calendar of a series that was unproven
            calendar = self.calendar_.meeting(panel, known.filter(~known.is_in(list(self.calendar_.unproven))))
            panel, _ = settle(panel, calendar)
        rows = panel_rows(calendar.marked(panel), self._schema.positive, self.target, calendar, self.lookback)
        without = rows.newest[~rows.ready[rows.newest]]
        self.skipped_ = tuple(panel["series_id"][without.numpy()])
        return rows

    def _too_short(self, rows: FlatPanel) -> str:
        n_series, longest = rows.keys["series_id"].n_unique(), int(rows.starts.diff().max())
        pause = max(longest_gap(calendar.name) for calendar in rows.calendar.calendars)
        return (
            f"A series needs lookback + horizon = {self.lookback} + {self.horizon} rows; all {n_series} series of the "
            f"panel are shorter, the longest has {longest} rows without a pause of {pause.days} days. Give more "
            "history or lower lookback."
        )

    def _find(self, rows: FlatPanel, origins: str | Sequence[Any]) -> Tensor:
        return find_origins(rows, origins, self.fit_end_, self.horizon)

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
        check_made(X, self._made)
        panel = check_panel(X, self._schema_of_rows, self.target).rechunk()  # in one piece, all that follows is quicker
        rows = self._with_ahead(self._rows(panel), X, future)
        at = self._find(rows, origins)
        if not len(at):
            times: Any = rows.frame["time"]
            advice = "Give a longer panel or other origins."
            if isinstance(origins, str) and origins == "new":
                advice = (
                    f"Give a panel that goes on for {self.horizon} sessions or more after fit_end_, {self.fit_end_}."
                )
            raise ValueError(
                f"No origin to forecast from: origins={origins!r} with lookback={self.lookback} and horizon="
                f"{self.horizon} leave none of the panel's {len(rows)} rows, {times.min()} to {times.max()}. {advice}"
            )
        if rows.ahead is not None:
            rows.ahead.check(rows.series_of(at).numpy(), rows.session[at].numpy(), self.horizon)
        return self._origins(rows, at)

    def _given_back(self, table: pl.DataFrame, X: Any) -> Any:
        """A table in the kind of `X`, or of the panel that was fitted."""
        return like(table, X) if X is not None or self._kind == "polars" else table.to_pandas()

    def _with_ahead(self, rows: FlatPanel, X: Any, future: Any = None) -> FlatPanel:
        """The rows of the panel `X` with its future covariates."""
        if not self._ahead_names:
            return rows
        return replace(rows, ahead=known_ahead(rows, X, future, self._schema, self._schema_of_rows, self.target))

    def _kept_ahead(self, future: Any) -> KnownCovariates | None:
        """As `_with_ahead`, of the series that have been seen."""
        if not self._ahead_names:
            return None
        here = self._kept.standing
        return given_ahead(future, here.keys, here.session.numpy(), self.calendar_, self._schema_of_rows)

    @property
    def _schema_of_rows(self) -> PanelSchema:
        """The schema with the calendar of what was fitted, which says whether times are days or bars within the day."""
        named = self.calendar_.default
        if named is None and self.calendar_.intraday:
            named = self.calendar_.calendars[0]
        return self._schema if named is None else replace(self._schema, calendar=named.name)

    # -------------------------------------------------- what `fit` estimates
    def _learned_spread(self, rows: FlatPanel, cuts: Holdout, weights: Tensor) -> QuantileModel:
        """Of standardised training changes, not calibrated yet."""
        if not rows.moving.any() and len(rows) > len(rows.newest):  # pegged, all of them: nothing to learn or forecast
            return QuantileModel.none(self.horizon, self.quantiles_)
        at = thinned(rows.moving & rows.before(cuts.train) & (weights > 0), MOST_RESIDUALS)
        residuals = self._residuals(rows, at, until=cuts.train)
        unknown = ~np.isfinite(residuals).any(axis=0)
        if unknown.any():
            advice = "Give a longer panel, or lower lookback or horizon."
            if (apart := rows.usual_distance) > 1:
                advice = (
                    f"Its rows are mostly {apart} sessions of {rows.calendar.name!r} apart: name a calendar that has "
                    'theirs, such as PanelSchema(calendar="monthly last XNYS"); see get_calendar.'
                )
            raise ValueError(
                f"Step {unknown.argmax() + 1} needs at least one series with lookback + horizon = {self.lookback} + "
                f"{self.horizon} rows that moves; found none. {advice}"
            )
        return QuantileModel.of(residuals, weights[at].numpy(), self.quantiles_)

    def _calibrated(self, rows: FlatPanel, cuts: Holdout, weights: Tensor) -> tuple[CarriedState, QuantileModel]:
        """What is kept, and the spread, calibrated on the newest training rows."""
        at = thinned(rows.moving & ~rows.before(cuts.validation) & (weights > 0), MOST_CALIBRATED)
        kept, outputs_NHQ = self._keep(rows, at)
        residuals = self._residuals(rows, at, until=cuts.calibration)
        return kept, self._spread.calibrated(residuals, outputs_NHQ, weights[at].numpy())

    def _measure_dependence(self, rows: FlatPanel, cuts: Holdout, weights: Tensor) -> Dependence:
        """How the steps move together, on all training rows: a correlation is hardly overfitted, but needs many."""
        at = thinned(rows.moving & (weights > 0), MOST_ORIGINS)
        residuals = self._residuals(rows, at, until=cuts.calibration)
        return Dependence.measure(residuals, weights[at].numpy(), np.array(self.quantiles_))

    def _residuals(self, rows: FlatPanel, at: Tensor, until: date | datetime) -> NDArray[np.float64]:
        """Changes less the centre, standardised, shape (N, H); NaN where the truth lies past the time `until`."""
        residuals, until_S = torch.empty(len(at), self.horizon, dtype=torch.float64), rows.sessions_at(until)
        for some, here in zip(residuals.split(BLOCK), at.split(BLOCK), strict=True):
            scale = rows.volatility[here].unsqueeze(-1) * root_steps(self.horizon)
            scaled = (rows.changes(here, self.horizon) - self._centre(standing(rows, here, self._n_levels))) / scale
            target = rows.session[here].unsqueeze(-1) + torch.arange(1, self.horizon + 1)
            known = target <= until_S[rows.sequence(here)].unsqueeze(-1)
            some[:] = torch.where(known & rows.moving[here].unsqueeze(-1), scaled, torch.nan)
        return residuals.numpy()

    # ---------------------------------------------- rows to quantiles in prices
    def _origins(self, rows: FlatPanel, at: Tensor) -> Origins:
        return self._origins_at(standing(rows, at, self._n_levels), self._outputs(rows, at), rows.calendar)

    def _origins_at(self, here: Snapshot, outputs: Tensor, calendar: PanelCalendar) -> Origins:
        return Origins(here.keys, here.session, here.price, here.volatility, self._centre(here), outputs, calendar)

    def _in_prices(self, origins: Origins, scaled: np.ndarray) -> np.ndarray:
        """Values in units of volatility · √step, shape (N, H, any), in the unit of the target: put in their place."""
        scale_NH1 = (origins.volatility[:, None] * root_steps(self.horizon))[..., None]
        change = torch.from_numpy(scaled).mul_(scale_NH1).add_(origins.centre_NH[..., None])
        price_N11 = origins.price[:, None, None]
        return (change.exp_().mul_(price_N11) if self._schema.positive else change.add_(price_N11)).numpy()

    # ------------------------------------------------------- what has been seen
    def _keep(self, rows: FlatPanel, at: Tensor) -> tuple[CarriedState, Tensor]:
        """What is needed of the panel's series to go on from their last rows, and on the way there `_outputs`."""
        return CarriedState(standing(rows, rows.newest, self._n_levels)), self._outputs(rows, at)

    def _taken_in(self, rows: pl.DataFrame, calendar: PanelCalendar) -> CarriedState:
        """What is kept once these rows, sorted by time and series, have been seen; all of one time move on together."""
        rows = calendar.marked(rows)
        longest = longest_gaps(rows)
        new = rows["series_id"].filter(pl.Series(places_of(rows["series_id"], self._kept.standing.series_id) < 0))
        kept = self._with_room(new.unique())
        few = new.unique(maintain_order=True).filter(~new.unique(maintain_order=True).is_in(list(calendar.own)))
        calendar = calendar.with_unproven(few.to_list())
        at_N = torch.from_numpy(places_of(rows["series_id"], kept.standing.series_id))
        session_N = torch.from_numpy(calendar.numbers(rows.select("series_id", "time")))
        price_N = torch.from_numpy(rows[self.target].to_numpy().copy())
        level_N = torch.from_numpy(np.log(price_N.numpy())) if self._schema.positive else price_N
        ends = [*np.flatnonzero(np.diff(rows["time"].to_physical().to_numpy())) + 1, len(rows)]
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            now, at_M = slice(start, end), at_N[start:end]
            here, begins_M = kept.standing.moved_on(
                at_M, rows["time"][now], session_N[now], price_N[now], level_N[now],
                None if longest is None else longest[now],
            )  # fmt: skip
            kept = self._moved_on(replace(kept, standing=here), at_M, begins_M, rows[now])
        self.calendar_ = calendar
        return kept

    def _with_room(self, series_id: pl.Series) -> CarriedState:
        """A copy of what is kept, with room for these series, too."""
        return CarriedState(self._kept.standing.with_room(series_id)[0])

    def _moved_on(self, kept: CarriedState, at_M: Tensor, begins_M: Tensor, rows: pl.DataFrame) -> CarriedState:
        """What a network remembers, moved on by a row of each series at the places `at_M`."""
        return kept

    def _kept_origins(self, future: Any) -> Origins:
        """The newest row of each series that has `lookback` of them."""
        here = self._kept.standing
        ready = here.rows >= self.lookback
        ready &= ~self._sparse(here)
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

    def _sparse(self, here: Snapshot) -> Tensor:
        """Series that came a few rows at a time and have one in many sessions: their calendar is another one."""
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
                "sessions or fewer, and no forecast. Name its calendar in a column 'calendar', or fit anew.",
                UserWarning,
                stacklevel=4,
            )
        return sparse

    def _kept_outputs(self, at: Tensor, ahead: KnownCovariates | None) -> Tensor:
        """As `_outputs`, of the series at these places."""
        return torch.zeros(len(at), self.horizon, len(self.quantiles_), dtype=torch.float64)

    # -------------------------------------------------- what subclasses add
    def _fit_network(self, rows: FlatPanel, cuts: Holdout, weights: Tensor) -> None:
        """Train what `_outputs` needs; nothing for the baselines."""

    def _go_on(self, rows: FlatPanel, weights: Tensor, epochs: int) -> None:
        """Train further what `_fit_network` trained, in place of it and leaving it as it was."""

    def _warn_of_unseen(self, made: list[str]) -> None:
        """Warn of columns that were made and are no inputs; baselines have none."""

    def _centre(self, here: Snapshot) -> Tensor:
        """Expected change of the level for each step, shape (N, H)."""
        return torch.zeros(len(here), self.horizon, dtype=torch.float64)

    @property
    def _n_levels(self) -> int:
        """Newest levels of a series that `_centre` looks at."""
        return 1

    def _outputs(self, rows: FlatPanel, at: Tensor) -> Tensor:
        """Outputs that shape the base quantiles, shape (N, H, Q), in the network's precision."""
        return torch.zeros(len(at), self.horizon, len(self.quantiles_), dtype=torch.float64)

    @property
    def columns_(self) -> list[str]:
        """The columns that a panel to forecast must have; those of `future` covariates aside."""
        return ["series_id", "time", self.target, *self._schema.covariates, *self._schema.static]

    @property
    def _ahead_names(self) -> tuple[str, ...]:
        """The future covariates that forecasts depend on."""
        return ()

    # -------------------------------------------------------- save and load
    def _described(self) -> dict[str, Any]:
        """What a subclass learned that is no tensor, as JSON holds it."""
        return {}

    def _learned(self) -> dict[str, Tensor]:
        """Every tensor that `fit` learned, by name."""
        kept = {f"standing.{name}": values for name, values in self._kept.standing.tensors().items()}
        paths = {f"paths.{name}": torch.from_numpy(value) for name, value in vars(self._dependence).items()}
        spread = {"base": self._spread.base_HQ, "scale": self._spread.scale_H}
        return spread | {"offsets": torch.from_numpy(self._spread.offsets_HQ)} | paths | kept

    def _expected(self, n_series: int) -> dict[str, Tensor]:
        """Tensors like those of `_learned`, without memory; what a subclass adds aside."""
        horizon, n_levels = self.horizon, len(self.quantiles_)
        whole = dict.fromkeys(("session", "rows", "first_session"), blank(n_series, dtype=torch.int64))
        real = dict.fromkeys(("price", "volatility", "first_level"), blank(n_series))
        standing = whole | real | {"levels_NK": blank(n_series, self._n_levels)}
        return {
            "base": blank(horizon, n_levels),
            "scale": blank(horizon),
            "offsets": blank(horizon, n_levels),
            "paths.correlation_HH": blank(horizon, horizon),
            "paths.excess_H2": blank(horizon, 2),
            **{f"standing.{name}": tensor for name, tensor in standing.items()},
        }

    def _restore(self, description: dict[str, Any], learned: dict[str, Tensor], keys: pl.DataFrame) -> None:
        """The inverse of `_described` and `_learned`; `keys` say up to when each series has been seen."""
        # models lack a scale that were saved before there was one
        check_tensors(self._expected(len(keys)), learned, optional=["scale"])
        scale_H = learned.get("scale", slow(self.horizon))
        self._spread = QuantileModel(self.quantiles_, learned["base"], learned["offsets"].numpy(), scale_H)
        self._dependence = Dependence(**{name: value.numpy() for name, value in under("paths", learned).items()})
        self._kept = CarriedState(Snapshot(keys["series_id"], keys["time"], **under("standing", learned)))
