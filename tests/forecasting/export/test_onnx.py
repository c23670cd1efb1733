"""ONNX files give torch's numbers: every cell and head, one row, many rows, and a state carried over hundreds."""

import builtins
import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.forecasting.forecasters.test_seasonal_panels import SHARED, demand
from tidecast.features import PanelSchema, PriceFeatures, check_panel, with_volatility
from tidecast.forecasting import GRUForecaster, GRURegressor, SeasonalRegression, Training, VolatilityRegression
from tidecast.forecasting.export import models as export
from tidecast.forecasting.export.cells import cell_nodes
from tidecast.forecasting.export.graph import OPSET, Graph
from tidecast.forecasting.export.heads import head_nodes
from tidecast.forecasting.forecasters.recurrent import FORECASTERS
from tidecast.forecasting.network.heads import HEADS
from tidecast.forecasting.regressors import REGRESSORS
from tidecast.forecasting.tables.check import quantiles_by_level

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'tidecast[dev]'")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'tidecast[dev]'")

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
FITTED = {"horizon": 3, "lookback": 16, "hidden_size": 5, "max_epochs": 0}


def session(path):
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def facts_of(session):
    return {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}


def shaken(model, seed=0, size=0.4):
    """The model with random weights, because one that is hardly trained gives outputs of about zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in model._network.parameters():
            weights.add_(size * torch.randn(weights.shape, generator=generator, dtype=weights.dtype))
    return model


def zero_state(session, n):
    return {
        name: np.zeros([n if size == "batch" else size for size in shape], dtype=np.float32)
        for name, shape in facts_of(session)["state"].items()
    }


def run(session, rows, state):
    """Quantiles (or prices) of rows, and the state after them."""
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, rows | state), strict=True))
    return found, {name: found[f"next_{name}"] for name in state}


def rows_of(model, panel):
    """What the file reads of a panel whose series are equally long: arrays of (series, rows, …)."""
    n_series = panel["series_id"].n_unique()
    table = with_volatility(PriceFeatures().fit_transform(check_panel(panel)))

    def shaped(columns):
        return table.select(pl.col(columns).cast(pl.Float64)).to_numpy().reshape(n_series, -1, len(columns))

    price, volatility = (shaped([name])[..., 0] for name in ("close", "volatility"))
    return {"features": shaped(model.inputs_), "price": price, "volatility": volatility}


def part(rows, begin, end):
    return {name: np.ascontiguousarray(values[:, begin:end]) for name, values in rows.items()}


def predicted(model, panel):
    """Quantiles of every origin, shape (series, origins, horizon, levels)."""
    table = model.predict(panel, origins="all").sort("series_id", "origin", "step")
    n_series = table["series_id"].n_unique()
    values = table.select(quantiles_by_level(table.columns)).to_numpy()
    return values.reshape(n_series, -1, model.horizon, len(model.quantiles_))


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("cell", FORECASTERS)
def test_every_cell_and_head_gives_the_prices_that_predict_gives(cell, head, kernel_size, breathing, tmp_path):
    model = FORECASTERS[cell](**FITTED, num_layers=2, kernel_size=kernel_size, training=Training(head=head))
    shaken(model.fit(breathing)).export_onnx(tmp_path / "model.onnx")
    file, rows = session(tmp_path / "model.onnx"), rows_of(model, breathing)
    found, _ = run(file, rows, zero_state(file, 4))
    wanted = predicted(model, breathing)
    assert wanted.shape[1] > 250
    np.testing.assert_allclose(found["prices"][:, -wanted.shape[1] :], wanted, **CLOSE)


@pytest.mark.parametrize("cell", FORECASTERS)
def test_a_state_carried_row_by_row_over_hundreds_of_rows_equals_one_pass(cell, breathing, tmp_path):
    model = shaken(FORECASTERS[cell](**FITTED, num_layers=2, kernel_size=3).fit(breathing))
    model.export_onnx(tmp_path / "model.onnx")
    file, rows = session(tmp_path / "model.onnx"), rows_of(model, breathing)
    _, state = run(file, part(rows, 0, 20), zero_state(file, 4))  # many rows at once,
    for row in range(20, 320):  # then one by one
        found, state = run(file, part(rows, row, row + 1), state)
    np.testing.assert_allclose(found["prices"][:, -1], predicted(model, breathing)[:, -1], **CLOSE)
    carried = model._carry(model._rows(check_panel(breathing)), torch.arange(0))[0].state
    wanted = {f"hidden_{k}": part for k, part in enumerate(carried.hidden)} | {"recent": carried.inputs_BKF}
    assert wanted.keys() == state.keys()
    for name, values in state.items():
        np.testing.assert_allclose(values, wanted[name].numpy(), **CLOSE)


def test_a_trained_model_gives_its_own_forecast_of_the_newest_row(breathing, tmp_path):
    model = GRUForecaster(horizon=5, lookback=16, max_epochs=2, batch_size=8).fit(breathing)
    model.export_onnx(tmp_path / "deeper" / "model.onnx")
    file = session(tmp_path / "deeper" / "model.onnx")
    found, _ = run(file, rows_of(model, breathing), zero_state(file, 4))
    table = model.predict()
    wanted = table.select(quantiles_by_level(table.columns)).to_numpy().reshape(4, 5, -1)
    np.testing.assert_allclose(found["prices"][:, -1], wanted, rtol=1e-6)
    assert np.array_equal(found["prices"][:, -1, :, 9], wanted[..., 9])  # the median is the last price exactly


def test_future_and_missing_covariates_are_inputs_of_the_file(breathing, tmp_path):
    rng = np.random.default_rng(0)
    n = len(breathing)
    holes = pl.Series(np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n))).fill_nan(None)
    panel = breathing.with_columns(volume_note=holes, events=pl.Series(rng.normal(size=n)))
    schema = PanelSchema(calendar="weekdays", covariates=("volume_note",), future=("events",))
    model = shaken(GRUForecaster(**FITTED, schema=schema).fit(panel), size=0.2)
    model.export_onnx(tmp_path / "model.onnx")
    file = session(tmp_path / "model.onnx")
    rows = rows_of(model, panel)
    assert facts_of(file)["inputs"][-1] == "volume_note"
    assert facts_of(file)["future"] == ["events"]
    events = panel["events"].to_numpy().reshape(4, 320)
    ahead = np.stack([np.roll(events, -step, axis=1) for step in (1, 2, 3)], axis=-1)[..., None]
    found, _ = run(file, rows | {"future": ahead}, zero_state(file, 4))
    times = panel["time"].unique().sort()
    table = model.predict(panel, origins=times[100:310].to_list()).sort("series_id", "origin", "step")
    wanted = table.select(quantiles_by_level(table.columns)).to_numpy().reshape(4, 210, 3, -1)
    np.testing.assert_allclose(found["prices"][:, 100:310], wanted, **CLOSE)


def with_steps(model, panel, at):
    """The rows of a panel with seasons or future covariates, and what its file reads of the first series."""
    rows = model._with_known_covariates(model._rows(check_panel(panel, model.schema)), panel)
    numbers = model._inputs._numbers_of(rows.frame)[:480][None]
    found = model._numbers_of_steps(rows, at)
    steps = np.zeros((1, 480, *found.shape[1:]))
    steps[0, at] = found
    return rows, {"features": numbers, "future": steps}


@pytest.mark.parametrize("name", ["GRU", "regression"])
def test_a_panel_with_seasons_gives_quantiles_of_levels_and_no_prices(name, tmp_path):
    panel = pl.concat([demand(), demand(seed=1, series_id="b")])
    if name == "regression":
        model = SeasonalRegression(**SHARED).fit(panel)
    else:
        model = shaken(GRUForecaster(**SHARED, max_epochs=0, hidden_size=8).fit(panel), size=0.1)
    model.export_onnx(tmp_path / "model.onnx")
    file, at = session(tmp_path / "model.onnx"), torch.arange(100, 400)
    rows, read = with_steps(model, panel, at)
    assert len(facts_of(file)["future"]) == read["future"].shape[-1]
    assert "prices" not in [output.name for output in file.get_outputs()]
    found, _ = run(file, read, zero_state(file, 1))
    wanted = model._quantile_model.quantiles(model._outputs(rows, at))
    np.testing.assert_allclose(found["quantiles"][0, 100:400], wanted, **CLOSE)


@pytest.mark.parametrize("cell", FORECASTERS)
def test_seasons_and_future_covariates_agree_with_torch_over_hundreds_of_rows_with_a_carried_state(cell, tmp_path):
    """With random weights three times as large the file differed from torch by 19 %: such networks are chaotic."""
    panel = pl.concat([demand(), demand(seed=1, series_id="b")])
    model = FORECASTERS[cell](**SHARED, max_epochs=2, hidden_size=16, num_layers=2).fit(panel)
    shaken(model, size=0.1).export_onnx(tmp_path / "model.onnx")
    file, at = session(tmp_path / "model.onnx"), torch.arange(100, 470)
    rows, read = with_steps(model, panel, at)
    found, state = run(file, part(read, 0, 100), zero_state(file, 1))
    quantiles = []
    for begin, end in [(row, row + 1) for row in range(100, 300)] + [(300, 470)]:
        found, state = run(file, part(read, begin, end), state)
        quantiles.append(found["quantiles"][0])
    wanted = model._quantile_model.quantiles(model._outputs(rows, at))
    assert np.ptp(np.asarray(wanted)[:, 0, 9]) > 0.5  # the medians follow the season
    np.testing.assert_allclose(np.concatenate(quantiles), wanted, **CLOSE)


def test_prices_that_may_be_negative_move_by_differences(breathing, tmp_path):
    panel = breathing.with_columns(pl.col("close") - pl.col("close").mean().over("series_id"))
    model = shaken(GRUForecaster(**FITTED, schema=PanelSchema(positive=False)).fit(panel))
    model.export_onnx(tmp_path / "model.onnx")
    file = session(tmp_path / "model.onnx")
    schema = PanelSchema(positive=False)
    table = with_volatility(PriceFeatures(positive=False).fit_transform(check_panel(panel, schema)), positive=False)
    values = table.select(pl.col(*model.inputs_, "close", "volatility").cast(pl.Float64)).to_numpy().reshape(4, 320, -1)
    rows = {"features": values[..., :-2], "price": values[..., -2], "volatility": values[..., -1]}
    found, _ = run(file, {name: np.ascontiguousarray(each) for name, each in rows.items()}, zero_state(file, 4))
    wanted = predicted(model, panel)
    np.testing.assert_allclose(found["prices"][:, -wanted.shape[1] :], wanted, **CLOSE)


def test_a_regression_without_units_is_exported_without_hidden_state(breathing, tmp_path):
    model = VolatilityRegression(horizon=3, lookback=16).fit(breathing)
    model.export_onnx(tmp_path / "model.onnx")
    file = session(tmp_path / "model.onnx")
    assert zero_state(file, 1) == {}
    table = with_volatility(model._new_features().fit_transform(check_panel(breathing)))
    values = table.select(pl.col(*model.inputs_, "close", "volatility").cast(pl.Float64)).to_numpy().reshape(4, 320, -1)
    rows = {"features": values[..., :-2], "price": values[..., -2], "volatility": values[..., -1]}
    found, _ = run(file, {name: np.ascontiguousarray(each) for name, each in rows.items()}, {})
    wanted = predicted(model, breathing)
    np.testing.assert_allclose(found["prices"][:, -wanted.shape[1] :], wanted, **CLOSE)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("cell", REGRESSORS)
def test_every_regressor_gives_the_quantiles_of_its_windows(cell, head, bidirectional, tmp_path):
    rng = np.random.default_rng(1)
    X = np.where(rng.random((60, 12, 3)) < 0.1, np.nan, rng.normal(size=(60, 12, 3)))
    X[..., 0] = rng.normal(size=(60, 12)) * 1e3
    y = 5 + rng.normal(size=(60, 2)) * [1.0, 100.0]
    model = REGRESSORS[cell](
        max_epochs=0, hidden_size=5, num_layers=2, bidirectional=bidirectional, training=Training(head=head)
    )
    shaken(model.fit(X, y)).export_onnx(tmp_path / "model.onnx")
    file = session(tmp_path / "model.onnx")
    (found,) = file.run(None, {"X": X})
    wanted = model.predict_quantiles(X)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * 100)
    np.testing.assert_allclose(found[:, 0], wanted[:, 0], **CLOSE)
    np.testing.assert_allclose(file.run(None, {"X": X[:1]})[0], found[:1], **CLOSE)


def test_the_file_says_what_it_is(breathing, tmp_path):
    model = GRUForecaster(**FITTED).fit(breathing)
    model.export_onnx(tmp_path / "model.onnx")
    facts = facts_of(session(tmp_path / "model.onnx"))
    assert facts == {
        "model": "GRUForecaster", "inputs": model.inputs_, "future": [], "quantiles": list(model.quantiles_),
        "horizon": 3, "lookback": 16, "target": "close", "positive": True, "volatility_decay": 0.94,
        "calendar": "weekdays", "fit_end": breathing["time"].max().isoformat(), "opset": OPSET,
        "state": {"hidden_0": [1, "batch", 5]},
    }  # fmt: skip
    stored = onnx.load(tmp_path / "model.onnx")
    assert [(each.domain, each.version) for each in stored.opset_import] == [("", 17)]
    assert {node.domain for node in stored.graph.node} == {""}  # no operator of a vendor's own
    page = Path(__file__).parents[3] / "docs" / "onnx.md"
    assert f"opset {OPSET}" in page.read_text(encoding="utf-8")


def test_an_unfitted_model_and_unknown_parts_are_refused(tmp_path):
    with pytest.raises(Exception, match="not fitted"):
        GRUForecaster().export_onnx(tmp_path / "model.onnx")
    with pytest.raises(Exception, match="not fitted"):
        GRURegressor().export_onnx(tmp_path / "model.onnx")
    with pytest.raises(TypeError, match=r"Linear has none\. Add one in forecasting/export/cells\.py"):
        cell_nodes(Graph("g"), torch.nn.Linear(1, 1), "x", [])
    with pytest.raises(TypeError, match=r"Linear has none\. Add one in forecasting/export/heads\.py"):
        head_nodes(Graph("g"), torch.nn.Linear(1, 1), "o")


def test_without_onnx_the_error_names_the_extra(breathing, tmp_path, monkeypatch):
    model, real = GRUForecaster(**FITTED).fit(breathing), builtins.__import__

    def absent(name, *others):
        if name.partition(".")[0] == "onnx":
            raise ModuleNotFoundError("No module named 'onnx'", name="onnx")
        return real(name, *others)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ModuleNotFoundError, match=re.escape("pip install 'tidecast[onnx]'")):
        model.export_onnx(tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
    assert export.OPSET == OPSET
