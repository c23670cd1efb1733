"""A champion whose model is lost: the cause is named, and a training brings it back. Decisions stay."""

import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from tests.flows.trainings import SETTINGS, crowned
from tidecast.flows.config.mlflow_yml import MlflowConfig
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import TidecastError
from tidecast.flows.steps import daily_steps as steps
from tidecast.flows.steps import promote
from tidecast.flows.steps.promote import Promoter
from tidecast.flows.tracking.lost_model import ModelLost
from tidecast.flows.tracking.registry import Registry
from tidecast.flows.tracking.relocate import relocate_if_moved
from tidecast.flows.tracking.store import MlflowStore
from tidecast.flows.workspace.workspace import Workspace

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def trained(store, judged, refreshed, monkeypatch) -> Workspace:
    """A panel whose champion is a GRU, version 1, and that is ready to be trained again."""
    workspace = Workspace(store.home, SETTINGS)
    known = judged.panel.with_columns(known_at=pl.col("time"), as_of=pl.lit(judged.as_of))
    workspace.warehouse.store_prices(known)
    monkeypatch.setattr(promote, "train", lambda *arguments: replace(refreshed, table_versions=arguments[6]))
    Promoter.of(workspace).train(refreshed.as_of, "me")

    def again(panel, as_of, settings, champion, *others):
        assert champion.name == "GRU"
        assert champion.recipe == refreshed.model.recipe()
        return replace(judged, winner="GRU", model=refreshed.model, outcome="refreshed", trained_through=as_of)

    monkeypatch.setattr(promote, "train", again)
    return workspace


def lose_database(home: StateFolder, empty_db: Path) -> StateFolder:
    """MLflow began anew, in a folder that was moved: an open database cannot be taken away in the same process."""
    moved = StateFolder(home.path.rename(home.path.with_name("moved")))
    shutil.copyfile(empty_db, moved.mlflow_db)
    return moved


def lose_files(home: StateFolder, empty_db: Path) -> StateFolder:
    shutil.rmtree(home.mlartifacts)
    return home


def lose_both(home: StateFolder, empty_db: Path) -> StateFolder:
    moved = lose_files(lose_database(home, empty_db), empty_db)
    moved.mlflow_db.unlink()
    return moved


def cut_weights(home: StateFolder, empty_db: Path) -> StateFolder:
    (weights,) = home.mlartifacts.rglob("weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    return home


def spoil_description(home: StateFolder, empty_db: Path) -> StateFolder:
    (description,) = home.mlartifacts.rglob("model.json")
    description.write_text("{}")
    return home


@pytest.mark.parametrize(
    ("lose", "cause"),
    [
        (lose_database, r"Version 1 must be champion.*mlflow\.db has no such version.*another machine"),
        (lose_files, r"The model of version 1 must be whole, but .*weights\.safetensors must be in .*mlartifacts"),
        (cut_weights, "The model of version 1 must be whole, but its files cannot be read: UnreadableModel"),
        (spoil_description, "The model of version 1 must be whole, but its files cannot be read: UnreadableModel"),
    ],
)
def test_a_lost_model_is_named_with_the_way_back_and_trained_anew(trained, judged, empty_mlflow_db, lose, cause):
    trained = Workspace(lose(trained.state_folder, empty_mlflow_db), SETTINGS)
    for attempt in (
        lambda: steps.champion_of(trained.registry(), trained.warehouse, trained.settings, judged.as_of),
        lambda: Promoter.of(trained).train(judged.as_of, "me"),
    ):
        with pytest.raises(ModelLost, match=cause) as error:
            attempt()
        assert str(error.value).endswith("or train anew (decisions stay): tidecast train --anew")
    row = Promoter.of(trained).train(judged.as_of, "me", anew=True)
    assert trained.warehouse.decisions()["version"].to_list() == ["1", row["version"]]
    assert trained.registry().aliases()["champion"] == row["version"]
    assert steps.champion_of(trained.registry(), trained.warehouse, trained.settings, judged.as_of).name == "GRU"
    Promoter.of(trained).settle()  # it has nothing to carry out
    assert trained.warehouse.decisions().height == 2


def test_a_second_machine_on_the_same_warehouse_is_told_that_its_mlflow_is_missing(trained, judged, tmp_path):
    """Once, it published the random walk and advised `promote 1`, a version that it did not have."""
    settings = SETTINGS.model_copy(update={"warehouse": trained.warehouse.uri})
    second = Workspace(StateFolder(tmp_path / "second").make(), settings)
    for attempt in (
        lambda: steps.champion_of(second.registry(), second.warehouse, settings, judged.as_of),
        lambda: Promoter.of(second).train(judged.as_of, "me"),
    ):
        with pytest.raises(ModelLost, match=r"does not exist yet: another machine .* Name its MLflow in mlflow\.yml"):
            attempt()
    assert trained.warehouse.decisions().height == 1


def test_a_model_that_is_not_lost_is_not_trained_anew(trained, judged):
    with pytest.raises(TidecastError, match="must be lost to be trained anew, but version 1 is whole"):
        Promoter.of(trained).train(judged.as_of, "me", anew=True)


def test_a_training_anew_that_was_killed_before_its_promotion_is_carried_out(
    trained, judged, empty_mlflow_db, monkeypatch
):
    trained = Workspace(lose_both(trained.state_folder, empty_mlflow_db), SETTINGS)

    class Killed(BaseException):
        pass

    def kill(*arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "promote", kill)
        with pytest.raises(Killed):
            Promoter.of(trained).train(judged.as_of, "me", anew=True)
    Promoter.of(trained).settle()
    assert trained.registry().aliases()["champion"] == "1"
    champion = steps.champion_of(trained.registry(), trained.warehouse, trained.settings, judged.as_of)
    assert champion.trained_through == judged.as_of


def test_a_copy_without_its_models_never_uses_those_of_the_original(store, judged, tmp_path):
    crowned(store, judged, "key")
    copy = StateFolder(
        shutil.copytree(store.home.path, tmp_path / "copy", ignore=shutil.ignore_patterns("mlartifacts"))
    )
    said = []
    with pytest.raises(ModelLost, match=r"must be whole, but .* must be in .*/copy/mlartifacts.* found nothing there"):
        Registry(MlflowStore(copy, MlflowConfig(), {}, said.append)).champion()
    assert f"{copy.mlartifacts} is missing, and those of {store.home.path} are not used" in said[0]
    assert relocate_if_moved(store.home) is None
    assert Registry(store).champion(date(2030, 1, 1)).version == "1"
