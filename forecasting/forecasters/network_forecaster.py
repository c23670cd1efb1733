"""A recurrent network on top of the random walk: trained on a panel, run over one, advanced by new rows.

Axes: N rows of the panel or origins, F features, H horizon steps, Q quantiles, Z future covariates.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor

from tidecast.features.frozen_settings import FrozenSettings
from tidecast.features.panel import PanelSchema
from tidecast.features.transformers.price_features import PriceFeatures
from tidecast.features.transformers.seasonal_features import SeasonalFeatures
from tidecast.forecasting.estimator.freed_memory import give_back_memory
from tidecast.forecasting.estimator.validation import pick_device, seed_from
from tidecast.forecasting.forecasters.base import PanelForecaster
from tidecast.forecasting.forecasters.linear_start import LinearForecast
from tidecast.forecasting.forecasters.quantile_model import MEDIAN_SCALE
from tidecast.forecasting.network.checkpoints import fingerprint
from tidecast.forecasting.network.heads import QUANTILE, SCALE
from tidecast.forecasting.network.progress import LEARNING_CURVE, Epoch, learning_curve
from tidecast.forecasting.network.recurrent import RecurrentNetwork, State
from tidecast.forecasting.network.trainer import Lessons, Trainer
from tidecast.forecasting.network.training import Batch, Training, isolated
from tidecast.forecasting.panel.carried_state import CarriedState
from tidecast.forecasting.panel.feature_streams import stream_tensors
from tidecast.forecasting.panel.flat_panel import BLOCK, FlatPanel, thinned, within
from tidecast.forecasting.panel.holdout import Holdout
from tidecast.forecasting.panel.inputs import PIECE, NetworkInputs, StaticInputs
from tidecast.forecasting.panel.known_covariates import KnownCovariates
from tidecast.forecasting.panel.made_columns import warn_of_unseen
from tidecast.forecasting.panel.past_values import NewestValues
from tidecast.forecasting.panel.scaling import InputScaler
from tidecast.forecasting.panel.segments import Segments, run_through
from tidecast.forecasting.panel.snapshot import snapshot_of
from tidecast.forecasting.panel.step_inputs import StepInputs
from tidecast.forecasting.saving.recipes import under
from tidecast.forecasting.saving.saved_tensors import blank, check_tensors, saved_network

MOST_REGRESSED = 1 << 15  # rows that a linear forecast is estimated and evaluated on, before training
PATIENCE = 3  # epochs without a better validation loss
SLOWER = 0.1  # factor on the learning rate in `partial_fit`: few rows should not undo what many taught

MOST_OF_STEPS = 1 << 13  # the same with inputs of each step, which take `horizon` times as much memory
LONGER = 5  # times `max_epochs`, where the panel has seasons
ORIGINS = 4  # fewest in the shortest season of a window of training rows

INPUT, FUTURE, STEP = "input", "ahead", "step"  # scalers, by their names in saved files


class NetworkForecaster(PanelForecaster):
    """Everything that `RecurrentForecaster` does with its settings."""

    frozen_settings: ClassVar[dict[str, type[FrozenSettings]]] = {"schema": PanelSchema, "training": Training}

    features: Any
    hidden_size: int
    num_layers: int
    dropout: float
    max_epochs: int
    batch_size: int
    learning_rate: float
    device: str
    random_state: int | np.random.RandomState | None
    kernel_size: int
    training: Training | None
    cell: ClassVar[str]
    _steps: StepInputs | None = None

    # ------------------------------------------------------------------ fit
    def _fit_network(self, rows: FlatPanel, holdout: Holdout, weights: Tensor) -> None:
        self._steps = self._fit_steps(rows, holdout)
        inputs_NF = self._fit_inputs(rows, holdout)
        segments = self._segments(rows, inputs_NF, weights)
        linear = self._linear(rows, segments.inputs_NF, holdout, weights)
        self._shortcut = linear.holds and not self._seasonal.seasons
        scale_H = linear.earned_scale_H if self.head == SCALE else linear.scale_H
        self._quantile_model = replace(self._quantile_model, scale_H=scale_H, head=self.head)
        give_back_memory()
        held_out = segments.held_out(holdout.train, holdout.validation)
        training, seed = self.training or Training(), seed_from(self.random_state)
        with isolated(seed):
            self._network = self._new_network()
            curve = self._train(
                segments,
                holdout.train,
                np.random.default_rng(seed),
                training,
                max_epochs=self._epochs,
                learning_rate=self.learning_rate,
                validation=held_out if any(bool(batch.weight_BTH.any()) for batch in held_out) else (),
                fingerprint=self._fingerprint(rows, segments.inputs_NF.cpu(), weights) if training.checkpoint else "",
                start=partial(self._begin_linear, linear) if self._shortcut else None,
            )
        self.learning_curve_ = learning_curve(curve)

    def _learn_all(self, rows: FlatPanel, weights: Tensor) -> None:
        """Where the panel has seasons, train afresh on all rows, for as many epochs as were used.

        What the newest fifth of the rows can teach about such a panel is worth more than the time. The calibration,
        which is that of a network trained on fewer rows, stays.
        """
        losses = self.learning_curve_["validation_loss"]
        if not self._seasonal.seasons or not losses.count():
            return
        used = len(losses) - 1 if self._runs_whole else (losses.arg_min() or 0)
        if not losses[used] < losses[0]:  # no better than untrained
            return
        segments = self._segments(rows, self._inputs.halves(rows.frame), weights)
        end = cast("date | datetime", rows.frame["time"].max())
        training = replace(self.training or Training(), average=False, checkpoint=None, on_epoch=None)
        seed = seed_from(self.random_state)
        with isolated(seed):
            self._network = self._new_network()
            self._train(
                segments,
                end,
                np.random.default_rng([seed, 1]),
                training,
                max_epochs=self.learning_curve_["epoch"][used],
                learning_rate=self.learning_rate,
            )
        self._carried, _ = self._carry(rows, rows.newest[:0])

    def _fit_inputs(self, rows: FlatPanel, holdout: Holdout) -> Tensor:
        """Fit features and scalers on training rows; return the inputs of all rows."""
        train = rows.before(holdout.train, included=True).numpy()
        schema = replace(self._schema, covariates=self._past)
        self._inputs, inputs_NF = NetworkInputs.fit_transform(self._new_features(), schema, rows, train)
        self.inputs_ = self._inputs.names
        self._future_scaler = self._fit_future_scaler(rows, holdout)
        give_back_memory()
        return inputs_NF

    def _continue_training(self, rows: FlatPanel, weights: Tensor, epochs: int) -> None:
        segments = self._segments(rows, self._inputs.halves(rows.frame), weights, learned=self.fit_end_)
        training = replace(self.training or Training(), average=False, checkpoint=None)
        seed, done = seed_from(self.random_state), len(self.learning_curve_)
        with isolated(seed):
            self._network = copy.deepcopy(self._network)
            curve = self._train(
                segments,
                cast("date | datetime", rows.frame["time"].max()),
                np.random.default_rng([seed, done]),  # windows other than before
                training,
                max_epochs=epochs,
                learning_rate=SLOWER * self.learning_rate,
            )
        if any(np.isnan(epoch.train_loss) for epoch in curve):
            raise ValueError(
                f"To continue training, an origin must have a target newer than fit_end_ = {self.fit_end_}, a weight "
                f"above 0 and lookback={self.lookback} rows up to it, in a series that moves; found none. Give newer "
                "rows."
            )
        before = self.learning_curve_["epoch"].max() or 0
        newer = learning_curve(curve).with_columns(pl.col("epoch") + before)
        self.learning_curve_ = pl.concat([self.learning_curve_, newer])

    def _segments(
        self, rows: FlatPanel, inputs_NF: Tensor, weights: Tensor, learned: date | datetime | None = None
    ) -> Segments:
        half_life = self.training.half_life if self.training else None
        return Segments(
            rows, inputs_NF.to(pick_device(self.device)), weights, self.lookback, self.horizon, half_life, learned,
            partial(self._future_of, rows), bool(self._seasonal.seasons), self._every(weights),
        )  # fmt: skip

    def _every(self, weights: Tensor) -> int:
        """Rows to an origin in training: with bars of a day one in a quarter of the day, unless few rows may be one."""
        shortest = min(self._seasonal.seasons, default=1)
        if shortest <= 2 * ORIGINS or (weights > 0).float().mean() < 1 / ORIGINS:
            return 1
        return shortest // ORIGINS + 1  # not a divisor of the season, so that every hour has its turn

    def _linear(self, rows: FlatPanel, inputs_NF: Tensor, holdout: Holdout, weights: Tensor) -> LinearForecast:
        """A linear forecast from training rows, evaluated on their newer half."""
        most = MOST_OF_STEPS if self._steps else MOST_REGRESSED
        at = thinned(rows.moving & rows.before(holdout.train) & (weights > 0), most, self._longest_season)
        inputs = inputs_NF[at.to(inputs_NF.device)].double().cpu().numpy()
        residuals, times = self._residuals(rows, at, until=holdout.train), rows.times[at.numpy()]
        newer = times > np.median(times) if len(times) else np.zeros(0, dtype=bool)
        if self._steps is not None:
            steps = self._steps.scaled(self._numbers_of_steps(rows, at)).numpy()
            older, newest = ((inputs[some], steps[some], residuals[some]) for some in (~newer, newer))
            return LinearForecast.measure_steps(older, newest)
        return LinearForecast.measure((inputs[~newer], residuals[~newer]), (inputs[newer], residuals[newer]))

    @property
    def _epochs(self) -> int:
        """Most epochs of a `fit`."""
        return self.max_epochs * (LONGER if self._seasonal.seasons else 1)

    @property
    def _runs_whole(self) -> bool:
        """Whether all epochs are run: where the panel has seasons, and no patience is asked for."""
        return bool(self._seasonal.seasons) and (self.training is None or self.training.patience is None)

    def _begin_linear(self, linear: LinearForecast) -> None:
        """Start the median at the linear forecast; the network learns the rest."""
        per_output_H = 1 / self._quantile_model.scale_H.clamp(min=MEDIAN_SCALE)
        bias_H = None if linear.bias_H is None else linear.bias_H * per_output_H
        weights_FH = linear.weights_FH * per_output_H
        self._network.begin_linear(weights_FH, self._quantile_model.layer.median_output, bias_H)

    def _fit_steps(self, rows: FlatPanel, holdout: Holdout) -> StepInputs | None:
        """Fit the inputs of single steps on training rows; None without seasons and future covariates."""
        seasons = self._seasonal.seasons
        if not seasons and not self._future_names:
            return None
        self._steps = StepInputs(seasons, self.horizon, self._future_names)
        train = thinned(rows.ready & rows.before(holdout.train, included=True), MOST_OF_STEPS, self._longest_season)
        return self._steps.fitted(self._numbers_of_steps(rows, train))

    def _numbers_of_steps(self, rows: FlatPanel, at: Tensor) -> NDArray[np.float64]:
        """Inputs of the steps after these rows, not scaled, shape (..., H, U)."""
        assert self._steps is not None
        return self._steps.numbers(
            rows.past_values, rows.known_covariates, rows.series_of(at).numpy(),
            rows.session[at].numpy().astype(np.int64), rows.level(at).numpy(), rows.volatility[at].numpy(),
        )  # fmt: skip

    @property
    def _longest_season(self) -> int:
        """Sessions of it; 1 without seasons."""
        return max(self._seasonal.seasons, default=1)

    @property
    def _past(self) -> tuple[str, ...]:
        """Columns whose past the state sees: with seasons, that of future covariates as well."""
        known_ahead = self._schema.future if self._seasonal.seasons else ()
        return tuple(dict.fromkeys([*self._schema.covariates, *known_ahead]))

    def _fit_future_scaler(self, rows: FlatPanel, holdout: Holdout) -> InputScaler | None:
        """Fit a scaler on the future covariates of training sessions; None without any."""
        if rows.known_covariates is None or self._steps is not None:
            return None
        return InputScaler.fit(
            rows.known_covariates.up_to(rows.calendar.through(rows.known_covariates.series_id, holdout.train))
        )

    def _train(
        self,
        segments: Segments,
        until: date | datetime,
        shuffle: np.random.Generator,
        training: Training,
        *,
        max_epochs: int,
        learning_rate: float,
        validation: Sequence[Batch] = (),
        fingerprint: str = "",
        start: Callable[[], None] | None = None,
    ) -> list[Epoch]:
        """Train the network, from its present weights, on windows up to the time `until`."""
        device = segments.inputs_NF.device
        lessons = Lessons(
            lambda generator: segments.epoch(until, self.batch_size, generator),
            steps_per_epoch=-(-len(segments.starts(until)) // self.batch_size),
            validation=validation,
            fingerprint=fingerprint,
        )
        curve = Trainer(
            self._network.to(device),
            self._quantile_model.layer.float().to(device),
            lessons,
            replace(training, patience=training.patience or PATIENCE),
            max_epochs=max_epochs,
            learning_rate=learning_rate,
            shuffle=shuffle,
            whole=self._runs_whole,
        ).run(start)
        self._network.to("cpu")
        return curve

    def _fingerprint(self, rows: FlatPanel, inputs_NF: Tensor, weights: Tensor) -> str:
        known = rows.known_covariates
        future = () if known is None else (known.keys_M, known.values_MZ)
        return fingerprint(
            self.recipe(), inputs_NF, weights, rows.starts, rows.session, rows.level(torch.arange(len(rows))),
            rows.volatility, self._quantile_model.base_HQ, *future,
        )  # fmt: skip

    def _new_features(self) -> Any:
        if self.features is None and self._seasonal.seasons:
            return SeasonalFeatures(
                self._seasonal.seasons,
                columns=self._schema.future,
                target=self.target,
                positive=self._schema.positive,
            )
        if self.features is None:
            return PriceFeatures(target=self.target, positive=self._schema.positive)
        return clone(self.features)

    @property
    def head(self) -> str:
        """The network's head: that of `training`, by default one scale a step."""
        return (self.training or Training()).head or SCALE

    def _to_recipe(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings with the head spelled out, because a recipe must mean the same when the default changes."""
        return settings | {"training": replace(self.training or Training(), head=self.head)}

    @classmethod
    def _from_recipe(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings of a recipe; those that name no head are of a time when every quantile was learned by itself."""
        training = settings.get("training") or Training()
        return settings | {"training": replace(training, head=training.head or QUANTILE)}

    def _new_network(self) -> RecurrentNetwork:
        return RecurrentNetwork(
            self.cell, self._inputs.scaler.width, self.hidden_size, self.num_layers, self.dropout, self.horizon,
            self._quantile_model.layer.n_outputs, self.kernel_size,
            n_future=0 if self._steps else len(self._future_names), shortcut=self._shortcut,
            n_step=self._steps.width if self._steps else 0,
        )  # fmt: skip

    def _warn_of_unseen(self, made: list[str]) -> None:
        warn_of_unseen(self, made, {*self.columns_, *self.inputs_, *self._schema.future})

    # -------------------------------------------------------------- predict
    @property
    def columns_(self) -> list[str]:
        return list(dict.fromkeys([*super().columns_, *self._inputs.read]))

    @property
    def _future_names(self) -> tuple[str, ...]:
        return self._schema.future

    def _future_of(self, rows: FlatPanel, at: Tensor) -> Tensor | None:
        """Scaled inputs of the steps after these rows, shape (..., H, Z): future covariates; None without any."""
        if self._steps is not None:
            return self._steps.scaled(self._numbers_of_steps(rows, at))
        return self._future_at(rows.known_covariates, rows.series_of(at), rows.session[at])

    def _future_at(self, known: KnownCovariates | None, series_N: Tensor, session_N: Tensor) -> Tensor | None:
        if known is None or self._future_scaler is None:
            return None
        return torch.from_numpy(known.scaled(self._future_scaler, series_N.numpy(), session_N.numpy(), self.horizon))

    def _outputs(self, rows: FlatPanel, at: Tensor) -> Tensor:
        at_N, order = torch.sort(at)
        h_ND = torch.empty(len(at), self._network.width)
        with torch.inference_mode():
            _, h_ND[order] = self._run_through(rows, rows.ends(at_N), at_N)
            return self._network.read_out(h_ND, self._future_of(rows, at))

    def _run_through(self, rows: FlatPanel, ends: Tensor, at: Tensor, at_a_time: int = BLOCK) -> tuple[State, Tensor]:
        """As `run_through`, block by block, with `ends` in rising order; for `at_a_time` see `NetworkInputs.of`."""
        states, h_ND = [self._network.zero_state(0)], torch.empty(len(at), self._network.width)
        for block in self._inputs.blocks(rows):
            some, here = ends[within(block, ends)], within(block, at)
            if len(some):
                inputs_NF = self._inputs.of(rows.frame[block], at_a_time)
                state, h_ND[here] = run_through(self._network, inputs_NF, rows, some, at[here], block.start)
                states.append(state)
        return State.cat(states), h_ND

    # ---------------------------------------------------------- carried state
    def _carry(self, rows: FlatPanel, at: Tensor) -> tuple[CarriedState, Tensor]:
        paused = rows.last(at) != rows.newest[rows.series_of(at)]  # rows of segments that are over
        h_ND = torch.empty(len(at), self._network.width)
        with torch.inference_mode():
            state, h_ND[~paused] = self._run_through(rows, rows.newest, at[~paused], PIECE)
            _, h_ND[paused] = self._run_through(rows, rows.ends(at[paused]), at[paused], PIECE)
            outputs_NHQ = self._network.read_out(h_ND, self._future_of(rows, at))
        here = snapshot_of(rows, rows.newest, self._n_levels)
        newest = rows.past_values.newest(self._steps.memory) if self._steps else None
        return CarriedState(here, state, self._inputs.stream(rows.frame), newest), outputs_NHQ

    def _with_room(self, series_id: pl.Series) -> CarriedState:
        if self._carried.stream is None:
            raise TypeError(
                "To be updated row by row, features must state their min_history; "
                f"{type(self._inputs.features).__name__} does not. Give it that attribute, or pass the whole history "
                "to predict."
            )
        with torch.inference_mode():
            return self._carried.with_room(series_id, self._network)

    def _advanced(self, carried: CarriedState, at_M: Tensor, begins_M: Tensor, rows: pl.DataFrame) -> CarriedState:
        assert carried.state is not None  # a network carries both
        assert carried.stream is not None
        inputs_MF = self._inputs.pushed(carried.stream, rows)
        with torch.inference_mode():
            state_M = carried.state.take(at_M)
            state_M.put(torch.nonzero(begins_M)[:, 0], self._network.zero_state(int(begins_M.sum())))
            _, state_M = self._network.encode(inputs_MF[:, None], state_M)
            carried.state.put(at_M, state_M)
        if carried.newest is None:
            return carried
        values_MC = torch.from_numpy(
            np.column_stack(
                [
                    carried.snapshot.levels_NK[at_M, -1].numpy(),
                    *(rows[name].fill_null(float("nan")).to_numpy() for name in self._future_names),
                ]
            )
        )
        newest = carried.newest.advanced(at_M, carried.snapshot.session[at_M], values_MC)
        return replace(carried, newest=newest)

    def _carried_outputs(self, at: Tensor, known: KnownCovariates | None) -> Tensor:
        assert self._carried.state is not None
        here = self._carried.snapshot.take(at)
        if self._steps is not None and self._carried.newest is not None:
            numbers = self._steps.numbers(
                self._carried.newest, known, at.numpy(), here.session.numpy(), here.levels_NK[:, -1].numpy(),
                here.volatility.numpy(),
            )  # fmt: skip
            z_NHZ: Tensor | None = self._steps.scaled(numbers)
        else:
            z_NHZ = self._future_at(known, at, here.session)
        with torch.inference_mode():
            return self._network.read_out(self._network.top(self._carried.state.take(at)), z_NHZ)

    # -------------------------------------------------------- save and load
    def _described(self) -> dict[str, Any]:
        return super()._described() | {
            "inputs": self.inputs_,
            "learning_curve": self.learning_curve_.to_dicts(),
            "static": self._inputs.static.categories,
            "shortcut": self._shortcut,
        }

    def _learned(self) -> dict[str, Tensor]:
        network = {f"network.{name}": value for name, value in self._network.state_dict().items()}
        steps = self._steps.scaler if self._steps else None
        optional = {FUTURE: self._future_scaler, STEP: steps}
        scalers = {INPUT: self._inputs.scaler} | {name: scaler for name, scaler in optional.items() if scaler}
        scaler = {
            f"{group}_{name}": torch.from_numpy(values)
            for group, fitted in scalers.items()
            for name, values in vars(fitted).items()
        }
        assert self._carried.state is not None
        state = {f"state.{name}": value for name, value in self._carried.state.tensors().items()}
        stream = {} if self._carried.stream is None else stream_tensors(self._carried.stream)
        carried = state | {f"stream.{name}": value for name, value in stream.items()}
        if self._carried.newest is not None:
            carried |= {f"newest.{name}": value for name, value in vars(self._carried.newest).items()}
        return super()._learned() | scaler | network | carried

    def _expected_scalers(self) -> dict[str, Tensor]:
        """Placeholders for the tensors of the scalers of inputs and of future covariates."""
        widths = {INPUT: len(self.inputs_)}
        if self._steps:
            widths[STEP] = self._steps.width
        elif self._future_names:
            widths[FUTURE] = len(self._future_names)
        return {
            f"{group}_{name}": blank(width, dtype=torch.bool if name == "flagged" else torch.float64)
            for group, width in widths.items()
            for name in ("mean", "scale", "flagged")
        }

    def _restore(self, description: dict[str, Any], learned: dict[str, Tensor], keys: pl.DataFrame) -> None:
        super()._restore(description, learned, keys)
        self._quantile_model = replace(self._quantile_model, head=self.head)
        self.inputs_ = description["inputs"]
        self.learning_curve_ = pl.from_dicts(description["learning_curve"], schema=LEARNING_CURVE)
        static = description.get("static", {})  # older models lack it,
        self._shortcut = description.get("shortcut", False)  # and this
        seasons = self._seasonal.seasons
        has_steps = f"{STEP}_mean" in learned  # older models read all future covariates at once, a regression none
        self._steps = StepInputs(seasons, self.horizon, self._future_names) if has_steps else None
        check_tensors(self._expected_scalers(), learned)
        scalers = {
            group: InputScaler(*(learned[f"{group}_{name}"].numpy() for name in ("mean", "scale", "flagged")))
            for group in (INPUT, FUTURE, STEP)
            if f"{group}_mean" in learned
        }
        self._future_scaler = scalers.get(FUTURE)
        if self._steps:
            self._steps = replace(self._steps, scaler=scalers[STEP])
        self._inputs = NetworkInputs(
            self._new_features(),
            tuple(name for name in self._past if name not in static),
            StaticInputs({name: values and tuple(values) for name, values in static.items()}),
            self.inputs_,
            scalers[INPUT],
        )
        self._network = saved_network(self._new_network, self.num_layers, under("network", learned))
        stream, state = under("stream", learned), under("state", learned)
        zero = self._network.zero_state(len(keys)).tensors()  # as many numbers as the files must hold
        check_tensors(zero, state)
        self._carried = CarriedState(
            self._carried.snapshot,
            State.from_tensors({name: state[name] for name in zero}),
            self._inputs.resumed(stream) if stream else None,
            self._newest_of(under("newest", learned), len(keys)),
        )

    def _newest_of(self, learned: dict[str, Tensor], n_series: int) -> NewestValues | None:
        if self._steps is None:
            return None
        width = 1 + len(self._future_names)
        expected = {
            "session_S": blank(n_series, dtype=torch.int64),
            "values_SWC": blank(n_series, self._steps.memory, width),
        }
        check_tensors(expected, learned)
        return NewestValues(**{name: learned[name] for name in expected})
