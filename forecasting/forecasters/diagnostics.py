"""Memory and learning of a fitted network, as tables, text and figures.

Axes: M rows, N origins, K rows before an origin, F features, H horizon steps, Z future covariates, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from tidecast.features.error_text import check_whole, counted
from tidecast.forecasting.forecasters.quantile_model import QuantileModel
from tidecast.forecasting.network.cell_registry import CELLS
from tidecast.forecasting.network.recurrent import RecurrentNetwork
from tidecast.forecasting.network.training import isolated
from tidecast.forecasting.panel.flat_panel import FlatPanel
from tidecast.forecasting.panel.segments import run_through
from tidecast.forecasting.plotting.palette import INK, colour_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class FittedNetwork:
    """Facts about a fitted forecaster that `summary` writes out.

    Attributes
    ----------
    name, cell : str
        Its class, and the key of its cell.
    forecasts : str
        `Head.forecasts`, such as "quantiles".
    num_layers, hidden_size, n_parameters : int
    inputs : sequence of str
        The columns that the network uses.
    shortcut : bool
        Whether the head reads them as well.
    horizon, n_quantiles, lookback : int
    calendar : str
    fit_end, seen_until : date or datetime
        Times of the newest training row and of the newest row seen.
    n_series : int
        Number of series seen.
    curve : DataFrame
        ``learning_curve_``.
    offsets_HQ : ndarray of shape (H, Q)
        Offsets of the calibration, in volatilities.
    """

    name: str
    cell: str
    forecasts: str
    num_layers: int
    hidden_size: int
    n_parameters: int
    inputs: Sequence[str]
    shortcut: bool
    horizon: int
    n_quantiles: int
    lookback: int
    calendar: str
    fit_end: date | datetime
    seen_until: date | datetime
    n_series: int
    curve: pl.DataFrame
    offsets_HQ: NDArray[np.float64]


def origins_with_history(rows: FlatPanel, steps_back: int, n_origins: int, random_state: int) -> Tensor:
    """Draw rows of series that move, each with `steps_back` rows before it in its segment; in order.

    Parameters
    ----------
    rows : FlatPanel
    steps_back : int
    n_origins : int
        Rows to draw; all where there are fewer.
    random_state : int

    Raises
    ------
    ValueError
        No series is long enough.
    """
    check_whole("steps_back", steps_back, at_least=1)
    check_whole("n_origins", n_origins, at_least=1)
    long_enough = rows.moving & (torch.arange(len(rows)) - rows.first(torch.arange(len(rows))) > steps_back)
    at_N = torch.nonzero(long_enough)[:, 0]
    if not len(at_N):
        raise ValueError(
            f"A memory profile needs a series that moves, with more than steps_back={steps_back} rows since its start "
            "or last pause; found none. Give a longer panel or lower steps_back."
        )
    generator = np.random.default_rng(random_state)
    chosen = generator.choice(len(at_N), size=min(n_origins, len(at_N)), replace=False)
    return at_N[torch.from_numpy(np.sort(chosen))]


def memory_profile(
    network: RecurrentNetwork,
    quantiles: QuantileModel,
    rows: FlatPanel,
    inputs_MF: Tensor,
    at_N: Tensor,
    future_NHZ: Tensor | None,
    steps_back: int,
) -> pl.DataFrame:
    """Compute the influence of the inputs k rows before the origin; see `RecurrentForecaster.memory_profile`.

    Parameters
    ----------
    network : RecurrentNetwork
    quantiles : QuantileModel
    rows : FlatPanel
        M rows.
    inputs_MF : Tensor of shape (M, F)
        The network's inputs for these rows.
    at_N : LongTensor of shape (N,)
        Rows that are origins, from `origins_with_history`.
    future_NHZ : Tensor of shape (N, H, Z) or None
        Scaled future covariates of the sessions after the origins.
    steps_back : int

    Returns
    -------
    DataFrame
        ``step``, ``k``, ``influence`` and ``median``, sorted by the first two.
    """
    head = quantiles.layer.float()
    with isolated(0):
        with torch.no_grad():
            state, _ = run_through(network, inputs_MF, rows, at_N - steps_back - 1, at_N[:0])
        x_NKF = inputs_MF[at_N[:, None] - torch.arange(steps_back, -1, -1)].requires_grad_()
        h_NKD, _ = network.encode(x_NKF, state)
        q_NHQ = head(network.read_out(h_NKD[:, -1], future_NHZ))
        influences = [_influence(q_NHQ[:, step], x_NKF, quantiles.median) for step in range(network.horizon)]
    steps = np.arange(1, network.horizon + 1, dtype=np.int32)
    table = {
        "step": np.repeat(steps, steps_back + 1),
        "k": np.tile(np.arange(steps_back, -1, -1, dtype=np.int32), network.horizon),
        "influence": torch.cat([all_K for all_K, _ in influences]).numpy(),
        "median": torch.cat([median_K for _, median_K in influences]).numpy(),
    }
    return pl.DataFrame(table, orient="col").sort("step", "k")


def _influence(q_NQ: Tensor, x_NKF: Tensor, median: int) -> tuple[Tensor, Tensor]:
    """Norms of the gradient of quantiles with respect to each row of inputs, averaged over origins, shape (K,) each.

    The first is the root mean square over the quantiles, the second is that of the median.
    """
    squares_QNK = torch.stack(
        [torch.autograd.grad(q_N.sum(), x_NKF, retain_graph=True)[0].pow(2).sum(-1) for q_N in q_NQ.unbind(1)]
    )
    return squares_QNK.mean(0).sqrt().mean(0).double(), squares_QNK[median].sqrt().mean(0).double()


def plot_memory_profile(profiles: pl.DataFrame, axes: Axes) -> None:
    """Draw memory profiles, one line a cell, averaged over steps, on a logarithmic scale.

    Parameters
    ----------
    profiles : DataFrame
        From `memory_profile`, of one model or of several (``pl.concat``).
    axes : matplotlib Axes
    """
    means = profiles.group_by("cell", "k").agg(pl.col("influence").mean()).sort("cell", "k")
    for (cell,), line in means.group_by("cell", maintain_order=True):
        known = line.filter(pl.col("influence") > 0)
        axes.plot(known["k"], known["influence"], color=colour_of(str(cell)), label=_label(str(cell)))
    axes.set_yscale("log")
    axes.set_xlabel("rows before the origin")
    axes.set_ylabel("influence on the quantiles\n(volatilities per input s.d.)")
    _dress(axes)


def _label(cell: str) -> str:
    return CELLS[cell].label if cell in CELLS else cell


def plot_learning_curve(curves: dict[str, pl.DataFrame], axes: Axes) -> None:
    """Draw training losses (dashed) and validation losses, with a dot at the best epoch of each model.

    Parameters
    ----------
    curves : dict of str to DataFrame
        ``learning_curve_`` by label: cells such as "RNN", "LSTM" and "GRU" have their own colours.
    axes : matplotlib Axes
    """
    from matplotlib.ticker import MaxNLocator  # loaded here, because it takes long and only figures need it

    for name, curve in curves.items():
        colour = colour_of(name)
        trained = curve.filter(pl.col("train_loss").is_not_nan())
        axes.plot(trained["epoch"], trained["train_loss"], color=colour, linestyle="--", linewidth=1, alpha=0.8)
        held_out = curve.drop_nulls("validation_loss")
        if len(held_out):
            axes.plot(held_out["epoch"], held_out["validation_loss"], color=colour, label=name)
            best = held_out.sort("validation_loss").row(0, named=True)
            axes.plot(best["epoch"], best["validation_loss"], "o", color=colour, markersize=5)
    axes.plot([], [], color=INK, linestyle="--", linewidth=1, label="training")
    axes.set_xlabel("epoch (0: untrained, the random walk)")
    axes.set_ylabel("pinball loss (volatilities)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _dress(axes)


def remembered(profile: pl.DataFrame, share: float = 0.9) -> int:
    """Number of rows before the origin's own within which a share of all influence lies.

    Parameters
    ----------
    profile : DataFrame
        From `memory_profile`.
    share : float, default=0.9

    Returns
    -------
    int
    """
    of_row = profile.group_by("k").agg(pl.col("influence").mean()).sort("k")["influence"].to_numpy()
    return int(np.searchsorted(of_row.cumsum(), share * of_row.sum())) if of_row.sum() > 0 else 0


def summary(of: FittedNetwork, profile: pl.DataFrame | None = None) -> str:
    """Write the text of `RecurrentForecaster.summary`.

    Parameters
    ----------
    of : FittedNetwork
    profile : DataFrame, optional
        From `memory_profile`; adds a line on how far back the network looks.

    Returns
    -------
    str
    """
    layers = f"{counted(of.num_layers, 'layer')} of {counted(of.hidden_size, 'unit')}"
    shortcut = "; the head reads them, too" if of.shortcut else ""
    lines = {
        "Network": f"{CELLS[of.cell].label}, {layers}, {of.n_parameters:,} parameters",
        "Inputs": f"{len(of.inputs)}: {', '.join(of.inputs)}{shortcut}",
        "Forecasts": f"{counted(of.horizon, 'session')} of {of.calendar}, {of.n_quantiles} {of.forecasts}",
        "Trained": f"up to {of.fit_end}, on windows of {counted(of.lookback, 'row')}",
        "Seen": f"{of.n_series} series, up to {of.seen_until}",
        "Learning": _learning(of.curve),
        "Calibration": _calibration(of.offsets_HQ),
    }
    if profile is not None:
        lines["Memory"] = (
            f"nine tenths of all influence on a forecast come from the last {counted(remembered(profile) + 1, 'row')}"
            if profile["influence"].sum() > 0
            else "none: the forecast is the random walk's"
        )
    return "\n".join([of.name, *(f"  {name:<12}{text}" for name, text in lines.items())])


def _learning(curve: pl.DataFrame) -> str:
    run = cast("int", curve["epoch"].max() or 0)  # an empty curve has no largest epoch
    held_out = curve.drop_nulls("validation_loss").sort("validation_loss")
    if not run:
        return "none: untrained, the random walk"
    if not len(held_out):
        return f"{counted(run, 'epoch')}, no rows held out to compare them"
    n_more = run - cast("int", held_out["epoch"].max())  # by partial_fit
    best = held_out.row(0, named=True)
    untrained = held_out.filter(epoch=0)["validation_loss"][0]
    gain = 100 * (1 - best["validation_loss"] / untrained)
    return (
        f"{counted(run - n_more, 'epoch')}, the best {best['epoch']}: validation loss {best['validation_loss']:.4f}, "
        f"{untrained:.4f} untrained ({gain:.1f} % less)" + (f"; {n_more} more on newer rows" if n_more else "")
    )


def _calibration(offsets_HQ: np.ndarray) -> str:
    low, high = offsets_HQ[:, 0].mean(), offsets_HQ[:, -1].mean()
    return f"lowest quantile {low:+.3f}, highest {high:+.3f} volatilities, on average over the steps"


def _dress(axes: Axes) -> None:
    """Remove the box; draw in ink that is readable on light and dark backgrounds."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK, which="both")
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(color=INK, alpha=0.15, linewidth=0.6)
    axes.legend(frameon=False, labelcolor=INK)
