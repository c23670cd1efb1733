"""A fit by two processes of torchrun: the weights of one process, equal in both; lost processes end or resume it."""

import json
import math
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from tidecast.forecasting import data_parallel
from tidecast.forecasting.estimator.data_parallel import ALONE, VARIABLES, Processes, processes_in_force

ROOT = Path(__file__).parents[3]
TOLERANCE = 1e-5
"""Of weights; sums over two shares round differently."""

FITS = '''
"""Fits that two processes share. In the first life process 1 is killed in the middle; the second life resumes."""

import json, logging, os, signal, sys
from pathlib import Path

import numpy as np
import polars as pl

from tidecast.forecasting import GRUForecaster, GRURegressor, LSTMForecaster, StopTraining, Training, data_parallel

SMALL = {"lookback": 16, "horizon": 2, "hidden_size": 8, "max_epochs": 3, "batch_size": 15}
MODELS = {
    "scale": GRUForecaster(**SMALL, training=Training(windows_per_epoch=40)),
    "student_t": LSTMForecaster(**SMALL, training=Training(head="student_t", average=True, half_life=100.0)),
    "one_window": GRUForecaster(**{**SMALL, "batch_size": 1}, training=Training(windows_per_epoch=5)),
    "regressor": GRURegressor(hidden_size=8, max_epochs=3, early_stopping=True),
}
DROPPING = {**SMALL, "num_layers": 2, "dropout": 0.3, "max_epochs": 4}


def fitted(model, prices):
    if isinstance(model, GRURegressor):
        windows = np.lib.stride_tricks.sliding_window_view(prices["close"].log().diff().drop_nulls(), 9)[:301]
        return model.fit(windows[:, :8, None], windows[:, 8])
    return model.fit(prices)


def first_life(folder, prices, processes):
    for name, model in MODELS.items():
        fitted(model, prices).save(folder / f"{name}-{processes.rank}")
    GRUForecaster(**DROPPING, training=Training(patience=4)).fit(prices).save(folder / f"dropout-{processes.rank}")

    def stop(epoch):
        if epoch.epoch == 1 and not processes.is_first:
            raise StopTraining

    GRUForecaster(**SMALL, training=Training(on_epoch=stop)).fit(prices).save(folder / f"stopped-{processes.rank}")
    try:
        GRUForecaster(**SMALL).fit(prices[: len(prices) - processes.rank])
    except ValueError as error:
        (folder / f"unlike-{processes.rank}").write_text(str(error))

    def die(epoch):
        if epoch.epoch == 2 and not processes.is_first:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint = str(folder / "checkpoints") if processes.is_first else str(folder / "not seen by all")
    GRUForecaster(**DROPPING, training=Training(patience=4, checkpoint=checkpoint, on_epoch=die)).fit(prices)


def second_life(folder, prices, processes):
    logging.basicConfig(level=logging.INFO)
    checkpoint = str(folder / "checkpoints") if processes.is_first else str(folder / "not seen by all")
    model = GRUForecaster(**DROPPING, training=Training(patience=4, checkpoint=checkpoint))
    model.fit(prices).save(folder / f"resumed-{processes.rank}")

    def fail(epoch):
        if epoch.epoch == 1 and not processes.is_first:
            raise KeyError("an error of one process")

    GRUForecaster(**SMALL, training=Training(on_epoch=fail)).fit(prices).save(folder / f"failed-{processes.rank}")


if __name__ == "__main__":
    life = second_life if os.environ["TORCHELASTIC_RESTART_COUNT"] == "1" else first_life
    with data_parallel(timeout=60) as processes:
        life(Path(sys.argv[1]), pl.read_parquet(sys.argv[2]), processes)
'''


@pytest.fixture(scope="module")
def script():
    """The names of the script that both processes run."""
    names = {"__name__": "here"}
    exec(FITS, names)
    return names


@pytest.fixture(scope="module")
def run(tmp_path_factory, breathing):
    """Folder of what two processes saved, what they printed, and how the run ended."""
    folder = tmp_path_factory.mktemp("data_parallel")
    breathing.write_parquet(folder / "prices.parquet")
    (folder / "fits.py").write_text(FITS)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1"]
    alone = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--monitor-interval", "0.05"]
    command = [*torchrun, *alone, str(folder / "fits.py"), str(folder), str(folder / "prices.parquet")]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    return folder, done


def learned(folder, name, rank):
    return load_file(folder / f"{name}-{rank}" / "weights.safetensors")


def curve_of(folder, name, rank):
    return json.loads((folder / f"{name}-{rank}" / "model.json").read_text())["learning_curve"]


@pytest.mark.parametrize("name", ["scale", "student_t", "one_window", "regressor"])
def test_two_processes_learn_what_one_learns(name, run, script, breathing):
    folder, _ = run
    with data_parallel() as processes:
        assert processes is ALONE
        model = script["fitted"](script["MODELS"][name], breathing)
    model.save(folder / f"{name}-alone")
    one, other = learned(folder, name, "alone"), learned(folder, name, 0)
    assert one.keys() == other.keys()
    for key, tensor in one.items():
        assert np.allclose(tensor.double(), other[key].double(), rtol=TOLERANCE, atol=TOLERANCE), key
    for ours, theirs in zip(curve_of(folder, name, "alone"), curve_of(folder, name, 0), strict=True):
        assert [*ours.values()] == pytest.approx([*theirs.values()], rel=TOLERANCE, nan_ok=True)
    head = one["network.head.weight"]
    assert head.any(), "it must have learned something"


@pytest.mark.parametrize("name", ["scale", "student_t", "one_window", "regressor", "dropout", "stopped", "resumed"])
def test_both_processes_end_with_the_same_bits(name, run):
    folder, done = run
    assert (folder / f"{name}-0").is_dir(), done.stderr
    for file in ("weights.safetensors", "model.json"):
        assert (folder / f"{name}-0" / file).read_bytes() == (folder / f"{name}-1" / file).read_bytes()


def test_a_fit_of_which_a_process_was_killed_ends_with_the_bits_of_one_that_was_not(run):
    folder, done = run
    assert "Training resumes after epoch" in done.stderr
    for rank in (0, 1):
        resumed, undisturbed = learned(folder, "resumed", rank), learned(folder, "dropout", 0)
        assert all((resumed[key] == tensor).all() for key, tensor in undisturbed.items())
        assert curve_of(folder, "resumed", rank) == curve_of(folder, "dropout", 0)
    assert not (folder / "checkpoints").exists()  # done: nothing is left behind
    assert not (folder / "not seen by all").exists()


def test_one_process_that_stops_training_stops_it_in_all(run):
    folder, _ = run
    assert [epoch["epoch"] for epoch in curve_of(folder, "stopped", 0)] == [0, 1]


def test_processes_that_got_different_rows_are_refused(run):
    folder, _ = run
    errors = [(folder / f"unlike-{rank}").read_text() for rank in (0, 1)]
    assert "another process got others than process 0" in errors[0]
    assert "process 1 got others than process 0. Give each the whole panel" in errors[1]


def test_an_error_of_one_process_ends_all(run):
    folder, done = run
    assert done.returncode != 0
    assert "an error of one process" in done.stderr
    assert not list(folder.glob("failed-*"))


def test_every_thing_belongs_to_one_process():
    for size in (1, 2, 3, 7):
        for n in (0, 1, 2, 5, 64):
            shares = [range(n)[Processes(rank, size).share(n)] for rank in range(size)]
            assert [thing for share in shares for thing in share] == list(range(n))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


def in_environment(monkeypatch, **found):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in found.items():
        monkeypatch.setenv(name, value)


def test_a_process_that_never_comes_is_missed_after_the_timeout(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    in_environment(monkeypatch, RANK="0", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    message = f"WORLD_SIZE = 2 processes must meet at 127.0.0.1:{port} within 0.5 s; process 0 did not meet all"
    begun = time.monotonic()
    with pytest.raises(RuntimeError, match=message), data_parallel(timeout=0.5):
        pass
    assert time.monotonic() - begun < 20
    assert processes_in_force() is ALONE


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR, MASTER_PORT not found. Start the script with: torchrun"),
        (dict.fromkeys(VARIABLES, "7"), "from 0 to WORLD_SIZE − 1, found RANK=7 and WORLD_SIZE=7"),
        (dict.fromkeys(VARIABLES, "first"), "found RANK=first and WORLD_SIZE=first"),
    ],
)
def test_an_environment_that_torchrun_does_not_make_is_refused(found, message, monkeypatch):
    in_environment(monkeypatch, **found)
    with pytest.raises(ValueError, match=re.escape(message)), data_parallel():
        pass


def test_restarts_on_several_machines_without_a_new_store_are_refused(monkeypatch):
    """The processes that were started again once waited for the addresses of those that had ended."""
    of_torchrun = {"GROUP_WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_MAX_RESTARTS": "3"}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    in_environment(monkeypatch, RANK="0", WORLD_SIZE="2", **place, **of_torchrun)
    with pytest.raises(ValueError, match="Set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"), data_parallel():
        pass


@pytest.mark.parametrize(("timeout", "error"), [(0, ValueError), (math.nan, ValueError), ("1", TypeError)])
def test_a_timeout_that_is_no_time_is_refused(timeout, error):
    with pytest.raises(error, match="timeout must be"), data_parallel(timeout):
        pass


def test_a_torch_without_gloo_is_named(monkeypatch):
    in_environment(monkeypatch, RANK="0", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT="1")
    monkeypatch.setattr("torch.distributed.is_gloo_available", lambda: False)
    with pytest.raises(RuntimeError, match="needs a torch with gloo"), data_parallel():
        pass
