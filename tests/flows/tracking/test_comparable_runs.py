"""Runs in MLflow can be compared: the same names of metrics, the same settings, links that lead somewhere."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from tests.flows.trainings import crowned
from tidecast.flows.tracking import metric_names, run_record
from tidecast.flows.tracking.compared_models import compared_models
from tidecast.flows.tracking.registry import MODEL_VERSIONS, Registry
from tidecast.flows.tracking.run_record import RunRecord, describe, fingerprint
from tidecast.flows.tracking.training_runs import RECORD, Tracking

DOCS = Path(__file__).parents[3] / "docs/mlflow.md"
DRIFT, WALK, OTHER = {"class": "Drift"}, {"class": "RandomWalk"}, {"class": "GRU", "settings": {"hidden_size": 8}}


@pytest.fixture
def tracking(store, without_pictures) -> Tracking:
    return Tracking(store)


@pytest.fixture
def compared(judged):
    """A training with the recipes of its models, and with numbers of the selection."""
    numbers = {"pinball": [0.5, 0.6], "skill": [0.002, 0.001], "coverage": [0.9, 0.8]}
    selection = pl.DataFrame({"model": ["drift", "GRU"], "origins": [50, 50], **numbers})
    return replace(
        judged, selection=selection, compared={"drift": DRIFT, "random_walk": WALK},
        recipes={"drift": DRIFT, "GRU": OTHER},
    )  # fmt: skip


def runs_of(tracking: Tracking, run_id: str):
    """The run of a training and those inside it, by model."""
    inside = tracking._runs(tracking.store.client, f"tags.`mlflow.parentRunId` = '{run_id}'")
    return tracking.store.client.get_run(run_id), {run.data.tags["model"]: run for run in inside}


def test_a_training_and_its_models_once_had_no_metric_in_common(tracking, compared):
    parent, inside = runs_of(tracking, tracking.log_training(compared, "key"))
    assert set(inside) == {"drift", "random_walk", "GRU"}
    of_parent = {name for name in parent.data.metrics if name.startswith(("gate/", "selection/"))}
    assert of_parent == set(inside["drift"].data.metrics) >= set(inside["random_walk"].data.metrics)
    assert {name for name in inside["GRU"].data.metrics if "fit/" not in name} == {
        "selection/skill_percent", "selection/pinball", "selection/coverage_percent",
    }  # fmt: skip
    assert parent.data.metrics["selection/skill_percent"] == 0.2
    assert inside["GRU"].data.metrics["selection/skill_percent"] == 0.1
    assert inside["random_walk"].data.metrics["gate/skill_percent"] == 0


def test_skill_by_step_is_one_series_and_not_a_metric_for_each_step(tracking, compared):
    run_id = tracking.log_training(compared, "key")
    points = tracking.store.client.get_metric_history(run_id, "gate/skill_by_step_percent")
    by_step = compared.evaluation.summary.filter(group="step", model="drift").sort("step")
    assert [point.step for point in points] == by_step["step"].to_list() == [1, 2]
    assert [point.value for point in points] == (100 * by_step["skill"]).to_list()


def test_every_model_has_all_its_settings_and_the_panels(tracking, compared):
    parent, inside = runs_of(tracking, tracking.log_training(compared, "key"))
    shared = {name: value for name, value in parent.data.params.items() if name.startswith(("settings.", "version."))}
    assert shared["settings.lookback"] == "16"
    for run in inside.values():
        assert run.data.params.items() >= shared.items()
    assert [inside[name].data.params["class"] for name in ("drift", "random_walk")] == ["Drift", "RandomWalk"]
    assert inside["GRU"].data.params["hidden_size"] == "8"
    assert parent.data.params["class"] == "Drift"  # its numbers and settings are those of the model that was tested


def test_a_recipe_with_two_names_is_one_model_and_two_recipes_with_one_name_are_two(compared):
    renamed = replace(compared, recipes={"LSTM": DRIFT, "drift": OTHER}, learning_curves={})
    selection = compared.selection.with_columns(model=pl.Series(["LSTM", "drift"]))
    models = compared_models(replace(renamed, selection=selection))
    found = [
        (model.name, model.recipe, model.selection.get("skill")) for model in models if model.name != "random_walk"
    ]
    assert found == [("drift", DRIFT, 0.002), ("drift", OTHER, 0.001)]


def test_the_drift_beside_a_candidate_has_no_run_of_its_own(compared):
    """It takes no part in the selection, so a comparison of all models would show no metric."""
    decision = replace(compared.decision, candidate="random_walk")
    names = [model.name for model in compared_models(replace(compared, decision=decision, selection=pl.DataFrame()))]
    assert names == ["random_walk", "GRU"]


def test_the_logged_model_has_its_own_numbers_and_settings(tracking, compared):
    """The random walk stays: its page must not show what the drift was tested with."""
    run_id = tracking.log_training(compared, "key")
    (model,) = tracking.store.client.search_logged_models([tracking.store.experiment])
    assert model.source_run_id == run_id
    assert {metric.key: metric.value for metric in model.metrics}["gate/skill_percent"] == 0
    assert model.params["class"] == "RandomWalk"
    assert {metric.dataset_name for metric in model.metrics} == {"prices version 7"}


def test_a_refit_without_a_gate_is_one_run_with_its_settings_and_curve(tracking, refreshed):
    parent, inside = runs_of(tracking, tracking.log_training(refreshed, "key"))
    assert inside == {}
    assert parent.info.run_name == f"GRU, refit {refreshed.as_of}"
    assert parent.data.params["hidden_size"] == "4"
    assert "fit/train_loss" in parent.data.metrics
    assert not any(name.startswith("gate/") for name in parent.data.metrics)


def test_a_registered_model_once_said_not_registered(store, tracking, judged, refreshed):
    crowned(store, judged, "first")
    (older,) = store.client.search_logged_models([store.experiment])
    assert json.loads(older.tags[MODEL_VERSIONS]) == [{"name": "tidecast", "version": "1"}]
    store.client.delete_logged_model_tag(older.model_id, MODEL_VERSIONS)  # as earlier versions left it
    run_id = crowned(store, refreshed, "second")
    assert Registry(store).register(run_id, "second") == "2"
    for model in store.client.search_logged_models([store.experiment]):
        version = "1" if model.model_id == older.model_id else "2"
        assert json.loads(model.tags[MODEL_VERSIONS]) == [{"name": "tidecast", "version": version}]


def test_a_report_is_among_the_files_of_its_training_once(tracking, judged, tmp_path):
    run_id = tracking.log_training(judged, "key")
    report = tmp_path / "2026-10-30.html"
    for text in ("first", "again"):
        report.write_text(text)
        tracking.add_report(run_id, report)
    files = [file.path for file in tracking.store.client.list_artifacts(run_id) if file.path.endswith(".html")]
    assert files == ["report.html"]
    stored = tracking.store.client.download_artifacts(run_id, "report.html", str(tmp_path))
    assert Path(stored).read_text() == "again"


def test_a_training_that_an_earlier_version_could_not_send_is_sent(tracking, judged):
    tracking._store(judged, tracking._folder("key"), {"as_of": judged.as_of}, {})
    file = tracking._folder("key") / RECORD
    record = json.loads(file.read_text())
    record["metrics"] = {"skill": 0.1, "drift/skill": 0.2}
    for each in (record, *record["inside"]):
        del each["of_logged_model"]
    file.write_text(json.dumps(record))
    parent, inside = runs_of(tracking, tracking.send("key"))
    assert parent.data.metrics["drift/skill"] == 0.2
    assert len(inside) == 3


def test_a_number_that_is_not_finite_is_left_out():
    row = {"skill": float("nan"), "crps": None, "coverage": 0.9}
    assert metric_names.pooled_metrics("gate", row) == {"gate/coverage_percent": 90.0}
    assert metric_names.step_metrics("gate", [{"step": 2, "skill": 0.1}, {"step": 1, "skill": None}]) == [
        ("gate/skill_by_step_percent", 2, 10.0)
    ]


def test_the_names_of_a_run_lead_with_what_was_found(compared):
    skill = f"{100 * compared.decision.distribution_skill:+.2f} %".replace("-", "−")
    assert describe(compared, "prices").name.startswith(f"{skill} drift, turned down ")
    names = [inner.name for inner in describe(compared, "prices").inside]
    assert names == [
        f"{skill} drift, tested", "random walk, champion", "GRU, +0.10 % on older folds, not chosen",
    ]  # fmt: skip


def test_a_link_to_a_server_that_ends_with_the_run_was_once_stored(sandbox, prefect_api):
    from prefect import flow
    from prefect.settings import PREFECT_SERVER_UI_ENABLED, temporary_settings

    from tidecast.flows.prefect_ui.run_names import run_links

    linked = flow(run_links)
    assert linked()["url"].startswith(prefect_api.removesuffix("/api"))
    with temporary_settings({PREFECT_SERVER_UI_ENABLED: False}):  # as `launch.prefect_api` does for one run
        assert set(linked()) == {"id"}


def test_every_metric_is_documented():
    text = DOCS.read_text(encoding="utf-8")
    pooled = [each.name for each in metric_names.POOLED_METRICS + metric_names.STEP_METRICS]
    others = [value for name, value in vars(metric_names).items() if name.isupper() and isinstance(value, str)]
    others += [metric_names.TRAIN_LOSS, metric_names.seconds_metric(""), metric_names.memory_metric("")]
    assert [name for name in [*pooled, *others] if name not in text] == []


def test_a_record_keeps_everything_on_its_way_through_json(compared):
    record = describe(compared, "prices")
    again = RunRecord.from_json(record.to_json())
    assert again.to_json() == record.to_json()
    assert [inner.of_logged_model for inner in again.inside] == [False, True, False]


def test_the_digest_of_a_panel_depends_neither_on_the_order_of_its_rows_nor_on_pieces(monkeypatch):
    days = [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 2)]
    values = {"close": [1.0, None, 2.5], "sector": ["x", None, "y"]}
    panel = pl.DataFrame({"series_id": ["b", "a", "a"], "time": days, **values})
    assert fingerprint(panel) == "96b3e15032f5974a", "as earlier versions have stored it"
    assert fingerprint(panel.sort("series_id", "time")) == "96b3e15032f5974a"
    assert fingerprint(panel.with_columns(close=2.0)) != "96b3e15032f5974a"
    monkeypatch.setattr(run_record, "PIECE", 2)
    assert fingerprint(panel) == "96b3e15032f5974a"
