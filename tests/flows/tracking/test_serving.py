"""The logged model as MLflow's own: loaded, evaluated, and behind `mlflow models serve`, with good and bad JSON."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpx
import mlflow
import pandas as pd
import polars as pl
import pytest
from mlflow.exceptions import MlflowException
from sklearn.base import clone

from tidecast.features import PanelSchema
from tidecast.flows.scheduling.prefect_server import free_port
from tidecast.flows.tracking.addresses import QUIET, quietly
from tidecast.flows.tracking.model_package import package

WITHOUT_PICKLE = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}


@pytest.fixture(scope="module")
def packaged(refreshed, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packaged") / "model"
    with quietly({}):
        package(refreshed, folder)
    return folder


@pytest.fixture(scope="module")
def server(packaged, tmp_path_factory):
    """The address of a real server of the model, started where no project is."""
    port = free_port()
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, **QUIET, **WITHOUT_PICKLE, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(packaged), "--env-manager", "local"]
    folder = tmp_path_factory.mktemp("elsewhere")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield _when_ready(f"http://127.0.0.1:{port}", process, folder / "log")
        finally:
            os.killpg(process.pid, 15)
            process.wait()


def _when_ready(address: str, process: "subprocess.Popen[bytes]", log: Path) -> str:
    end = time.monotonic() + 300
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"{address}/ping", timeout=5).status_code == 200:
                return address
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(log.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def prices(refreshed) -> pd.DataFrame:
    """The newest rows of two series, as JSON holds them."""
    rows = refreshed.panel.filter(pl.col("series_id").is_in(["A", "B"])).group_by("series_id", maintain_order=True)
    return rows.tail(40).with_columns(pl.col("time").cast(pl.String)).to_pandas()


def asked(server: str, content: object, kind: str = "dataframe_split") -> httpx.Response:
    if isinstance(content, pd.DataFrame):
        content = json.dumps({kind: content.to_dict(orient=kind.removeprefix("dataframe_"))})
    headers = {"Content-Type": "application/json"}
    return httpx.post(f"{server}/invocations", content=content, headers=headers, timeout=120)


def same(served: pd.DataFrame, expected: pl.DataFrame) -> bool:
    times = pl.col("origin", "time").cast(pl.Date)
    found = pl.from_pandas(served).with_columns(times).select(expected.columns).cast(dict(expected.schema))
    return found.equals(expected)


def test_mlflow_loads_it_without_a_pickle_and_forecasts_a_pandas_panel(packaged, refreshed, monkeypatch):
    names = {path.name for path in packaged.rglob("*") if path.is_file()}
    assert {"MLmodel", "served_model.py", "model.json", "weights.safetensors", "input_example.json"} <= names
    assert not {name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".joblib"))}
    assert "tidecast==" in (packaged / "requirements.txt").read_text(encoding="utf-8")
    monkeypatch.setenv(*next(iter(WITHOUT_PICKLE.items())))
    with quietly({}):
        model = mlflow.pyfunc.load_model(str(packaged))
        panel = refreshed.panel.with_columns(volume=1.0)  # columns it does not know are no matter
        assert same(model.predict(panel.to_pandas()), refreshed.model.predict(refreshed.panel))
        assert set(model.predict(model.input_example)["series_id"]) == {"A", "B"}


def test_a_model_is_served_with_every_column_that_it_reads(refreshed, tmp_path):
    panel = refreshed.panel.with_columns(
        high=1.01 * pl.col("close"), low=0.99 * pl.col("close"), vix=pl.col("close") % 1.0,
        sector=pl.col("series_id"), volume=1.0,
    )  # fmt: skip
    schema = PanelSchema(calendar="weekdays", covariates=("vix",), static=("sector",))
    model = clone(refreshed.model).set_params(schema=schema, max_epochs=1).fit(panel)
    with quietly({}):
        package(replace(refreshed, panel=panel, model=model), tmp_path / "model")
        served = mlflow.pyfunc.load_model(str(tmp_path / "model"))
        read = ["series_id", "time", "close", "vix", "sector", "high", "low"]
        assert list(served.input_example.columns) == model.columns_ == read
        assert same(served.predict(panel.to_pandas()), model.predict(panel))
        saturday = panel.filter(series_id="A").tail(1).with_columns(time=pl.date(2024, 6, 1))
        with pytest.raises(MlflowException, match=r"found '2024-06-01'. .* Found in 1 row of 'A'"):
            served.predict(pl.concat([panel, saturday]).to_pandas())  # the daily run puts it in quarantine


def test_a_model_that_was_logged_before_still_loads_and_forecasts_the_same():
    folder = Path(__file__).parents[1] / "data" / "logged_model"  # its code imports from a module that has moved
    assert "from forecasting.persistence import" in (folder / "served_model.py").read_text(encoding="utf-8")
    expected = pd.read_json(folder / "forecast.json", orient="records", precise_float=True)
    with quietly({}):
        model = mlflow.pyfunc.load_model(str(folder))
        table = model.predict(model.input_example)
    assert list(table["time"]) == list(pd.to_datetime(expected["time"]))
    quantiles = ["forecast", "q0.1", "q0.9"]
    pd.testing.assert_frame_equal(table[quantiles], expected[quantiles], rtol=1e-6)


@pytest.fixture
def tracking_uri(store):
    """The store's, as MLflow's own for a test; later ones in this process would use it."""
    yield store.where.tracking_uri
    mlflow.set_tracking_uri(None)


def test_mlflow_evaluates_its_forecasts_with_a_metric_of_ours(packaged, refreshed, judged, store, tracking_uri):
    known = refreshed.panel["time"].unique().sort()[-10]  # the truth is known two sessions later
    panel = refreshed.panel.to_pandas().astype({"time": "datetime64[us]"})

    def pinball(predictions, targets, metrics, low):
        error = targets - low
        return float((error * (0.1 - (error < 0))).mean())

    with quietly(store.where.global_addresses):
        mlflow.set_tracking_uri(tracking_uri)
        table = mlflow.pyfunc.load_model(str(packaged)).predict(panel[panel["time"] <= pd.Timestamp(known)])
        truth = panel.rename(columns={"close": "truth"})
        data = table.merge(truth, on=["series_id", "time"]).rename(columns={"q0.1": "low"})
        with mlflow.start_run():
            found = mlflow.models.evaluate(
                data=data[["truth", "forecast", "low"]], targets="truth", predictions="forecast",
                model_type="regressor",
                extra_metrics=[mlflow.models.make_metric(eval_fn=pinball, greater_is_better=False)],
                evaluator_config={"log_explainer": False},
            ).metrics  # fmt: skip
    error = data["truth"] - data["low"]
    assert found["mean_absolute_error"] == pytest.approx((data["truth"] - data["forecast"]).abs().mean())
    assert found["pinball"] == pytest.approx((error * (0.1 - (error < 0))).mean())


def test_a_server_forecasts_what_the_model_does(server, prices, refreshed):
    answers = [asked(server, prices, kind) for kind in ("dataframe_split", "dataframe_records")]
    panel = pl.from_pandas(prices).with_columns(pl.col("time").str.to_date())
    for answer in answers:
        assert answer.status_code == 200, answer.text
        table = pd.DataFrame(answer.json()["predictions"])
        table = table.astype({"origin": "datetime64[us]", "time": "datetime64[us]"})
        assert same(table, refreshed.model.predict(panel))


def test_times_with_a_zone_are_forecast_once_they_are_made_dates_as_the_documentation_says(server, prices):
    zoned = prices.assign(time=prices["time"] + "T00:00:00Z")
    dated = pd.to_datetime(zoned["time"]).dt.tz_localize(None)  # the line of docs/mlflow.md
    for written in (dated.dt.strftime("%Y-%m-%d"), dated.dt.strftime("%Y-%m-%dT%H:%M:%S")):
        answer = asked(server, zoned.assign(time=written))
        assert answer.status_code == 200, answer.text
        assert answer.json() == asked(server, prices).json()


BAD = {
    "a column is missing": (lambda p: p.drop(columns="close"), "close"),
    "a column has another name": (lambda p: p.rename(columns={"close": "Close"}), "close"),
    "prices are words": (lambda p: p.assign(close="many"), "close"),
    "times are no times": (lambda p: p.assign(time="yesterday"), "time"),
    "times name a zone": (lambda p: p.assign(time=p["time"] + "T00:00:00Z"), "timezone-naive"),
    "a price is missing": (lambda p: p.assign(close=p["close"].where(p.index != 3)), "missing in 1"),
    "a price is zero": (lambda p: p.assign(close=p["close"].where(p.index != 3, 0.0)), "above 0"),
    "a price is wild": (lambda p: p.assign(close=p["close"].where(p.index != 39, 1e300)), "finite; those of"),
    "a row comes twice": (lambda p: pd.concat([p, p.tail(1)]).reset_index(drop=True), "unique"),
    "one series is short": (lambda p: p.drop(index=p.index[p["series_id"] == "A"][16 - 1 :]), "1 of 2 have not: 'A'"),
    "all series are short": (lambda p: p.groupby("series_id").tail(2).reset_index(drop=True), "longer panel"),
    "there are no rows": (lambda p: p.head(0), "at least one row"),
    "it is no JSON": (lambda p: "{close", "valid JSON"),
    "it is a list": (lambda p: "[]", "dataframe_split"),
    "it is an empty list": (lambda p: '{"dataframe_records": []}', "close"),
    "it is nothing": (lambda p: "", "valid JSON"),
    "the form is unknown": (lambda p: '{"panel": {}}', "dataframe_split"),
    "columns are of different lengths": (
        lambda p: '{"dataframe_split": {"columns": ["series_id", "time", "close"], "data": [[1], [1, 2, 3, 4]]}}', "",
    ),
    "rows are objects": (lambda p: '{"dataframe_split": {"columns": {"a": 1}, "data": {"b": [{}]}}}', ""),
    "a price is an object": (
        lambda p: '{"dataframe_records": [{"series_id": "A", "time": "2024-01-02", "close": {"a": 1}}]}', "close",
    ),
    "a price is beyond all numbers": (
        lambda p: '{"dataframe_records": [{"series_id": "A", "time": "2024-01-02", "close": 1e999}]}', "finite",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_server_answers_bad_input_with_400_and_why(server, prices, what):
    spoil, said = BAD[what]
    answer = asked(server, spoil(prices))
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["message"]
    assert "Traceback" not in answer.json()["message"]


def test_a_server_outlives_hostile_input(server, prices):
    asked(server, "[" * 100_000)
    asked(server, json.dumps({"dataframe_split": {"columns": ["close"] * 5_000, "data": []}}))
    asked(server, b"\xff\xfe\x00")
    names = pd.Series([f"S{k}" for k in range(2_000)])
    many = pd.concat([prices[:40]] * len(names), ignore_index=True)  # 4 MB
    many["series_id"] = names.repeat(40).to_numpy()
    answer = asked(server, many)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == 2_000 * 2
    assert asked(server, prices).status_code == 200
