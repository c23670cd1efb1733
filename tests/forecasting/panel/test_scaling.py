"""Weighted quantiles and input scales, by hand and by numpy."""

import numpy as np
import pytest

from tidecast.forecasting.panel.scaling import CLIP, InputScaler, Moments, weighted_quantiles

nan = float("nan")
LEVELS = np.array([0.01, 0.25, 0.3, 0.5, 0.9, 0.99])


def test_equal_weights_give_numpys_inverted_distribution_function():
    generator = np.random.default_rng(0)
    for n in (1, 2, 10, 99, 100, 1000):
        values = generator.standard_normal(n).round(1)
        expected = np.quantile(values, LEVELS, method="inverted_cdf")
        assert np.array_equal(weighted_quantiles(values, np.ones(n), LEVELS), expected)
        assert np.array_equal(weighted_quantiles(values, np.full(n, 0.1), LEVELS), expected)  # rounding does not tip it


@pytest.mark.parametrize("n", [20, 40, 100, 1000])
def test_a_level_that_is_met_up_to_rounding_is_met(n):
    """0.55 · 100 is 55.00000000000001 in floating point, and the 56th value would be one too far out."""
    levels, ranks = np.arange(1, 20) / 20, np.arange(1, 20) * n // 20
    for weight in (1.0, 0.1, 1 / 3):
        found = weighted_quantiles(np.arange(1.0, n + 1), np.full(n, weight), levels)
        assert np.array_equal(found, ranks)


def test_whole_weights_are_repetition():
    generator = np.random.default_rng(0)
    values, weights = generator.standard_normal(50), generator.integers(1, 5, 50)
    repeated = np.repeat(values, weights)
    found = weighted_quantiles(values, weights.astype(float), LEVELS)
    assert np.array_equal(found, np.quantile(repeated, LEVELS, method="inverted_cdf"))


def test_a_quantile_by_hand():
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.0, 1.0])
    assert weighted_quantiles(values, weights, np.array([0.5, 0.51, 0.75, 0.76])).tolist() == [1.0, 2.0, 2.0, 3.0]


def test_a_scaler_leaves_missing_inputs_out_and_puts_the_mean_in_their_place():
    inputs = np.array([[1.0, nan], [3.0, nan], [nan, nan]])
    scaler = InputScaler.fit(inputs)
    assert scaler.mean.tolist() == [2.0, 0.0]
    assert scaler.scale.tolist() == [1.0, 1.0]
    assert scaler.transform(inputs).tolist() == [[-1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    assert scaler.transform(inputs).dtype == np.float32


def test_an_input_that_never_varied_is_not_blown_up():
    scaler = InputScaler.fit(np.full((10, 2), [0.1, 1e6]))
    assert scaler.scale.tolist() == [1.0, 1.0]
    assert np.allclose(scaler.transform(np.full((1, 2), [0.1, 1e6])), 0.0, atol=1e-6)


def test_a_flash_crash_is_clipped():
    scaler = InputScaler.fit(np.array([[-1.0], [1.0]]))
    assert scaler.transform(np.array([[1e9], [-np.inf], [2.0]])).ravel().tolist() == [CLIP, -CLIP, 2.0]


def test_weights_of_rows_are_repetition():
    generator = np.random.default_rng(0)
    inputs, weights = generator.standard_normal((30, 2)), generator.integers(0, 4, 30)
    found, expected = InputScaler.fit(inputs, weights.astype(float)), InputScaler.fit(np.repeat(inputs, weights, 0))
    assert found.mean == pytest.approx(expected.mean)
    assert found.scale == pytest.approx(expected.scale)


def test_moments_of_two_parts_add_up_to_those_of_both():
    inputs = np.random.default_rng(0).normal(5, 2, size=(40, 3))
    inputs[3, 1] = inputs[30:, 2] = np.nan
    whole, parts = Moments.of(inputs), Moments.of(inputs[:30]) + Moments.of(inputs[30:])
    for name in ("total", "mean", "squares"):
        assert np.allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12)


def test_an_input_that_may_be_missing_comes_with_a_flag():
    inputs = np.array([[1.0, 10.0], [3.0, np.nan], [5.0, 30.0]])
    scaler = InputScaler.of(Moments.of(inputs), np.array([False, True]))
    assert scaler.width == 3
    assert scaler.transform(inputs)[:, 1:].tolist() == [[-1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
