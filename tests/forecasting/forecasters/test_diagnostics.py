"""What networks remember: gradients checked by hand, pictures that say their units, a summary to read."""

import numpy as np
import polars as pl
import pytest
import torch
from matplotlib.figure import Figure

from tidecast.forecasting import GRUForecaster
from tidecast.forecasting.forecasters.diagnostics import plot_learning_curve, plot_memory_profile, remembered
from tidecast.forecasting.forecasters.recurrent import FORECASTERS
from tidecast.forecasting.network.cell_registry import CELLS as KNOWN

NETWORK = {"lookback": 16, "horizon": 3, "hidden_size": 8, "max_epochs": 1, "learning_rate": 5e-2, "batch_size": 8}
CELLS = {cell: kind(**NETWORK) for cell, kind in FORECASTERS.items()}

every = pytest.mark.parametrize("cell", CELLS)


@pytest.fixture(scope="module")
def fitted(breathing):
    return {cell: model.fit(breathing) for cell, model in CELLS.items()}


@every
def test_every_step_sees_the_newest_row_and_old_rows_fade(cell, fitted, breathing):
    profile = fitted[cell].memory_profile(breathing, steps_back=40)
    assert profile.columns == ["cell", "step", "k", "influence", "median"]
    assert profile.select("step", "k").rows() == [(step, k) for step in (1, 2, 3) for k in range(41)]
    newest, oldest = profile.filter(k=0), profile.filter(k=40)
    assert (newest["influence"] > 0).all()
    assert (newest["median"] == 0).all()  # nothing foretells the median, so it stays the last price
    assert (oldest["influence"] < 0.2 * newest["influence"]).all()
    assert profile.equals(fitted[cell].memory_profile(breathing, steps_back=40))


@every
def test_an_influence_is_what_a_small_change_of_the_inputs_makes(cell, fitted, breathing):
    model = fitted[cell]
    rows = model._rows(breathing.sort("series_id", "time"))
    inputs_NF = model._inputs.of(rows.frame)
    at, k, small = 60, 3, 1e-2

    def quantiles(changed):
        with torch.inference_mode():
            h_BTD, _ = model._network.encode(changed[None, : at + 1])
            return model._quantile_model.layer(model._network.read_out(h_BTD[0, -1]).double()).numpy()

    squares = 0.0
    for feature in range(inputs_NF.shape[1]):
        low, high = inputs_NF.clone(), inputs_NF.clone()
        low[at - k, feature] -= small
        high[at - k, feature] += small
        squares = squares + ((quantiles(high) - quantiles(low)) / (2 * small)) ** 2
    alone = breathing.filter(series_id="A").head(at + 1)
    profile = model.memory_profile(alone, steps_back=at - 1)  # one origin only
    expected = np.sqrt(squares.mean(axis=1))
    assert profile.filter(k=k)["influence"].to_list() == pytest.approx(expected, rel=2e-2)
    assert profile.filter(k=k)["median"].to_list() == pytest.approx(np.sqrt(squares[:, 9]), rel=2e-2, abs=1e-5)


def test_an_untrained_network_remembers_nothing(breathing):
    model = GRUForecaster(**NETWORK | {"max_epochs": 0}).fit(breathing)
    profile = model.memory_profile(breathing, steps_back=5)
    assert (profile["influence"] == 0).all()
    assert remembered(profile) == 0
    text = model.summary(breathing)
    assert "untrained, the random walk" in text
    assert "Memory      none" in text


@every
def test_a_summary_says_what_a_person_wants_to_know(cell, fitted, breathing):
    text = fitted[cell].summary(breathing)
    assert f"{KNOWN[cell].label}, 1 layer of 8 units" in text
    assert "Seen        4 series, up to 2020-03-23" in text
    assert "1 epoch, the best 1: validation loss" in text
    assert "nine tenths of all influence on a forecast come from the last" in text
    assert "Memory" not in fitted[cell].summary()


def test_rows_within_which_a_share_of_the_influence_lies():
    profile = pl.DataFrame({"k": [0, 1, 2, 3], "influence": [5.0, 3.0, 1.5, 0.5]})
    assert remembered(profile, share=0.9) == 2
    assert remembered(profile, share=0.5) == 0


def test_pictures_name_their_units_and_show_every_model(fitted, breathing):
    top, bottom = Figure().subplots(2)
    plot_memory_profile(pl.concat([model.memory_profile(breathing, 10) for model in fitted.values()]), top)
    plot_learning_curve({KNOWN[cell].label: model.learning_curve_ for cell, model in fitted.items()}, bottom)
    assert {text.get_text() for text in top.get_legend().get_texts()} == {cell.label for cell in KNOWN.values()}
    assert "volatilities" in top.get_ylabel()
    assert "volatilities" in bottom.get_ylabel()
    assert all(len(line.get_xdata()) == 11 for line in top.get_lines())


def test_too_short_a_panel_is_refused(fitted, breathing):
    with pytest.raises(ValueError, match="moves, with more than steps_back=500 rows"):
        fitted["gru"].memory_profile(breathing, steps_back=500)
