"""A state folder that was moved, renamed or copied goes on with the files that lie in it."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from tests.flows.trainings import crowned
from tidecast.flows.config.mlflow_yml import MlflowConfig
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import TidecastError
from tidecast.flows.tracking.registry import Registry
from tidecast.flows.tracking.relocate import relocate_if_moved
from tidecast.flows.tracking.store import MlflowStore
from tidecast.flows.tracking.training_runs import Tracking

pytestmark = pytest.mark.usefixtures("without_pictures")


def everything_in(home: StateFolder) -> str:
    """All text of MLflow's file."""
    with closing(sqlite3.connect(home.mlflow_db)) as database:
        return "\n".join(database.iterdump())


@pytest.mark.parametrize("name", ["b", "neu ü %20 'x'"])
def test_a_folder_that_was_moved_forecasts_and_trains_on_in_its_new_place(store, judged, refreshed, tmp_path, name):
    run_id = crowned(store, judged, "key")
    new = StateFolder(store.home.path.rename(tmp_path / name))
    said = []
    moved = MlflowStore(new, MlflowConfig(), {}, said.append)
    champion = Registry(moved).champion()
    assert champion.model.predict().equals(judged.model.predict())
    assert said == [f"The state folder was moved here from {store.home.path}: 8 addresses in mlflow.db were updated."]
    assert store.home.path.as_uri() not in everything_in(new)
    assert f"{store.home.path}/" not in everything_in(new)
    shown = [file.path for file in moved.client.list_artifacts(run_id)]
    assert "decision.json" in shown

    crowned(moved, refreshed, "next")
    assert not store.home.path.exists(), "nothing may be written to the old place"
    assert relocate_if_moved(new) is None


def test_a_copy_uses_its_own_files_and_leaves_the_original_alone(store, judged, tmp_path):
    crowned(store, judged, "key")
    copy = StateFolder(shutil.copytree(store.home.path, tmp_path / "copy"))
    before = everything_in(store.home)
    assert "was moved here" in relocate_if_moved(copy)
    assert relocate_if_moved(store.home) is None
    assert everything_in(store.home) == before
    shutil.rmtree(store.home.path)
    assert Registry(MlflowStore(copy, MlflowConfig(), {})).champion().version == "1"


def test_files_that_are_kept_elsewhere_on_purpose_stay_where_they_are(store, judged, tmp_path):
    elsewhere = tmp_path / "shared" / "mlartifacts"
    store.client.create_experiment("tidecast", elsewhere.as_uri())
    Tracking(store).log_training(judged, "key")
    assert relocate_if_moved(store.home) is None
    new = StateFolder(store.home.path.rename(tmp_path / "b"))
    assert relocate_if_moved(new) is None
    assert elsewhere.as_uri() in everything_in(new)


def test_a_file_that_is_not_a_database_is_named(store):
    store.home.mlflow_db.write_text("not a database, but long enough to be looked at as one " * 40)
    with pytest.raises(TidecastError, match=r"mlflow\.db must be MLflow's SQLite file"):
        relocate_if_moved(store.home)
