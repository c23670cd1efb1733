"""Skill, its interval, and the test they share."""

import numpy as np
import pytest
from scipy import optimize, stats

from tidecast.forecasting.evaluation.dm_test import compare, dm_test


def losses(seed, gain=0.0, n=300):
    """Mean losses per origin of a model and a reference that move together."""
    rng = np.random.default_rng(seed)
    reference = np.exp(0.3 * rng.standard_normal(n)).cumsum() / np.arange(1, n + 1) + 0.2 * rng.uniform(size=n)
    return reference * (1 - gain) + 0.02 * rng.standard_normal(n), reference


@pytest.mark.parametrize("gain", [-0.004, 0.0, 0.001, 0.002, 0.004])
def test_the_interval_excludes_zero_exactly_when_the_test_rejects(gain):
    """Intervals from a rounded error and another distribution once contradicted the p next to them."""
    for seed in range(40):
        found = compare(*losses(seed, gain), horizon=3)
        assert (found.low > 0) == (found.p < 0.025)
        assert (found.high < 0) == (found.p > 0.975)
        assert found.low < found.skill < found.high


def test_the_ends_of_the_interval_are_skills_that_the_test_just_rejects():
    loss, reference = losses(7, gain=0.002)
    found = compare(loss, reference, horizon=5)

    def one_sided(skill):
        return dm_test((1 - skill) * reference - loss, horizon=5).p

    assert found.low == pytest.approx(optimize.brentq(lambda s: one_sided(s) - 0.025, -0.1, 0.1), abs=1e-9)
    assert found.high == pytest.approx(optimize.brentq(lambda s: one_sided(s) - 0.975, -0.1, 0.1), abs=1e-9)


def test_where_the_reference_hardly_varies_the_interval_is_that_of_the_t_distribution():
    rng = np.random.default_rng(0)
    loss = 1 + 0.05 * rng.standard_normal(400)
    found = compare(loss, np.ones(400), horizon=2)
    t = stats.t.ppf(0.975, dm_test(1 - loss, horizon=2).dof)
    assert (found.low, found.high) == pytest.approx((found.skill - t * found.se, found.skill + t * found.se))


def test_equal_forecasts_have_an_interval_without_width_and_short_ones_have_none():
    same = compare(np.ones(200), np.ones(200), horizon=2)
    assert (same.skill, same.p, same.low, same.high) == (0.0, 1.0, 0.0, 0.0)
    short = compare(np.array([1.0, 2.0]), np.array([2.0, 2.0]), horizon=1)
    assert (short.skill, short.low, short.high) == (0.25, None, None)
    wild = compare(np.ones(5), np.array([0.0, 0.0, 9.0, 0.0, 0.0]), horizon=1)  # a mean that may as well be 0
    assert (wild.low, wild.high) == (None, None)
