"""A panel in a file, a state folder, and one Prefect server for all tests that run a flow."""

import os
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from filelock import FileLock

from tests.flows.desk import Desk

PREFECT_DB = "prefect.db"


@dataclass
class Sandbox:
    """A source that can change from day to day, and the state folder it is read into."""

    folder: Path
    rows: pl.DataFrame
    settings: dict[str, object] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        return self.folder / "prices.csv"

    @property
    def sessions(self) -> list[date]:
        return self.rows["time"].unique().sort().to_list()

    def write(self, until: date | None = None, **changed: float) -> None:
        """Write the source up to a day; `changed` gives a series another price on its tenth last day."""
        rows = self.rows.filter(pl.col("time") <= (until or date.max))
        for name, price in changed.items():
            hit = (pl.col("series_id") == name) & (pl.col("time") == self.sessions[-10])
            rows = rows.with_columns(pl.when(hit).then(price).otherwise("close").alias("close"))
        rows.write_csv(self.source)

    @property
    def workspace(self):
        """The state folder with its settings, as a run would find them."""
        from tidecast.flows.config.state_folder import StateFolder
        from tidecast.flows.workspace.load_settings import load_settings
        from tidecast.flows.workspace.workspace import Workspace

        home = StateFolder(self.folder / "home")
        flags = {"source": str(self.source), **self.settings}
        return Workspace(home.make(), load_settings(home, flags, {}, self.folder)[0])

    def take_in(self, as_of: date | None, today: date):
        """Take in prices as a run does; the state folder with the settings that followed from them, and the result."""
        from tidecast.flows.steps.take_in import take_in_prices
        from tidecast.flows.workspace.workspace import Workspace

        workspace = self.workspace
        found = take_in_prices(workspace.state_folder, workspace.warehouse, workspace.settings, as_of, today)
        return Workspace(workspace.state_folder, found.settings), found

    def run(self, as_of: date | None = None, reissue: bool = False):
        """Run the daily flow, in this process."""
        from tidecast.flows.daily import daily_forecast

        workspace = self.workspace
        return daily_forecast(
            as_of=as_of, reissue=reissue, home=str(workspace.state_folder.path), settings=workspace.settings
        )


@pytest.fixture(scope="session")
def of_all_processes(tmp_path_factory) -> Path:
    """A folder that the processes of pytest-xdist share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def empty_mlflow_db(of_all_processes) -> Path:
    """A new MLflow store; making one takes seconds, copying it does not."""
    from mlflow import MlflowClient

    from tidecast.flows.tracking.addresses import quietly

    path, draft = of_all_processes / "mlflow.db", of_all_processes / "draft.db"
    with FileLock(f"{path}.lock"), quietly({}):
        if not path.exists():
            MlflowClient(f"sqlite:///{draft}").search_experiments(max_results=1)
            draft.replace(path)
    return path


@pytest.fixture(scope="session")
def empty_prefect_db(prefect_api, of_all_processes) -> Path:
    """The database of a new Prefect server; making one takes seconds, copying it does not."""
    return of_all_processes / PREFECT_DB


@pytest.fixture
def sandbox(tmp_path, random_walks, empty_mlflow_db) -> Sandbox:
    """Three random walks of 130 weekdays: long enough to forecast, too short for a gate."""
    made = Sandbox(tmp_path, random_walks(3, 130), {"models": ("GRU",), "lookback": 16, "n_jobs": 1})
    made.write()
    shutil.copyfile(empty_mlflow_db, made.workspace.state_folder.mlflow_db)
    return made


@pytest.fixture
def store(tmp_path, empty_mlflow_db):
    """MLflow of a state folder in which nothing was logged yet."""
    from tidecast.flows.config.mlflow_yml import MlflowConfig
    from tidecast.flows.config.state_folder import StateFolder
    from tidecast.flows.tracking.store import MlflowStore

    home = StateFolder(tmp_path / "home").make()
    shutil.copyfile(empty_mlflow_db, home.mlflow_db)
    return MlflowStore(home, MlflowConfig(), {})


@pytest.fixture(scope="session")
def judged(random_walks):
    """A training with a gate; see `trainings`."""
    from tests.flows.trainings import judged_on

    return judged_on(random_walks(n_series=3, n_rows=400))


@pytest.fixture(scope="session")
def refreshed(judged):
    """A training without a gate; see `trainings`."""
    from tests.flows.trainings import refreshed_before

    return refreshed_before(judged)


@pytest.fixture
def without_pictures(monkeypatch):
    """Trainings are logged without their pictures, which take most of the time."""
    monkeypatch.setattr("tidecast.flows.tracking.run_files._pictures", lambda training: [])


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory, of_all_processes) -> Iterator[str]:
    """The address of a Prefect server that lives as long as the tests, and keeps its things in a temporary folder."""
    from tidecast.flows.scheduling import prefect_env as prefect_home
    from tidecast.flows.scheduling import prefect_server

    folder, empty = tmp_path_factory.mktemp("prefect"), of_all_processes / PREFECT_DB
    before = dict(os.environ)
    os.environ["PREFECT_HOME"] = str(folder)
    os.environ.update(prefect_home.additions(folder, os.environ, folder))
    with ExitStack() as stack:
        with FileLock(f"{empty}.lock"):  # the first one makes the database of all
            if empty.exists():
                shutil.copyfile(empty, folder / PREFECT_DB)
            server = stack.enter_context(prefect_server.starting(folder))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what Prefect thinks of its own dependencies
                from prefect.settings import PREFECT_API_URL, temporary_settings

                import tidecast.flows.daily  # noqa: F401 (while the server starts, and its warnings are silenced)
            address = server.wait()
            if not empty.exists():
                with sqlite3.connect(folder / PREFECT_DB) as made, sqlite3.connect(empty) as copy:
                    made.backup(copy)
                made.close()
                copy.close()
        with temporary_settings({PREFECT_API_URL: address}):
            yield address
            from tidecast.flows.scheduling.launch import send_logs

            send_logs()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def plain_days(prefect_api, without_pictures, monkeypatch) -> str:
    """Address of the Prefect server; days are shown there, and trainings in MLflow, without their pictures."""
    monkeypatch.setattr("tidecast.flows.prefect_ui.artifacts.picture", lambda *arguments: "data:,")
    return prefect_api


@pytest.fixture
def tables() -> Callable[[Path], dict[str, pl.DataFrame]]:
    """A function: all tables of a state folder, without clock times and ids."""
    from tests.drill import tables

    return tables


@pytest.fixture(scope="session")
def postgres_server():
    """A PostgreSQL server that lives as long as the tests."""
    from tests.flows.postgres import Postgres

    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path may not be long
    server = Postgres(folder)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def postgres(postgres_server, monkeypatch):
    """The server with an empty database, its password in the environment."""
    postgres_server.execute("DROP OWNED BY prices CASCADE", "RESET ALL")
    for name, value in postgres_server.environ.items():
        monkeypatch.setenv(name, value)
    return postgres_server


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """An empty file and an empty warehouse, of weekdays."""
    return Desk(tmp_path, calendar="weekdays")
