"""Who is champion: that any step on the way may be killed and taken again, and that nobody else's is taken."""

from dataclasses import replace
from datetime import date

import pytest

from flows.home import Home
from flows.mlflow_config import MlflowConfig, Server
from flows.mlflow_store import MlflowStore, TrackingError
from flows.registry import Registry
from flows.tracking import Tracking
from tests.test_flows.trainings import crowned

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def registry(store) -> Registry:
    return Registry(store)


def test_asking_a_new_folder_for_its_champion_writes_nothing(tmp_path):
    store = MlflowStore(Home(tmp_path), MlflowConfig(), {})
    assert Registry(store).champion() is None
    assert Tracking(store).recover() == []
    assert list(tmp_path.iterdir()) == []


def test_steps_taken_again_find_what_is_there(store, judged):
    run_id = crowned(store, judged, "key")
    again = MlflowStore(store.home, MlflowConfig(), {})
    later = Registry(again)
    assert Tracking(again).log_training(judged, "key") == run_id
    assert later.register(run_id, "key") == "1"
    later.promote("1")
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
    other = Registry(MlflowStore(Home(tmp_path / "other").make(), shared, {}))
    with pytest.raises(TrackingError, match="must belong to this panel"):
        other.champion()
    with pytest.raises(TrackingError, match=r"registry\.model_name"):
        other.promote("1")
