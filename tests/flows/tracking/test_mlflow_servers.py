"""The same runs on PostgreSQL, on a tracking server that dies in the middle, and from threads and processes at once."""

import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.flows.trainings import crowned
from tidecast.flows.config.mlflow_yml import MlflowConfig, Server
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.scheduling.prefect_server import free_port
from tidecast.flows.tracking.addresses import QUIET
from tidecast.flows.tracking.registry import Registry
from tidecast.flows.tracking.store import MlflowStore, TrackingError
from tidecast.flows.tracking.training_runs import Tracking

JUDGED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("without_pictures")


def store_at(folder: Path, address: str, environ: dict[str, str]) -> MlflowStore:
    return MlflowStore(StateFolder(folder).make(), MlflowConfig(server=Server(mlflow_tracking_uri=address)), environ)


class TrackingServer:
    """`mlflow server` in its lightest form, with its files behind it; it can be killed and started again."""

    def __init__(self, folder: Path, database: Path) -> None:
        self._folder, self._database = folder, database
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> "TrackingServer":
        options = ["--workers", "1", "--port", str(self._port), "--backend-store-uri", f"sqlite:///{self._database}"]
        options += ["--artifacts-destination", str(self._folder / "files")]
        environment = {**os.environ, **QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self._folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *options],
                cwd=self._folder, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + 300
        while time.monotonic() < end and self._process.poll() is None:
            try:
                httpx.get(f"{self.address}/health", timeout=5).raise_for_status()
                return self
            except httpx.HTTPError:
                time.sleep(0.2)
        raise AssertionError((self._folder / "log").read_text(encoding="utf-8"))

    def __exit__(self, *exception: object) -> None:
        os.killpg(self._process.pid, 9)
        self._process.wait()


def test_a_server_that_dies_costs_no_training(tmp_path, empty_mlflow_db, judged, refreshed, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    database = tmp_path / "served.db"
    database.write_bytes(empty_mlflow_db.read_bytes())
    server = TrackingServer(tmp_path, database)
    store = store_at(tmp_path / "home", server.address, {})
    tracking, registry = Tracking(store), Registry(store)
    with server:
        first = crowned(store, judged, "first")
        assert registry.champion().model.predict().equals(judged.model.predict())
        assert list((tmp_path / "files").rglob("weights.safetensors"))  # through the server, not around it
        assert not store.home.mlartifacts.exists()
    later = replace(refreshed, trained_through=judged.trained_through)
    with pytest.raises(TrackingError, match=r"The training is kept in .*unsent.*; the next run logs it"):
        tracking.log_training(later, "second", {"outcome": "refreshed", "at": JUDGED_AT})
    with pytest.raises(TrackingError, match="MLflow must answer at http"):
        tracking.send("second")
    with server:
        assert tracking.kept() == ["second"]
        second = tracking.send("second")
        assert second != first
        loaded = registry.load(registry.register(second, "second"))
        assert (loaded.run_id, loaded.name) == (second, "GRU")
        assert loaded.model.predict().equals(tracking.kept_forecasts("second"))
        assert tracking.kept_decision("second") == {"outcome": "refreshed", "at": JUDGED_AT}


def test_postgresql_keeps_them_as_well(tmp_path, postgres, judged):
    store = store_at(tmp_path, postgres.address, postgres.environ)
    run_id = crowned(store, judged, "key")
    champion = Registry(store).champion()
    assert champion.run_id == run_id
    assert champion.model.predict().equals(judged.model.predict())
    assert Tracking(store).recover() == []


def logged(home: Path, training, key: str) -> str:
    return Tracking(MlflowStore(StateFolder(home), MlflowConfig(), {})).log_training(training, key)


def test_threads_and_processes_log_side_by_side(store, refreshed):
    ours = [*QUIET, *store.where.global_addresses]  # MLflow has variables of its own, which come and go
    before = {name: os.environ.get(name) for name in ours}
    home = store.home.path
    _ = store.experiment  # made by whoever is first; here, not by four at once
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes, ThreadPoolExecutor(2) as threads:
        asked = [
            pool.submit(logged, home, refreshed, f"{name}{k}")
            for name, pool in (("process", processes), ("thread", threads))
            for k in range(2)
        ]
        run_ids = {one.result() for one in asked}
    assert len(run_ids) == 4
    assert {store.client.get_run(run_id).info.status for run_id in run_ids} == {"FINISHED"}
    assert {name: os.environ.get(name) for name in ours} == before
