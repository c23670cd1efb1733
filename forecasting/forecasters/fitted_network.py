"""A network on top of the random walk, once trained: run over a panel, advanced by new rows, saved.

Axes: N rows of the panel or origins, F features, H horizon steps, Q quantiles, Z future covariates.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor

from tidecast.features.frozen_settings import FrozenSettings
from tidecast.features.panel import PanelSchema
from tidecast.features.segments import BLOCK
from tidecast.features.transformers.price_features import PriceFeatures
from tidecast.features.transformers.seasonal_features import SeasonalFeatures
from tidecast.features.transformers.streaming import per_series
from tidecast.forecasting.estimator.fitted_settings import check_fitted
from tidecast.forecasting.export.models import Calibration, ForecasterParts, write_forecaster
from tidecast.forecasting.forecasters.base import PanelForecaster
from tidecast.forecasting.forecasters.quantile_model import CLOSEST
from tidecast.forecasting.network.heads import SCALE
from tidecast.forecasting.network.progress import LEARNING_CURVE
from tidecast.forecasting.network.recurrent import RecurrentNetwork, State
from tidecast.forecasting.network.training import Training
from tidecast.forecasting.panel.carried_state import CarriedState
from tidecast.forecasting.panel.feature_streams import stream_tensors
from tidecast.forecasting.panel.flat_panel import FlatPanel, within
from tidecast.forecasting.panel.inputs import PIECE, NetworkInputs, StaticInputs
from tidecast.forecasting.panel.known_covariates import CovariatesAhead
from tidecast.forecasting.panel.made_columns import warn_of_unseen
from tidecast.forecasting.panel.past_values import NewestValues
from tidecast.forecasting.panel.scaling import InputScaler
from tidecast.forecasting.panel.segments import run_through
from tidecast.forecasting.panel.snapshot import snapshot_of
from tidecast.forecasting.panel.step_inputs import StepInputs
from tidecast.forecasting.panel.values_ahead import lists_at
from tidecast.forecasting.saving.recipes import under
from tidecast.forecasting.saving.saved_tensors import blank, check_tensors, saved_network

INPUT, FUTURE, STEP = "input", "ahead", "step"  # scalers, by their names in saved files


class FittedNetwork(PanelForecaster):
    """Everything of a `NetworkForecaster` but its training."""

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
    _future_scaler: InputScaler | None = None

    # ---------------------------------------------------- what the network reads
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

    def _new_steps(self) -> StepInputs:
        """Inputs of single steps, not fitted."""
        return StepInputs(self._seasonal.seasons, self.horizon, self._future_names)

    def _new_network(self) -> RecurrentNetwork:
        return RecurrentNetwork(
            self.cell, self._inputs.scaler.width, self.hidden_size, self.num_layers, self.dropout, self.horizon,
            self._quantile_model.layer.n_outputs, self.kernel_size,
            n_future=0 if self._steps else len(self._future_names), shortcut=self._shortcut,
            n_step=self._steps.width if self._steps else 0,
        )  # fmt: skip

    def _warn_of_unseen(self, made: list[str]) -> None:
        warn_of_unseen(self, made, {*self.columns_, *self.inputs_, *self._schema.future})

    @property
    def head(self) -> str:
        """The network's head: that of `training`, by default one scale a step."""
        return (self.training or Training()).head or SCALE

    # -------------------------------------------------------------- predict
    @property
    def looks_across(self) -> bool:
        return not per_series(self._inputs.features)

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

    def _future_at(self, known: CovariatesAhead | None, series_N: Tensor, session_N: Tensor) -> Tensor | None:
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
        ahead = lists_at(rows.frame[rows.newest.numpy()], self._future_names, self.horizon)
        return CarriedState(here, state, self._inputs.stream(rows.frame), newest, ahead), outputs_NHQ

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
        if carried.ahead is not None:
            values_MHZ = lists_at(rows, self._future_names, self.horizon, optional=True)
            assert values_MHZ is not None
            carried = replace(carried, ahead=carried.ahead.index_copy(0, at_M, values_MHZ))
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

    def _carried_outputs(self, at: Tensor, known: CovariatesAhead | None) -> Tensor:
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

    # -------------------------------------------------------------- export
    def export_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the network as an ONNX file (opset 17): rows of features and a state in, quantiles and a state out.

        Scalers, head and calibration are part of it. The features are not: compute the columns that `inputs_` names
        with the same transformer. See docs/onnx.md for inputs, outputs and metadata. Needs ``tidecast[onnx]``.

        Parameters
        ----------
        path : path
            The file; missing folders are made.

        Raises
        ------
        ModuleNotFoundError
            The package onnx is not installed.
        NotFittedError
            The forecaster is not fitted.
        TypeError
            A cell or a head of your own has no ONNX form.
        """
        check_fitted(self, "fit_end_")
        model = self._quantile_model
        least_HG = CLOSEST * model.base_HQ.diff(dim=-1).numpy()
        levels = self._seasonal.centre is not None  # a level is no price: the change is one of its asinh
        parts = ForecasterParts(
            self._network,
            self._inputs.scaler,
            model.layer,
            Calibration(model.offsets_HQ, least_HG, model.relative),
            self._steps.scaler if self._steps else self._future_scaler,
            self._steps.n_steps if self._steps else self.horizon,
            "" if levels else "exp" if self._schema.positive else "add",
            {
                "model": type(self).__name__,
                "inputs": self.inputs_,
                "future": self._steps.columns if self._steps else list(self._future_names),
                "quantiles": list(self.quantiles_),
                "horizon": self.horizon,
                "lookback": self.lookback,
                "target": self.target,
                "positive": self._schema.positive,
                "volatility_decay": self._seasonal.decay,
                "calendar": self.calendar_.name,
                "fit_end": self.fit_end_.isoformat(),
            },
        )
        write_forecaster(path, parts)

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
        if self._carried.ahead is not None:
            carried |= {"carried_ahead": self._carried.ahead}
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
        has_steps = f"{STEP}_mean" in learned  # older models read all future covariates at once, a regression none
        self._steps = self._new_steps() if has_steps else None
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
            self._ahead_of(learned, len(keys)),
        )

    def _ahead_of(self, learned: dict[str, Tensor], n_series: int) -> Tensor | None:
        if "carried_ahead" not in learned:
            return None
        check_tensors({"carried_ahead": blank(n_series, self.horizon, len(self._future_names))}, learned)
        return learned["carried_ahead"]

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
