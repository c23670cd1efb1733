"""What a training leaves in MLflow, and that any step of it may be killed and taken again."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.flows.trainings import crowned
from tidecast.flows.config.mlflow_yml import MlflowConfig, Server
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.tracking.registry import Registry
from tidecast.flows.tracking.run_text import description
from tidecast.flows.tracking.store import MlflowStore, TrackingError
from tidecast.flows.tracking.training_runs import Tracking
from tidecast.forecasting.evaluation.decision import percent

DATA = {"name": "prices", "digest": "0"}


@pytest.fixture
def tracking(store, without_pictures) -> Tracking:
    return Tracking(store)


def run_of(store: MlflowStore, run_id: str):
    return store.client.get_run(run_id)


def children(tracking: Tracking, run_id: str):
    return tracking._runs(tracking.store.client, f"tags.`mlflow.parentRunId` = '{run_id}'")


def artifact(store: MlflowStore, run_id: str, name: str) -> Path:
    return store.home.mlartifacts / run_id / "artifacts" / name


def test_a_store_is_made_whole_though_another_was_killed_half_made(tmp_path):
    home, said = StateFolder(tmp_path).make(), []
    (tmp_path / "mlflow.draft").write_text("half a database")
    Tracking(MlflowStore(home, MlflowConfig(), {}, said.append)).page()
    assert home.mlflow_db.exists()
    assert not (tmp_path / "mlflow.draft").exists()
    assert said == ["Making the MLflow store, once …"]


def test_the_numbers_of_a_run_are_those_of_evaluate(store, tracking, judged):
    run_id = tracking.log_training(judged, "key")
    again = judged.evaluation
    assert pl.read_parquet(artifact(store, run_id, "evaluation/summary.parquet")).equals(again.summary)
    assert pl.read_parquet(artifact(store, run_id, "evaluation/losses.parquet")).equals(again.losses)
    pooled = {row["model"]: row for row in again.summary.filter(pl.col("group") == "pooled").iter_rows(named=True)}
    inside = {run.data.tags["model"]: run for run in children(tracking, run_id)}
    for run, model in ((run_of(store, run_id), "drift"), *((inside[name], name) for name in pooled)):
        metrics, row = run.data.metrics, pooled[model]
        for name in ("pinball", "mae", "mase"):
            assert metrics[f"gate/{name}"] == row[name]
        for name, column in (("skill_percent", "skill"), ("coverage_percent", "coverage")):
            assert metrics[f"gate/{name}"] == 100 * row[column]
        assert metrics["gate/p_value"] == row["p"]
    decided = json.loads(artifact(store, run_id, "decision.json").read_text(encoding="utf-8"))
    assert decided["verdict"] == judged.decision.verdict
    assert decided["decision"]["distribution_skill"] == judged.decision.distribution_skill


def test_a_run_describes_the_decision_and_its_data(store, tracking, judged):
    flow_run = {"id": "a-flow-run", "url": "http://prefect/a-flow-run"}
    run = run_of(store, tracking.log_training(judged, "key", prefect=flow_run))
    words = run.data.tags["mlflow.note.content"]
    for said in (
        judged.reason,
        *judged.decision.verdict.splitlines(),
        "130 origins",
        "3 series, 1,200 prices",
        "[a-flow-run](http://",
    ):
        assert said in words
    skill = percent(judged.decision.distribution_skill)
    assert run.info.run_name == f"{skill} drift, turned down {judged.as_of}, random walk published"
    assert words.startswith(
        "Random walk is published. The numbers are those of the drift, tested at the gate and turned down."
    )
    assert run.info.status == "FINISHED"
    assert run.data.params["lookback"] == "16"
    assert run.data.params["settings.horizon"] == "2"
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == "prices version 7"
    assert json.loads(data.dataset.source)["delta_table_version"] == 7
    assert json.loads(data.dataset.profile)["rows"] == 1200
    assert run.data.tags["prefect.flow_run_id"] == "a-flow-run"
    assert run.data.metrics["peak_memory_mb/process"] > 50
    assert run.info.end_time - run.info.start_time == pytest.approx(1500, abs=50)  # as long as the training took
    environment = json.loads(artifact(store, run.info.run_id, "environment.json").read_text(encoding="utf-8"))
    assert environment["packages"]["mlflow"]


def test_the_champion_at_a_gate_is_named_with_its_version(judged):
    numbered = replace(judged, champion_version="3")
    assert "drift with the random walk (the champion, version 3), each refit" in description(numbered, DATA, {})
    own = replace(numbered, decision=replace(judged.decision, champion="drift"))
    assert "drift (the champion's recipe, version 3) with the random walk, each" in description(own, DATA, {})
    other = replace(numbered, decision=replace(judged.decision, champion="GRU (champion)"))
    assert "the random walk and the champion's recipe, GRU, version 3, each" in description(other, DATA, {})


def test_learning_curves_are_runs_inside_the_run(store, tracking, judged):
    run_id = tracking.log_training(judged, "key")
    (child,) = (run for run in children(tracking, run_id) if run.data.tags["model"] == "GRU")
    losses = store.client.get_metric_history(child.info.run_id, "fit/train_loss")
    assert [(point.step, point.value) for point in losses] == [(1, 0.3), (2, 0.2)]
    assert child.info.run_name == "GRU, not chosen"
    assert len(store.client.get_metric_history(child.info.run_id, "fit/validation_loss")) == 1  # the other is unknown


def test_tables_and_pictures_are_there_to_be_looked_at(store, judged):
    run_id = Tracking(store).log_training(judged, "key")
    series = json.loads(artifact(store, run_id, "tables/series.json").read_text(encoding="utf-8"))
    assert series["columns"][:3] == ["model", "series_id", "skill_percent"]
    assert len(series["data"]) == 6
    pictures = {path.name: path.read_bytes()[:4] for path in artifact(store, run_id, "pictures").iterdir()}
    assert sorted(pictures) == [
        "1_forecasts.png", "2_skill_by_step.png", "3_skill_by_series.png", "4_reliability.png",
        "5_coverage_by_step.png", "6_coverage_over_time.png", "7_learning_curves.png", "8_memory.png",
    ]  # fmt: skip
    assert set(pictures.values()) == {b"\x89PNG"}


def test_what_a_dead_process_left_running_is_ended_and_only_that(store, tracking, judged):
    run_id = crowned(store, judged, "key")
    client, experiment = store.client, store.experiment
    own = {"panel": store.where.panel, "training_key": "next"}
    dead = client.create_run(experiment, tags=own).info.run_id
    inside = client.create_run(experiment, tags={**own, "mlflow.parentRunId": dead}).info.run_id
    half = client.create_logged_model(experiment, name="half", source_run_id=dead, tags=own).model_id
    stranger = client.create_run(experiment, tags={"panel": "another"}).info.run_id
    later = Tracking(MlflowStore(store.home, MlflowConfig(), {}))
    assert set(later.recover()) == {dead, inside, half}
    assert later.recover() == []
    status = {run: run_of(store, run).info.status for run in (run_id, dead, inside, stranger)}
    assert status == {run_id: "FINISHED", dead: "KILLED", inside: "KILLED", stranger: "RUNNING"}
    fresh = later.log_training(judged, "next")
    assert fresh != dead
    assert Registry(later.store).register(fresh, "next") == "2"


def test_a_training_that_fails_on_the_way_is_failed_and_not_used_again(store, tracking, judged, monkeypatch):
    monkeypatch.setattr("tidecast.flows.tracking.training_runs.adopt", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tracking.log_training(judged, "key")
    monkeypatch.undo()
    (failed,) = tracking._runs(store.client, "tags.training_key = 'key'")
    assert failed.info.status == "FAILED"
    assert tracking.kept() == ["key"]
    again = tracking.send("key")
    assert again != failed.info.run_id
    assert run_of(store, again).info.status == "FINISHED"
    assert tracking.log_training(judged, "key") == again
    tracking.forget("key")
    assert tracking.kept() == list(store.home.unsent.iterdir()) == []


def test_a_store_that_cannot_be_used_is_one_line(tmp_path):
    config = MlflowConfig(server=Server(mlflow_tracking_uri="file:///nowhere"))
    with pytest.raises(TrackingError, match="MLflow at file:///nowhere answered"):
        Tracking(MlflowStore(StateFolder(tmp_path).make(), config, {})).page()


def test_a_server_that_does_not_answer_was_once_said_to_have_answered(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    config = MlflowConfig(server=Server(mlflow_tracking_uri="http://127.0.0.1:9"))
    with pytest.raises(TrackingError) as caught:
        Tracking(MlflowStore(StateFolder(tmp_path).make(), config, {})).page()
    assert str(caught.value) == (
        "MLflow must answer at http://127.0.0.1:9, but there is no connection: Connection refused. Start the server, "
        "or check the address in MLFLOW_TRACKING_URI or mlflow.yml."
    )


def test_mlflow_is_silent_and_leaves_nothing_behind(store, tracking, judged, tmp_path, monkeypatch, capfd):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = dict(os.environ)
    crowned(store, judged, "key")
    Registry(store).champion()
    tracking.recover()
    assert capfd.readouterr() == ("", "")
    assert dict(os.environ) == before
    assert list(elsewhere.iterdir()) == []


OUTSIDE = """
import sys
import mlflow
import pandas as pd

mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/tidecast@champion")
prices = pd.read_parquet("prices.parquet")
prices["volume"] = 1  # columns it does not know are no matter
model.predict(prices).to_parquet("forecast.parquet")
model.predict(model.input_example)
"""


def test_the_logged_model_forecasts_elsewhere_without_a_pickle(store, tracking, refreshed, tmp_path):
    crowned(store, refreshed, "key")
    folder = store.home.mlartifacts / "models"
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"MLmodel", "served_model.py", "model.json", "weights.safetensors", "input_example.json"} <= names
    assert not {name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".joblib"))}

    assert "tidecast==" in next(folder.rglob("requirements.txt")).read_text(encoding="utf-8")
    refreshed.panel.to_pandas().to_parquet(tmp_path / "prices.parquet")
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    if "site-packages" not in str(Path(sys.modules["tidecast"].__file__)):
        environment["PYTHONPATH"] = str(Path(__file__).parents[3])  # as an editable install would
    command = [sys.executable, "-c", OUTSIDE, store.where.tracking_uri]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    served, expected = pl.read_parquet(tmp_path / "forecast.parquet"), refreshed.model.predict(refreshed.panel)
    times = pl.col("origin", "time").cast(pl.Date)
    assert served.with_columns(times).cast(dict(expected.schema)).equals(expected)
