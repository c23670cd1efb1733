"""The training loop: it learns, stops, repeats itself to the bit, and leaves no trace outside."""

import math
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
import torch

from tidecast.forecasting import GRUForecaster, Training
from tidecast.forecasting.forecasters.recurrent import FORECASTERS
from tidecast.forecasting.network.cell_registry import CELLS
from tidecast.forecasting.network.losses import pinball
from tidecast.forecasting.network.optimiser import WEIGHT_DECAY, AdamW, one_cycle
from tidecast.forecasting.network.progress import Progress
from tidecast.forecasting.network.quantile_head import QuantileHead
from tidecast.forecasting.network.recurrent import RecurrentNetwork
from tidecast.forecasting.network.trainer import SHARES, Lessons, Trainer, batch_losses, mean_losses
from tidecast.forecasting.network.training import Batch, isolated, recency

LEVELS = torch.tensor([0.1, 0.5, 0.9])


def make_batch(n=16, seed=0, horizon=2):
    generator = torch.Generator().manual_seed(seed)
    x_BTF = torch.randn(n, 10, 2, generator=generator)
    y_BTH = torch.randn(n, 10, horizon, generator=generator)
    return Batch(x_BTF, y_BTH, torch.ones_like(y_BTH))


def make_network(cell="gru", hidden_size=32, num_layers=1):
    with isolated(0):
        network = RecurrentNetwork(cell, 2, hidden_size, num_layers, 0.0, horizon=2, n_outputs=3)
    return network, QuantileHead(torch.tensor([[-1.3, 0.0, 1.3]] * 2), torch.ones(2), (0.1, 0.5, 0.9))


def train(network, head, batches, epochs, validation=(), patience=3, learning_rate=1e-2, training=None, whole=False):
    def shuffled(generator):
        return [batches[at] for at in generator.permutation(len(batches))]

    with isolated(0):
        return Trainer(
            network, head, Lessons(shuffled, len(batches), validation), training or Training(patience=patience),
            max_epochs=epochs, learning_rate=learning_rate, shuffle=np.random.default_rng(0), whole=whole,
        ).run()  # fmt: skip


# ------------------------------------------------------------------ losses
def test_pinball_losses_by_hand():
    q_HQ = torch.tensor([[1.0, 2.0, 4.0]])
    # 3 lies 2 above the 0.1-quantile, 1 above the median, 1 below the 0.9-quantile
    assert pinball(q_HQ, torch.tensor([3.0]), LEVELS).item() == pytest.approx((0.1 * 2 + 0.5 * 1 + 0.1 * 1) / 3)


def test_the_pinball_loss_is_smallest_at_the_quantiles():
    y = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    best = torch.quantile(y, LEVELS)
    least = pinball(best.expand(20_000, 3), y, LEVELS).mean()
    for shift in (-0.1, 0.1):
        assert pinball((best + shift).expand(20_000, 3), y, LEVELS).mean() > least


def test_losses_count_where_there_is_a_target_and_by_their_weight():
    network, head = make_network()
    batch = make_batch(n=2)
    weight = torch.zeros_like(batch.weight_BTH)
    weight[0, 3, 1], weight[1, 7, 0] = 1.0, 2.0
    _, total, weights = batch_losses(network, head, Batch(batch.x_BTF, batch.y_BTH, weight))
    by_hand = [pinball(head.base_HQ[0], batch.y_BTH[at], LEVELS) for at in ((0, 3, 1), (1, 7, 0))]
    assert weights == 3.0
    assert total.item() == pytest.approx((by_hand[0] + 2 * by_hand[1]).item(), rel=1e-6)
    assert math.isnan(mean_losses(network, head, [Batch(batch.x_BTF, batch.y_BTH, 0 * weight)])[0])


@pytest.mark.parametrize("median", [0, 1, 3])
def test_the_total_loss_and_its_gradient_are_those_of_the_plain_formulas(median):
    generator = torch.Generator().manual_seed(median)
    o_BHQ = (4 * torch.randn(6, 2, 4, generator=generator).double()).requires_grad_()
    y_BH, weight_BH = torch.randn(2, 6, 2, generator=generator).double()
    base_HQ = torch.randn(2, 4, generator=generator).double().sort().values
    levels = (0.5, 0.6, 0.7, 0.9) if median == 0 else (0.1, 0.5, 0.6, 0.9) if median == 1 else (0.1, 0.2, 0.4, 0.5)
    head = QuantileHead(base_HQ, torch.tensor([0.1, 2.0]).double(), levels)
    plain = (weight_BH * pinball(head(o_BHQ), y_BH, torch.tensor(levels, dtype=torch.float64))).sum()
    total, pinball_loss = head.losses(o_BHQ, y_BH, weight_BH)
    assert torch.equal(pinball_loss, total)
    assert not pinball_loss.requires_grad
    assert torch.allclose(total, plain, rtol=1e-12)
    found, expected = (torch.autograd.grad(3 * loss, o_BHQ)[0] for loss in (total, plain))
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)
    assert torch.autograd.gradcheck(lambda o: head.losses(o, y_BH, weight_BH)[0], o_BHQ)
    with torch.inference_mode():
        assert torch.equal(head.losses(o_BHQ, y_BH, weight_BH)[0], total)


def test_an_exact_hit_has_the_gradient_of_the_plain_formula():
    o_Q = torch.zeros(1, 3, requires_grad=True)
    head = QuantileHead(torch.tensor([[-1.0, 0.0, 1.0]]), torch.ones(1), (0.1, 0.5, 0.9))
    losses = [
        pinball(head(o_Q), torch.zeros(1), LEVELS).sum(),
        head.losses(o_Q, torch.zeros(1), torch.ones(1))[0],
    ]
    found, expected = (torch.autograd.grad(loss, o_Q)[0] for loss in losses)
    assert torch.allclose(found, expected)


# ------------------------------------------------------------------ the loop
@pytest.mark.parametrize("cell", CELLS)
def test_one_batch_can_be_overfitted(cell):
    network, head = make_network(cell, num_layers=3 if cell == "mingru" else 1)  # one layer forgets too simply
    batch = make_batch(n=4)
    before = mean_losses(network, head, [batch])[0]
    curve = train(network, head, [batch] * 30, epochs=10, learning_rate=3e-2)
    assert mean_losses(network, head, [batch])[0] < 0.2 * before
    assert [epoch.epoch for epoch in curve] == list(range(1, 11))
    assert all(epoch.validation_loss is None for epoch in curve)


def test_early_stopping_keeps_the_best_epoch():
    network, head = make_network()
    training, validation = make_batch(n=4), make_batch(n=64, seed=1)
    curve = train(network, head, [training] * 10, 30, [validation], patience=2, learning_rate=3e-2)
    losses = [epoch.validation_loss for epoch in curve]
    assert len(curve) < 31  # it did stop
    assert [epoch.epoch for epoch in curve] == list(range(len(curve)))
    assert len(curve) - 1 - int(np.argmin(losses)) == 2
    assert mean_losses(network, head, [validation])[0] == min(losses)
    assert math.isnan(curve[0].train_loss)


def test_an_epoch_is_judged_with_the_best_share_of_its_outputs(monkeypatch):
    network, head = make_network()
    training, validation = make_batch(n=8), make_batch(n=8)
    half = Batch(validation.x_BTF, validation.y_BTH * 0.4, validation.weight_BTH)  # as the network will say, but weaker
    trained = []
    record = Progress.record

    def record_weights(self, epoch, share=1.0):
        record(self, epoch, share)
        trained.append((self.network.weights(), epoch.validation_loss, share))

    monkeypatch.setattr(Progress, "record", record_weights)
    train(network, head, [training] * 40, 1, [half], learning_rate=3e-2)
    kept = network.weights()
    _, (whole, loss, share) = trained
    assert share < 1
    network.load_state_dict(whole)
    assert loss == min(mean_losses(network, head, [half], SHARES))
    assert torch.equal(kept["head.weight"], share * whole["head.weight"])
    network.load_state_dict(kept)
    assert mean_losses(network, head, [half])[0] == pytest.approx(loss)


def test_a_whole_training_runs_all_epochs_and_keeps_the_last():
    network, head = make_network()
    training, validation = make_batch(n=4), make_batch(n=64, seed=1)
    validation = Batch(validation.x_BTF, validation.y_BTH * 0.0 + 2.0, validation.weight_BTH)
    training = Batch(training.x_BTF, training.y_BTH + 2.0, training.weight_BTH)
    curve = train(network, head, [training] * 10, 12, [validation], patience=1, learning_rate=3e-2, whole=True)
    losses = [epoch.validation_loss for epoch in curve]
    assert len(curve) == 13
    assert min(losses) < losses[-1] < losses[0]  # the last is not the best
    assert mean_losses(network, head, [validation])[0] == losses[-1]


@pytest.mark.parametrize("whole", [False, True])
def test_where_nothing_can_be_learned_the_untrained_network_stays(whole):
    network, head = make_network()
    against = make_batch(n=8)
    opposite = Batch(against.x_BTF, against.y_BTH + 5.0, against.weight_BTH)
    held_out = Batch(against.x_BTF, against.y_BTH - 5.0, against.weight_BTH)
    train(network, head, [opposite] * 5, 3, [held_out], whole=whole)
    assert (network(against.x_BTF) == 0).all()


def test_no_epochs_leave_the_network_as_it_was():
    network, head = make_network()
    assert train(network, head, [make_batch()], epochs=0) == []
    curve = train(network, head, [make_batch()], 0, [make_batch()])
    assert [epoch.epoch for epoch in curve] == [0]
    assert (network(make_batch().x_BTF) == 0).all()


def test_batches_without_a_target_move_nothing_but_do_not_fail():
    network, head = make_network()
    batch = make_batch()
    curve = train(network, head, [Batch(batch.x_BTF, batch.y_BTH, 0 * batch.weight_BTH)] * 2, epochs=2)
    assert (network(batch.x_BTF) == 0).all()
    assert math.isnan(curve[-1].train_loss)


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero():
    factor = one_cycle(100)
    values = np.array([factor(step) for step in range(101)])
    assert values.max() == 1.0
    assert values[15] == 1.0
    assert (np.diff(values[:15]) > 0).all()
    assert (np.diff(values[15:]) < 0).all()
    assert values[100] == pytest.approx(0.0)
    assert one_cycle(1)(0) == 1.0
    assert one_cycle(0)(0) == 1.0


def test_the_optimiser_is_torchs_to_the_bit():
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    optimiser = AdamW(ours, 0.01, one_cycle(20))
    reference = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(reference, one_cycle(20))
    for _ in range(20):
        x = torch.randn(5, 3)
        for network in (ours, theirs):
            network.zero_grad()
            network(x).square().sum().backward()
        optimiser.step()
        reference.step()
        schedule.step()
        assert all(torch.equal(one, other) for one, other in zip(ours.parameters(), theirs.parameters(), strict=True))


# ------------------------------------------------------------------ how it is trained
def test_the_mean_of_the_last_epochs_weights_stays_when_asked_for(monkeypatch):
    seen = []
    record = Progress.record

    def record_weights(self, epoch, share=1.0):
        record(self, epoch, share)
        seen.append({name: weight.clone() for name, weight in self.network.state_dict().items()})

    monkeypatch.setattr(Progress, "record", record_weights)
    network, head = make_network()
    train(network, head, [make_batch()] * 3, epochs=5, training=Training(patience=2, average=True))
    for name, weight in network.state_dict().items():
        assert torch.allclose(weight, sum(weights[name] for weights in seen[-3:]) / 3, atol=1e-7)


def test_averaged_weights_that_are_not_better_are_not_used():
    network, head = make_network()
    against = make_batch(n=8)
    opposite = Batch(against.x_BTF, against.y_BTH + 5.0, against.weight_BTH)
    validation = [Batch(against.x_BTF, against.y_BTH - 5.0, against.weight_BTH)]
    train(network, head, [opposite] * 5, 3, validation, training=Training(patience=3, average=True))
    assert (network(against.x_BTF) == 0).all()


def test_gradients_are_cut_to_the_length_that_is_given(monkeypatch):
    lengths = []

    def step(self):
        lengths.append(torch.stack([weight.grad.norm() for weight in self.weights]).norm().item())

    monkeypatch.setattr(AdamW, "step", step)
    network, head = make_network()
    train(network, head, [make_batch()], epochs=1, training=Training(patience=3, gradient_norm=0.01))
    train(network, head, [make_batch()], epochs=1, training=Training(patience=3, gradient_norm=1e6))
    assert lengths[0] == pytest.approx(0.01, rel=1e-3)
    assert lengths[1] > 0.02


def test_a_training_rows_weight_halves_with_every_half_life():
    assert recency(torch.tensor([10, 20, 30, 35]), newest=30, half_life=10).tolist() == [0.25, 0.5, 1.0, 1.0]


def test_a_short_half_life_learns_from_the_newest_rows(breathing):
    settings = {"lookback": 16, "hidden_size": 8, "max_epochs": 2, "learning_rate": 5e-2, "batch_size": 8}
    plain = GRUForecaster(**settings).fit(breathing)
    recent = GRUForecaster(**settings, training=Training(half_life=20.0)).fit(breathing)
    endless = GRUForecaster(**settings, training=Training(half_life=1e12)).fit(breathing)
    assert not recent.predict().equals(plain.predict())
    spread = plain.predict()["q0.95"].to_numpy() - plain.predict()["q0.05"].to_numpy()
    assert (abs(endless.predict()["q0.95"] - plain.predict()["q0.95"]).to_numpy() < 1e-3 * spread).all()


def test_early_stopping_looks_at_the_newest_training_rows(breathing):
    row = pl.int_range(pl.len()).over("series_id")
    shaken = pl.when(row % 2 == 0).then(1.1).otherwise(1.0)
    losses = [
        GRUForecaster(lookback=16, hidden_size=8, max_epochs=0)
        .fit(breathing.with_columns(close=pl.col("close") * pl.when(when).then(shaken).otherwise(1.0)))
        .learning_curve_["validation_loss"][0]
        for when in (row < 0, row < 10, row.is_between(264, 285))  # never, the oldest rows, the last but a tenth
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert abs(losses[2] / losses[0] - 1) > 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"average": "last"}, "average must be True or False"),
        ({"half_life": 0}, "half_life must be above 0, got 0"),
        ({"half_life": "long"}, "half_life must be a number"),
        ({"gradient_norm": None}, "gradient_norm must be a number"),
        ({"checkpoint": 3}, "checkpoint must be a folder's path"),
    ],
)
def test_an_impossible_training_is_refused_when_made(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Training(**settings)


# ------------------------------------------------------------------ the same bits, and no trace
@pytest.mark.parametrize("kind", FORECASTERS.values())
def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before(kind, breathing):
    model = kind(lookback=16, hidden_size=8, num_layers=2, dropout=0.2, max_epochs=1, batch_size=16)
    first = model.fit(breathing)._learned()
    torch.rand(7)
    second = model.fit(breathing)._learned()
    other = model.set_params(random_state=1).fit(breathing)._learned()
    assert all(torch.equal(first[name], second[name]) for name in first)
    weights = [name for name in first if "encoder" in name and first[name].ndim == 2]
    assert weights
    assert not any(torch.equal(first[name], other[name]) for name in weights)


def test_fits_in_threads_give_the_bits_of_fits_one_by_one(breathing):
    """Torch's random state is the process's: weights began, and dropped out, by what other threads drew."""
    few = breathing.filter(pl.col("series_id") == "A")

    def forecast(seed):
        model = GRUForecaster(lookback=16, hidden_size=4, num_layers=2, dropout=0.3, max_epochs=3, random_state=seed)
        return model.fit(few).predict()

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(forecast, range(4)))
    assert all(found.equals(forecast(seed)) for seed, found in enumerate(together))


def test_the_random_state_may_be_scikit_learns_or_numpys(breathing):
    settings = {"lookback": 16, "hidden_size": 8, "max_epochs": 1}
    forecasts = [
        GRUForecaster(**settings, random_state=state).fit(breathing).predict()
        for state in (np.int64(3), 3, np.random.RandomState(3), np.random.RandomState(3))
    ]
    assert forecasts[0].equals(forecasts[1])
    assert forecasts[2].equals(forecasts[3])
    GRUForecaster(**settings, random_state=None).fit(breathing)


@pytest.mark.parametrize("threads", [1, 2])
def test_global_random_states_and_the_thread_count_are_left_alone(threads, breathing):
    model = GRUForecaster(lookback=16, hidden_size=8, num_layers=2, dropout=0.2, max_epochs=1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002 (the global state is the point)
        model.fit(breathing).predict(breathing)
        assert torch.equal(torch.get_rng_state(), states[0])
        assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002 (the global state is the point)
        assert random.getstate() == states[2]
        assert torch.get_num_threads() == threads
        with pytest.raises(ZeroDivisionError), isolated(0):
            1 / 0  # noqa: B018
        assert torch.equal(torch.get_rng_state(), states[0])
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
