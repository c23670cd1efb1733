"""What networks see and residuals are worked out in pieces: how large these are changes nothing."""

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.pipeline import make_pipeline

from tests.forecasting.models import model_of
from tidecast.features import PanelSchema, PanelTransformer, PriceFeatures, RelativeVolume, check_panel
from tidecast.forecasting.forecasters import quantile_base as walk
from tidecast.forecasting.panel import inputs
from tidecast.forecasting.panel.flat_panel import thinned


class Squared(PanelTransformer):
    """Reads what the step before it added."""

    min_history = 22

    def expressions(self):
        return {"squared": pl.col("relative_volume_21") ** 2}


def test_inputs_do_not_depend_on_the_pieces_they_are_computed_in(breathing, fitted, monkeypatch):
    seen = fitted["GRUForecaster"]._inputs
    whole = seen.of(breathing)
    assert whole.dtype == torch.float32
    monkeypatch.setattr(inputs, "PIECE", 400)  # a series has 320 rows
    assert seen.of(breathing).equal(whole)
    model = model_of("GRUForecaster", max_epochs=0)
    scaler = model.fit(breathing)._inputs.scaler
    monkeypatch.undo()
    assert np.allclose(scaler.mean, model.fit(breathing)._inputs.scaler.mean, rtol=1e-12)
    assert np.allclose(scaler.scale, model.fit(breathing)._inputs.scaler.scale, rtol=1e-12)


def test_a_model_names_the_columns_that_its_forecasts_need(untidy_panel):
    panel = untidy_panel.with_columns(volume=pl.lit(1.0), high=pl.col("close"), low=pl.col("close"), vix=pl.lit(0.5))
    keys = ["series_id", "time", "close"]
    assert model_of("RandomWalk").fit(panel).columns_ == keys
    steps = make_pipeline(PriceFeatures(ranges=False), RelativeVolume(), Squared())
    schema = PanelSchema(covariates=("vix",))
    model = model_of("GRUForecaster", max_epochs=0, features=steps, schema=schema).fit(panel)
    assert model.columns_ == [*keys, "vix", "volume"]
    needed = panel.select(model.columns_)
    assert model.predict(needed).equals(model.predict(panel))
    with pytest.raises(ValueError, match="volume"):
        model.predict(needed.drop("volume"))


def test_what_is_learned_does_not_depend_on_how_many_inputs_a_fit_can_remember(breathing, monkeypatch):
    remembered = model_of("MinGRUForecaster").fit(breathing)._learned()
    monkeypatch.setattr(inputs, "PIECE", 400)  # a series has 320 rows
    monkeypatch.setattr(inputs, "ROOM", 320 * 10 * 8)  # of 10 inputs in double precision
    learned = model_of("MinGRUForecaster").fit(breathing)._learned()
    assert all(np.allclose(values, remembered[name], rtol=1e-5, atol=1e-6) for name, values in learned.items())


def test_what_calibrates_is_seen_on_the_way_to_what_is_kept(untidy_panel):
    """Also where a series paused after it: then nothing is carried on from there."""
    model = model_of("GRUForecaster").fit(untidy_panel)
    rows = model._rows(check_panel(untidy_panel))
    at = torch.nonzero(rows.ready)[::3, 0]
    assert (rows.last(at) != rows.newest[rows.series_of(at)]).any()
    kept, outputs_NHQ = model._carry(rows, at)
    assert torch.allclose(outputs_NHQ, model._outputs(rows, at), atol=1e-6)
    with torch.inference_mode():
        assert torch.equal(model._network.read_out(model._network.top(kept.state)), model._outputs(rows, rows.newest))


@pytest.mark.parametrize("name", ["Drift", "SeasonalNaive"])
def test_what_is_estimated_does_not_depend_on_how_many_residuals_are_computed_at_a_time(name, breathing, monkeypatch):
    whole = model_of(name).fit(breathing)._learned()
    monkeypatch.setattr(walk, "BLOCK", 37)
    assert all(value.equal(whole[key]) for key, value in model_of(name).fit(breathing)._learned().items())


def test_a_stream_is_the_same_opened_from_blocks_of_series(untidy_panel, monkeypatch):
    whole = PriceFeatures().stream(untidy_panel).state()
    monkeypatch.setattr("tidecast.features.transformers.price_features.TAIL_BLOCK", 400)
    for panel in (untidy_panel.sample(fraction=1, shuffle=True, seed=0), untidy_panel.drop_nulls("close")):
        found = PriceFeatures().stream(panel.sort("series_id", "time")).state()
        assert found["last"].equals(whole["last"])
        assert all(np.array_equal(found[name], values) for name, values in whole.items() if name != "last")


def test_thinning_keeps_every_kth_of_the_rows_that_hold():
    mask = torch.rand(200_000, generator=torch.Generator().manual_seed(0)) < 0.7
    every = -(-int(mask.sum()) // 1000)
    assert thinned(mask, 1000).equal(torch.nonzero(mask)[::every, 0])
    assert thinned(mask, 1 << 20).equal(torch.nonzero(mask)[:, 0])


def test_a_pegged_series_leaves_the_scale_of_inputs_alone(random_walks):
    """The ratios of a peg that ticks now and then had three times the standard deviation, and shrank all inputs."""
    moving = random_walks(n_series=3, n_rows=300)
    ticks = (np.arange(300) % 40 == 0).cumsum() % 2
    pegged = moving.filter(series_id="A").with_columns(series_id=pl.lit("peg"), close=pl.Series(7.45 + 1e-4 * ticks))
    one, other = (
        model_of("GRUForecaster", horizon=2, lookback=64, max_epochs=0).fit(panel)._inputs.scaler
        for panel in (moving, pl.concat([moving, pegged]))
    )
    np.testing.assert_allclose(other.mean, one.mean)
    np.testing.assert_allclose(other.scale, one.scale)
    alone = model_of("GRUForecaster", horizon=2, lookback=64, max_epochs=0).fit(pegged)
    assert np.isfinite(alone._inputs.scaler.scale).all()
