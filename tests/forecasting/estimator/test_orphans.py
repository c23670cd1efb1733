"""Workers end with the process that started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[3]
KILLED = """
import os, sys, time
from joblib import Parallel, delayed
from tidecast.forecasting.estimator.orphans import EndsWithParent

def work(folder):
    open(os.path.join(folder, str(os.getpid())), "w").close()
    while True:  # a fit that is far from its end
        time.sleep(0.1)

if __name__ == "__main__":
    Parallel(n_jobs=2)(delayed(EndsWithParent(work))(sys.argv[1]) for _ in range(4))
"""


def test_workers_do_not_outlive_a_training_that_is_killed(tmp_path):
    script, seen = tmp_path / "killed.py", tmp_path / "seen"
    script.write_text(KILLED)
    seen.mkdir()
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(script), str(seen)], env=environ)
    try:
        _until(lambda: len(list(seen.iterdir())) == 2)
        workers = [int(file.name) for file in seen.iterdir()]
        assert all(map(_alive, workers))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    _until(lambda: not any(map(_alive, workers)))


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def _until(done):
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)
