"""Recurrent forecasters: a panel in, a forecast table out, features and all.

Axes: B sequences, T rows, F features, D hidden units, H horizon steps, Q quantiles, N rows or origins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from sklearn.base import clone
from torch import Tensor

from features.panel import PanelSchema
from features.price_features import PriceFeatures
from forecasting.base import Cuts, PanelForecaster
from forecasting.networks import RecurrentNetwork, State
from forecasting.quantiles import DEFAULT_QUANTILES
from forecasting.rows import PanelRows
from forecasting.scaling import InputScaler
from forecasting.settings import check_network_settings, pick_device, seed_from
from forecasting.training import Batch, Epoch, isolated, train_network

PATIENCE = 3  # epochs without a better validation loss
BLOCK = 256  # sequences run side by side when states are read
CHUNK = 512  # rows run at once then


class RecurrentForecaster(PanelForecaster):
    """A recurrent network on top of the random walk; use the class of the cell you want.

    The network sees the columns its `features` add and the schema's covariates, never a raw price, and is trained on
    every origin of a stretch of history at once. Its outputs start at zero: untrained, it is the `RandomWalk`. The
    newest tenth of the training sessions calibrates the quantiles, the tenth before stops the training.

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

    def _check_settings(self) -> None:
        super()._check_settings()
        check_network_settings(self)

    # ------------------------------------------------------------------ fit
    def _fit_network(self, rows: PanelRows, cuts: Cuts, weights: Tensor) -> None:
        self._features = self._new_features().fit(rows.frame)
        inputs, self.inputs_ = self._input_columns(rows)
        in_training = (rows.session <= cuts.train).numpy()
        self._scaler = InputScaler.fit(inputs[in_training])
        self._device = pick_device(self.device)
        seed = seed_from(self.random_state)
        with isolated(seed):
            self._network = self._new_network().to(self._device)
            curve = self._train(rows, self._scaler.transform(inputs), cuts, weights, seed) if self.max_epochs else []
            self._network.to("cpu")
        self.learning_curve_ = pl.DataFrame(
            [vars(epoch) for epoch in curve],
            schema={"epoch": pl.Int32, "train_loss": pl.Float64, "validation_loss": pl.Float64},
        )

    def _new_features(self) -> Any:
        if self.features is None:
            return PriceFeatures(target=self.target, positive=self._schema.positive)
        return clone(self.features)

    def _new_network(self) -> RecurrentNetwork:
        return RecurrentNetwork(
            self.cell, len(self.inputs_), self.hidden_size, self.num_layers, self.dropout, self.horizon,
            len(self.quantiles_),
        )  # fmt: skip

    def _input_columns(self, rows: PanelRows) -> tuple[np.ndarray, list[str]]:
        """Added features and covariates, shape (N, F) with NaN for missing, and their names."""
        table = self._features.transform(rows.frame)
        added = [name for name in table.columns if name not in rows.frame.columns]
        names = [*added, *self._schema.covariates]
        if not names:
            raise ValueError(
                f"The network needs at least one input: {type(self._features).__name__} added no column and the schema "
                "names no covariates. Give features that add columns."
            )
        return table.select(pl.col(names).cast(pl.Float64).fill_null(float("nan"))).to_numpy(), names

    def _train(self, rows: PanelRows, inputs: np.ndarray, cuts: Cuts, weights: Tensor, seed: int) -> list[Epoch]:
        stretches = Stretches(rows, torch.from_numpy(inputs), weights, self.horizon, self._device)
        shuffle = np.random.default_rng(seed)
        starts = stretches.starts(self.lookback, cuts.train)
        held_out = list(stretches.held_out(self.lookback, cuts.train, cuts.validation, BLOCK))
        return train_network(
            self._network,
            self._layer_on_device(),
            torch.tensor(self.quantiles_, device=self._device),
            lambda: stretches.epoch(self.lookback, cuts.train, self.batch_size, shuffle),
            steps_per_epoch=-(-len(starts) // self.batch_size),
            validation=(lambda: held_out) if any(bool(batch.weight_BTH.any()) for batch in held_out) else None,
            max_epochs=self.max_epochs,
            learning_rate=self.learning_rate,
            patience=PATIENCE,
        )

    def _layer_on_device(self) -> Any:
        from copy import deepcopy

        return deepcopy(self._layer).float().to(self._device)

    # -------------------------------------------------------------- predict
    def _outputs(self, rows: PanelRows, at: Tensor) -> Tensor:
        if not self.max_epochs:
            return super()._outputs(rows, at)
        inputs, _ = self._input_columns(rows)
        with torch.inference_mode(), isolated(0):
            states_ND = carried_states(self._network, torch.from_numpy(self._scaler.transform(inputs)), rows, at)
            return self._network.read_out(states_ND).double()

    # -------------------------------------------------------- save and load
    def _learned(self) -> dict[str, Tensor]:
        network = {f"network.{name}": value for name, value in self._network.state_dict().items()}
        mean, scale = torch.from_numpy(self._scaler.mean), torch.from_numpy(self._scaler.scale)
        return super()._learned() | network | {"input_mean": mean, "input_scale": scale}

    def _restore(self, learned: dict[str, Tensor], keys: pl.DataFrame) -> None:
        super()._restore(learned, keys)
        self._features = self._new_features()
        self._scaler = InputScaler(learned["input_mean"].numpy(), learned["input_scale"].numpy())
        with isolated(0):
            self._network = self._new_network()
        prefix = "network."
        self._network.load_state_dict({k.removeprefix(prefix): v for k, v in learned.items() if k.startswith(prefix)})
        self._network.eval()


class RNNForecaster(RecurrentForecaster):
    __doc__ = (RecurrentForecaster.__doc__ or "").replace("A recurrent network", "An Elman network (tanh)", 1)
    cell = "rnn"


class LSTMForecaster(RecurrentForecaster):
    __doc__ = (RecurrentForecaster.__doc__ or "").replace("A recurrent network", "An LSTM", 1)
    cell = "lstm"


class GRUForecaster(RecurrentForecaster):
    __doc__ = (RecurrentForecaster.__doc__ or "").replace("A recurrent network", "A GRU", 1)
    cell = "gru"


class Stretches:
    """Batches of training history, gathered by index from one tensor."""

    def __init__(self, rows: PanelRows, inputs_NF: Tensor, weights: Tensor, horizon: int, device: torch.device) -> None:
        self.rows, self.inputs_NF, self.weights = rows, inputs_NF.to(device), weights
        self.horizon, self.device = horizon, device

    def sequences(self, until: int) -> tuple[np.ndarray, np.ndarray]:
        """First row of each sequence, and how many of its rows are sessions up to `until`."""
        first = self.rows.first.numpy()
        starts, lengths = np.unique(first[(self.rows.session <= until).numpy()], return_counts=True)
        return starts, lengths

    def starts(self, length: int, until: int, shift: np.ndarray | None = None) -> np.ndarray:
        """First rows of stretches that cover all rows up to session `until`, laid `shift` rows to the left."""
        firsts, lengths = self.sequences(until)
        count = -(-lengths // length) + 1
        shift = np.zeros(len(firsts), dtype=int) if shift is None else shift
        number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        start = np.repeat(firsts - shift, count) + number * length
        newest = np.maximum(firsts + lengths - length, firsts)  # the last stretch ends with the sequence
        return np.clip(start, np.repeat(firsts, count), np.repeat(newest, count))

    def epoch(self, length: int, until: int, batch_size: int, shuffle: np.random.Generator) -> Iterator[Batch]:
        """Every row once or twice, in stretches cut anew and in random order."""
        shift = shuffle.integers(length, size=len(self.sequences(until)[0]))
        starts = shuffle.permutation(self.starts(length, until, shift))
        for i in range(0, len(starts), batch_size):
            rows_BT = torch.from_numpy(starts[i : i + batch_size])[:, None] + torch.arange(length)
            yield self.batch(rows_BT, since=-(1 << 62), until=until)

    def held_out(self, warm_up: int, since: int, until: int, batch_size: int) -> Iterator[Batch]:
        """Rows of the sessions from `since` to `until`, each sequence after `warm_up` rows to fill the state."""
        firsts, lengths = self.sequences(until)
        known = dict(zip(*self.sequences(since), strict=True))
        ends = firsts + lengths
        begins = np.array([max(f, f + known.get(f, 0) - warm_up) for f in firsts], dtype=np.int64)
        for i in range(0, len(begins), batch_size):
            begin, end = begins[i : i + batch_size], ends[i : i + batch_size]
            rows_BT = torch.from_numpy(begin)[:, None] + torch.arange(int((end - begin).max()))
            yield self.batch(rows_BT, since=since, until=until)

    def batch(self, rows_BT: Tensor, since: int, until: int) -> Batch:
        """Inputs and scaled targets of these rows; targets only from session `since` on, and not past `until`."""
        rows = self.rows
        inside_BT = rows_BT <= rows.last[rows_BT[:, :1].clamp(max=len(rows) - 1)]
        rows_BT = rows_BT.clamp(max=len(rows) - 1)
        y_BTH = rows.scaled_changes(rows_BT, self.horizon)
        session_BT1 = rows.session[rows_BT].unsqueeze(-1)
        known = (session_BT1 + torch.arange(1, self.horizon + 1) <= until) & (session_BT1 >= since)
        known = known & inside_BT.unsqueeze(-1) & y_BTH.isfinite()
        weight_BTH = known * self.weights[rows_BT].unsqueeze(-1)
        return Batch(
            self.inputs_NF[rows_BT.to(self.device)],
            y_BTH.nan_to_num(0.0).float().to(self.device),
            weight_BTH.float().to(self.device),
        )


def carried_states(network: RecurrentNetwork, inputs_NF: Tensor, rows: PanelRows, at: Tensor) -> Tensor:
    """States at the rows `at`, shape (len(at), D), each carried from the first row of its sequence."""
    firsts = torch.unique(rows.first[at])
    lengths = torch.zeros(len(firsts), dtype=torch.int64)
    lengths.scatter_reduce_(0, torch.searchsorted(firsts, rows.first[at]), at - rows.first[at] + 1, "amax")
    place = torch.full((len(rows),), -1)
    place[at] = torch.arange(len(at))
    states = torch.empty(len(at), network.encoder.hidden_size)
    for block in torch.argsort(lengths, stable=True).split(BLOCK):
        state: State | None = None
        for begin in range(0, int(lengths[block].max()), CHUNK):
            width = min(CHUNK, int(lengths[block].max()) - begin)
            offset_T = begin + torch.arange(width)
            inside_BT = offset_T < lengths[block, None]
            rows_BT = (firsts[block, None] + offset_T).clamp(max=len(rows) - 1)
            h_BTD, state = network.encode(inputs_NF[rows_BT], state)
            wanted_BT = inside_BT & (place[rows_BT] >= 0)
            states[place[rows_BT[wanted_BT]]] = h_BTD[wanted_BT]
    return states
