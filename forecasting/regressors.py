"""Recurrent regressors: arrays in, arrays out, plain scikit-learn.

Axes: N windows, T rows of a window (lookback), F features, H horizon steps, Q quantiles.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import _check_sample_weight, validate_data
from torch import Tensor

from tidecast.features.docstrings import complete_docstring
from tidecast.features.error_text import check_whole
from tidecast.features.frozen_settings import FrozenSettings
from tidecast.forecasting.estimator.data_parallel import ALONE, Processes, processes_in_force
from tidecast.forecasting.estimator.fitted_settings import (
    NOT_SAVED_AS_LEARNED,
    all_or_nothing,
    check_fitted,
    remember_settings,
)
from tidecast.forecasting.estimator.nested_settings import HoldsFrozenSettings
from tidecast.forecasting.estimator.threads import one_thread
from tidecast.forecasting.estimator.validation import pick_device, seed_from
from tidecast.forecasting.export.models import write_regressor
from tidecast.forecasting.network.cell_registry import CELLS, Cell
from tidecast.forecasting.network.checkpoints import fingerprint
from tidecast.forecasting.network.heads import HEADS, QUANTILE, Head
from tidecast.forecasting.network.progress import LEARNING_CURVE, learning_curve
from tidecast.forecasting.network.recurrent import RecurrentNetwork
from tidecast.forecasting.network.settings import check_network_settings
from tidecast.forecasting.network.trainer import Lessons, Trainer
from tidecast.forecasting.network.training import Batch, Training, isolated
from tidecast.forecasting.panel.scaling import InputScaler, weighted_quantiles
from tidecast.forecasting.saving.model_files import restoring
from tidecast.forecasting.saving.recipes import encode, read_model, under, write_model
from tidecast.forecasting.saving.saved_tensors import blank, check_tensors, saved_network
from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES, MEDIAN, check_quantiles

Array = NDArray[np.float64]
Windows = tuple[Array, Array, Array]  # X of shape (N, T, F), y of shape (N, H), weights of shape (N,)

VALIDATION_SHARE = 0.1  # of the windows, the last ones
ENOUGH_TO_STOP_EARLY = 1000  # windows from which "auto" holds some out
PATIENCE = 10
PREDICT_BLOCK = 4096  # windows predicted at once
CHECKS: dict[str, Any] = {"allow_nd": True, "dtype": np.float64, "ensure_all_finite": "allow-nan"}


class RecurrentRegressor(HoldsFrozenSettings, RegressorMixin, BaseEstimator):
    """A recurrent network from windows to quantiles of the targets; use the class of the cell you want.

    Untrained (``max_epochs=0``) it predicts the weighted quantiles of y. A missing value (NaN) in X counts as its
    feature's mean. If the training windows had missing values, the network also sees which ones were missing.

    Parameters
    ----------
    quantiles : sequence of float
        Levels between 0 and 1; 0.5 is always among them.
    hidden_size : int, default=32
    num_layers : int, default=1
    dropout : float, default=0.0
        Between layers; no effect with one layer.
    max_epochs : int, default=100
        Upper limit: training may stop early.
    batch_size : int, default=64
    learning_rate : float, default=1e-2
        Peak of the one-cycle schedule.
    early_stopping : bool or "auto", default="auto"
        Hold out the last tenth of the windows and stop when their loss no longer improves; "auto": from 1,000 windows.
        Without it, an integer weight equals repetition, and the order of the windows does not matter.
    device : str, default="cpu"
        A torch device, or "auto" for a GPU if there is one.
    random_state : int, RandomState or None, default=0
    kernel_size : int, optional
        Rows that a causal convolution in front of the cell sees at once; 1 is none. By default 4 for the minimal GRU,
        whose gates otherwise see only one row, and 1 for the others.
    bidirectional : bool, default=False
        Read a window from both ends, for windows whose start matters as much as their end.
    training : Training, optional
        The head (every quantile, or Student-t), patience, averaging, the clipping of gradients, checkpoints. No
        ``half_life``, because windows have no time: use `sample_weight`.

    Attributes
    ----------
    learning_curve_ : polars DataFrame
        ``epoch``, ``train_loss``, ``validation_loss``: mean pinball losses in units of the targets' deviation.
    quantiles_ : tuple of float
    n_features_in_ : int
        Size of the second axis of X.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 8, 1))
    >>> model = GRURegressor(max_epochs=5).fit(X, X[:, -1, 0])
    >>> model.predict_quantiles(X).shape
    (200, 1, 19)
    """

    frozen_settings: ClassVar[dict[str, type[FrozenSettings]]] = {"training": Training}
    cell: ClassVar[str]
    usual_kernel_size: ClassVar[int] = 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        complete_docstring(cls)

    def __init__(
        self,
        quantiles: Sequence[float] = DEFAULT_QUANTILES,
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        max_epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 1e-2,
        early_stopping: bool | str = "auto",
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = 0,
        kernel_size: int | None = None,
        bidirectional: bool = False,
        training: Training | None = None,
    ) -> None:
        self.quantiles = quantiles
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.early_stopping = early_stopping
        self.device = device
        self.random_state = random_state
        self.kernel_size = kernel_size
        self.bidirectional = bidirectional
        self.training = training

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit on windows, from scratch.

        Parameters
        ----------
        X : array-like of shape (n_windows, lookback, n_features) or (n_windows, lookback)
            NaN is missing.
        y : array-like of shape (n_windows,) or (n_windows, horizon)
        sample_weight : array-like of shape (n_windows,), optional

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            A setting or an array is invalid; the regressor then stays as it was.
        """
        self._check_settings()
        with all_or_nothing(self):
            self._fit_afresh(X, y, sample_weight)
            remember_settings(self)
        return self

    def _fit_afresh(self, X: Any, y: Any, sample_weight: Any) -> None:
        self.quantiles_ = check_quantiles(self.quantiles)
        X_NTF, y_NH, weights = self._check(X, y, sample_weight)
        n_training = len(X_NTF) - self._n_held_out(len(X_NTF))
        training = X_NTF[:n_training], y_NH[:n_training], weights[:n_training]
        held_out = X_NTF[n_training:], y_NH[n_training:], weights[n_training:]
        if n_training == len(X_NTF):
            training = _merged(*training)
        self._fit(training, held_out)

    def _check_settings(self) -> None:
        """Refuse impossible settings."""
        check_network_settings(self)
        if self.kernel_size is not None:
            check_whole("kernel_size", self.kernel_size, at_least=1)
        if not isinstance(self.bidirectional, bool):
            raise TypeError(f"bidirectional must be True or False, got {self.bidirectional!r}.")
        if self.training and self.training.half_life:
            raise ValueError(
                f"training.half_life must be None for a regressor, whose windows have no time, got "
                f"{self.training.half_life!r}. Use sample_weight."
            )
        if self.early_stopping not in (True, False, "auto"):
            raise ValueError(f'early_stopping must be True, False or "auto", got {self.early_stopping!r}.')

    def _n_held_out(self, n_windows: int) -> int:
        """Number of windows at the end to hold out for early stopping."""
        wanted = n_windows >= ENOUGH_TO_STOP_EARLY if self.early_stopping == "auto" else self.early_stopping
        return round(VALIDATION_SHARE * n_windows) if wanted else 0

    def _check(self, X: Any, y: Any, sample_weight: Any) -> Windows:
        X, y = validate_data(self, X, y, **CHECKS, multi_output=True, y_numeric=True)
        X_NTF = self._windows(X)
        self._single = y.ndim == 1
        self._window_shape = X_NTF.shape[1:]
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not weights.any():
            raise ValueError("sample_weight must have a weight above 0, got zeros only.")
        used = weights > 0
        return X_NTF[used], y.reshape(len(y), -1).astype(np.float64)[used], weights[used]

    @staticmethod
    def _windows(X: Any) -> Array:
        if X.ndim > 3 or 0 in X.shape:
            raise ValueError(f"X must have shape (n_windows, lookback[, n_features]), each at least 1, got {X.shape}.")
        return X[..., None] if X.ndim == 2 else X

    def _fit(self, training: Windows, held_out: Windows) -> None:
        X_NTF, y_NH, weights = training
        levels, horizon = np.array(self.quantiles_), y_NH.shape[1]
        base_HQ = np.stack([weighted_quantiles(column, weights, levels) for column in y_NH.T])
        target_scaler = InputScaler.fit(y_NH, weights)
        self._scaler = InputScaler.fit(X_NTF.reshape(-1, X_NTF.shape[2]), np.repeat(weights, X_NTF.shape[1]))
        self._sparse = np.isnan(X_NTF).any(axis=(0, 1))
        scaled_base = torch.tensor((base_HQ - target_scaler.mean[:, None]) / target_scaler.scale[:, None])
        head = self._head(scaled_base, torch.ones(horizon)).float()
        self._train(training, held_out, target_scaler, head)
        varies_H = np.ptp(y_NH, axis=0) > 0  # a constant target is predicted exactly
        self._layer = self._head(torch.tensor(base_HQ), torch.tensor(target_scaler.scale * varies_H))

    def _train(self, training: Windows, held_out: Windows, target_scaler: InputScaler, head: Head) -> None:
        """Train a new network on scaled targets."""
        device, seed = pick_device(self.device), seed_from(self.random_state)
        mean_weight = training[2].mean()
        scaled_training = self._scaled(training, target_scaler, mean_weight)
        head = head.to(device)
        settings = self.training or Training()
        most = min(len(training[0]), settings.windows_per_epoch or len(training[0]))
        processes = processes_in_force()
        with isolated(seed):
            network = self._new_network(training[1].shape[1], head.n_outputs).to(device)
            scaled_held_out = self._scaled(held_out, target_scaler, mean_weight) if len(held_out[0]) else None
            lessons = Lessons(
                lambda shuffle: _batches(*scaled_training, self.batch_size, shuffle, most, processes),
                steps_per_epoch=-(-most // self.batch_size),
                validation=list(_batches(*scaled_held_out, PREDICT_BLOCK)) if scaled_held_out else (),
                fingerprint=self._fingerprint(training, held_out) if settings.checkpoint else "",
                given=self._fingerprint(training, held_out) if processes.size > 1 else "",
            )
            curve = Trainer(
                network,
                head,
                lessons,
                replace(settings, patience=settings.patience or PATIENCE),
                max_epochs=self.max_epochs,
                learning_rate=self.learning_rate,
                shuffle=np.random.default_rng(seed),
            ).run()
        self.learning_curve_ = learning_curve(curve)
        # predictions are float64, so that a window's does not depend on its neighbours
        self._network = network.double().to("cpu")

    def _scaled(
        self, windows: Windows, target_scaler: InputScaler, mean_weight: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, scaled targets and weights ÷ their mean in training, on the device, float32."""
        (X_NTF, y_NH, weights), device = windows, pick_device(self.device)
        targets = torch.tensor((y_NH - target_scaler.mean) / target_scaler.scale)
        shares = torch.tensor(weights / mean_weight)
        return self._inputs(X_NTF).to(device), targets.float().to(device), shares.float().to(device)

    def _head(self, base_HQ: Tensor, scale_H: Tensor) -> Head:
        return HEADS[(self.training or Training()).head or QUANTILE](base_HQ, scale_H, self.quantiles_)

    def _new_network(self, horizon: int, n_outputs: int) -> RecurrentNetwork:
        n_inputs = self._window_shape[1] + int(self._sparse.sum())
        return RecurrentNetwork(
            self.cell, n_inputs, self.hidden_size, self.num_layers, self.dropout, horizon, n_outputs,
            self.kernel_size or self.usual_kernel_size, self.bidirectional,
        )  # fmt: skip

    def _fingerprint(self, *windows: Windows) -> str:
        return fingerprint(encode(self), *(array for group in windows for array in group))

    def _inputs(self, X_NTF: Array) -> Tensor:
        """Standardised inputs, with an indicator for each feature that may be missing; float32."""
        scaled_NTF = self._scaler.transform(X_NTF.reshape(-1, X_NTF.shape[2])).reshape(X_NTF.shape)
        missing_NTF = np.isnan(X_NTF[..., self._sparse]).astype(np.float32)
        return torch.from_numpy(np.concatenate([scaled_NTF, missing_NTF], axis=2))

    def predict_quantiles(self, X: ArrayLike) -> Array:
        """Quantiles of shape (n_windows, horizon, n_quantiles), in the unit of y; they never cross.

        Parameters
        ----------
        X : array-like of shape (n_windows, lookback, n_features) or (n_windows, lookback)

        Raises
        ------
        ValueError
            A window has another shape than in `fit`.
        """
        check_fitted(self, "quantiles_")
        X = validate_data(self, X, reset=False, **CHECKS)
        X_NTF = self._windows(X)
        if X_NTF.shape[1:] != self._window_shape:
            raise ValueError(f"A window must have shape {self._window_shape}, as in fit, got {X_NTF.shape[1:]}.")
        with torch.inference_mode(), one_thread():
            blocks = []
            for i in range(0, len(X_NTF), PREDICT_BLOCK):
                h_BTD, _ = self._network.encode(self._inputs(X_NTF[i : i + PREDICT_BLOCK]).double())
                blocks.append(self._layer(self._network.read_out(h_BTD[:, -1])))
        return torch.cat(blocks).numpy()

    def predict(self, X: ArrayLike) -> Array:
        """Medians of shape (n_windows,) or (n_windows, horizon), as y was in `fit`.

        Parameters
        ----------
        X : array-like of shape (n_windows, lookback, n_features) or (n_windows, lookback)
        """
        medians = self.predict_quantiles(X)[:, :, self.quantiles_.index(MEDIAN)]
        return medians[:, 0] if self._single else medians

    def export_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the network as an ONNX file (opset 17): windows in, quantiles out, as `predict_quantiles` gives them.

        Scalers and head are part of it. A window is read whole, from a state of zero, so the file has no state. Needs
        ``tidecast[onnx]``; see docs/onnx.md.

        Parameters
        ----------
        path : path
            The file; missing folders are made.

        Raises
        ------
        ModuleNotFoundError
            The package onnx is not installed.
        NotFittedError
            The regressor is not fitted.
        TypeError
            A cell or a head of your own has no ONNX form.
        """
        check_fitted(self, "quantiles_")
        facts = {
            "model": type(self).__name__,
            "inputs": list(getattr(self, "feature_names_in_", ())),
            "window": list(self._window_shape),
            "quantiles": list(self.quantiles_),
        }
        write_regressor(path, self._network, self._scaler, self._sparse, self._layer, facts)

    def save(self, path: Any) -> None:
        """Write ``model.json`` and ``weights.safetensors``; no pickle.

        Parameters
        ----------
        path : path
            The folder; created if missing.
        """
        check_fitted(self, "quantiles_", free=NOT_SAVED_AS_LEARNED)
        description = {
            "n_features_in": self.n_features_in_,
            "feature_names_in": list(getattr(self, "feature_names_in_", ())),
            "window": list(self._window_shape),
            "single": self._single,
            "learning_curve": self.learning_curve_.to_dicts(),
        }
        arrays = {**vars(self._scaler), "sparse": self._sparse}
        learned = {name: torch.from_numpy(values) for name, values in arrays.items()}
        learned |= {f"network.{name}": value for name, value in self._network.state_dict().items()}
        learned |= {"layer.base_HQ": self._layer.base_HQ, "layer.scale_H": self._layer.scale_H}
        write_model(path, self, description, learned)

    @classmethod
    def load(cls, path: Any) -> Self:
        """Load a regressor of this class that `save` wrote.

        Parameters
        ----------
        path : path
            The folder.

        Raises
        ------
        TypeError
            The folder does not hold a regressor of this class.
        FileNotFoundError, UnreadableModel
            As `load_forecaster`.
        """
        model, description, learned = read_model(path)
        if not isinstance(model, cls):
            raise TypeError(f"{path} must hold a {cls.__name__}, found a {type(model).__name__}.")
        with restoring(path):
            model._restore(description, learned)
            remember_settings(model)
        return model

    def _restore(self, description: dict[str, Any], learned: dict[str, Tensor]) -> None:
        self.quantiles_ = check_quantiles(self.quantiles)
        self.n_features_in_ = description["n_features_in"]
        if description["feature_names_in"]:
            self.feature_names_in_ = np.array(description["feature_names_in"], dtype=object)
        self._window_shape, self._single = tuple(description["window"]), description["single"]
        self.learning_curve_ = pl.from_dicts(description["learning_curve"], schema=LEARNING_CURVE)
        _, n_features = self._window_shape
        layer = under("layer", learned)
        horizon = len(layer["scale_H"])
        sizes = {"mean": blank(n_features), "scale": blank(n_features)}
        marks = dict.fromkeys(("flagged", "sparse"), blank(n_features, dtype=torch.bool))
        of_layer = {"layer.base_HQ": blank(horizon, len(self.quantiles_)), "layer.scale_H": blank(horizon)}
        check_tensors(sizes | marks | of_layer, learned)
        self._scaler = InputScaler(*(learned[name].numpy() for name in ("mean", "scale", "flagged")))
        self._sparse = learned["sparse"].numpy()
        self._layer = self._head(layer["base_HQ"], layer["scale_H"])
        self._network = saved_network(
            lambda: self._new_network(horizon, self._layer.n_outputs).double(),
            self.num_layers,
            under("network", learned),
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        tags.target_tags.multi_output = True
        if tags.regressor_tags is not None and self.max_epochs == 0:
            tags.regressor_tags.poor_score = True  # the same prediction for every window
        return tags


def _named(cell: Cell) -> type[RecurrentRegressor]:
    """Return the regressor class of a cell; `complete_docstring` adds the shared part of its docstring."""
    doc = f"{cell.title} from windows to quantiles of the targets: {cell.equation}.\n\n{cell.notes}"
    names = {"cell": cell.key, "usual_kernel_size": cell.regressor_kernel_size}
    return type(cell.regressor, (RecurrentRegressor,), {"__module__": __name__, "__doc__": doc, **names})


REGRESSORS: dict[str, type[RecurrentRegressor]] = {key: _named(cell) for key, cell in CELLS.items()}
"""The regressor class of each cell; this module also has each under its name."""

globals().update({kind.__name__: kind for kind in REGRESSORS.values()})

if TYPE_CHECKING:

    def __getattr__(name: str) -> type[RecurrentRegressor]:
        """Type of the class names above, for type checkers and editors."""


def _merged(X_NTF: Array, y_NH: Array, weights: Array) -> Windows:
    """Sort windows into a canonical order, and merge identical ones into one with the sum of their weights."""
    flat = np.column_stack([np.nan_to_num(X_NTF, nan=-np.inf).reshape(len(X_NTF), -1), y_NH])  # NaN equals NaN
    _, first, group = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    return X_NTF[first], y_NH[first], np.bincount(group.reshape(-1), weights).astype(np.float64)


def _batches(
    X_NTF: Tensor,
    y_NH: Tensor,
    weights: Tensor,
    size: int,
    shuffle: np.random.Generator | None = None,
    most: int | None = None,
    processes: Processes = ALONE,
) -> Iterator[Batch]:
    order = torch.arange(len(X_NTF)) if shuffle is None else torch.from_numpy(shuffle.permutation(len(X_NTF)))
    for batch in order[:most].to(X_NTF.device).split(size):
        at = batch[processes.share(len(batch))]
        weight_B11 = weights[at, None, None]
        yield Batch(X_NTF[at], y_NH[at].unsqueeze(1), weight_B11.expand(-1, 1, y_NH.shape[1]))
