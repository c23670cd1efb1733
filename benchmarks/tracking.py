"""Cost of MLflow in a training: writing the files, logging to SQLite, and the pages of `tidecast ui`.

``python -m benchmarks.tracking`` makes a training on the bundled ECB rates (baselines instead of networks, which take
no time; a gate of 504 origins, its tables and pictures), logs it twice, and starts the pages.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import polars as pl

from tidecast.features.panel import PanelSchema
from tidecast.flows.config.mlflow_yml import MlflowConfig, Ui
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.scheduling.prefect_server import free_port
from tidecast.flows.tracking.registry import Registry
from tidecast.flows.tracking.store import MlflowStore
from tidecast.flows.tracking.training_runs import Tracking
from tidecast.flows.training.result import Training
from tidecast.forecasting.backtesting.backtest import backtest
from tidecast.forecasting.evaluation.decide import decide
from tidecast.forecasting.evaluation.gate_policy import GatePolicy
from tidecast.forecasting.evaluation.metrics import evaluate
from tidecast.forecasting.evaluation.splits import RollingOrigin
from tidecast.forecasting.forecasters.baselines import Drift, RandomWalk

ECB = Path(__file__).parents[1] / "flows" / "data" / "ecb_fx_daily.parquet"


def main() -> None:
    training = judged()
    with tempfile.TemporaryDirectory() as folder:
        store = MlflowStore(StateFolder(Path(folder)).make(), MlflowConfig(ui=Ui(port=free_port(5000))), {})
        tracking = Tracking(store)
        print(f"new store: {timed(lambda: store.experiment):.1f} s, once")
        for key in ("first", "second"):
            keep = timed(lambda key=key: tracking._keep(training, tracking._place(key), {}, {}))
            send = timed(lambda key=key: tracking.send(key))
            print(f"{key} training: written down in {keep:.1f} s, logged in {send:.1f} s")
        run_id = tracking.send("second")
        print(f"registered in {timed(lambda: Registry(store).register(run_id, 'second')):.1f} s")
        pages(store)


def judged() -> Training:
    """A training whose candidate is the drift, with the results of a gate."""
    panel = pl.read_parquet(ECB).rename({"date": "time", "value": "close"})
    schema = PanelSchema(calendar="TARGET")
    forecasts = backtest({"drift": Drift(schema=schema)}, panel, RollingOrigin(n_splits=2, horizon=5, stride=252))
    evaluation = evaluate(forecasts, panel)
    decision = decide(evaluation.losses, GatePolicy(), candidate="drift")
    walk, end = RandomWalk(schema=schema).fit(panel), panel["time"].max()
    curve = pl.DataFrame({"epoch": range(20), "train_loss": [0.3] * 20, "validation_loss": [0.3] * 20})
    memory = pl.DataFrame({"cell": "gru", "step": 1, "k": range(64), "influence": [0.5**k for k in range(64)]})
    return Training(
        as_of=end, winner="random_walk", model=walk, random_walk=walk, decision=decision, reason=decision.reason,
        outcome="first", trained_through=end, evaluation=evaluation, gate_forecasts=forecasts,
        selection=pl.DataFrame(), learning_curves=dict.fromkeys(("RNN", "LSTM", "GRU"), curve), seconds={},
        panel=panel, settings=Settings(calendar="TARGET"), table_versions={"prices": 1}, memory=memory,
    )  # fmt: skip


def timed(work) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def pages(store: MlflowStore) -> None:
    """Seconds until the pages answer, and the memory of their processes at that time."""
    begun = time.perf_counter()
    server = subprocess.Popen(
        store.where.ui_command, env=os.environ | store.where.ui_environ, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        while True:
            try:
                urllib.request.urlopen(f"{store.where.ui_url}/health", timeout=2).close()
                break
            except OSError:
                time.sleep(0.1)
        seconds = time.perf_counter() - begun
        held = [resident(int(name)) for name in os.listdir("/proc") if name.isdigit() and session(name) == server.pid]
        print(f"pages: answer after {seconds:.1f} s, {len(held)} processes, {sum(held):.0f} MB")
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def session(process: str) -> int:
    """The session that a process belongs to; 0 when it has ended."""
    try:
        return int(Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[3])
    except OSError:
        return 0


def resident(process: int) -> float:
    """Memory of a process in megabytes; shared memory counts in proportion."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main()
