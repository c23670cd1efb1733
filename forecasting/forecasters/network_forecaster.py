"""A recurrent network on top of the random walk, trained on a panel.

Axes: N rows of the panel or origins, F features, H horizon steps, Q quantiles, Z future covariates.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from typing import Any, cast

import numpy as np
import polars as pl
from torch import Tensor

from tidecast.forecasting.estimator.data_parallel import processes_in_force
from tidecast.forecasting.estimator.freed_memory import give_back_memory
from tidecast.forecasting.estimator.mapped_arrays import is_mapped
from tidecast.forecasting.estimator.validation import pick_device, seed_from
from tidecast.forecasting.forecasters.fitted_network import FittedNetwork
from tidecast.forecasting.forecasters.linear_start import LinearForecast
from tidecast.forecasting.forecasters.quantile_model import MEDIAN_SCALE
from tidecast.forecasting.network.checkpoints import fingerprint
from tidecast.forecasting.network.heads import QUANTILE, SCALE
from tidecast.forecasting.network.progress import Epoch, learning_curve
from tidecast.forecasting.network.trainer import Lessons, Trainer
from tidecast.forecasting.network.training import Batch, Training, isolated
from tidecast.forecasting.panel.flat_panel import FlatPanel, thinned
from tidecast.forecasting.panel.holdout import Holdout
from tidecast.forecasting.panel.inputs import NetworkInputs
from tidecast.forecasting.panel.segments import Segments
from tidecast.forecasting.panel.step_inputs import StepInputs

MOST_REGRESSED = 1 << 15  # rows that a linear forecast is estimated and evaluated on, before training
WINDOWS_PER_EPOCH = 4096  # at most; see `Training`
PATIENCE = 3  # epochs without a better validation loss
SLOWER = 0.1  # factor on the learning rate in `partial_fit`: few rows should not undo what many taught

MOST_OF_STEPS = 1 << 13  # the same with inputs of each step, which take `horizon` times as much memory
LONGER, STEPS = 5, 400  # at most times `max_epochs`, until as many steps are made, where the panel has seasons
ORIGINS = 4  # fewest in the shortest season of a window of training rows


class NetworkForecaster(FittedNetwork):
    """Everything that `RecurrentForecaster` does with its settings."""

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
                max_epochs=self._epochs(segments.windows(holdout.train)),
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
        self._future_scaler = None  # only models saved by earlier versions have one
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
        training, device = self.training or Training(), pick_device(self.device)
        most = training.windows_per_epoch or WINDOWS_PER_EPOCH
        return Segments(
            rows, inputs_NF if is_mapped(inputs_NF.nbytes) else inputs_NF.to(device), weights, self.lookback,
            self.horizon, training.half_life, learned, partial(self._future_of, rows), bool(self._seasonal.seasons),
            self._every(rows.moving & (weights > 0)), most, device,
        )  # fmt: skip

    def _every(self, is_origin: Tensor) -> int:
        """Rows to an origin in training: with bars of a day one in a quarter of the day, unless few rows may be one."""
        shortest = min(self._seasonal.seasons, default=1)
        if shortest <= 2 * ORIGINS or is_origin.float().mean() < 1 / ORIGINS:
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

    def _epochs(self, n_windows: int) -> int:
        """Most epochs of a `fit`: more where the panel has seasons, and so few rows that an epoch has few steps."""
        steps = self.max_epochs * -(-n_windows // self.batch_size)
        return self.max_epochs * (min(LONGER, max(1, -(-STEPS // max(steps, 1)))) if self._seasonal.seasons else 1)

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
        self._steps = self._new_steps()
        train = thinned(rows.ready & rows.before(holdout.train, included=True), MOST_OF_STEPS, self._longest_season)
        return self._steps.fitted(self._numbers_of_steps(rows, train))

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
        device, processes = pick_device(self.device), processes_in_force()
        lessons = Lessons(
            lambda generator: segments.epoch(until, self.batch_size, generator, processes),
            steps_per_epoch=-(-segments.windows(until) // self.batch_size),
            validation=validation,
            fingerprint=fingerprint,
            given=self._given(segments) if processes.size > 1 else "",
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
        future = () if known is None else known.arrays
        return fingerprint(
            self.recipe(), inputs_NF, weights, rows.starts, rows.session, rows.prices, rows.volatility,
            self._quantile_model.base_HQ, *future,
        )  # fmt: skip

    def _given(self, segments: Segments) -> str:
        """Digest of recipe and rows. Nothing computed is in it, because processors of other kinds round differently."""
        rows = segments.rows
        return fingerprint(self.recipe(), segments.weights_N, rows.starts, rows.session, rows.prices)

    def _to_recipe(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings with the head spelled out, because a recipe must mean the same when the default changes."""
        return settings | {"training": replace(self.training or Training(), head=self.head)}

    @classmethod
    def _from_recipe(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings of a recipe; those that name no head are of a time when every quantile was learned by itself."""
        training = settings.get("training") or Training()
        return settings | {"training": replace(training, head=training.head or QUANTILE)}
