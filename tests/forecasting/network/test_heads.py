"""Heads: at zero all are the random walk; the Student-t head against scipy; each through fit, save, tune and sample."""

import inspect
import pickle

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimators_pickle, check_fit2d_1sample, check_regressor_multioutput

from tests.forecasting.models import NETWORK, cut_of, values
from tidecast.forecasting import (
    DEFAULT_QUANTILES,
    GRUForecaster,
    GRURegressor,
    LSTMForecaster,
    RandomWalk,
    RollingOrigin,
    Training,
    load_forecaster,
    tune,
)
from tidecast.forecasting.forecasters.quantile_model import QuantileModel
from tidecast.forecasting.network.heads import HEADS
from tidecast.forecasting.network.losses import pinball
from tidecast.forecasting.network.student_t import HEAVIEST, LIGHTEST, NARROWEST, StudentTHead, log_score
from tidecast.forecasting.saving.recipes import decode
from tidecast.forecasting.tables.quantiles import MEDIAN

every = pytest.mark.parametrize("head", HEADS)
T = Training(head="student_t")


def base_of(n_steps=3, levels=DEFAULT_QUANTILES, seed=0):
    """Quantiles of skewed, heavy-tailed changes: of no Student-t distribution."""
    generator = np.random.default_rng(seed)
    changes = generator.standard_t(4, size=(4000, n_steps)) + 0.3 * generator.exponential(size=(4000, n_steps))
    changes -= np.median(changes, axis=0)
    return QuantileModel.of(changes, np.ones(4000), levels).base_HQ


def head_of(name, base_HQ=None, levels=DEFAULT_QUANTILES, scale=0.1):
    base_HQ = base_of(levels=levels) if base_HQ is None else base_HQ
    return HEADS[name](base_HQ, torch.full((len(base_HQ),), scale, dtype=torch.float64), levels)


def outputs_of(head, n=50, size=2.0, n_steps=3):
    return size * torch.randn(n, n_steps, head.n_outputs, generator=torch.Generator().manual_seed(3)).double()


# ------------------------------------------------------------------ every head
@every
@pytest.mark.parametrize("levels", [DEFAULT_QUANTILES, (0.1, 0.5, 0.9), (0.5, 0.9), (0.5,)])
def test_outputs_of_zero_give_the_base_exactly_in_any_precision(head, levels):
    for found in (head_of(head, levels=levels), head_of(head, levels=levels).float()):
        zeros = torch.zeros(7, 3, found.n_outputs, dtype=found.base_HQ.dtype)
        assert torch.equal(found(zeros), found.base_HQ.expand(7, 3, -1))


@every
def test_the_median_moves_by_its_output_times_the_scale(head):
    found = head_of(head, scale=0.2)
    outputs = torch.zeros(1, 3, found.n_outputs, dtype=torch.float64)
    outputs[..., found.median_output] = 3.0
    assert torch.allclose(found(outputs), found.base_HQ + 0.6)


@every
@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
def test_quantiles_never_cross_and_losses_are_finite_whatever_the_outputs(head, size):
    found = head_of(head)
    outputs = outputs_of(found, n=300, size=size).requires_grad_()
    quantiles = found(outputs)
    assert quantiles.isfinite().all()
    assert (quantiles.diff(dim=-1) >= 0).all()
    target, weight = torch.zeros(300, 3).double(), torch.ones(300, 3).double()
    minimised, pinball_loss = found.losses(outputs, target, weight)
    minimised.backward()
    assert minimised.isfinite()
    assert pinball_loss.item() == pytest.approx(
        pinball(quantiles, target, torch.tensor(DEFAULT_QUANTILES)).sum().item(), rel=1e-6
    )
    assert outputs.grad.isfinite().all()


@every
def test_an_untrained_forecaster_is_the_random_walk_to_the_bit(head, breathing):
    past = breathing.filter(breathing["time"] <= cut_of(breathing))
    model = GRUForecaster(lookback=16, max_epochs=0, training=Training(head=head)).fit(past)
    walk = RandomWalk(lookback=16).fit(past)
    assert model.predict(breathing, origins="new").equals(walk.predict(breathing, origins="new"))


# ------------------------------------------------------------------ one scale a step
def test_a_scale_widens_the_base_around_the_median():
    head = head_of("scale", scale=0.2)
    outputs = torch.tensor([[[np.log(2.0), 0.0], [0.0, 5.0], [-np.log(4.0), -1.0]]]).double()
    expected = head.base_HQ * torch.tensor([[2.0], [1.0], [0.25]]) + torch.tensor([[0.0], [1.0], [-0.2]])
    assert torch.allclose(head(outputs)[0], expected.double(), rtol=1e-12)


@pytest.mark.parametrize("levels", [DEFAULT_QUANTILES, (0.1, 0.5, 0.9), (0.5, 0.9), (0.5,)])
def test_its_scale_learns_from_the_pinball_loss_and_its_median_from_the_absolute_error(levels):
    head = head_of("scale", levels=levels)
    outputs = outputs_of(head, n=40).requires_grad_()
    target = 3 * torch.randn(40, 3, generator=torch.Generator().manual_seed(1)).double()
    weight = torch.rand(40, 3, generator=torch.Generator().manual_seed(2)).double()
    quantiles = head(outputs)
    expected = (weight * pinball(quantiles, target, torch.tensor(levels, dtype=torch.float64))).sum()
    absolute = (weight * (target - quantiles[..., head.median]).abs()).sum() / 2
    found, shown = head.losses(outputs, target, weight)
    assert shown.item() == pytest.approx(expected.item(), rel=1e-12)
    of_pinball, of_median, wanted = (
        torch.autograd.grad(loss, outputs, retain_graph=True)[0] for loss in (expected, absolute, found)
    )
    torch.testing.assert_close(wanted[..., 0], of_pinball[..., 0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(wanted[..., 1], of_median[..., 1], rtol=1e-10, atol=1e-12)


def test_a_step_whose_median_was_not_earned_keeps_the_last_price_exactly(breathing):
    past = breathing.filter(breathing["time"] <= cut_of(breathing))
    model = GRUForecaster(**NETWORK | {"max_epochs": 3}).fit(past)
    table = model.predict(breathing, origins="new")
    price = breathing.select("series_id", origin="time", price="close")
    found = table.join(price, on=["series_id", "origin"])
    assert (found["forecast"] == found["price"]).all()
    assert (np.diff(values(table), axis=1) > 0).all()  # no quantile ties with it


# ------------------------------------------------------------------ Student-t
def test_on_quantiles_of_a_student_t_the_head_gives_those_of_the_distribution_it_says():
    base_HQ = torch.from_numpy(1.7 * stats.t.ppf(np.array(DEFAULT_QUANTILES), 5.0)[None])
    head = head_of("student_t", base_HQ)
    outputs = outputs_of(head, n_steps=1)
    shift, width, tail = (part.numpy() for part in head._shape(outputs))
    nu = 1 / (LIGHTEST + (HEAVIEST - LIGHTEST) * tail)
    expected = stats.t.ppf(
        DEFAULT_QUANTILES, nu[..., None], shift[..., None], (head.sigma_H.numpy() * width)[..., None]
    )
    assert head.sigma_H.item() == pytest.approx(1.7, rel=5e-3)
    assert np.allclose(head(outputs).numpy(), expected, atol=3e-3 * 1.7 * width[..., None])


def test_the_log_score_is_scipys_density():
    z, nu = torch.linspace(-6, 6, 25).double(), torch.tensor([2.0, 4.0, 30.0, 200.0]).double()
    expected = -stats.t.logpdf(z.numpy(), nu.numpy()[:, None])
    assert np.allclose(log_score(z, nu[:, None]).numpy(), expected, rtol=1e-12)


def test_the_loss_is_the_log_score_of_the_distribution_with_its_gradient():
    head = head_of("student_t")
    outputs, generator = outputs_of(head, n=4), torch.Generator().manual_seed(1)
    target, weight = torch.randn(2, 4, 3, generator=generator).double()
    shift, width, tail = head._shape(outputs)
    nu = 1 / (LIGHTEST + (HEAVIEST - LIGHTEST) * tail)
    scores = stats.t.logpdf(target.numpy(), nu.numpy(), shift.numpy(), (head.sigma_H * width).numpy())
    assert head.losses(outputs, target, weight)[0].item() == pytest.approx(-(weight.numpy() * scores).sum(), rel=1e-9)
    assert torch.autograd.gradcheck(lambda o: head.losses(o, target, weight)[0], outputs.requires_grad_())


def test_its_quantiles_have_a_gradient():
    head = head_of("student_t", levels=(0.1, 0.5, 0.9))
    assert torch.autograd.gradcheck(head, outputs_of(head, n=3).requires_grad_(), atol=1e-4)


def test_repeated_prices_do_not_win_a_density_without_bound():
    head = head_of("student_t")
    collapsed = torch.zeros(1, 3, 3).double()
    collapsed[..., 1] = -50.0
    minimised, _ = head.losses(collapsed, torch.zeros(1, 3).double(), torch.ones(1, 3).double())
    assert minimised.item() > 3 * np.log(NARROWEST)


def test_heavier_tails_move_the_outer_quantiles_outwards_and_the_median_nowhere():
    head = head_of("student_t")
    outputs = torch.zeros(2, 3, 3).double()
    outputs[0, :, 2], outputs[1, :, 2] = -3.0, 3.0
    light, heavy = head(outputs)
    assert (heavy[:, 0] < light[:, 0]).all()
    assert (heavy[:, -1] > light[:, -1]).all()
    middle = DEFAULT_QUANTILES.index(MEDIAN)
    assert torch.equal(heavy[:, middle], light[:, middle])


def test_a_panel_that_never_moves_has_a_base_of_zeros_and_so_has_every_forecast():
    head = StudentTHead(torch.zeros(2, 19).double(), torch.full((2,), 0.1).double(), DEFAULT_QUANTILES)
    outputs = outputs_of(head, n_steps=2)
    outputs[..., 0] = 0.0
    assert not head(outputs).any()


# ------------------------------------------------------------------ through all that a forecaster does
@pytest.fixture(scope="module")
def fitted(breathing):
    past = breathing.filter(breathing["time"] <= cut_of(breathing))
    return LSTMForecaster(**NETWORK | {"max_epochs": 3}, training=T).fit(past)


def test_it_learns_by_the_log_score_and_reports_epochs_by_the_pinball_loss(fitted):
    curve = fitted.learning_curve_
    walk = RandomWalk(lookback=16)
    assert curve["validation_loss"].min() < 0.98 * curve["validation_loss"][0]
    assert 0.1 < curve["validation_loss"][0] < 0.5  # volatilities, as of any head
    assert fitted._network.n_outputs == 3
    assert not hasattr(walk, "training")


def test_saved_pickled_and_cloned_it_stays_a_student_t(fitted, breathing, tmp_path):
    fitted.save(tmp_path)
    expected = fitted.predict(breathing, origins="new")
    for again in (load_forecaster(tmp_path), pickle.loads(pickle.dumps(fitted))):
        assert again.predict(breathing, origins="new").equals(expected)
    assert clone(fitted).recipe() == fitted.recipe()
    assert fitted.recipe()["settings"]["training"]["settings"]["head"] == "student_t"


def test_a_recipe_names_its_head_and_one_that_names_none_learned_every_quantile():
    recipe = GRUForecaster().recipe()
    assert recipe["settings"]["training"]["settings"]["head"] == "scale"
    assert decode(recipe).recipe() == recipe
    for older in (None, {"class": "Training", "settings": {"patience": 5}}):
        settings = recipe["settings"] | {"training": older}
        assert decode({"class": "GRUForecaster", "settings": settings}).head == "quantile"


def test_updated_sampled_and_calibrated_it_does_what_every_forecaster_does(fitted, breathing):
    model, cut = pickle.loads(pickle.dumps(fitted)), cut_of(breathing)
    newer = breathing.filter(breathing["time"] > cut)
    found, expected = model.update(newer).predict(), fitted.predict(breathing)
    assert np.allclose(values(found), values(expected), rtol=1e-5)
    paths = fitted.sample(400, breathing, random_state=0).filter(series_id="A", step=5)["value"]
    middle = values(expected.filter(series_id="A", step=5))[0, 9]
    assert np.median(paths) == pytest.approx(middle, rel=1e-2)
    assert fitted._quantile_model.offsets_HQ.any()
    profile = fitted.memory_profile(breathing, steps_back=10)
    assert (profile.filter(k=0)["influence"] > 0).all()
    assert "Student-t" in fitted.summary()
    assert fitted.partial_fit(breathing).predict().height == 20


def test_a_search_tries_heads_by_name(breathing):
    few = breathing.filter(breathing["series_id"].is_in(["A", "B"]))
    model = GRUForecaster(horizon=2, lookback=16, hidden_size=4, max_epochs=1, training=Training(patience=2))
    assert model.search_space()["head"] == list(HEADS)
    cv = RollingOrigin(n_splits=1, horizon=2, stride=20)
    found = tune(model, few, cv, {"head": ["student_t", "quantile", "scale"]}, n_trials=3)
    tried = {trial["head"] for trial in (frozen.params for frozen in found.study.trials)}
    assert tried == set(HEADS)
    assert (found.model.head, found.model.training.patience) == (found.settings["head"], 2)


def test_an_unknown_head_is_refused_when_made():
    for wrong in ("normal", 3, ["quantile"]):
        with pytest.raises(ValueError, match=r'head must be "scale", "quantile" or "student_t", got'):
            Training(head=wrong)


def test_no_constructor_has_an_argument_for_it():
    assert len(inspect.signature(GRUForecaster).parameters) == 16


# ------------------------------------------------------------------ regressors
@pytest.mark.parametrize("check", [check_regressor_multioutput, check_fit2d_1sample, check_estimators_pickle])
def test_some_of_scikit_learns_own_checks_pass_with_a_student_t(check):
    check("GRURegressor", GRURegressor(training=T, max_epochs=2))


def test_a_regressor_with_a_student_t_learns_the_distribution_and_loads_unchanged(tmp_path):
    generator = np.random.default_rng(0)
    X = generator.uniform(0.2, 2.0, (500, 2))
    y = 5.0 + X[:, -1] * generator.standard_normal(500)
    model = GRURegressor(hidden_size=16, max_epochs=20, training=T).fit(X, y)
    quantiles = model.predict_quantiles(np.full((2, 2), [[0.4], [1.6]]))
    width = np.ptp(quantiles[:, 0], axis=-1)
    assert 2.5 < width[1] / width[0] < 6.0
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    model.save(tmp_path)
    assert np.array_equal(GRURegressor.load(tmp_path).predict_quantiles(X), model.predict_quantiles(X))
    untrained = GRURegressor(max_epochs=0, training=T).fit(X, y).predict_quantiles(X[:1])
    assert np.allclose(untrained[0, 0], np.quantile(y, DEFAULT_QUANTILES, method="inverted_cdf"), rtol=1e-12)
