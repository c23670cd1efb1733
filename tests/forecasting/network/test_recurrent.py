"""The quantile head by hand, and what every step's output answers to."""

import math

import numpy as np
import polars as pl
import pytest
import torch

from tidecast.forecasting.forecasters.recurrent import FORECASTERS
from tidecast.forecasting.network.cell_registry import CELLS
from tidecast.forecasting.network.cells import BlendByDoubling, BlendByRow
from tidecast.forecasting.network.quantile_head import QuantileHead
from tidecast.forecasting.network.recurrent import RecurrentNetwork, State
from tidecast.forecasting.network.trainer import Lessons, Trainer
from tidecast.forecasting.network.training import Batch, Training, isolated

every_cell = pytest.mark.parametrize("cell", CELLS)
every_form = pytest.mark.parametrize("form", [BlendByRow, BlendByDoubling])


def layer(base, scale=1.0, median=2):
    base_HQ = torch.tensor(base, dtype=torch.float64)
    n_levels = base_HQ.shape[1]
    levels = [0.5 + (k - median) / (2 * n_levels) for k in range(n_levels)]
    return QuantileHead(base_HQ, torch.full((len(base),), scale, dtype=torch.float64), levels)


BASE = [[-2.0, -1.0, 0.0, 1.0, 3.0], [-4.0, -1.0, 0.5, 0.5, 0.6]]


def network_of(cell, n_features=3, hidden_size=6, num_layers=1, dropout=0.0, horizon=4, n_outputs=5, **others):
    with isolated(0):
        return RecurrentNetwork(cell, n_features, hidden_size, num_layers, dropout, horizon, n_outputs, **others)


def rows_of(n=3, length=20, seed=0):
    return torch.randn(n, length, 3, generator=torch.Generator().manual_seed(seed))


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
        before = State((torch.zeros(1, 1, 1), torch.ones(1, 1, 1)), torch.zeros(1, 0, 1))
        _, after = network.encode(torch.zeros(1, 1, 1), before)
    assert after.hidden[1].item() == pytest.approx(1 / (1 + math.exp(-1.0)))


# ------------------------------------------------------------------ states
@every_cell
@pytest.mark.parametrize("kernel_size", [1, 4])
@pytest.mark.parametrize("shortcut", [False, True])
def test_states_carried_on_are_those_of_one_pass(cell, kernel_size, shortcut):
    network, x_BTF = network_of(cell, num_layers=2, kernel_size=kernel_size, shortcut=shortcut), rows_of()
    whole, end = network.encode(x_BTF)
    state, rows = network.zero_state(3), []
    for length in (11, 1, 1, 1, 6):
        chunk, state = network.encode(x_BTF[:, sum(r.shape[1] for r in rows) :][:, :length], state)
        rows.append(chunk)
    assert torch.allclose(torch.cat(rows, dim=1), whole, atol=1e-6)
    for name, part in end.tensors().items():
        assert torch.allclose(state.tensors()[name], part, atol=1e-6)
    assert torch.equal(network.top(end), whole[:, -1])


def test_a_linear_start_moves_one_output_of_each_step_by_the_rows_inputs_alone():
    network, x_BTF = network_of("gru", shortcut=True, n_future=2), rows_of()
    weights_FH = torch.arange(12.0).view(3, 4)
    network.begin_linear(weights_FH, output=2)
    o_BTHQ = network.read_out(network.encode(x_BTF)[0], torch.ones(3, 20, 4, 2))
    assert torch.allclose(o_BTHQ[..., 2], x_BTF @ weights_FH, atol=1e-6)
    assert not o_BTHQ[..., [0, 1, 3, 4]].any()


@every_cell
def test_states_are_taken_put_and_joined_by_sequence(cell):
    network, x_BTF = network_of(cell, num_layers=2, kernel_size=3), rows_of()
    _, state = network.encode(x_BTF)
    alone = [network.encode(x_BTF[at : at + 1])[1] for at in (2, 0)]
    joined, order = State.cat(alone), torch.tensor([2, 0])
    blank = network.zero_state(3)
    blank.put(order, joined)
    for name, part in state.take(order).tensors().items():
        assert torch.allclose(joined.tensors()[name], part, atol=1e-6)
        assert torch.equal(blank.take(order).tensors()[name], joined.tensors()[name])
    again = State.from_tensors(blank.tensors())
    assert len(again) == 3
    assert all((part == 0).all() for part in again.take(torch.tensor([1])).tensors().values())  # never put


@every_cell
def test_a_convolution_sees_the_last_rows_and_nothing_before_them_but_zeros(cell):
    network, x_BTF = network_of(cell, kernel_size=3), rows_of(n=1, length=6)
    W_DFK = network.convolution.weight.unflatten(1, (3, 3))
    padded = torch.cat([torch.zeros(1, 2, 3), x_BTF], dim=1)
    by_hand = torch.stack(
        [
            sum(padded[:, t + k] @ W_DFK[:, :, k].T for k in range(3)) + network.convolution.bias  # k = 2 is row t
            for t in range(6)
        ],
        dim=1,
    )
    expected, _ = network.encoder(by_hand * torch.sigmoid(by_hand))
    assert torch.allclose(network.encode(x_BTF)[0], expected, atol=1e-6)


@every_cell
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_a_bidirectional_network_joins_what_each_direction_knows_at_its_end(cell, kernel_size):
    network, x_BTF = network_of(cell, kernel_size=kernel_size, bidirectional=True), rows_of(length=9)
    h_B1D, _ = network.encode(x_BTF)
    assert h_B1D.shape == (3, 1, 12)
    if kernel_size == 1:
        ahead, back = network_of(cell), network_of(cell)
        weights = network.encoder.state_dict()
        for one, suffix in ((ahead, ""), (back, "_reverse")):
            own = one.encoder.state_dict()
            if not any(name.endswith(suffix) for name in weights if suffix):  # numbered in turn, as by `StackedCell`
                place = "1." if suffix else "0."
                one.encoder.load_state_dict({name: weights[name.replace("0.", place)] for name in own})
            else:
                one.encoder.load_state_dict({name: weights[name + suffix] for name in own})
        expected = [ahead.encode(x_BTF)[0][:, -1], back.encode(x_BTF.flip(1))[0][:, -1]]
        assert torch.allclose(h_B1D[:, 0], torch.cat(expected, dim=-1), atol=1e-6)
    x_BTF.requires_grad_()
    h_B1D = network.encode(x_BTF)[0]
    for part in h_B1D.chunk(2, dim=-1):
        (gradient,) = torch.autograd.grad(part.sum(), x_BTF, retain_graph=True)
        assert (gradient.abs().sum(-1) > 0).all()  # both directions have read every row
    with pytest.raises(ValueError, match="must read a sequence whole"):
        network.encode(x_BTF, network.zero_state(3))


# ------------------------------------------------------------------ the minimal GRU
def blend_by_loop(z_TBD, n_TBD, h_BD):
    rows = []
    for z, n in zip(z_TBD, n_TBD, strict=True):
        h_BD = (1 - z) * h_BD + z * n
        rows.append(h_BD)
    return torch.stack(rows)


@every_form
@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_a_blend_is_its_recurrence_and_so_is_its_gradient(form, length):
    generator = torch.Generator().manual_seed(length)
    z_TBD = torch.rand(length, 3, 4, generator=generator, dtype=torch.float64)
    n_TBD = torch.randn(length, 3, 4, generator=generator, dtype=torch.float64)
    z_TBD[0, 0, 0], z_TBD[-1, 1, 1] = 0.0, 1.0  # closed and open: no logarithm, no division
    given = [z_TBD, n_TBD, torch.randn(3, 4, generator=generator, dtype=torch.float64)]
    given = [tensor.requires_grad_() for tensor in given]
    weight = torch.randn(length, 3, 4, generator=generator, dtype=torch.float64)
    found, expected = form.apply(*given), blend_by_loop(*given)
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)
    gradients = [torch.autograd.grad((states * weight).sum(), given) for states in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-14)


@every_form
def test_gradients_of_a_blend_agree_with_finite_differences(form):
    generator = torch.Generator().manual_seed(0)
    shapes = ((5, 2, 3), (5, 2, 3), (2, 3))
    given = [torch.rand(*shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(form.apply, given)


def test_a_minimal_gru_by_hand():
    network = network_of("mingru", n_features=1, hidden_size=1)
    with torch.no_grad():
        for weight, value in zip(network.encoder.parameters(), (2.0, -1.0, 3.0, 0.5), strict=True):
            weight.fill_(value)
        h_BTD, _ = network.encode(torch.tensor([[[1.0], [-0.5]]]))
    z = [1 / (1 + math.exp(-1.0)), 1 / (1 + math.exp(2.0))]  # σ(2 x − 1)
    first = z[0] * 3.5  # 3 x + 0.5
    assert h_BTD.flatten().tolist() == pytest.approx([first, (1 - z[1]) * first - z[1]])


# ------------------------------------------------------------------ gradients


@every_cell
@pytest.mark.parametrize("kernel_size", [1, 4])
def test_every_steps_output_answers_to_the_newest_row(cell, kernel_size):
    """Decoding step k from the state at origin − h + k makes this gradient zero for all steps but the last."""
    network, generator = network_of(cell, kernel_size=kernel_size), torch.Generator().manual_seed(0)
    x_BTF = torch.randn(8, 12, 3, generator=generator)
    y_BTH = x_BTF.cumsum(1)[..., :1] * torch.arange(1.0, 5.0)
    batch = Batch(x_BTF, y_BTH, torch.ones_like(y_BTH))
    base = QuantileHead(torch.linspace(-1, 1, 5).expand(4, 5), torch.ones(4), (0.1, 0.3, 0.5, 0.7, 0.9))
    with isolated(0):
        Trainer(
            network, base, Lessons(lambda _: [batch] * 5, 5), Training(patience=9), max_epochs=2, learning_rate=1e-2,
            shuffle=np.random.default_rng(0),
        ).run()  # fmt: skip

    def outputs_at(row):
        return lambda x_BTF: base(network(x_BTF)[:, row]).sum(0)

    for row in (5, 11):
        with isolated(0):
            gradient_HQBTF = torch.autograd.functional.jacobian(outputs_at(row), x_BTF)
        size_HQBT = gradient_HQBTF.abs().sum(-1)
        assert (size_HQBT[..., row] > 0).all()  # the newest row counts
        assert (size_HQBT[..., 0] > 0).all()  # so does the oldest
        assert (size_HQBT[..., row + 1 :] == 0).all()  # later ones do not


@pytest.mark.parametrize("kind", FORECASTERS.values())
def test_every_step_of_a_fitted_forecaster_answers_to_the_newest_price(kind, breathing):
    model = kind(lookback=16, hidden_size=8, max_epochs=1, learning_rate=5e-2, batch_size=8).fit(breathing)
    newest = pl.col("time") == breathing["time"].max()
    nudged = breathing.with_columns(close=pl.col("close") * pl.when(newest).then(1.001).otherwise(1.0))
    before, after = (
        model._quantile_model.quantiles(model._outputs(rows, model._find(rows, "last")))
        for rows in (model._rows(breathing), model._rows(nudged))
    )
    moved = np.delete(after - before, model._quantile_model.median, axis=-1)
    assert (moved != 0).all()  # of every series, step and level
