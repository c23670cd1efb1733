"""The quantile layer by hand, and what every step's output answers to."""

import math

import polars as pl
import pytest
import torch

from forecasting import GRUForecaster, LSTMForecaster, RNNForecaster
from forecasting.networks import QuantileLayer, RecurrentNetwork
from forecasting.training import Batch, isolated, train_network

CELLS = ("rnn", "lstm", "gru")
every_cell = pytest.mark.parametrize("cell", CELLS)


def layer(base, scale=1.0, median=2):
    base_HQ = torch.tensor(base, dtype=torch.float64)
    return QuantileLayer(base_HQ, torch.full((len(base),), scale, dtype=torch.float64), median)


BASE = [[-2.0, -1.0, 0.0, 1.0, 3.0], [-4.0, -1.0, 0.5, 0.5, 0.6]]


def network_of(cell, n_features=3, hidden_size=6, num_layers=1, dropout=0.0, horizon=4, n_quantiles=5):
    with isolated(0):
        return RecurrentNetwork(cell, n_features, hidden_size, num_layers, dropout, horizon, n_quantiles)


# ------------------------------------------------------------------ quantiles
def test_outputs_of_zero_give_the_base_exactly():
    assert torch.equal(layer(BASE)(torch.zeros(7, 2, 5, dtype=torch.float64)), layer(BASE).base_HQ.expand(7, 2, 5))


def test_the_median_moves_by_the_output_times_the_scale_and_takes_the_others_along():
    outputs = torch.zeros(2, 5, dtype=torch.float64)
    outputs[0, 2], outputs[1, 2] = 3.0, -2.0
    moved = layer(BASE, scale=0.1)(outputs) - layer(BASE).base_HQ
    assert torch.allclose(moved, torch.tensor([[0.3], [-0.2]], dtype=torch.float64).expand(2, 5))


def test_a_gap_is_the_bases_times_softplus_and_pushes_what_lies_further_out():
    outputs = torch.zeros(2, 5, dtype=torch.float64)
    outputs[0, 1], outputs[0, 3] = 1.5, -1.5
    wider, narrower = math.log1p(math.exp(1.5)) / math.log(2), math.log1p(math.exp(-1.5)) / math.log(2)
    expected = [-1.0 * wider - 1.0, -1.0 * wider, 0.0, narrower, narrower + 2.0]
    assert torch.allclose(layer(BASE)(outputs)[0], torch.tensor(expected, dtype=torch.float64))


def test_quantiles_never_cross_whatever_the_outputs():
    generator = torch.Generator().manual_seed(0)
    for size in (1.0, 30.0, 1e4):
        outputs = size * torch.randn(200, 2, 5, generator=generator, dtype=torch.float64)
        quantiles = layer(BASE)(outputs)
        assert quantiles.isfinite().all()
        assert (quantiles.diff(dim=-1) >= 0).all()


def test_the_median_may_be_the_first_or_the_last_level():
    outputs = torch.randn(9, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for median in (0, 2):
        base = [[value - [1.0, 2.0, 4.0][median] for value in (1.0, 2.0, 4.0)]]
        quantiles = layer(base, median=median)(outputs)
        assert torch.allclose(quantiles[..., median], outputs[..., median])
        assert (quantiles.diff(dim=-1) >= 0).all()


# ------------------------------------------------------------------ networks
@every_cell
@pytest.mark.parametrize("num_layers", [1, 2])
def test_an_untrained_network_puts_out_zeros_at_every_row(cell, num_layers):
    outputs = network_of(cell, num_layers=num_layers)(torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0)))
    assert outputs.shape == (2, 7, 4, 5)
    assert (outputs == 0).all()


@every_cell
def test_the_same_seed_builds_the_same_network(cell):
    one, other = network_of(cell).state_dict(), network_of(cell).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_forget_gates_of_every_layer_start_open():
    network = network_of("lstm", hidden_size=6, num_layers=2)
    for number in range(2):
        summed = getattr(network.encoder, f"bias_ih_l{number}") + getattr(network.encoder, f"bias_hh_l{number}")
        assert (summed[6:12] == 1).all()  # torch's order: input, forget, cell, output
        assert (summed[:6].abs() < 1).all()
        assert (summed[12:].abs() < 1).all()


def test_an_lstm_reads_its_gates_in_the_order_that_the_biases_assume():
    network = network_of("lstm", n_features=1, hidden_size=1)
    with torch.no_grad():
        for weight in network.encoder.parameters():
            weight.zero_()
        network.encoder.bias_ih_l0[:] = torch.tensor([-100.0, 1.0, 0.0, 100.0])  # no input, forget gate, -, open
        _, (_, cell) = network.encode(torch.zeros(1, 1, 1), (torch.zeros(1, 1, 1), torch.ones(1, 1, 1)))
    assert cell.item() == pytest.approx(1 / (1 + math.exp(-1.0)))


@every_cell
def test_states_carried_on_are_those_of_one_pass(cell):
    network = network_of(cell, num_layers=2)
    x_BTF = torch.randn(3, 20, 3, generator=torch.Generator().manual_seed(0))
    whole, _ = network.encode(x_BTF)
    first, state = network.encode(x_BTF[:, :11])
    second, _ = network.encode(x_BTF[:, 11:], state)
    assert torch.allclose(torch.cat([first, second], dim=1), whole, atol=1e-6)


@every_cell
def test_every_steps_output_answers_to_the_newest_row(cell):
    """Decoding step k from the state at origin − h + k makes this gradient zero for all steps but the last."""
    network, generator = network_of(cell), torch.Generator().manual_seed(0)
    x_BTF = torch.randn(8, 12, 3, generator=generator)
    y_BTH = x_BTF.cumsum(1)[..., :1] * torch.arange(1.0, 5.0)
    batch = Batch(x_BTF, y_BTH, torch.ones_like(y_BTH))
    base = QuantileLayer(torch.linspace(-1, 1, 5).expand(4, 5), torch.ones(4), 2)
    levels = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    with isolated(0):
        train_network(network, base, levels, lambda: [batch] * 5, 5, max_epochs=2, learning_rate=1e-2, patience=9)
    x_BTF = x_BTF.clone().requires_grad_()
    for row in (5, 11):
        quantiles_BHQ = base(network(x_BTF)[:, row])
        for step in range(4):
            for level in range(5):
                (gradient,) = torch.autograd.grad(quantiles_BHQ[:, step, level].sum(), x_BTF, retain_graph=True)
                assert (gradient[:, row].abs().sum(-1) > 0).all()  # the newest row counts
                assert (gradient[:, 0].abs().sum(-1) > 0).all()  # so does the oldest
                assert (gradient[:, row + 1 :] == 0).all()  # later ones do not


@pytest.mark.parametrize("kind", [RNNForecaster, LSTMForecaster, GRUForecaster])
def test_every_step_of_a_fitted_forecaster_answers_to_the_newest_price(kind, breathing):
    model = kind(lookback=16, hidden_size=8, max_epochs=1, learning_rate=5e-2, batch_size=8).fit(breathing)
    newest = pl.col("time") == breathing["time"].max()
    nudged = breathing.with_columns(close=pl.col("close") * pl.when(newest).then(1.001).otherwise(1.0))
    outputs = [
        model._outputs(rows, model._find(rows, "last")) for rows in (model._rows(breathing), model._rows(nudged))
    ]
    assert ((outputs[1] - outputs[0]).abs() > 0).all()  # of every series, step and level
