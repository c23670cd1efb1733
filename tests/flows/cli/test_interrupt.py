"""Ctrl-C ends a command within two seconds, whatever it is doing, and its workers with it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.dask_clusters import until

ROOT = Path(__file__).parents[3]
BUSY = """
import hashlib, os, sys, time
from pathlib import Path
from joblib import Parallel, delayed
from tidecast.flows.cli.failing import one_line_errors
from tidecast.forecasting.estimator.orphans import EndsWithParent

folder, how = Path(sys.argv[1]), sys.argv[2]

def stubborn():
    while True:  # as a library that turns every error into one of its own
        try:
            time.sleep(600)
        except BaseException:
            continue

def fit():
    (folder / str(os.getpid())).touch()
    time.sleep(600)

def work():
    (folder / str(os.getpid())).touch()
    if how == "workers":
        Parallel(n_jobs=2)(delayed(EndsWithParent(fit))() for _ in range(4))
    elif how == "a long call":
        hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2**31 - 1)  # minutes of C, during which Python raises nothing
    else:
        stubborn()

if __name__ == "__main__":
    with one_line_errors(False, as_json="--json" in sys.argv):
        work()
"""


@pytest.mark.parametrize(("how", "n_processes"), [("workers", 3), ("a long call", 1), ("a deaf loop", 1)])
def test_a_command_that_was_busy_outlived_ctrl_c(how, n_processes, tmp_path):
    script, seen = tmp_path / "busy.py", tmp_path / "seen"
    script.write_text(BUSY)
    seen.mkdir()
    command = [sys.executable, str(script), str(seen), how, "--json"]
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        until(lambda: len(list(seen.iterdir())) == n_processes)
        begun = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes
        process.wait(60)
        taken = time.monotonic() - begun
    finally:
        if process.poll() is None:
            process.kill()
    out, err = process.communicate()
    assert process.returncode == 130
    assert err == "tidecast: Stopped. Nothing is half-written; run the same command again to continue.\n"
    assert json.loads(out)["exit_code"] == 130
    assert taken < 10, "two seconds on a machine that does nothing else"
    until(lambda: not any(map(_alive, seen.iterdir())), 20)


def _alive(seen: Path) -> bool:
    stat = Path(f"/proc/{seen.name}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
