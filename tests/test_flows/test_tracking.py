"""What a training leaves in MLflow, that any step of it may be killed and taken again, and who is champion."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from flows.home import Home
from flows.mlflow_config import MlflowConfig, Server
from flows.settings import Settings
from flows.tracking import Tracking, TrackingError
from flows.train import Training
from forecasting.backtest import backtest
from forecasting.baselines import Drift, RandomWalk
from forecasting.decide import GatePolicy, decide
from forecasting.forecasters import GRUForecaster
from forecasting.metrics import evaluate
from forecasting.splits import RollingOrigin

SHARED = {"horizon": 2, "lookback": 16, "quantiles": (0.1, 0.5, 0.9)}
SETTINGS = Settings(calendar="weekdays", **SHARED)


@pytest.fixture(scope="module")
def walks(random_walks):
    return random_walks(n_series=3, n_rows=400)


@pytest.fixture(scope="module")
def judged(walks) -> Training:
    """A first training: the drift was tested, and turned down."""
    cv = RollingOrigin(n_splits=1, horizon=2, stride=130)
    forecasts = backtest({"drift": Drift(**SHARED)}, walks, cv)
    evaluation = evaluate(forecasts, walks)
    decision = decide(evaluation.losses, GatePolicy(max_origins=130, min_origins=120), candidate="drift")
    walk = RandomWalk(**SHARED).fit(walks)
    curve = pl.DataFrame({"epoch": [1, 2], "train_loss": [0.3, 0.2], "validation_loss": [0.35, None]})
    return Training(
        as_of=walks["time"].max(), winner="random_walk", model=walk, random_walk=walk, decision=decision,
        reason=decision.reason, outcome="first", trained_through=walks["time"].max(), evaluation=evaluation,
        gate_forecasts=forecasts, selection=pl.DataFrame({"model": ["drift"], "pinball": [0.5]}),
        learning_curves={"GRU": curve}, seconds={"gate": 1.5}, panel=walks, settings=SETTINGS,
        table_versions={"prices": 7},
    )  # fmt: skip


@pytest.fixture(scope="module")
def refreshed(judged) -> Training:
    """The same panel a year earlier, a network, and no gate."""
    seen = judged.panel.filter(pl.col("time") <= judged.panel["time"].unique().sort()[260])
    model = GRUForecaster(hidden_size=4, max_epochs=1, **SHARED).fit(seen)
    end = seen["time"].max()
    return replace(
        judged, as_of=end, trained_through=end, panel=seen, model=model, winner="GRU", outcome="refreshed",
        reason="Refit on newer rows.", decision=None, evaluation=None, gate_forecasts=None, selection=pl.DataFrame(),
        learning_curves={"GRU": model.learning_curve_},
    )  # fmt: skip


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory) -> Path:
    """An mlflow.db without a run, made once: a new one takes seconds."""
    home = Home(tmp_path_factory.mktemp("store")).make()
    Tracking(home, MlflowConfig(), {})._make_store()
    return home.mlflow_db


@pytest.fixture
def home(tmp_path, empty_store) -> Home:
    home = Home(tmp_path / "home").make()
    shutil.copy(empty_store, home.mlflow_db)
    return home


@pytest.fixture
def tracking(home, monkeypatch) -> Tracking:
    """Without the pictures, which take most of the time."""
    monkeypatch.setattr("flows.run_record._pictures", lambda training, summary: [])
    return Tracking(home, MlflowConfig(), {})


def crowned(tracking: Tracking, training: Training, key: str) -> str:
    run_id = tracking.log_training(training, key)
    tracking.promote(tracking.register(run_id, key))
    return run_id


def run_of(tracking: Tracking, run_id: str):
    return tracking._client.get_run(run_id)


def artifact(home: Home, run_id: str, name: str) -> Path:
    return home.mlartifacts / run_id / "artifacts" / name


def test_asking_a_new_folder_for_its_champion_writes_nothing(tmp_path):
    tracking = Tracking(Home(tmp_path), MlflowConfig(), {})
    assert tracking.champion() is None
    assert tracking.recover() == []
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_made_whole_though_another_was_killed_half_made(tmp_path):
    home, said = Home(tmp_path).make(), []
    (tmp_path / "mlflow.draft").write_text("half a database")
    Tracking(home, MlflowConfig(), {}, said.append).page()
    assert home.mlflow_db.exists()
    assert not (tmp_path / "mlflow.draft").exists()
    assert said == ["Making the MLflow store, once …"]


def test_the_numbers_of_a_run_are_those_of_evaluate(tracking, home, judged):
    run_id = tracking.log_training(judged, "key")
    again = evaluate(judged.gate_forecasts, judged.panel)
    assert pl.read_parquet(artifact(home, run_id, "evaluation/summary.parquet")).equals(again.summary)
    assert pl.read_parquet(artifact(home, run_id, "evaluation/losses.parquet")).equals(again.losses)
    pooled = {row["model"]: row for row in again.summary.filter(pl.col("group") == "pooled").iter_rows(named=True)}
    metrics = run_of(tracking, run_id).data.metrics
    for name in ("pinball", "mae", "mase", "coverage", "skill", "skill_se", "p"):
        assert metrics[name] == pooled["random_walk"][name]
        assert metrics[f"drift/{name}"] == pooled["drift"][name]
    decided = json.loads(artifact(home, run_id, "decision.json").read_text(encoding="utf-8"))
    assert decided["verdict"] == judged.decision.verdict
    assert decided["decision"]["spread_skill"] == judged.decision.spread_skill


def test_a_run_says_in_words_what_was_decided_and_what_it_saw(tracking, judged):
    run = run_of(tracking, tracking.log_training(judged, "key"))
    words = run.data.tags["mlflow.note.content"]
    for said in (judged.reason, *judged.decision.verdict.splitlines(), "130 origins", "3 series, 1,200 prices"):
        assert said in words
    assert run.info.run_name == f"random walk first {judged.as_of}"
    assert run.info.status == "FINISHED"
    assert run.data.params["lookback"] == "16"
    assert run.data.params["settings.horizon"] == "2"
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == "prices version 7"
    assert json.loads(data.dataset.source)["delta_table_version"] == 7
    assert json.loads(data.dataset.profile)["rows"] == 1200


def test_learning_curves_are_runs_inside_the_run(tracking, judged):
    run_id = tracking.log_training(judged, "key")
    (child,) = tracking._runs(tracking._client, f"tags.`mlflow.parentRunId` = '{run_id}'")
    losses = tracking._client.get_metric_history(child.info.run_id, "train_loss")
    assert [(point.step, point.value) for point in losses] == [(1, 0.3), (2, 0.2)]
    assert len(tracking._client.get_metric_history(child.info.run_id, "validation_loss")) == 1  # the other is unknown


def test_tables_and_pictures_are_there_to_be_looked_at(home, judged):
    run_id = Tracking(home, MlflowConfig(), {}).log_training(judged, "key")
    series = json.loads(artifact(home, run_id, "tables/series.json").read_text(encoding="utf-8"))
    assert series["columns"][:3] == ["model", "series_id", "skill"]
    assert len(series["data"]) == 6
    pictures = {path.name: path.read_bytes()[:4] for path in artifact(home, run_id, "pictures").iterdir()}
    assert set(pictures) == {
        "forecasts.png", "skill_by_step.png", "skill_by_series.png", "coverage_by_step.png", "reliability.png",
        "learning_curves.png",
    }  # fmt: skip
    assert set(pictures.values()) == {b"\x89PNG"}


def test_steps_taken_again_find_what_is_there(tracking, home, judged):
    run_id = crowned(tracking, judged, "key")
    later = Tracking(home, MlflowConfig(), {})
    assert later.log_training(judged, "key") == run_id
    assert later.register(run_id, "key") == "1"
    later.promote("1")
    champion = later.champion()
    assert (champion.version, champion.run_id, champion.name) == ("1", run_id, "random_walk")
    assert len(later._versions(later._client)) == 1


def test_the_champion_comes_back_as_it_was_fitted(tracking, judged):
    crowned(tracking, judged, "key")
    champion = tracking.champion()
    assert champion.model.predict().equals(judged.model.predict())
    assert champion.recipe == judged.model.recipe()
    assert champion.trained_through == judged.trained_through
    assert champion.decision["reason"] == judged.reason
    assert champion.gate_as_of == judged.as_of
    assert champion.evidence.equals(judged.evaluation.summary)


def test_a_refresh_keeps_the_evidence_of_the_gate_behind_it(tracking, judged, refreshed):
    crowned(tracking, judged, "gate")
    crowned(tracking, replace(refreshed, trained_through=date(2030, 1, 1)), "refresh")
    champion = tracking.champion()
    assert champion.name == "GRU"
    assert champion.decision["verdict"] == judged.decision.verdict
    assert champion.gate_as_of == judged.as_of
    assert champion.evidence.equals(judged.evaluation.summary)


def test_without_any_gate_the_reason_is_the_trainings_own(tracking, refreshed):
    crowned(tracking, replace(refreshed, outcome="first", reason="Too little history."), "key")
    champion = tracking.champion()
    assert (champion.decision["reason"], champion.decision["verdict"]) == ("Too little history.", None)
    assert (champion.gate_as_of, champion.evidence) == (None, None)


def test_a_backfill_gets_the_champion_of_that_day(tracking, judged, refreshed):
    crowned(tracking, refreshed, "early")
    tracking.register(tracking.log_training(replace(refreshed, outcome="kept"), "never champion"), "never champion")
    waiting = tracking._client.get_model_version_by_alias("tidecast", "challenger")
    assert str(waiting.version) == "2"
    crowned(tracking, judged, "late")
    assert tracking.champion(judged.as_of).version == "3"
    assert tracking.champion(refreshed.as_of).version == "1"
    assert tracking.champion(date(2015, 1, 5)) is None
    registered = tracking._client.get_registered_model("tidecast")
    assert {name: str(version) for name, version in registered.aliases.items()} == {"champion": "3", "previous": "1"}


def test_what_a_dead_process_left_running_is_ended_and_only_that(tracking, home, judged):
    run_id = crowned(tracking, judged, "key")
    client, experiment = tracking._client, tracking._experiment
    own = {"panel": tracking.where.panel, "training_key": "next"}
    dead = client.create_run(experiment, tags=own).info.run_id
    inside = client.create_run(experiment, tags={**own, "mlflow.parentRunId": dead}).info.run_id
    half = client.create_logged_model(experiment, name="half", source_run_id=dead, tags=own).model_id
    stranger = client.create_run(experiment, tags={"panel": "another"}).info.run_id
    later = Tracking(home, MlflowConfig(), {})
    assert set(later.recover()) == {dead, inside, half}
    assert later.recover() == []
    status = {run: run_of(later, run).info.status for run in (run_id, dead, inside, stranger)}
    assert status == {run_id: "FINISHED", dead: "KILLED", inside: "KILLED", stranger: "RUNNING"}
    fresh = later.log_training(judged, "next")
    assert fresh != dead
    assert later.register(fresh, "next") == "2"


def test_a_training_that_fails_on_the_way_is_failed_and_not_used_again(tracking, judged, monkeypatch):
    monkeypatch.setattr("flows.tracking._package", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tracking.log_training(judged, "key")
    monkeypatch.undo()
    (failed,) = tracking._runs(tracking._client, "tags.training_key = 'key'")
    assert failed.info.status == "FAILED"
    assert tracking.log_training(judged, "key") != failed.info.run_id


def test_a_run_that_is_not_whole_is_never_registered(tracking, home, judged):
    client = tracking._client
    unfinished = client.create_run(tracking._experiment, tags={"panel": tracking.where.panel}).info.run_id
    with pytest.raises(TrackingError, match="Only a complete, finished run can be registered"):
        tracking.register(unfinished, "key")
    run_id = tracking.log_training(judged, "key")
    (weights,) = (home.mlartifacts / "models").rglob("weights.safetensors")
    weights.unlink()
    with pytest.raises(TrackingError, match=r"must be whole, but has no weights\.safetensors"):
        tracking.register(run_id, "key")
    assert tracking._versions(client) == []


def test_two_panels_on_one_store_do_not_take_each_others_champion(tracking, home, tmp_path, judged):
    crowned(tracking, judged, "key")
    shared = MlflowConfig(server=Server(mlflow_tracking_uri=tracking.where.tracking_uri))
    other = Tracking(Home(tmp_path / "other").make(), shared, {})
    with pytest.raises(TrackingError, match="must belong to this panel"):
        other.champion()
    with pytest.raises(TrackingError, match=r"registry\.model_name"):
        other.promote("1")


def test_a_store_that_cannot_be_used_is_one_line(tmp_path):
    config = MlflowConfig(server=Server(mlflow_tracking_uri="file:///nowhere"))
    with pytest.raises(TrackingError, match="MLflow at file:///nowhere answered"):
        Tracking(Home(tmp_path).make(), config, {}).champion()


def test_mlflow_is_silent_and_leaves_nothing_behind(tracking, home, judged, tmp_path, monkeypatch, capfd):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = dict(os.environ)
    crowned(tracking, judged, "key")
    tracking.champion()
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


def test_the_logged_model_forecasts_elsewhere_without_a_pickle(tracking, home, refreshed, tmp_path):
    crowned(tracking, refreshed, "key")
    folder = home.mlartifacts / "models"
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"MLmodel", "served_model.py", "model.json", "weights.safetensors", "input_example.json"} <= names
    assert not {name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".joblib"))}

    assert "tidecast==" in next(folder.rglob("requirements.txt")).read_text(encoding="utf-8")
    refreshed.panel.to_pandas().to_parquet(tmp_path / "prices.parquet")
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    if "site-packages" not in str(Path(sys.modules["flows"].__file__)):
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])  # as an editable install would
    command = [sys.executable, "-c", OUTSIDE, tracking.where.tracking_uri]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    served, expected = pl.read_parquet(tmp_path / "forecast.parquet"), refreshed.model.predict(refreshed.panel)
    times = pl.col("origin", "time").cast(pl.Date)
    assert served.with_columns(times).cast(dict(expected.schema)).equals(expected)
