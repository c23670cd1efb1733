"""The regression of coming volatility, in closed form: by hand and next to NumPy's least squares."""

import numpy as np
import pytest

from tidecast.forecasting.forecasters.log_scale import FLOOR, coming_log_scale, pooled_ridge

NAN = np.nan


def cumulative(changes):
    """Changes of single sessions, summed up to each step and scaled as forecasters scale them."""
    changes = np.asarray(changes, dtype=float)
    return changes.cumsum(-1) / np.sqrt(np.arange(1, changes.shape[-1] + 1))


def test_three_sessions_by_hand():
    found = coming_log_scale(cumulative([[1.0, -2.0, 0.0], [3.0, 3.0, 3.0]]))
    np.testing.assert_allclose(found, 0.5 * np.log([[1, 5 / 2, 5 / 3], [9, 9, 9]]), atol=1e-12)


def test_unchanged_prices_have_the_least_volatility():
    np.testing.assert_allclose(coming_log_scale(np.zeros((1, 4))), 0.5 * np.log(FLOOR))


def test_a_missing_session_adds_its_change_to_the_next_one():
    changes = cumulative([[1.0, 2.0, 2.0, 1.0]])
    changes[0, 1] = NAN
    found = coming_log_scale(changes)[0]
    assert np.isnan(found[1])
    np.testing.assert_allclose(found[[0, 2, 3]], 0.5 * np.log([1, (1 + 16) / 3, (1 + 16 + 1) / 4]))
    assert np.isnan(coming_log_scale(np.full((2, 3), NAN))).all()


def by_least_squares(x, y, weights, ridge):
    """The same regression as least squares on rows with an intercept, and one more row for each weight."""
    known = np.isfinite(y)
    x, y, share = x[known], y[known], weights[known] / weights[known].sum()
    penalty = ridge * (share**2).sum()
    root = np.sqrt(share)[:, None]
    rows = np.vstack([np.column_stack([root, root * x]), np.sqrt(penalty) * np.eye(x.shape[1] + 1)[1:]])
    return np.linalg.lstsq(rows, np.append(root[:, 0] * y, np.zeros(x.shape[1])), rcond=None)[0][1:]


@pytest.mark.parametrize("ridge", [1e-9, 50.0, 1e4])
def test_it_equals_least_squares_with_rows_that_show_no_effect(ridge):
    generator = np.random.default_rng(0)
    x, weights = generator.standard_normal((300, 4)) + 0.5, generator.uniform(0.5, 2, 300)
    y = x @ generator.standard_normal((4, 3)) + generator.standard_normal((300, 3)) + 7
    y[generator.random((300, 3)) < [0.0, 0.1, 0.3]] = NAN
    found = pooled_ridge(x, y, weights, ridge)
    for step in range(3):
        np.testing.assert_allclose(found[:, step], by_least_squares(x, y[:, step], weights, ridge), rtol=1e-7)


def test_a_weight_is_drawn_to_zero_by_the_share_of_the_penalty_rows():
    x = np.repeat([[-1.0], [1.0]], 50, axis=0)
    found = pooled_ridge(x, 2 * x + 1, np.full(100, 0.3), ridge=300.0)
    np.testing.assert_allclose(found, 2 * 100 / (100 + 300))


def test_equal_columns_share_a_weight_and_constant_ones_get_none():
    x = np.random.default_rng(1).standard_normal((200, 1)) @ [[1.0, 1.0, 0.0]]
    found = pooled_ridge(x, x[:, :1], np.ones(200), ridge=1e-6)
    np.testing.assert_allclose(found[:, 0], [0.5, 0.5, 0.0], atol=1e-6)


def test_a_step_without_targets_has_no_weights():
    y = np.column_stack([np.arange(5.0), np.full(5, NAN)])
    assert not pooled_ridge(np.arange(5.0)[:, None], y, np.ones(5), 1.0)[:, 1].any()
