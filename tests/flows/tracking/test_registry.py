"""Who is champion: that any step on the way may be killed and taken again, and that nobody else's is taken."""

import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from tests.flows.trainings import crowned
from tidecast.flows.config.mlflow_yml import MlflowConfig, Server
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.tracking.registry import FLAG, ChampionChanged, Registry
from tidecast.flows.tracking.store import MlflowStore, TrackingError
from tidecast.flows.tracking.training_runs import Tracking
from tidecast.flows.training.decisions import TrainingKey, of_training

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def registry(store) -> Registry:
    return Registry(store)


def test_asking_a_new_folder_for_its_champion_writes_nothing(tmp_path):
    store = MlflowStore(StateFolder(tmp_path), MlflowConfig(), {})
    assert Registry(store).champion() is None
    assert Tracking(store).recover() == []
    assert list(tmp_path.iterdir()) == []


def test_steps_taken_again_find_what_is_there(store, judged):
    run_id = crowned(store, judged, "key")
    again = MlflowStore(store.home, MlflowConfig(), {})
    later = Registry(again)
    assert Tracking(again).log_training(judged, "key") == run_id
    assert later.register(run_id, "key") == "1"
    later.promote("1", None)
    champion = later.champion()
    assert (champion.version, champion.run_id, champion.name) == ("1", run_id, "random_walk")
    assert len(later._versions(store.client)) == 1


def test_the_champion_comes_back_as_it_was_fitted(store, registry, judged):
    crowned(store, judged, "key")
    champion = registry.champion()
    assert champion.model.predict().equals(judged.model.predict())
    assert champion.recipe == judged.model.recipe()
    assert champion.trained_through == judged.trained_through
    assert champion.decision["reason"] == judged.reason
    assert champion.gate_as_of == judged.as_of
    assert champion.evidence.equals(judged.evaluation.summary)


def test_a_refresh_keeps_the_evidence_of_the_gate_behind_it(store, registry, judged, refreshed):
    crowned(store, judged, "gate")
    crowned(store, replace(refreshed, trained_through=date(2030, 1, 1)), "refresh")
    champion = registry.champion()
    assert champion.name == "GRU"
    assert champion.decision["verdict"] == judged.decision.verdict
    assert champion.gate_as_of == judged.as_of
    assert champion.evidence.equals(judged.evaluation.summary)


def test_without_any_gate_the_reason_is_the_trainings_own(store, registry, refreshed):
    crowned(store, replace(refreshed, outcome="first", reason="Too little history."), "key")
    champion = registry.champion()
    assert (champion.decision["reason"], champion.decision["verdict"]) == ("Too little history.", None)
    assert (champion.gate_as_of, champion.evidence) == (None, None)


def test_a_backfill_gets_the_champion_of_that_day(store, registry, judged, refreshed):
    crowned(store, refreshed, "early")
    never = Tracking(store).log_training(replace(refreshed, outcome="kept"), "never champion")
    registry.register(never, "never champion")
    waiting = store.client.get_model_version_by_alias("tidecast", "challenger")
    assert str(waiting.version) == "2"
    crowned(store, judged, "late")
    assert registry.champion(judged.as_of).version == "3"
    assert registry.champion(refreshed.as_of).version == "1"
    assert registry.champion(date(2015, 1, 5)) is None
    registered = store.client.get_registered_model("tidecast")
    assert {name: str(version) for name, version in registered.aliases.items()} == {"champion": "3", "previous": "1"}


def test_a_run_that_is_not_whole_is_never_registered(store, registry, judged):
    client = store.client
    unfinished = client.create_run(store.experiment, tags={"panel": store.where.panel}).info.run_id
    with pytest.raises(TrackingError, match="Only a complete, finished run can be registered"):
        registry.register(unfinished, "key")
    run_id = Tracking(store).log_training(judged, "key")
    (weights,) = (store.home.mlartifacts / "models").rglob("weights.safetensors")
    weights.unlink()
    with pytest.raises(TrackingError, match=r"must be whole, but has no weights\.safetensors"):
        registry.register(run_id, "key")
    assert registry._versions(client) == []


def test_two_panels_on_one_store_do_not_take_each_others_champion(store, tmp_path, judged):
    crowned(store, judged, "key")
    shared = MlflowConfig(server=Server(mlflow_tracking_uri=store.where.tracking_uri))
    other = Registry(MlflowStore(StateFolder(tmp_path / "other").make(), shared, {}))
    with pytest.raises(TrackingError, match="must belong to this panel"):
        other.champion()
    with pytest.raises(TrackingError, match=r"registry\.model_name"):
        other.promote("1", None)


def versions_made(store, training, n: int) -> list[str]:
    """Versions that were registered one after the other, and wait."""
    registry = Registry(store)
    return [registry.register(Tracking(store).log_training(training, key), key) for key in "abcd"[:n]]


def test_of_two_trainings_that_finish_at_once_only_one_becomes_champion(store, registry, judged, refreshed):
    crowned(store, refreshed, "first")
    one, other = versions_made(store, judged, 2)
    registry.promote(one, "1")
    with pytest.raises(ChampionChanged, match="Version 3 was compared with version 1, but now version 2 is champion"):
        registry.promote(other, "1")
    assert registry.aliases() == {"champion": "2", "previous": "1", "challenger": "3"}


def test_another_promotion_at_the_same_moment_is_seen(store, registry, judged, monkeypatch):
    one, other = versions_made(store, judged, 2)
    rival = Registry(MlflowStore(store.home, MlflowConfig(), {}))
    genuine = rival._versions

    def in_between(client):  # the other one's flag comes up after this one's, and before it looks
        if not in_between.done:
            in_between.done = True
            with pytest.raises(TrackingError, match=f"another one promotes version {other}"):
                registry.promote(one, None)
        return genuine(client)

    in_between.done = True
    monkeypatch.setattr(rival, "_versions", in_between)
    flagged = rival._flagged

    def flag_then_wait(client, version, replacing):
        in_between.done = False
        return flagged(client, version, replacing)

    monkeypatch.setattr(rival, "_flagged", flag_then_wait)
    rival.promote(other, None)
    assert registry.aliases()["champion"] == other


def test_a_flag_that_a_killed_process_left_up_holds_for_ten_minutes(store, registry, judged):
    one, other = versions_made(store, judged, 2)
    flag = datetime.now(UTC) - timedelta(minutes=1)
    store.client.set_model_version_tag("tidecast", other, FLAG, flag.isoformat())
    with pytest.raises(TrackingError, match="Wait 10 minutes"):
        registry.promote(one, None)
    assert "champion" not in registry.aliases()
    store.client.set_model_version_tag("tidecast", other, FLAG, (flag - timedelta(minutes=10)).isoformat())
    registry.promote(one, None)
    assert registry.aliases()["champion"] == one


def test_an_alias_that_somebody_moves_right_after_is_seen(store, registry, judged, monkeypatch):
    one, other = versions_made(store, judged, 2)
    genuine = store.client.delete_model_version_tag

    def meddle(*arguments):
        genuine(*arguments)
        store.client.set_registered_model_alias("tidecast", "champion", other)

    monkeypatch.setattr(store.client, "delete_model_version_tag", meddle)
    with pytest.raises(ChampionChanged, match=f"Version {one} was made champion, but version {other} is"):
        registry.promote(one, None)


def test_a_version_that_lost_files_is_not_promoted(store, registry, judged):
    (version,) = versions_made(store, judged, 1)
    next((store.home.mlartifacts / "models").rglob("model.json")).unlink()
    with pytest.raises(TrackingError, match=r"version 1 must be whole, but has no model\.json"):
        registry.promote(version, None)
    assert "champion" not in registry.aliases()
    with pytest.raises(TrackingError, match="There must be a version 7 of this panel to promote; there are: 1"):
        registry.promote("7", None)


def test_a_champion_whose_gate_was_deleted_from_mlflow_for_good_still_forecasts(store, judged):
    run_id = crowned(store, judged, "key")
    shutil.rmtree(store.home.mlartifacts / run_id)
    delete_for_good(store, run_id)
    alone = Registry(store).champion()
    assert alone.model.predict().equals(judged.model.predict())
    assert "was deleted from MLflow" in alone.decision["reason"]
    known = of_training(judged, TrainingKey(judged.as_of, "a", "b"), None, 0, "me", datetime.now(UTC))
    row = known | {"version": "1", "run_id": run_id}
    table = pl.DataFrame([row | {"why": None}])
    champion = Registry(store, lambda: table).champion()
    assert champion.decision["verdict"] == judged.decision.verdict
    assert champion.decision["decision"]["distribution_skill"] == judged.decision.distribution_skill
    assert (champion.gate_as_of, champion.evidence) == (judged.as_of, None)


def delete_for_good(store, run_id):
    """As `mlflow gc` does."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store.client.delete_run(run_id)
    SqlAlchemyStore(store.where.tracking_uri, store.home.mlartifacts.as_uri())._hard_delete_run(run_id)
