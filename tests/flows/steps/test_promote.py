"""What is decided, by training or by hand, how it is recorded, and that a kill or a fault promotes nobody."""

import json
from dataclasses import replace
from datetime import date

import polars as pl
import pytest

from tests.flows.trainings import SETTINGS
from tidecast.flows.errors import TidecastError
from tidecast.flows.steps import daily_steps as steps
from tidecast.flows.steps import promote
from tidecast.flows.steps.promote import Promoter
from tidecast.flows.tracking.registry import ChampionChanged, Registry
from tidecast.flows.tracking.store import TrackingError
from tidecast.flows.training.decisions import TrainingKey, gates, last_of
from tidecast.flows.workspace.workspace import Workspace
from tidecast.forecasting.evaluation.gate_policy import GatePolicy

pytestmark = pytest.mark.usefixtures("without_pictures")


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def workspace(store, judged) -> Workspace:
    """A panel with prices, on which nothing was trained yet."""
    made = Workspace(store.home, SETTINGS)
    known = judged.panel.with_columns(known_at=pl.col("time"), as_of=pl.lit(judged.as_of))
    made.warehouse.store_prices(known)
    return made


@pytest.fixture
def trains(monkeypatch):
    """A function: what the next trainings find, and how often one was held."""
    held = []

    def find(*trainings):
        left = list(trainings)

        def train(panel, as_of, settings, champion, gate_due, say, versions, found, stored):
            held.append((champion.version if champion else None, gate_due))
            return replace(left.pop(0), table_versions=versions)

        monkeypatch.setattr(promote, "train", train)
        return held

    return find


@pytest.fixture
def early(refreshed) -> date:
    return refreshed.as_of


def test_every_decision_is_a_record(workspace, trains, judged):
    trains(judged)
    row = Promoter.of(workspace).train(judged.as_of, "me")
    (stored,) = workspace.warehouse.decisions().drop("year").to_dicts()
    assert stored == {**dict.fromkeys(stored), **row}
    assert (stored["outcome"], stored["winner"], stored["version"]) == ("first", "random_walk", "1")
    assert (stored["candidate"], stored["n_origins"], stored["gates_before"]) == ("drift", 130, 0)
    assert stored["distribution_p"] == judged.decision.distribution_p
    assert stored["first_origin"] == judged.decision.first_origin
    assert stored["prices_version"] == workspace.warehouse.versions()["prices"]
    assert json.loads(stored["policy"])["level"] == GatePolicy().level
    assert {found["model"] for found in json.loads(stored["compared"])} == {"drift", "random_walk"}
    assert [check["name"] for check in json.loads(stored["checks"])["checks"]][:2] == ["history", "complete"]
    assert workspace.registry().aliases() == {"champion": "1"}


def test_a_training_of_the_same_session_rows_and_settings_is_held_once(workspace, trains, judged):
    held = trains(judged)
    first = Promoter.of(workspace).train(judged.as_of, "me")
    assert Promoter.of(workspace).train(judged.as_of, "me")["decision"] == first["decision"]
    assert len(held) == 1
    assert workspace.warehouse.decisions().height == 1


def test_the_key_changes_with_session_rows_settings_and_champion():
    one = TrainingKey(date(2024, 1, 1), "a", "b")
    others = [replace(one, as_of=date(2024, 1, 2)), replace(one, panel_digest="c"), replace(one, settings_digest="c")]
    assert len({one.key(""), one.key("1"), *(other.key("") for other in others)}) == 5


def test_the_next_gate_counts_from_the_last_one_for_any_champion(workspace, trains, judged, refreshed, early):
    held = trains(replace(judged, as_of=early, trained_through=early), replace(refreshed, as_of=judged.as_of))
    Promoter.of(workspace).train(early, "me")
    Promoter.of(workspace).train(judged.as_of, "me")
    assert held == [(None, True), ("1", True)]  # 139 sessions later
    decisions = workspace.warehouse.decisions()
    assert decisions["gates_before"].to_list() == [0, 1]
    assert gates(decisions).height == 1


WRITES = ("log_training", "register", "store_decision", "promote")


@pytest.mark.parametrize("step", WRITES)
def test_killed_after_any_step_and_run_again_one_decision_one_version_one_champion(
    workspace, trains, judged, monkeypatch, step
):
    from tidecast.flows.tracking.training_runs import Tracking
    from tidecast.flows.warehouse.warehouse import Warehouse

    owner = {"log_training": Tracking, "store_decision": Warehouse}.get(step, Registry)
    genuine = getattr(owner, step)

    def killed(self, *arguments):
        genuine(self, *arguments)
        raise Killed

    trains(judged, judged)
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, killed)
        with pytest.raises(Killed):
            Promoter.of(workspace).train(judged.as_of, "me")
    assert workspace.registry().aliases().get("champion") == ("1" if step == "promote" else None)
    Promoter.of(workspace).train(judged.as_of, "me")
    assert workspace.registry().aliases() == {"champion": "1"}
    assert workspace.warehouse.decisions().height == 1


@pytest.mark.parametrize("killed_after", ["nothing", "log_training", "store_decision"])
def test_a_training_that_mlflow_could_not_take_is_promoted_by_the_next_run(
    workspace, trains, judged, monkeypatch, killed_after
):
    from tidecast.flows.tracking.training_runs import Tracking
    from tidecast.flows.warehouse.warehouse import Warehouse

    def away(*_):
        raise TrackingError("MLflow is away.")

    held = trains(judged)
    with monkeypatch.context() as patch:
        patch.setattr(Tracking, "send", away)
        with pytest.raises(TrackingError, match=r"away\. The training is kept in .*; the next run logs it"):
            Promoter.of(workspace).train(judged.as_of, "me")
    assert workspace.warehouse.decisions().is_empty()
    owner, step = {"log_training": (Registry, "register"), "store_decision": (Warehouse, "store_decision")}.get(
        killed_after, (None, "")
    )
    if owner is not None:
        genuine = getattr(owner, step)

        def killed(self, *arguments):
            genuine(self, *arguments)
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(owner, step, killed)
            with pytest.raises(Killed):
                Promoter.of(workspace).settle()
    Promoter.of(workspace).settle()
    assert workspace.registry().aliases() == {"champion": "1"}
    assert workspace.warehouse.decisions()["version"].to_list() == ["1"]
    assert workspace.tracking().kept() == []
    assert len(held) == 1
    Promoter.of(workspace).train(judged.as_of, "me")
    assert len(held) == 1


def test_a_model_that_forecasts_otherwise_once_it_is_loaded_is_not_promoted(workspace, trains, judged, refreshed):
    trains(judged)
    genuine = Registry.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "load", lambda self, version: replace(genuine(self, version), model=refreshed.model))
        with pytest.raises(TidecastError, match="must forecast as the model that was logged"):
            Promoter.of(workspace).train(judged.as_of, "me")
    assert workspace.warehouse.decisions().is_empty()
    assert "champion" not in workspace.registry().aliases()


def test_a_champion_that_changed_during_a_training_is_not_replaced_and_that_is_recorded(
    workspace, trains, judged, refreshed, early, monkeypatch
):
    trains(refreshed, judged)
    Promoter.of(workspace).train(early, "me")
    genuine = Registry.register

    def meanwhile(self, run_id, key):
        version = genuine(self, run_id, key)
        other = genuine(self, run_id, "by somebody else")
        self.promote(other, "1")
        return version

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "register", meanwhile)
        with pytest.raises(ChampionChanged, match="Train again"):
            Promoter.of(workspace).train(judged.as_of, "me")
    assert workspace.registry().aliases()["champion"] == "3"
    assert workspace.warehouse.decisions()["outcome"].to_list() == ["refreshed", "first", "refused"]
    assert last_of(workspace.warehouse.decisions())["version"] == "1"
    trains(judged)
    assert Promoter.of(workspace).train(judged.as_of, "me")["champion_version"] == "3"


def test_a_registry_that_lost_its_champion_is_not_a_new_panel(workspace, trains, judged, refreshed, early):
    held = trains(replace(refreshed, as_of=date(2015, 6, 1)), refreshed)
    Promoter.of(workspace).train(date(2015, 6, 1), "me")
    Promoter.of(workspace).train(early, "me")
    workspace.registry().store.client.delete_registered_model_alias("tidecast", "champion")
    with pytest.raises(TidecastError, match=r"Version 2 must be champion, .* tidecast promote 2"):
        Promoter.of(workspace).train(judged.as_of, "me")
    assert len(held) == 2
    with pytest.raises(TidecastError, match="Version 2 must be champion"):
        steps.champion_of(workspace.registry(), workspace.warehouse, workspace.settings, judged.as_of)
    Promoter.of(workspace).promote("2", "me", "the alias was lost")
    assert workspace.registry().aliases()["champion"] == "2"


def test_a_fault_of_the_registry_promotes_no_model(workspace, trains, judged, monkeypatch):
    trains(judged)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def fault(*arguments, **named):
        raise MlflowException("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", fault)
        with pytest.raises(TrackingError, match="no answer"):
            Promoter.of(workspace).train(judged.as_of, "me")
    assert "champion" not in workspace.registry().aliases()
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "get_model_version_by_alias", fault)
        with pytest.raises(TrackingError, match="no answer"):
            promote.present_champion(workspace.registry(), workspace.warehouse.decisions())


def test_by_hand_forward_and_back_with_who_and_why(workspace, trains, judged, refreshed, early):
    trains(refreshed, judged)
    Promoter.of(workspace).train(early, "me")
    Promoter.of(workspace).train(judged.as_of, "me")
    back = Promoter.of(workspace).rollback("ada", "the spread was too wide")
    assert workspace.registry().aliases() == {"champion": "1", "previous": "2"}
    assert back["reason"] == "Rolled back to version 1 by ada: the spread was too wide"
    assert (back["by"], back["why"], back["champion_version"]) == ("ada", "the spread was too wide", "2")
    champion = promote.present_champion(workspace.registry(), workspace.warehouse.decisions())
    assert champion.decision["reason"] == "Refit on newer rows."  # what was measured stays what it is
    Promoter.of(workspace).promote("2", "ada", "it was right")
    with pytest.raises(TidecastError, match="version 2 is champion already"):
        Promoter.of(workspace).promote("2", "ada", "it was right")
    assert workspace.warehouse.decisions()["version"].to_list() == ["1", "2", "1", "2"]
    with pytest.raises(TidecastError, match="There must be a challenger to promote, found none"):
        Promoter.of(workspace).promote(None, "ada", "why not")


def test_a_choice_that_was_killed_half_way_is_one_record(workspace, trains, judged, refreshed, early, monkeypatch):
    trains(refreshed, judged)
    Promoter.of(workspace).train(early, "me")
    Promoter.of(workspace).train(judged.as_of, "me")
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "promote", lambda *arguments: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            Promoter.of(workspace).rollback("ada", "too wide")
    Promoter.of(workspace).settle()
    assert workspace.registry().aliases()["champion"] == "1"
    assert workspace.warehouse.decisions().height == 3


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"horizon": 3}, "its horizon is 2, not 3"),
        ({"quantiles": (0.2, 0.5)}, r"its quantiles is 0\.1, 0\.5, 0\.9, not 0\.2, 0\.5"),
    ],
)
def test_a_version_that_forecasts_something_else_is_refused(
    workspace, trains, judged, refreshed, early, changed, words
):
    trains(refreshed, judged)
    Promoter.of(workspace).train(early, "me")
    Promoter.of(workspace).train(judged.as_of, "me")
    other = Workspace(workspace.state_folder, SETTINGS.model_copy(update=changed))
    with pytest.raises(TidecastError, match=words):
        Promoter.of(other).rollback("ada", "why not")
    assert workspace.registry().aliases()["champion"] == "2"
