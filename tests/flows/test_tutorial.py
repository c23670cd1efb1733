"""The tutorial as a newcomer does it: its file is made, and its commands run in order in one folder."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.doc_blocks import ROOT, blocks_of
from tidecast.flows.config.state_folder import StateFolder

OWN_DATA = "docs/tutorial/own_data.md"
OTHERS = ("first_forecast", "own_feature", "own_source", "schedule", "promote")
PAGES = [OWN_DATA, *(f"docs/tutorial/{name}.md" for name in OTHERS)]
NOT_RUN = {
    "tidecast run --covariate week_range": "the file has no such column",
    "tidecast run --source vault://main": "tests/examples/test_examples.py installs a source and reads from it",
    "tidecast schedule": "runs until it is stopped; tests/flows/scheduling/test_schedule.py",
    "tidecast ui": "serves until it is stopped",
    "tidecast ui --home .tidecast-demo": "serves until it is stopped",
    "tidecast backfill --from 2026-05-01 --to 2026-05-29": "a minute; tests/flows/test_backfill.py",
    "tidecast backtest --model GRU --model drift --folds 4": "minutes; tests/flows/cli/test_model_commands.py",
    "tidecast tune --trials 50 --minutes 60": "an hour; tests/flows/test_tune.py",
    'tidecast rollback --why "the intervals of version 4 are too wide"': "there is one version only",
    'tidecast promote 3 --why "version 4 was trained on wrong prices"': "there is one version only",
}
"""Command of the tutorial to the reason why it is not run here."""
EXIT_CODES = {"tidecast check": 3}
"""Of the bundled rates, which end before today."""
IN_ONE_PROCESS = """
import json, shlex, sys
from click.testing import CliRunner
from tidecast.flows.cli.main import tidecast

done = {line: CliRunner().invoke(tidecast, shlex.split(line)[1:]) for line in json.loads(sys.argv[1])}
print(json.dumps({line: [result.exit_code, result.output] for line, result in done.items()}))
"""
"""A process for each command would import everything eight times."""


def commands_of(page):
    lines = [line for block in blocks_of(page, "console") for line in block.commands]
    return [line for line in lines if line.startswith("tidecast") and line not in NOT_RUN]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, empty_mlflow_db):
    """A folder with the file that the page on own data makes."""
    made = tmp_path_factory.mktemp("tutorial")
    for block in blocks_of(OWN_DATA, "python"):
        if block.reason is not None:
            continue
        subprocess.run(
            [sys.executable, "-c", block.text], cwd=made, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True
        )
    (made / ".tidecast-demo").symlink_to(".tidecast")  # the demo takes minutes; its commands read this state instead
    shutil.copyfile(empty_mlflow_db, StateFolder(made / ".tidecast").make().mlflow_db)  # making one takes seconds
    return made


def test_the_commands_of_the_tutorial_work_in_order_and_print_what_it_shows(folder, prefect_api):
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
        "PREFECT_API_URL": prefect_api, "PREFECT_HOME": os.environ["PREFECT_HOME"],
    }  # fmt: skip
    lines = list(dict.fromkeys(line for page in PAGES for line in commands_of(page)))
    program = [sys.executable, "-c", IN_ONE_PROCESS, json.dumps(lines)]
    done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    for line, (code, text) in found.items():
        assert code == EXIT_CODES.get(line, 0), f"{line}: {text}{done.stderr}"
    printed = {line: text for line, (_, text) in found.items()}
    shown_file, shown_end = [block.text for block in blocks_of(OWN_DATA, "text")]
    assert shown_file in (folder / "prices.csv").read_text()
    first, again = (text for command, text in printed.items() if command.startswith("tidecast run"))
    for line in shown_end.splitlines():
        assert line.partition(", in .tidecast")[0] in first
    assert "Nothing to do" in again
    assert "USD" in printed["tidecast show --series USD"]
    of_demo = printed["tidecast show --home .tidecast-demo --series USD"]
    assert of_demo.replace(".tidecast-demo", ".tidecast") == printed["tidecast show --series USD"]
    assert "too little history" in printed["tidecast decisions"]


def test_prefect_takes_the_deployments_that_the_page_on_scaling_writes(tmp_path, prefect_api):
    lines = [line for block in blocks_of("docs/tutorial/scale_out.md", "console") for line in block.commands]
    (write,) = [line.removeprefix("tidecast ") for line in lines if "--write" in line]
    pool, deploy = [line.removeprefix("prefect ") for line in lines if "work-pool create" in line or "deploy" in line]
    python = shlex.quote(sys.executable)
    script = f"{python} -m tidecast {write} --source ecb && {python} -m prefect {pool} && {python} -m prefect {deploy}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PREFECT_API_URL": prefect_api}
    done = subprocess.run(script, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "daily" in done.stdout


def test_the_commands_that_are_not_run_are_in_the_tutorial():
    lines = {line for page in PAGES for block in blocks_of(page, "console") for line in block.commands}
    assert set(NOT_RUN) <= lines
