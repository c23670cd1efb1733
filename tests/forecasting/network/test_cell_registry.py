"""One entry in the registry makes a cell: its classes, names, colour and search follow."""

import inspect
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.base import clone

from tidecast import forecasting
from tidecast.flows.config.settings import MODELS, Settings
from tidecast.flows.training.candidates import NETWORKS
from tidecast.forecasting.forecasters.recurrent import FORECASTERS, RecurrentForecaster
from tidecast.forecasting.network.cell_registry import CELLS, by_key
from tidecast.forecasting.plotting.palette import INK, PINK, colour_of
from tidecast.forecasting.regressors import REGRESSORS, RecurrentRegressor

ROOT = Path(__file__).parents[3]

every = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


@every
@pytest.mark.parametrize("kind", ["Forecaster", "Regressor"])
def test_a_cell_has_a_forecaster_and_a_regressor_that_are_classes_like_any_other(cell, kind):
    base, classes = (RecurrentForecaster, FORECASTERS) if kind == "Forecaster" else (RecurrentRegressor, REGRESSORS)
    found = getattr(forecasting, f"{cell.label}{kind}")
    assert found is classes[cell.key]
    assert found is getattr(sys.modules[base.__module__], found.__name__)
    assert (found.__name__, found.__module__, found.cell) == (f"{cell.label}{kind}", base.__module__, cell.key)
    assert issubclass(found, base)
    assert inspect.signature(found) == inspect.signature(base)
    assert pickle.loads(pickle.dumps(found)) is found
    assert clone(found(hidden_size=3)).get_params() == found(hidden_size=3).get_params()
    doc = inspect.getdoc(found)
    assert doc.startswith(cell.title)
    for name in inspect.signature(found).parameters:
        assert f"\n{name} : " in doc


@every
def test_settings_and_pictures_know_a_cell(cell):
    assert cell.name in MODELS
    assert NETWORKS[cell.name] is FORECASTERS[cell.key]
    assert Settings(models=cell.name.lower()).models == (cell.name,)
    assert colour_of(cell.name) == colour_of(cell.label) == cell.colour


def test_colours_differ_from_cell_to_cell_and_from_those_of_others():
    colours = [cell.colour for cell in CELLS.values()]
    assert len({*colours, INK, PINK, colour_of("drift")}) == len(colours) + 3


def test_a_daily_run_chooses_among_four_networks_the_regression_and_their_average():
    assert Settings().models == ("RNN", "LSTM", "GRU", "MINGRU", "volatility_regression", "average")


def test_two_cells_of_one_key_or_label_are_refused():
    gru = CELLS["gru"]
    for twin in (gru, replace(gru, key="other"), replace(gru, label="Other")):
        with pytest.raises(ValueError, match="Cells must differ in key and label"):
            by_key([gru, twin])


MODULE = """
import torch
from tidecast.forecasting.network.cells import StackedCell

class Mean(StackedCell):
    def __init__(self, input_size, hidden_size, num_layers=1, **others):
        super().__init__(input_size, hidden_size, num_layers, **others)
        self.weights = torch.nn.ModuleList(torch.nn.Linear(size, hidden_size) for size in self.sizes)

    def run(self, layer, x_TBF, state):
        (h,), rows = state, []
        for x in self.weights[layer](x_TBF):
            h = 0.9 * h + 0.1 * x
            rows.append(h)
        return torch.stack(rows), (h,)
"""
ENTRY = 'Cell("mean", "Mean", "tidecast.forecasting.network.mean:Mean", "#123456", "A mean", "``h``", "Notes."),'
USE = """
import pickle, tempfile
import numpy as np, polars as pl
from tidecast import forecasting
from tidecast.flows.cli.models import ModelName
from tidecast.flows.config.settings import Settings
from tidecast.forecasting.plotting.palette import colour_of

assert "MeanForecaster" in forecasting.__all__
assert Settings(models="mean").models == ("MEAN",)
assert ModelName().convert("mean", None, None) == "MEAN"
assert colour_of("MEAN") == "#123456"
days = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 12, 31), eager=True)
steps = 0.01 * np.random.default_rng(0).normal(size=len(days))
prices = pl.DataFrame({"series_id": "a", "time": days, "close": np.exp(steps.cumsum())})
model = forecasting.MeanForecaster(horizon=2, lookback=16, max_epochs=1).fit(prices[:-1])
assert "mean" in model.search_space()["cell"]
with tempfile.TemporaryDirectory() as folder:
    model.save(folder)
    again = forecasting.load_forecaster(folder)
assert pickle.loads(pickle.dumps(again)).predict().equals(model.predict())
assert again.update(prices[-1:]).predict().equals(model.update(prices[-1:]).predict())
assert len(model.sample(3)) == 6
assert "Mean, 1 layer" in again.summary()
assert model.memory_profile(prices, 3)["cell"][0] == "mean"
forecasting.MeanRegressor(max_epochs=1, bidirectional=True).fit(np.eye(8)[:, :, None], np.arange(8.0))
"""


def test_a_new_cell_is_a_file_of_its_own_and_one_entry(tmp_path):
    for package in ("features", "flows", "forecasting"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("data", "__pycache__"))
    shutil.copytree(ROOT / "tidecast", tmp_path / "tidecast", symlinks=True)
    registry = tmp_path / "forecasting" / "network" / "cell_registry.py"
    begin = "CELLS: dict[str, Cell] = by_key(\n    (\n"
    text = registry.read_text(encoding="utf-8")
    assert begin in text
    registry.write_text(text.replace(begin, f"{begin}        {ENTRY}\n"), encoding="utf-8")
    (tmp_path / "forecasting" / "network" / "mean.py").write_text(MODULE, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
