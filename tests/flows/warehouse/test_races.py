"""Several processes on one warehouse, killed at random moments; see `tests.races`, which runs longer by hand."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_writers_that_race_and_are_killed_leave_the_tables_of_an_undisturbed_one():
    """Once, two ingests of the same rows at once stored them twice, each known from another session on."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.races"]
    sizes = ["--deliveries", "3", "--writers", "2", "--kills", "9"]
    done = subprocess.run([*command, *sizes], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
