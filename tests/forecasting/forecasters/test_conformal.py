"""Calibration: coverage on known noise, order kept, clipped to what the residuals can give."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tidecast.forecasting import DEFAULT_QUANTILES
from tidecast.forecasting.forecasters.conformal import FEWEST, calibrate, credibility, outwards
from tidecast.forecasting.forecasters.quantile_model import QuantileModel
from tidecast.forecasting.network.heads import HEADS

LEVELS = np.array(DEFAULT_QUANTILES)
MEDIAN = 9


def wrong_quantiles(n, horizon=2):
    """Quantiles of a uniform on (-0.5, 0.5): far too narrow for standard normal noise."""
    return np.broadcast_to(LEVELS - 0.5, (n, horizon, 19))


def test_every_quantile_covers_its_level_on_known_noise():
    generator = np.random.default_rng(0)
    held_out, later = generator.standard_normal((2000, 2)), generator.standard_normal((20_000, 2))
    offsets = calibrate(held_out, wrong_quantiles(2000), LEVELS, np.ones(2000))
    quantiles = outwards(wrong_quantiles(1)[0] + offsets, MEDIAN)
    covered = (later[:, :, None] <= quantiles).mean(axis=0)
    assert np.abs(covered - LEVELS).max() < 0.03


def test_coverage_of_the_90_per_cent_interval_holds_on_average_for_few_residuals():
    generator = np.random.default_rng(0)
    found = []
    for _ in range(300):
        offsets = calibrate(generator.standard_normal((59, 1)), wrong_quantiles(59, 1), LEVELS, np.ones(59))
        quantiles = outwards(wrong_quantiles(1, 1)[0] + offsets, MEDIAN)[0]
        later = generator.standard_normal(1000)
        found.append(((later >= quantiles[0]) & (later <= quantiles[-1])).mean())
    assert np.mean(found) == pytest.approx(0.90, abs=0.01)


def test_the_offset_is_the_order_statistic_of_split_conformal_prediction():
    residuals = np.arange(1.0, 100.0)[:, None]  # n = 99: rank τ · 100 counted from the far end
    quantiles = np.zeros((99, 1, 3))
    offsets = calibrate(residuals, quantiles, np.array([0.05, 0.5, 0.95]), np.ones(99))
    assert offsets.tolist() == [[5.0, 0.0, 95.0]]
    offsets = calibrate(residuals[:98], quantiles[:98], np.array([0.05, 0.5, 0.95]), np.ones(98))
    assert offsets.tolist() == [[4.0, 0.0, 95.0]]  # 94.05 is rounded outwards, on both sides


def test_calibration_is_a_mirror():
    generator = np.random.default_rng(0)
    for n in (41, 59, 99, 100, 199):
        residuals = generator.standard_t(4, (n, 3)) + 0.3
        quantiles = wrong_quantiles(n, 3)
        offsets = calibrate(residuals, quantiles, LEVELS, np.ones(n))
        mirrored = calibrate(-residuals, -quantiles[..., ::-1], LEVELS, np.ones(n))
        assert np.allclose(offsets, -mirrored[:, ::-1])


def test_the_median_stays():
    residuals = np.full((100, 2), 7.0)
    assert (calibrate(residuals, wrong_quantiles(100), LEVELS, np.ones(100))[:, MEDIAN] == 0).all()


def test_levels_beyond_what_the_residuals_can_give_are_the_outermost_residual():
    residuals = np.random.default_rng(0).standard_normal((50, 1))
    levels = np.array([0.001, 0.5, 0.999])
    offsets = calibrate(residuals, np.zeros((50, 1, 3)), levels, np.ones(50))
    assert offsets[0].tolist() == [residuals.min(), 0.0, residuals.max()]


def test_a_step_with_too_few_residuals_stays_as_it_is():
    residuals = np.random.default_rng(0).standard_normal((60, 2))
    residuals[FEWEST - 1 :, 1] = np.nan
    offsets = calibrate(residuals, wrong_quantiles(60), LEVELS, np.ones(60))
    assert (offsets[0, [0, -1]] != 0).all()
    assert (offsets[1] == 0).all()
    assert (calibrate(residuals[:0], wrong_quantiles(0), LEVELS, np.ones(0)) == 0).all()


def test_residuals_without_weight_do_not_count():
    generator = np.random.default_rng(0)
    residuals = np.concatenate([generator.standard_normal((100, 1)), np.full((100, 1), 50.0)])
    weights = np.repeat([2.0, 0.0], 100)
    found = calibrate(residuals, wrong_quantiles(200, 1), LEVELS, weights)
    assert np.array_equal(found, calibrate(residuals[:100], wrong_quantiles(100, 1), LEVELS, np.ones(100)))


def test_a_heavy_residual_pulls_its_quantile():
    residuals = np.linspace(-1.0, 1.0, 101)[:, None]
    weights = np.where(residuals[:, 0] > 0.89, 10.0, 1.0)
    found = calibrate(residuals, np.zeros((101, 1, 19)), LEVELS, weights)
    plain = calibrate(residuals, np.zeros((101, 1, 19)), LEVELS, np.ones(101))
    assert found[0, -4] > plain[0, -4]


def test_outwards_keeps_a_least_distance_between_neighbours():
    quantiles = np.array([[-1.0, -0.1, 0.0, -0.5, 0.1]])
    assert outwards(quantiles, 2, np.array([0.2, 0.3, 0.5, 1.0])).tolist() == [[-1.0, -0.3, 0.0, 0.5, 1.5]]


def test_outwards_lets_no_quantile_come_nearer_the_median_than_its_inner_neighbour():
    quantiles = np.array([[-1.0, -3.0, 0.5, 0.0, 2.0, 1.0]])
    assert outwards(quantiles, 3).tolist() == [[-3.0, -3.0, 0.0, 0.0, 2.0, 2.0]]
    generator = np.random.default_rng(0)
    for median in range(6):
        found = outwards(generator.standard_normal((50, 3, 6)), median)
        assert (np.diff(found, axis=-1) >= 0).all()
    ordered = np.sort(generator.standard_normal((50, 6)), axis=-1)
    assert np.array_equal(outwards(ordered, 2), ordered)


@pytest.mark.parametrize("head", HEADS)
def test_offsets_are_estimated_relative_to_the_width_and_shrunk(head):
    generator = np.random.default_rng(0)
    levels, residuals, weights = (0.1, 0.5, 0.9), generator.standard_normal((200, 3)), np.ones(200)
    model = replace(
        QuantileModel.of(residuals, weights, levels),
        scale_H=torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64),
        head=head,
    )
    outputs = torch.from_numpy(generator.standard_normal((200, 3, model.layer.n_outputs)))
    quantiles = model.quantiles(outputs)
    width = (quantiles[..., 2] - quantiles[..., 0]) / np.ptp(model.base_HQ.numpy(), axis=-1)
    expected = calibrate(residuals / width, quantiles / width[..., None], np.array(levels), weights) * 126 / 630
    found = model.calibrated(residuals, outputs, weights, n_sessions=126)
    assert np.allclose(found.offsets_HQ, expected, rtol=1e-12)
    assert np.array_equal(found.quantiles(outputs)[..., 1], quantiles[..., 1])
    assert (np.diff(found.quantiles(outputs), axis=-1) > 0).all()


def test_calibration_counts_for_more_the_more_sessions_it_was_estimated_on():
    assert [credibility(n) for n in (0, 252, 504, 504_000)] == pytest.approx([0, 1 / 3, 1 / 2, 1], abs=1e-2)


def test_no_quantile_ties_with_the_median_however_much_prices_drift():
    generator = np.random.default_rng(0)
    drifting = generator.standard_normal((4000, 1)) + 0.3  # the quantiles from 0.4 on lie above 0
    model = QuantileModel.of(drifting, np.ones(4000), DEFAULT_QUANTILES)
    model = model.calibrated(drifting + 0.2, torch.zeros(4000, 1, 2).double(), np.ones(4000), n_sessions=10_000)
    gaps = np.diff(model.quantiles(torch.zeros(1, 1, 2).double())[0, 0])
    usual = np.diff(np.quantile(drifting[:, 0], LEVELS))
    assert (gaps > 0.06 * usual).all()  # a quarter for the base, and of that a quarter after calibration
