"""A recurrent network on top of the random walk: trained on a panel, run over one, moved on with new rows.

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
from sklearn.base import clone
from torch import Tensor

from tidecast.features.frozen_settings import FrozenSettings
from tidecast.features.panel import PanelSchema
from tidecast.features.transformers.price_features import PriceFeatures
from tidecast.forecasting.estimator.freed_memory import give_back_memory
from tidecast.forecasting.estimator.validation import pick_device, seed_from
from tidecast.forecasting.forecasters.base import PanelForecaster
from tidecast.forecasting.forecasters.linear_start import LinearForecast
from tidecast.forecasting.network.checkpoints import fingerprint
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
from tidecast.forecasting.panel.scaling import InputScaler
from tidecast.forecasting.panel.segments import Segments, run_through
from tidecast.forecasting.panel.snapshot import standing
from tidecast.forecasting.saving.recipes import under
from tidecast.forecasting.saving.saved_tensors import blank, check_tensors, saved_network

MOST_REGRESSED = 1 << 15  # rows that a linear forecast is judged by, before training
PATIENCE = 3  # epochs without a better validation loss
SLOWER = 0.1  # share of the learning rate with which `partial_fit` goes on: few rows should not undo what many taught


class NetworkForecaster(PanelForecaster):
    """What `RecurrentForecaster` does with its settings."""

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

    # ------------------------------------------------------------------ fit
    def _fit_network(self, rows: FlatPanel, cuts: Holdout, weights: Tensor) -> None:
        train = rows.before(cuts.train, included=True).numpy()
        self._inputs, inputs_NF = NetworkInputs.fit_transform(self._new_features(), self._schema, rows, train)
        self.inputs_ = self._inputs.names
        self._ahead_scaler = self._fit_ahead_scaler(rows, cuts)
        give_back_memory()
        stretches, training = self._stretches(rows, inputs_NF, weights), self.training or Training()
        linear = self._linear(rows, stretches.inputs_NF, cuts, weights)
        self._spread, self._shortcut = replace(self._spread, scale_H=linear.scale_H, head=self._head), linear.holds
        give_back_memory()
        held_out = stretches.held_out(cuts.train, cuts.validation)
        seed = seed_from(self.random_state)
        with isolated(seed):
            self._network = self._new_network()
            curve = self._train(
                stretches,
                cuts.train,
                np.random.default_rng(seed),
                training,
                max_epochs=self.max_epochs,
                learning_rate=self.learning_rate,
                validation=held_out if any(bool(batch.weight_BTH.any()) for batch in held_out) else (),
                fingerprint=self._fingerprint(rows, stretches.inputs_NF.cpu(), weights) if training.checkpoint else "",
                start=partial(self._begin_linear, linear) if linear.holds else None,
            )
        self.learning_curve_ = learning_curve(curve)

    def _go_on(self, rows: FlatPanel, weights: Tensor, epochs: int) -> None:
        stretches = self._stretches(rows, self._inputs.halves(rows.frame), weights, learned=self.fit_end_)
        training = replace(self.training or Training(), average=False, checkpoint=None)
        seed, done = seed_from(self.random_state), len(self.learning_curve_)
        with isolated(seed):
            self._network = copy.deepcopy(self._network)
            curve = self._train(
                stretches,
                cast("date | datetime", rows.frame["time"].max()),
                np.random.default_rng([seed, done]),  # cut otherwise than before
                training,
                max_epochs=epochs,
                learning_rate=SLOWER * self.learning_rate,
            )
        if any(np.isnan(epoch.train_loss) for epoch in curve):
            raise ValueError(
                f"To learn on, an origin must have a target newer than fit_end_ = {self.fit_end_}, a weight above "
                f"0 and lookback={self.lookback} rows up to it, in a series that moves; found none. Give newer rows."
            )
        before = self.learning_curve_["epoch"].max() or 0
        further = learning_curve(curve).with_columns(pl.col("epoch") + before)
        self.learning_curve_ = pl.concat([self.learning_curve_, further])

    def _stretches(
        self, rows: FlatPanel, inputs_NF: Tensor, weights: Tensor, learned: date | datetime | None = None
    ) -> Segments:
        half_life = self.training.half_life if self.training else None
        return Segments(
            rows, inputs_NF.to(pick_device(self.device)), weights, self.lookback, self.horizon, half_life, learned,
            partial(self._ahead, rows),
        )  # fmt: skip

    def _linear(self, rows: FlatPanel, inputs_NF: Tensor, cuts: Holdout, weights: Tensor) -> LinearForecast:
        """A linear forecast from training rows, judged on their newer half."""
        at = thinned(rows.moving & rows.before(cuts.train) & (weights > 0), MOST_REGRESSED)
        inputs = inputs_NF[at.to(inputs_NF.device)].double().cpu().numpy()
        residuals, times = self._residuals(rows, at, until=cuts.train), rows.times[at.numpy()]
        newer = times > np.median(times) if len(times) else np.zeros(0, dtype=bool)
        return LinearForecast.measure((inputs[~newer], residuals[~newer]), (inputs[newer], residuals[newer]))

    def _begin_linear(self, linear: LinearForecast) -> None:
        """Give the median what a linear forecast knows; a network learns the rest."""
        self._network.begin_linear(linear.weights_FH / linear.scale_H, self._spread.layer.centre)

    def _fit_ahead_scaler(self, rows: FlatPanel, cuts: Holdout) -> InputScaler | None:
        """From the future covariates of training sessions."""
        if rows.ahead is None:
            return None
        return InputScaler.fit(rows.ahead.up_to(rows.calendar.through(rows.ahead.series_id, cuts.train)))

    def _train(
        self,
        stretches: Segments,
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
        """Train the network, from the weights it has, on stretches up to the time `until`."""
        device = stretches.inputs_NF.device
        lessons = Lessons(
            lambda generator: stretches.epoch(until, self.batch_size, generator),
            steps_per_epoch=-(-len(stretches.starts(until)) // self.batch_size),
            validation=validation,
            fingerprint=fingerprint,
        )
        curve = Trainer(
            self._network.to(device),
            self._spread.layer.float().to(device),
            lessons,
            replace(training, patience=training.patience or PATIENCE),
            max_epochs=max_epochs,
            learning_rate=learning_rate,
            shuffle=shuffle,
        ).run(start)
        self._network.to("cpu")
        return curve

    def _fingerprint(self, rows: FlatPanel, inputs_NF: Tensor, weights: Tensor) -> str:
        ahead = () if rows.ahead is None else (rows.ahead.keys_M, rows.ahead.values_MZ)
        return fingerprint(
            self.recipe(), inputs_NF, weights, rows.starts, rows.session, rows.level(torch.arange(len(rows))),
            rows.volatility, self._spread.base_HQ, *ahead,
        )  # fmt: skip

    def _new_features(self) -> Any:
        if self.features is None:
            return PriceFeatures(target=self.target, positive=self._schema.positive)
        return clone(self.features)

    @property
    def _head(self) -> str:
        return (self.training or Training()).head

    def _new_network(self) -> RecurrentNetwork:
        return RecurrentNetwork(
            self.cell, self._inputs.scaler.width, self.hidden_size, self.num_layers, self.dropout, self.horizon,
            self._spread.layer.n_outputs, self.kernel_size, n_future=len(self._ahead_names), shortcut=self._shortcut,
        )  # fmt: skip

    def _warn_of_unseen(self, made: list[str]) -> None:
        warn_of_unseen(self, made, {*self.columns_, *self.inputs_, *self._schema.future})

    # -------------------------------------------------------------- predict
    @property
    def columns_(self) -> list[str]:
        return list(dict.fromkeys([*super().columns_, *self._inputs.read]))

    @property
    def _ahead_names(self) -> tuple[str, ...]:
        return self._schema.future

    def _ahead(self, rows: FlatPanel, at: Tensor) -> Tensor | None:
        """Scaled future covariates of the sessions after these rows, shape (..., H, Z); None without any."""
        return self._ahead_of(rows.ahead, rows.series_of(at), rows.session[at])

    def _ahead_of(self, ahead: KnownCovariates | None, series_N: Tensor, session_N: Tensor) -> Tensor | None:
        if ahead is None or self._ahead_scaler is None:
            return None
        return torch.from_numpy(ahead.scaled(self._ahead_scaler, series_N.numpy(), session_N.numpy(), self.horizon))

    def _outputs(self, rows: FlatPanel, at: Tensor) -> Tensor:
        at_N, order = torch.sort(at)
        h_ND = torch.empty(len(at), self._network.width)
        with torch.inference_mode():
            _, h_ND[order] = self._run_through(rows, rows.ends(at_N), at_N)
            return self._network.read_out(h_ND, self._ahead(rows, at))

    def _run_through(self, rows: FlatPanel, ends: Tensor, at: Tensor, at_a_time: int = BLOCK) -> tuple[State, Tensor]:
        """See `run_through`: over blocks of the panel, with `ends` in rising order, too; `at_a_time` see `inputs`."""
        states, h_ND = [self._network.zero_state(0)], torch.empty(len(at), self._network.width)
        for block in self._inputs.blocks(rows):
            some, here = ends[within(block, ends)], within(block, at)
            if len(some):
                inputs_NF = self._inputs.of(rows.frame[block], at_a_time)
                state, h_ND[here] = run_through(self._network, inputs_NF, rows, some, at[here], block.start)
                states.append(state)
        return State.cat(states), h_ND

    # ---------------------------------------------------- what has been seen
    def _keep(self, rows: FlatPanel, at: Tensor) -> tuple[CarriedState, Tensor]:
        paused = rows.last(at) != rows.newest[rows.series_of(at)]  # rows of sequences that are not gone on with
        h_ND = torch.empty(len(at), self._network.width)
        with torch.inference_mode():
            state, h_ND[~paused] = self._run_through(rows, rows.newest, at[~paused], PIECE)
            _, h_ND[paused] = self._run_through(rows, rows.ends(at[paused]), at[paused], PIECE)
            outputs_NHQ = self._network.read_out(h_ND, self._ahead(rows, at))
        here = standing(rows, rows.newest, self._n_levels)
        return CarriedState(here, state, self._inputs.stream(rows.frame)), outputs_NHQ

    def _with_room(self, series_id: pl.Series) -> CarriedState:
        if self._kept.stream is None:
            raise TypeError(
                "To be updated row by row, features must say their min_history; "
                f"{type(self._inputs.features).__name__} does not. Give it that attribute, or give the whole history "
                "to predict."
            )
        with torch.inference_mode():
            return self._kept.with_room(series_id, self._network)

    def _moved_on(self, kept: CarriedState, at_M: Tensor, begins_M: Tensor, rows: pl.DataFrame) -> CarriedState:
        assert kept.state is not None  # a network keeps both
        assert kept.stream is not None
        inputs_MF = self._inputs.pushed(kept.stream, rows)
        with torch.inference_mode():
            state_M = kept.state.take(at_M)
            state_M.put(torch.nonzero(begins_M)[:, 0], self._network.zero_state(int(begins_M.sum())))
            _, state_M = self._network.encode(inputs_MF[:, None], state_M)
            kept.state.put(at_M, state_M)
        return kept

    def _kept_outputs(self, at: Tensor, ahead: KnownCovariates | None) -> Tensor:
        assert self._kept.state is not None
        z_NHZ = self._ahead_of(ahead, at, self._kept.standing.session[at])
        with torch.inference_mode():
            return self._network.read_out(self._network.top(self._kept.state.take(at)), z_NHZ)

    # -------------------------------------------------------- save and load
    def _described(self) -> dict[str, Any]:
        return {
            "inputs": self.inputs_,
            "learning_curve": self.learning_curve_.to_dicts(),
            "static": self._inputs.static.categories,
            "shortcut": self._shortcut,
        }

    def _learned(self) -> dict[str, Tensor]:
        network = {f"network.{name}": value for name, value in self._network.state_dict().items()}
        scalers = {"input": self._inputs.scaler} | ({"ahead": self._ahead_scaler} if self._ahead_scaler else {})
        scaler = {
            f"{group}_{name}": torch.from_numpy(values)
            for group, fitted in scalers.items()
            for name, values in vars(fitted).items()
        }
        assert self._kept.state is not None
        state = {f"state.{name}": value for name, value in self._kept.state.tensors().items()}
        stream = {} if self._kept.stream is None else stream_tensors(self._kept.stream)
        kept = state | {f"stream.{name}": value for name, value in stream.items()}
        return super()._learned() | scaler | network | kept

    def _expected_scalers(self) -> dict[str, Tensor]:
        """Tensors like those of the scalers of inputs and of future covariates, without memory."""
        widths = {"input": len(self.inputs_)} | ({"ahead": len(self._ahead_names)} if self._ahead_names else {})
        return {
            f"{group}_{name}": blank(width, dtype=torch.bool if name == "flagged" else torch.float64)
            for group, width in widths.items()
            for name in ("mean", "scale", "flagged")
        }

    def _restore(self, description: dict[str, Any], learned: dict[str, Tensor], keys: pl.DataFrame) -> None:
        super()._restore(description, learned, keys)
        self._spread = replace(self._spread, head=self._head)
        self.inputs_ = description["inputs"]
        self.learning_curve_ = pl.from_dicts(description["learning_curve"], schema=LEARNING_CURVE)
        static = description.get("static", {})  # which a model has that was saved before there were any
        self._shortcut = description.get("shortcut", False)  # as well
        check_tensors(self._expected_scalers(), learned)
        scalers = {
            group: InputScaler(*(learned[f"{group}_{name}"].numpy() for name in ("mean", "scale", "flagged")))
            for group in ("input", "ahead")
            if f"{group}_mean" in learned
        }
        self._ahead_scaler = scalers.get("ahead")
        self._inputs = NetworkInputs(
            self._new_features(),
            self._schema.covariates,
            StaticInputs({name: values and tuple(values) for name, values in static.items()}),
            self.inputs_,
            scalers["input"],
        )
        self._network = saved_network(self._new_network, self.num_layers, under("network", learned))
        stream, state = under("stream", learned), under("state", learned)
        zero = self._network.zero_state(len(keys)).tensors()  # a number a unit and series; the files hold as many
        check_tensors(zero, state)
        self._kept = CarriedState(
            self._kept.standing,
            State.from_tensors({name: state[name] for name in zero}),
            self._inputs.resumed(stream) if stream else None,
        )
