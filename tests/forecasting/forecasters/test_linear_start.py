"""What a linear forecast knows of the median before training: nothing of a walk, most of what comes back."""

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone

from tests.forecasting.models import assert_close
from tidecast.features import PanelSchema
from tidecast.forecasting import GRUForecaster, RandomWalk, Training, load_forecaster
from tidecast.forecasting.forecasters.linear_start import LinearForecast
from tidecast.forecasting.forecasters.quantile_model import MEDIAN_SCALE


def halves(signal, n=4000, seed=0):
    """Two halves of inputs and of changes that the first input explains so much of; the last has no truth."""
    generator = np.random.default_rng(seed)
    inputs = generator.standard_normal((2, n, 3))
    noise = generator.standard_normal((2, n, 1))
    changes = np.sqrt(signal) * inputs[..., :1] + np.sqrt(1 - signal) * noise
    changes[:, -1] = np.nan
    return zip(inputs, changes, strict=True)


@pytest.mark.parametrize("share", [0.04, 0.25, 0.81])
def test_the_scale_is_the_correlation_and_the_weights_are_those_of_both_halves(share):
    found = LinearForecast.measure(*halves(share))
    assert found.scale_H.item() == pytest.approx(np.sqrt(share), abs=0.02)
    assert found.holds
    assert found.weights_FH[:, 0].tolist() == pytest.approx([np.sqrt(share), 0.0, 0.0], abs=0.03)


def test_noise_and_what_held_in_the_older_half_alone_say_nothing():
    (older, _), (_, other) = halves(0.81), halves(0.81, seed=1)
    for rows in (halves(0.0), (older, (other[0], -other[1])), halves(0.81, n=4)):
        found = LinearForecast.measure(*rows)
        assert found.scale_H.item() == MEDIAN_SCALE
        assert not found.holds


def test_what_may_be_chance_moves_the_scale_and_gives_no_weights():
    found = LinearForecast.measure(*halves(0.09, n=80, seed=3))
    assert found.scale_H.item() > MEDIAN_SCALE
    assert not found.holds


def test_a_step_that_nothing_foretells_has_no_weights():
    (x, y), (newer_x, newer_y) = halves(0.81)
    noise = np.random.default_rng(2).standard_normal((2, len(y), 1))
    found = LinearForecast.measure((x, np.hstack([y, noise[0]])), (newer_x, np.hstack([newer_y, noise[1]])))
    assert found.weights_FH[:, 0].abs().max() > 0.8
    assert not found.weights_FH[:, 1].any()


def panel_of(values):
    """Two series of these values, one a day."""
    times = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 1, 1) + pl.duration(days=values.shape[1] - 1), eager=True)
    return pl.concat(pl.DataFrame({"series_id": str(k), "time": times, "close": v}) for k, v in enumerate(values))


NOISE = np.random.default_rng(0).standard_normal((2, 600))
SHARED = {"horizon": 2, "lookback": 16, "schema": PanelSchema(positive=False)}


@pytest.mark.parametrize("back", [False, True])
def test_the_head_reads_the_inputs_where_they_foretell_the_median_and_untrained_it_is_the_walk(back):
    panel = panel_of(NOISE if back else NOISE.cumsum(1))
    model = GRUForecaster(**SHARED, max_epochs=0).fit(panel)
    assert ("the head reads them, too" in model.summary()) == back
    assert (model._quantile_model.scale_H > 0.3 if back else model._quantile_model.scale_H == 0).all()
    every_quantile = clone(model).set_params(training=Training(head="quantile")).fit(panel)
    assert back or (every_quantile._quantile_model.scale_H == MEDIAN_SCALE).all()
    assert_close(model.predict(panel, origins="all"), RandomWalk(**SHARED).fit(panel).predict(panel, origins="all"))


def test_training_starts_from_the_linear_forecast_and_rows_and_files_carry_it_on(tmp_path):
    panel = panel_of(NOISE)
    past, newer = panel.filter(pl.col("time") <= panel["time"][560]), panel.filter(pl.col("time") > panel["time"][560])
    model = GRUForecaster(**SHARED, max_epochs=1, learning_rate=1e-6).fit(past)  # as good as not trained further
    assert model.learning_curve_["validation_loss"][1] < 0.85 * model.learning_curve_["validation_loss"][0]
    whole = model.predict(panel)
    model.save(tmp_path)
    for updated in (load_forecaster(tmp_path), model):
        for _, rows in newer.group_by("time", maintain_order=True):
            updated.update(rows)
        assert_close(updated.predict(), whole)
