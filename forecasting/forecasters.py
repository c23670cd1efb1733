"""Recurrent forecasters: a panel in, a forecast table out, features and all.

Axes: N rows of the panel or origins, F features, H horizon steps, Q quantiles, Z future covariates.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from features.messages import shorten
from features.panel import PanelSchema, to_polars
from features.price_features import PriceFeatures
from features.tail import per_series
from forecasting.base import PanelForecaster
from forecasting.checkpoints import fingerprint
from forecasting.covariates import Ahead, StaticInputs
from forecasting.cuts import Cuts
from forecasting.diagnostics import memory_profile, summary
from forecasting.kept import Kept, final_states, top
from forecasting.networks import RecurrentNetwork, State
from forecasting.persistence import under
from forecasting.quantiles import DEFAULT_QUANTILES
from forecasting.rows import PanelRows
from forecasting.scaling import InputScaler, Moments
from forecasting.settings import check_network_settings, check_whole, pick_device, seed_from
from forecasting.streams import open_stream, resume_stream, stream_tensors
from forecasting.stretches import Stretches, carried_states
from forecasting.training import LEARNING_CURVE, Batch, Epoch, Training, isolated, learning_curve, train_network

PATIENCE = 3  # epochs without a better validation loss
SLOWER = 0.1  # share of the learning rate with which `partial_fit` goes on: few rows should not undo what many taught


class RecurrentForecaster(PanelForecaster):
    """A recurrent network on top of the random walk; use the class of the cell you want.

    The network sees the columns its `features` add and the schema's past and static covariates, never a raw price, and
    is trained on every origin of a stretch of history at once. Future covariates, of the sessions that a forecast is
    for, join its state just before the outputs: what it remembers does not depend on them. Its outputs start at zero:
    untrained, it is the `RandomWalk`. The newest tenth of the training sessions calibrates the quantiles, the tenth
    before stops the training.

    Parameters
    ----------
    horizon : int, default=5
        Sessions to forecast.
    lookback : int, default=64
        Rows in a stretch of training history, and rows a series needs before its first forecast. What the network
        remembers is not bounded by it: its state is carried from a series' first row.
    quantiles : sequence of float
        Levels between 0 and 1; 0.5 is always among them.
    target : str, default="close"
        The column to forecast.
    schema : PanelSchema, optional
        What the panel's columns mean.
    features : transformer, optional
        Adds the network's inputs to the panel; `PriceFeatures` by default. Saved and applied with the model.
    hidden_size : int, default=32
    num_layers : int, default=1
    dropout : float, default=0.0
        Between layers; needs at least two of them.
    max_epochs : int, default=8
        A ceiling: training stops early. 0 leaves the random walk.
    batch_size : int, default=64
        Stretches in a batch.
    learning_rate : float, default=5e-3
        Its peak; one-cycle schedule.
    device : str, default="cpu"
        A torch device, or "auto" for a GPU where there is one.
    random_state : int, RandomState or None, default=0
        The same seed gives the same forecasts, bit for bit, on one machine.
    kernel_size : int, default=1
        Rows that a causal convolution in front of the cell sees at once; 1 is none. For MinGRU, whose gates see one
        row alone, or for features that mean something only side by side.
    training : Training, optional
        Patience, averaging, recency, the clipping of gradients, checkpoints.

    Attributes
    ----------
    fit_end_ : date or datetime
        Time of the last training row.
    learning_curve_ : DataFrame
        ``epoch``, ``train_loss``, ``validation_loss``: mean pinball losses of standardised changes.
    quantiles_ : tuple of float
    calendar_ : Calendar
    inputs_ : list of str
        The columns the network sees.
    skipped_ : tuple
        Series without a forecast from their last row.

    Examples
    --------
    >>> import numpy as np, polars as pl
    >>> times = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 12, 31), eager=True)
    >>> steps = 0.01 * np.random.default_rng(0).normal(size=len(times))
    >>> prices = pl.DataFrame({"series_id": "a", "time": times, "close": np.exp(steps.cumsum())})
    >>> model = GRUForecaster(horizon=2, lookback=16, max_epochs=2).fit(prices[:300])
    >>> model.predict()["time"].to_list()
    [datetime.date(2020, 10, 27), datetime.date(2020, 10, 28)]
    >>> model.predict(prices, origins="new").height // 2
    65
    """

    cell: ClassVar[str]

    def __init__(
        self,
        horizon: int = 5,
        lookback: int = 64,
        quantiles: Sequence[float] = DEFAULT_QUANTILES,
        target: str = "close",
        schema: PanelSchema | None = None,
        features: Any = None,
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        max_epochs: int = 8,
        batch_size: int = 64,
        learning_rate: float = 5e-3,
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = 0,
        kernel_size: int = 1,
        training: Training | None = None,
    ) -> None:
        self.horizon = horizon
        self.lookback = lookback
        self.quantiles = quantiles
        self.target = target
        self.schema = schema
        self.features = features
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.device = device
        self.random_state = random_state
        self.kernel_size = kernel_size
        self.training = training

    def _check_settings(self) -> None:
        super()._check_settings()
        check_network_settings(self)
        check_whole("kernel_size", self.kernel_size, at_least=1)
        if self.features is not None and (isinstance(self.features, type) or not hasattr(self.features, "transform")):
            raise TypeError(f"features must be a transformer of panels such as PriceFeatures(), got {self.features!r}.")

    # ------------------------------------------------------------------ fit
    def _fit_network(self, rows: PanelRows, cuts: Cuts, weights: Tensor) -> None:
        self._features = self._new_features().fit(rows.frame)
        self._static = StaticInputs.fit(rows.frame, self._schema.static)
        self._ahead_scaler = self._fit_ahead_scaler(rows, cuts)
        self._scaler = self._fit_scaler(rows, cuts)
        stretches, training = self._stretches(rows, weights), self.training or Training()
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
            )
        self.learning_curve_ = learning_curve(curve)

    def _go_on(self, rows: PanelRows, weights: Tensor, epochs: int) -> None:
        stretches = self._stretches(rows, weights, learned=self.fit_end_)
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

    def _stretches(self, rows: PanelRows, weights: Tensor, learned: date | datetime | None = None) -> Stretches:
        scaled_NF = torch.empty(len(rows), self._scaler.width, dtype=torch.float16)  # of ±8: exact to 1/2000
        for block in self._blocks(rows):
            scaled_NF[block] = self._inputs(rows.frame[block])
        half_life = self.training.half_life if self.training else None
        device = pick_device(self.device)
        return Stretches(
            rows, scaled_NF.to(device), weights, self.lookback, self.horizon, half_life, learned,
            partial(self._ahead, rows),
        )  # fmt: skip

    def _fit_scaler(self, rows: PanelRows, cuts: Cuts) -> InputScaler:
        """From the training rows; covariates are flagged that are missing where there is something to learn."""
        moments: Moments | None = None
        flagged: NDArray[np.bool_] = np.zeros(1, dtype=bool)
        train, learned_from = rows.before(cuts.train, included=True).numpy(), rows.moving.numpy()
        for block in self._blocks(rows):
            table = self._transformed(rows.frame[block])
            if moments is None:
                self.inputs_ = self._input_names(table, rows.frame.columns)
            inputs_NF = self._numbers(table)
            here = Moments.of(inputs_NF[train[block]])
            moments = here if moments is None else moments + here
            flagged = flagged | np.isnan(inputs_NF[(train & learned_from)[block]]).any(0)
        return InputScaler.of(cast("Moments", moments), flagged & np.isin(self.inputs_, self._given))

    def _fit_ahead_scaler(self, rows: PanelRows, cuts: Cuts) -> InputScaler | None:
        """From the future covariates of training sessions."""
        if rows.ahead is None:
            return None
        return InputScaler.fit(rows.ahead.up_to(rows.calendar.through(rows.ahead.series_id, cuts.train)))

    def _blocks(self, rows: PanelRows) -> Iterator[slice]:
        """Blocks of series whose features can be computed alone: all series where they may look across them."""
        return rows.blocks() if per_series(self._features) else iter([slice(0, len(rows))])

    def _train(
        self,
        stretches: Stretches,
        until: date | datetime,
        shuffle: np.random.Generator,
        training: Training,
        *,
        max_epochs: int,
        learning_rate: float,
        validation: Sequence[Batch] = (),
        fingerprint: str = "",
    ) -> list[Epoch]:
        """Train the network, from the weights it has, on stretches up to the time `until`."""
        device = stretches.inputs_NF.device
        curve = train_network(
            self._network.to(device),
            copy.deepcopy(self._layer).float().to(device),
            torch.tensor(self.quantiles_, device=device),
            lambda generator: stretches.epoch(until, self.batch_size, generator),
            steps_per_epoch=-(-len(stretches.starts(until)) // self.batch_size),
            validation=validation,
            max_epochs=max_epochs,
            learning_rate=learning_rate,
            patience=PATIENCE,
            shuffle=shuffle,
            training=training,
            fingerprint=fingerprint,
        )
        self._network.to("cpu")
        return curve

    def _fingerprint(self, rows: PanelRows, inputs_NF: Tensor, weights: Tensor) -> str:
        ahead = () if rows.ahead is None else (rows.ahead.keys_M, rows.ahead.values_MZ)
        return fingerprint(
            self.recipe(), inputs_NF, weights, rows.starts, rows.session, rows.level(torch.arange(len(rows))),
            rows.volatility, self._layer.base_HQ, *ahead,
        )  # fmt: skip

    def _new_features(self) -> Any:
        if self.features is None:
            return PriceFeatures(target=self.target, positive=self._schema.positive)
        return clone(self.features)

    def _new_network(self) -> RecurrentNetwork:
        return RecurrentNetwork(
            self.cell, self._scaler.width, self.hidden_size, self.num_layers, self.dropout, self.horizon,
            len(self.quantiles_), self.kernel_size, n_future=len(self._ahead_names),
        )  # fmt: skip

    def _input_names(self, table: pl.DataFrame, given: list[str]) -> list[str]:
        """The columns that the features added to the `given` ones, and the past and static covariates."""
        added = getattr(self._features, "added_", None) or [name for name in table.columns if name not in given]
        names = [*added, *self._given]
        table = self._static.added_to(table)
        if not names:
            raise ValueError(
                f"The network needs at least one input: {type(self._features).__name__} added no column and the schema "
                "names no past or static covariates. Give features that add columns."
            )
        words = [name for name in names if not (table.schema[name].is_numeric() or table.schema[name] == pl.Boolean)]
        if words:
            raise ValueError(f"The network's inputs must be numbers, found {shorten(words)}. Encode them as numbers.")
        return names

    def _transformed(self, frame: pl.DataFrame) -> pl.DataFrame:
        table, keys = to_polars(self._features.transform(frame)), frame.select("series_id", "time")
        if not set(keys.columns) <= set(table.columns) or not table.select(keys.columns).cast(keys.schema).equals(keys):
            raise ValueError(
                f"features must give back the rows they were given, in their order; {type(self._features).__name__} "
                "did not. Let transform add columns, and do nothing else."
            )
        return table

    def _inputs(self, frame: pl.DataFrame) -> Tensor:
        """What the network sees of these rows, shape (N, F), float32."""
        return self._scaled(self._numbers(self._transformed(frame)))

    def _numbers(self, table: pl.DataFrame) -> np.ndarray:
        """The network's inputs as one array of shape (N, F), NaN for missing."""
        return _numbers(self._static.added_to(table), self.inputs_)

    @property
    def _ahead_names(self) -> tuple[str, ...]:
        return self._schema.future

    def _ahead(self, rows: PanelRows, at: Tensor) -> Tensor | None:
        """Scaled future covariates of the sessions after these rows, shape (..., H, Z); None without any."""
        return self._ahead_of(rows.ahead, rows.series_of(at), rows.session[at])

    def _ahead_of(self, ahead: Ahead | None, series_N: Tensor, session_N: Tensor) -> Tensor | None:
        if ahead is None or self._ahead_scaler is None:
            return None
        return torch.from_numpy(ahead.scaled(self._ahead_scaler, series_N.numpy(), session_N.numpy(), self.horizon))

    # -------------------------------------------------------------- predict
    def _outputs(self, rows: PanelRows, at: Tensor) -> Tensor:
        if bool(torch.isin(at, rows.newest).all()):  # the common case, and the same to the bit as what is kept
            with torch.inference_mode(), isolated(0):
                return self._read_out(self._final_states(rows, at), self._ahead(rows, at))
        order = torch.argsort(at)
        states = torch.empty(len(at), self._network.width)
        with torch.inference_mode(), isolated(0):
            for block, here in self._with_inputs(rows, at[order]):
                states[order[here]] = carried_states(
                    self._network, self._inputs(rows.frame[block]), rows, at[order[here]], block.start
                )
            return self._network.read_out(states, self._ahead(rows, at)).double()

    def _final_states(self, rows: PanelRows, at: Tensor) -> State:
        """The states to carry on from after the rows `at`, in rising order."""
        blocks = [
            final_states(self._network, self._inputs(rows.frame[block]), rows, at[here], block.start)
            for block, here in self._with_inputs(rows, at)
        ]
        return State.cat(blocks) if blocks else self._network.zero_state(0)

    def _with_inputs(self, rows: PanelRows, at: Tensor) -> Iterator[tuple[slice, slice]]:
        """Blocks of rows with some of the rows `at`, in rising order, and the places of those."""
        for block in self._blocks(rows):
            begin, end = torch.searchsorted(at, torch.tensor([block.start, block.stop])).tolist()
            if begin < end:
                yield block, slice(begin, end)

    def _scaled(self, inputs_NF: np.ndarray) -> Tensor:
        return torch.from_numpy(self._scaler.transform(inputs_NF))

    def _read_out(self, state: State, z_NHZ: Tensor | None) -> Tensor:
        return self._network.read_out(top(state), z_NHZ).double()

    # ---------------------------------------------------- what has been seen
    def _keep(self, rows: PanelRows) -> Kept:
        with torch.inference_mode(), isolated(0):
            state = self._final_states(rows, rows.newest)
        return replace(super()._keep(rows), state=state, stream=open_stream(self._features, self._added, rows.frame))

    def _with_room(self, series_id: pl.Series) -> Kept:
        if self._kept.stream is None:
            raise TypeError(
                f"To be updated row by row, features must say their min_history; {type(self._features).__name__} does "
                "not. Give it that attribute, or give the whole history to predict."
            )
        with torch.inference_mode(), isolated(0):
            return self._kept.with_room(series_id, self._network)

    def _moved_on(self, kept: Kept, at_M: Tensor, begins_M: Tensor, rows: pl.DataFrame) -> Kept:
        assert kept.state is not None  # a network keeps both
        assert kept.stream is not None
        added = kept.stream.push(rows)
        rows = self._static.added_to(rows)
        covariates = [_numbers(rows, [name]) for name in self._given]
        inputs_MF = self._scaled(np.column_stack([added, *covariates]))
        with torch.inference_mode(), isolated(0):
            state_M = kept.state.take(at_M)
            state_M.put(torch.nonzero(begins_M)[:, 0], self._network.zero_state(int(begins_M.sum())))
            _, state_M = self._network.encode(inputs_MF[:, None], state_M)
            kept.state.put(at_M, state_M)
        return kept

    def _kept_outputs(self, at: Tensor, ahead: Ahead | None) -> Tensor:
        assert self._kept.state is not None
        z_NHZ = self._ahead_of(ahead, at, self._kept.standing.session[at])
        with torch.inference_mode(), isolated(0):
            return self._read_out(self._kept.state.take(at), z_NHZ)

    @property
    def _added(self) -> list[str]:
        """The inputs that come from the features; the covariates follow them."""
        return self.inputs_[: len(self.inputs_) - len(self._given)]

    @property
    def _given(self) -> list[str]:
        """The inputs that are past or static covariates."""
        return [*self._schema.covariates, *self._static.names]

    # ----------------------------------------------------------- diagnostics
    def memory_profile(self, X: Any, steps_back: int = 64, n_origins: int = 128, random_state: int = 0) -> pl.DataFrame:
        """Influence of the inputs k rows before the origin on the forecast of each step.

        To see how far back a network looks, and whether a longer `lookback` would give it anything: the norm of the
        gradient of the quantiles with respect to the inputs of one row, averaged over origins. The state before the
        oldest of these rows is the one carried from the start of the series, held constant.

        Parameters
        ----------
        X : polars or pandas DataFrame
            The panel with its history.
        steps_back : int, default=64
        n_origins : int, default=128
            Drawn among the rows of series that move.
        random_state : int, default=0

        Returns
        -------
        DataFrame
            ``cell``, ``step``, ``k`` (0: the origin's own row), ``influence`` (root mean square over the quantiles) and
            ``median`` (of the median alone), both in volatilities · √step per standard deviation of the inputs.

        Raises
        ------
        ValueError
            When no series is long enough.
        """
        check_is_fitted(self, "fit_end_")
        return memory_profile(self, X, steps_back, n_origins, random_state)

    def summary(self, X: Any = None) -> str:
        """Some lines for a person: network, inputs, what it was trained on and has seen, how it learned.

        Parameters
        ----------
        X : polars or pandas DataFrame, optional
            A panel with its history, to say from it how far back the network looks.
        """
        check_is_fitted(self, "fit_end_")
        return summary(self, X)

    # -------------------------------------------------------- save and load
    def _described(self) -> dict[str, Any]:
        return {
            "inputs": self.inputs_,
            "learning_curve": self.learning_curve_.to_dicts(),
            "static": self._static.categories,
        }

    def _learned(self) -> dict[str, Tensor]:
        network = {f"network.{name}": value for name, value in self._network.state_dict().items()}
        scalers = {"input": self._scaler} | ({"ahead": self._ahead_scaler} if self._ahead_scaler else {})
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

    def _restore(self, description: dict[str, Any], learned: dict[str, Tensor], keys: pl.DataFrame) -> None:
        super()._restore(description, learned, keys)
        self.inputs_ = description["inputs"]
        self.learning_curve_ = pl.DataFrame(description["learning_curve"], schema=LEARNING_CURVE)
        self._features = self._new_features()
        static = description.get("static", {})  # which a model has that was saved before there were any
        self._static = StaticInputs({name: values and tuple(values) for name, values in static.items()})
        scalers = {
            group: InputScaler(*(learned[f"{group}_{name}"].numpy() for name in ("mean", "scale", "flagged")))
            for group in ("input", "ahead")
            if f"{group}_mean" in learned
        }
        self._scaler, self._ahead_scaler = scalers["input"], scalers.get("ahead")
        with isolated(0):
            self._network = self._new_network().eval()
        self._network.load_state_dict(under("network", learned))
        stream = under("stream", learned)
        self._kept = Kept(
            self._kept.standing,
            State.from_tensors(under("state", learned)),
            resume_stream(self._features, self._added, stream) if stream else None,
        )


def _numbers(table: pl.DataFrame, names: list[str]) -> np.ndarray:
    """Columns as one array of shape (N, F), NaN for missing."""
    return table.select(pl.col(names).cast(pl.Float64).fill_null(float("nan"))).to_numpy()


class RNNForecaster(RecurrentForecaster):
    """An Elman network on top of the random walk: ``h ← tanh(W x + U h + b)`` (Elman 1990).

    Forgets within some ten rows. Parameters, attributes and methods are those of `RecurrentForecaster`.
    """

    cell = "rnn"


class LSTMForecaster(RecurrentForecaster):
    """An LSTM on top of the random walk: ``c ← f c + i g``, ``h ← o tanh(c)`` (Hochreiter and Schmidhuber 1997).

    The gates i, f, o and the candidate g see x and h; f starts open, so that the cell c remembers. Parameters,
    attributes and methods are those of `RecurrentForecaster`.
    """

    cell = "lstm"


class GRUForecaster(RecurrentForecaster):
    """A GRU on top of the random walk: ``h ← z h + (1 − z) n`` (Cho et al. 2014, arXiv:1406.1078).

    The gate z and the candidate n see x and h; one gate less than an LSTM, and no cell beside the state. Parameters,
    attributes and methods are those of `RecurrentForecaster`.
    """

    cell = "gru"


class MinGRUForecaster(RecurrentForecaster):
    """A minimal GRU on top of the random walk: ``h ← (1 − z) h + z n`` (Feng et al. 2024, arXiv:2410.01201).

    The gate z and the candidate n see x alone: on a CPU it trains more than twice as fast as a GRU, and a layer more
    or ``kernel_size=4`` gives back what its gates do not see. Parameters, attributes and methods are those of
    `RecurrentForecaster`.
    """

    cell = "mingru"
