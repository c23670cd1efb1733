"""What a recurrent network remembers: the tasks, the gates that open for a lag, and the exact gradient online."""

import json
import sys

import pytest
import torch
from torch import nn

from benchmarks.memory import __main__ as command
from benchmarks.memory.learning import BUILT, GATED, OPEN, WIDTH, answers, open_gates, train
from benchmarks.memory.online import OnlineGradient
from benchmarks.memory.report import tables
from benchmarks.memory.store import RESULTS, measure
from benchmarks.memory.tasks import MARKED, SYMBOLS, TASKS
from tidecast.forecasting.network.cell_registry import CELLS, load_cell
from tidecast.forecasting.network.cells import MinGRU
from tidecast.forecasting.network.training import isolated


@pytest.mark.parametrize("lag", [1, 10, 50])
def test_the_symbol_stands_first_and_nothing_tells_it_later(lag):
    x_BTF, symbol_B = TASKS["recall"].draw(lag, 200, torch.Generator().manual_seed(0))
    assert x_BTF.shape == (200, lag + 2, SYMBOLS + 2)
    assert torch.equal(x_BTF[:, 0, :SYMBOLS].argmax(-1), symbol_B)
    x_BTF[:, 0] = 0
    by_symbol = torch.stack([x_BTF[symbol_B == symbol].sum(1).mean(0) for symbol in range(SYMBOLS)])
    assert by_symbol.std(0).max() < 0.5 * lag**0.5, "the noise differs from symbol to symbol no more than by chance"


@pytest.mark.parametrize("lag", [1, 10, 50])
def test_the_answer_is_the_sum_of_two_marked_numbers_of_which_the_first_is_held_for_the_lag(lag):
    x_BTF, sum_B = TASKS["adding"].draw(lag, 200, torch.Generator().manual_seed(0))
    marked = [torch.nonzero(mark_T).flatten() for mark_T in x_BTF[..., 1]]
    for number_T, (first, second), answer in zip(x_BTF[..., 0], marked, sum_B, strict=True):
        assert len(number_T) - first > lag
        assert first < MARKED <= second
        assert number_T[first] + number_T[second] == pytest.approx(answer.item(), abs=1e-6)


def reach(key, start, lag):
    """Largest effect of the first row's inputs on the sum of the last state, `lag` rows later."""
    with isolated(0):
        cell = load_cell(key)(3, WIDTH, 1, batch_first=True, dropout=0.0, bidirectional=False)
        if start == OPEN:
            open_gates(key, cell, lag)
        x_BTF = torch.zeros(1, lag + 1, 3).requires_grad_()
        h_BTD, _ = cell(x_BTF)
        return torch.autograd.grad(h_BTD[0, -1].sum(), x_BTF)[0][0, 0].abs().max().item()


@pytest.mark.parametrize("key", GATED)
def test_gates_opened_for_a_lag_let_the_first_row_reach_the_last_state(key):
    assert reach(key, OPEN, 100) > 1e-5
    assert reach(key, OPEN, 100) > 10 * reach(key, BUILT, 100)


def test_a_cell_without_gates_cannot_open_them():
    with pytest.raises(ValueError, match="must have gates, one of lstm, gru, mingru, slstm; got 'rnn'"):
        open_gates("rnn", nn.RNN(3, WIDTH), 10)


@pytest.mark.parametrize("cell", ["rnn", "mingru"])
def test_a_cell_learns_to_recall_over_three_rows(cell):
    result = train(TASKS["recall"], cell, BUILT, lag=3, seed=0, steps=400)
    assert result.score > 0.9
    assert result.steps < 400, "it stops once it has learned"


def test_an_untrained_cell_scores_by_chance():
    result = train(TASKS["recall"], "lstm", BUILT, lag=3, seed=0, steps=0)
    assert result.score == pytest.approx(TASKS["recall"].chance, abs=0.1)
    assert train(TASKS["adding"], "lstm", BUILT, lag=3, seed=0, steps=0).score < 0.1


@pytest.mark.parametrize("cell", CELLS)
def test_a_truncated_gradient_changes_no_answer_but_does_not_reach_the_first_rows(cell):
    with isolated(0):
        network = nn.ModuleList([load_cell(cell)(2, WIDTH, 1, batch_first=True, dropout=0.0, bidirectional=False),
                                 nn.Linear(WIDTH, 1)])  # fmt: skip
        x_BTF = torch.randn(4, 12, 2).requires_grad_()
        whole, cut = answers(network, x_BTF), answers(network, x_BTF, stretch=5)
    assert torch.allclose(whole, cut, atol=1e-6)
    by_row = torch.autograd.grad(cut.sum(), x_BTF)[0].abs().sum((0, 2))
    assert (by_row[:7] == 0).all()
    assert (by_row[7:] > 0).all()


def test_the_online_gradient_of_a_mingru_is_that_of_backpropagation():
    with isolated(0):
        cell = MinGRU(3, 8).double()
        x_TF, target_TD = torch.randn(60, 3).double(), torch.randn(60, 8).double()
    h_BTD, _ = cell(x_TF[None])
    (h_BTD[0] - target_TD).square().sum().backward()

    online = OnlineGradient(cell)
    for x_F, target_D, h_D in zip(x_TF, target_TD, h_BTD[0].detach(), strict=True):
        state_D = online.step(x_F)
        assert torch.allclose(state_D, h_D, rtol=0, atol=1e-13)
        online.add(2 * (state_D - target_D))
    found = online.by_weight()
    assert set(found) == {name for name, _ in cell.named_parameters()}
    for name, weight in cell.named_parameters():
        assert torch.allclose(found[name], weight.grad, rtol=1e-10, atol=1e-10), name


def test_the_online_gradient_refuses_two_layers():
    with pytest.raises(ValueError, match="must have one layer and direction, got 2"):
        OnlineGradient(MinGRU(3, 8, 2))


def test_the_command_measures_once_and_resumes(tmp_path, monkeypatch, capsys):
    path = tmp_path / "results.jsonl"
    words = ["--cells", "rnn,mingru", "--lags", "2", "--seeds", "1", "--steps", "5", "--parts", "tasks"]
    monkeypatch.setattr(sys, "argv", ["memory", *words, "--results", str(path)])
    command.main()
    lines = path.read_text().splitlines()
    assert len(lines) == 6  # two tasks; the RNN as built, the minGRU with both starts
    command.main()
    assert path.read_text().splitlines() == lines
    assert capsys.readouterr().out.splitlines()[-1] == "0 measured, 0 left."

    monkeypatch.setattr(sys, "argv", ["memory", "--results", str(path), "--pictures", str(tmp_path / "pictures")])
    command.main()
    assert sorted(each.name for each in (tmp_path / "pictures").iterdir()) == ["memory.png", "memory_dark.png"]
    assert "| RNN | as built | 5 |" in tables(path)


def test_a_cell_that_failed_at_a_lag_is_not_run_at_longer_ones(tmp_path):
    path = tmp_path / "results.jsonl"
    key = {"part": "tasks", "task": "recall", "cell": "rnn", "start": BUILT, "seed": 0, "budget": 5}
    path.write_text(json.dumps({**key, "lag": 30, "score": 0.26}) + "\n")

    def lags(seeds):
        works = command.on_tasks(path, ["rnn"], [10, 30, 100], seeds, steps=5)
        return [(key["seed"], key["lag"]) for key, _ in works if key["task"] == "recall"]

    assert lags(1) == [(0, 10), (0, 30)]
    assert lags(2) == [(0, 10), (0, 30), (1, 10), (1, 30), (1, 100)], "another seed may do better"


def test_nothing_starts_after_the_minutes(tmp_path):
    path = tmp_path / "results.jsonl"
    works = [({"part": "tasks", "seed": seed}, dict) for seed in range(3)]
    assert measure(path, works, minutes=-1) == (0, 3)
    assert not path.exists()


def test_every_stored_result_has_its_day_and_versions_once():
    names = ("part", "task", "cell", "start", "lag", "seed", "budget", "rows", "pair", "width")
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    keys = [tuple(line.get(name) for name in names) for line in lines]
    assert len(set(keys)) == len(keys)
    assert all({"date", "python", "torch"} <= line.keys() for line in lines)
