"""How far one unit of output moves the median: little, unless something foretells the change."""

import numpy as np
import polars as pl
import pytest

from features import PanelSchema
from forecasting import GRUForecaster, load_forecaster
from forecasting.spread import CENTRE_SCALE, centre_scale


def halves(signal, n=4000, seed=0):
    """Two halves of inputs and of changes that the first input explains so much of; the last has no truth."""
    generator = np.random.default_rng(seed)
    inputs = generator.standard_normal((2, n, 3))
    noise = generator.standard_normal((2, n, 1))
    changes = np.sqrt(signal) * inputs[..., :1] + np.sqrt(1 - signal) * noise
    changes[:, -1] = np.nan
    return zip(inputs, changes, strict=True)


@pytest.mark.parametrize("share", [0.04, 0.25, 0.81])
def test_it_is_the_correlation_with_a_linear_forecast(share):
    assert centre_scale(*halves(share)).item() == pytest.approx(np.sqrt(share), abs=0.02)


def test_noise_and_what_held_in_the_older_half_alone_move_it_little():
    assert centre_scale(*halves(0.0)).item() == CENTRE_SCALE
    (older, _), (_, other) = halves(0.81), halves(0.81, seed=1)
    assert centre_scale(older, (other[0], -other[1])).item() == CENTRE_SCALE


def test_too_few_rows_to_fit_say_nothing():
    (older, newer) = halves(0.81, n=4)
    assert centre_scale(older, newer).item() == CENTRE_SCALE


def test_a_walk_learns_its_median_slowly_and_values_that_come_back_do_not(tmp_path):
    noise = np.random.default_rng(0).standard_normal((2, 600))
    times = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 1, 1) + pl.duration(days=599), eager=True)
    found = {}
    for name, values in (("walk", noise.cumsum(1)), ("back", noise)):
        panel = pl.concat(pl.DataFrame({"series_id": str(k), "time": times, "close": v}) for k, v in enumerate(values))
        model = GRUForecaster(horizon=2, lookback=16, max_epochs=0, schema=PanelSchema(positive=False)).fit(panel)
        found[name] = model._spread.scale_H.tolist()
    assert found["walk"] == [CENTRE_SCALE] * 2
    assert min(found["back"]) > 0.3
    model.save(tmp_path)
    assert load_forecaster(tmp_path)._spread.scale_H.tolist() == found["back"]
