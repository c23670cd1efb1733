"""The sLSTM against its equations, one row and one unit at a time; and gates that are as large as they get."""

import math

import pytest
import torch

from tidecast.forecasting import SLSTMForecaster, load_forecaster
from tidecast.forecasting.network.slstm import SLSTM
from tidecast.forecasting.network.training import isolated


def cell_of(n_features=3, hidden_size=5, num_layers=1, **others):
    with isolated(0):
        return SLSTM(n_features, hidden_size, num_layers, **others).double()


def rows_of(n=2, length=12, size=3, scale=1.0):
    return scale * torch.randn(n, length, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def by_equations(cell, x_TF):
    """h of every row by equations 8 to 14 as they are written, without a stabiliser; one sequence, one layer."""
    W, b, R = cell.inputs[0].weight, cell.inputs[0].bias, cell.recurrent[0].weight
    D = cell.hidden_size
    h, c, n, rows = [0.0] * D, [0.0] * D, [0.0] * D, []
    for x in x_TF:
        before = torch.tensor(h, dtype=torch.float64)
        gates = [float(W[k] @ x + R[k] @ before + b[k]) for k in range(4 * D)]
        for d in range(D):
            z, i, f, o = gates[d], gates[D + d], gates[2 * D + d], gates[3 * D + d]
            forget = 1 / (1 + math.exp(-f))
            c[d] = forget * c[d] + math.exp(i) * math.tanh(z)
            n[d] = forget * n[d] + math.exp(i)
            h[d] = c[d] / n[d] / (1 + math.exp(-o))
        rows.append(list(h))
    return torch.tensor(rows, dtype=torch.float64)


def test_states_are_those_of_the_papers_equations():
    cell, x_BTF = cell_of(), rows_of(scale=3.0)
    with torch.no_grad():
        h_BTD, _ = cell(x_BTF)
        for found, x_TF in zip(h_BTD, x_BTF, strict=True):
            assert torch.allclose(found, by_equations(cell, x_TF), rtol=1e-12, atol=1e-14)


def test_the_state_has_the_parts_h_c_n_and_m_and_h_is_o_times_c_over_n():
    cell, x_BTF = cell_of(num_layers=2), rows_of()
    h_BTD, (h, c, n, m) = cell(x_BTF)
    assert h.shape == c.shape == n.shape == m.shape == (2, 2, 5)
    assert torch.equal(h[-1], h_BTD[:, -1])
    assert (n >= 1).all()  # as one of the stabilised gates is always 1
    assert (h.abs() <= (c / n).abs()).all()


def test_a_state_that_is_carried_gives_what_one_pass_gives():
    cell, x_BTF = cell_of(num_layers=2), rows_of(length=30)
    whole, end = cell(x_BTF)
    state, parts = None, []
    for chunk in x_BTF.split([1, 7, 1, 21], dim=1):
        h_BTD, state = cell(chunk, state)
        parts.append(h_BTD)
    assert torch.allclose(torch.cat(parts, dim=1), whole, rtol=1e-12, atol=1e-14)
    assert all(torch.allclose(one, other, rtol=1e-12, atol=1e-14) for one, other in zip(state, end, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [100.0, 1e4])
def test_gates_however_large_give_finite_states_and_gradients(size, dtype):
    """With m = 0 before the first row, an input gate of exp(−100) gave 0 / 0."""
    cell = cell_of(n_features=4, hidden_size=1).to(dtype)
    with torch.no_grad():
        cell.inputs[0].weight.copy_(torch.eye(4))  # each input is one pre-activation
        cell.inputs[0].bias.zero_()
        cell.recurrent[0].weight.zero_()
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4)
    first = size * signs.repeat(16, 1)  # every pair of rows with pre-activations of ± size
    x_BTF = torch.stack([first, size * signs.repeat_interleave(16, 0), first.flip(0), first], dim=1).to(dtype)
    x_BTF.requires_grad_()
    h_BTD, state = cell(x_BTF)
    h_BTD.sum().backward()
    assert h_BTD.isfinite().all()
    assert (h_BTD.abs() <= 1).all()
    assert all(part.isfinite().all() for part in state)
    assert x_BTF.grad.isfinite().all()


def test_an_exponential_gate_lets_one_row_outweigh_all_before_it():
    cell = cell_of(n_features=4, hidden_size=1)
    with torch.no_grad():
        cell.inputs[0].weight.copy_(torch.eye(4))
        cell.inputs[0].bias.zero_()
        cell.recurrent[0].weight.zero_()
        x_BTF = torch.tensor([[[1.0, 0.0, 50.0, 50.0]] * 20 + [[-1.0, 12.0, 50.0, 50.0]]]).double()
        h_BTD, _ = cell(x_BTF)
    assert h_BTD[0, 19, 0].item() == pytest.approx(math.tanh(1.0))
    assert h_BTD[0, 20, 0].item() == pytest.approx(-math.tanh(1.0), abs=1e-3)


def test_its_gradient_agrees_with_finite_differences():
    cell, x_BTF = cell_of(hidden_size=2), rows_of(length=5).requires_grad_()
    weights = list(cell.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: cell(x)[0], (x_BTF, *weights))


def test_a_forecaster_remembers_four_parts_and_brings_them_back(breathing, tmp_path):
    settings = {"lookback": 16, "hidden_size": 4, "num_layers": 2, "max_epochs": 1, "batch_size": 8}
    days = breathing["time"].unique().sort()
    model = SLSTMForecaster(**settings).fit(breathing.filter(breathing["time"] < days[-3]))
    assert {name for name in model._learned() if name.startswith("state.hidden")} == {
        f"state.hidden_{part}" for part in range(4)
    }
    model.save(tmp_path)
    again = load_forecaster(tmp_path)
    assert type(again) is SLSTMForecaster
    newer = breathing.filter(breathing["time"] >= days[-3])
    assert again.update(newer).predict().equals(model.update(newer).predict())
    assert "SLSTM, 2 layers of 4 units" in again.summary()
