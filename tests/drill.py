"""Kill the daily run and a backfill at every write and at random moments, run again, compare with an undisturbed run.

    python -m tests.drill [--random 20]

Two days are drilled on a tiny panel: the first, which trains before it publishes, and a later one with new rows, a
correction, scores and a training at its end. Then the sessions between them are backfilled. A write is a commit of the
warehouse, a file that is renamed into place, or a call that changes MLflow. They are found by wrapping those functions
in the child process, so the product holds no hooks.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parents[1]
CLOCK = {"runs": ["run_id", "started", "finished"], "forecasts": ["run_id"], "decisions": ["run_id", "at"]}
"""Columns in which a repeated run may differ."""

MLFLOW_WRITES = (
    "create_experiment", "create_run", "log_batch", "log_inputs", "log_artifacts", "set_tag", "create_logged_model",
    "log_model_artifacts", "finalize_logged_model", "log_outputs", "set_terminated", "create_registered_model",
    "create_model_version", "set_registered_model_alias", "set_model_version_tag", "delete_registered_model_alias",
    "delete_model_version_tag",
)  # fmt: skip

TINY = {  # a network that wins on a panel with memory, in seconds; trained at the end of every day
    "TIDECAST_MODELS": "GRU",
    "TIDECAST_MAX_EPOCHS": "4",
    "TIDECAST_LOOKBACK": "16",
    "TIDECAST_GATE_MIN_ORIGINS": "120",
    "TIDECAST_GATE_MAX_ORIGINS": "120",
    "TIDECAST_GATE_LEVEL": "0.5",
    "TIDECAST_RETRAIN_EVERY": "1",
    "TIDECAST_GATE_EVERY": "1",
    "TIDECAST_N_JOBS": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Drill:
    """A panel in a folder of its own, and the two days that are run on it."""

    folder: Path
    first: date
    second: date
    environ: dict[str, str]
    name: str = "home"
    since: date | None = None
    """The first session of a backfill, which then takes the place of a day's run."""

    @property
    def home(self) -> Path:
        return self.folder / self.name

    @property
    def between(self) -> tuple[date, date]:
        """The two sessions between the two days."""
        days = pl.date_range(self.first, self.second, eager=True)
        first, last = days.filter(days.dt.weekday() <= 5)[1:-1]
        return first, last

    @property
    def source(self) -> Path:
        return self.folder / "prices.csv"

    def run(self, as_of: date, kill_after: int | str | None = None, trace: Path | None = None) -> subprocess.Popen:
        """Start `tidecast run`, or `tidecast backfill`, as a process of its own; see `killed` for `kill_after`."""
        command = [sys.executable, "-m", "tests.drill", "child", "--home", str(self.home), "--as-of", str(as_of)]
        command += ["--source", str(self.folder / f"{as_of}.csv"), "--link", str(self.source)]
        command += ["--since", str(self.since)] if self.since else []
        command += ["--kill-after", str(kill_after)] if kill_after is not None else []
        command += ["--trace", str(trace)] if trace else []
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    def finish(self, as_of: date, trace: Path | None = None) -> None:
        """Run to the end."""
        process = self.run(as_of, trace=trace)
        said, _ = process.communicate()
        if process.returncode != 0:
            raise AssertionError(f"the run of {as_of} must end well, got {process.returncode}:\n{said}")

    def killed(self, as_of: date, after: int | str) -> None:
        """Run until the write of that number, or the first of that name, is done, and kill."""
        process = self.run(as_of, kill_after=after)
        said, _ = process.communicate()
        sweep(process)
        if process.returncode != -signal.SIGKILL:
            raise AssertionError(f"write {after} must be reached, the run ended with {process.returncode}:\n{said}")

    def killed_between(self, as_of: date, number: int, seconds: float) -> None:
        """Run, and kill that long after a write was done."""
        trace = self.folder / "random.jsonl"
        trace.unlink(missing_ok=True)
        process = self.run(as_of, trace=trace)
        while process.poll() is None and not (trace.exists() and len(writes_in(trace)) >= number):
            time.sleep(0.002)
        time.sleep(seconds)
        process.kill()
        process.communicate()
        sweep(process)

    def save(self, name: str) -> None:
        """Keep the state folder as it is. Paths inside it are absolute, so it is always used in its one place."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        shutil.copytree(self.home, self.folder / name)

    def restore(self, name: str | None) -> None:
        """Put a kept state back; None: no state at all."""
        shutil.rmtree(self.home, ignore_errors=True)
        if name is not None:
            shutil.copytree(self.folder / name, self.home)


def prepare(folder: Path, environ: dict[str, str] | None = None) -> Drill:
    """Write the panel's files: as the source was on the first day, and on the second."""
    rows, names = 520, "ABC"
    generator = np.random.default_rng(7)
    shocks = 0.01 * generator.standard_normal((rows, len(names)))
    returns = np.zeros_like(shocks)
    for row in range(1, rows):
        returns[row] = 0.7 * returns[row - 1] + shocks[row]  # memory, for a network to find
    days = pl.date_range(date(2020, 1, 1), date(2023, 1, 1), eager=True)
    days = days.filter(days.dt.weekday() <= 5).head(rows)
    prices = 100 * np.exp(returns.cumsum(axis=0))
    panel = pl.DataFrame(
        {
            "series_id": np.repeat(list(names), rows),
            "time": pl.concat([days] * len(names)),
            "close": prices.T.ravel(),
        }
    )
    bad = pl.DataFrame({"series_id": ["A", "B"], "time": [days[3], days[-1]], "close": [-1.0, float("inf")]})
    first, second = days[-4], days[-1]
    known = panel.filter(pl.col("time") <= first)
    pl.concat([known, bad.head(1)]).write_csv(folder / f"{first}.csv")
    corrected = pl.when((pl.col("series_id") == "C") & (pl.col("time") == days[-9])).then(pl.col("close") * 1.01)
    later = panel.with_columns(close=corrected.otherwise("close"))
    pl.concat([later, bad]).write_csv(folder / f"{second}.csv")
    return Drill(folder, first, second, {**os.environ, **TINY, **(environ or {}), "PYTHONPATH": str(ROOT)})


def sweep(process: subprocess.Popen) -> None:
    """End what a killed run has started: its workers would wait for work for minutes."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def writes_in(trace: Path) -> list[tuple[str, float]]:
    """Name and time of each write that a run has recorded, in order."""
    lines = trace.read_text().rpartition("\n")[0].splitlines()  # the last line may be half there
    return [(found["write"], found["at"]) for found in map(json.loads, lines)]


# -- what must be true after a repeated run -----------------------------------------------------------------------


def tables(home: Path) -> dict[str, pl.DataFrame]:
    """All tables, without clock times and ids, and what was measured but for the rounding of sums over threads."""
    from tidecast.flows.warehouse.warehouse import Warehouse

    warehouse = Warehouse(str(home / "warehouse"))
    found = {
        "prices": warehouse.revisions(),
        "quarantine": warehouse.quarantine(),
        "forecasts": warehouse.forecasts(),
        "scores": warehouse.scores(),
        "runs": warehouse.runs(),
        "decisions": warehouse.decisions().drop("compared").with_columns(pl.selectors.float().round_sig_figs(9)),
    }
    return {name: table.drop(CLOCK.get(name, [])) for name, table in found.items()}


def models(home: Path) -> dict[str, object]:
    """What MLflow holds, without ids: finished trainings, versions and who is champion.

    Raises
    ------
    AssertionError
        A run is RUNNING, a model is pending, or a version has no files.
    """
    from mlflow import MlflowClient

    copy = Path(tempfile.mkdtemp(dir=home.parent)) / "mlflow.db"  # MLflow keeps open what it has read once
    shutil.copyfile(home / "mlflow.db", copy)
    client = MlflowClient(f"sqlite:///{copy}")
    experiments = [found.experiment_id for found in client.search_experiments()]
    runs = client.search_runs(experiments)
    running = [run.info.run_id for run in runs if run.info.status == "RUNNING"]
    assert not running, f"no run may be left RUNNING, found {running}"
    pending = [model.model_id for model in client.search_logged_models(experiments) if model.status == "PENDING"]
    assert not pending, f"no model may be left PENDING, found {pending}"
    versions = client.search_model_versions("name = 'tidecast'")
    for version in versions:
        files = {Path(file.path).name for file in client.list_artifacts(version.run_id)}
        model = client.get_logged_model(client.get_run(version.run_id).outputs.model_outputs[0].model_id)
        present = {Path(file.path).name for file in client.list_logged_model_artifacts(model.model_id)}
        assert files, f"the run of version {version.version} must have files"
        assert model.status == "READY", f"the model of version {version.version} must be ready, it is {model.status}"
        assert "MLmodel" in present, f"version {version.version} must have its model's files"
    complete = [run for run in runs if run.data.tags.get("complete") == "yes" and run.info.status == "FINISHED"]
    aliases = client.get_registered_model("tidecast").aliases
    return {
        "trainings": sorted((run.data.tags["training_key"], run.data.tags["outcome"]) for run in complete),
        "versions": sorted((int(v.version), v.tags["training_key"], v.tags.get("promoted")) for v in versions),
        "aliases": {alias: int(version) for alias, version in aliases.items()},
    }


def compare(drill: Drill, expected: tuple[dict[str, pl.DataFrame], dict[str, object]], after: str) -> None:
    """Refuse any difference to the undisturbed run."""
    wanted, logged = expected
    found = tables(drill.home)
    for name, table in wanted.items():
        assert found[name].equals(table), f"killed after {after}: the table {name} differs:\n{found[name]}\n{table}"
    now = models(drill.home)
    assert now == logged, f"killed after {after}: MLflow differs:\n{now}\n{logged}"


# -- the child ------------------------------------------------------------------------------------------------------


def child(options: argparse.Namespace) -> None:
    """`tidecast run` or `backfill`, with every write counted, recorded, and one of them the last."""
    link = Path(options.link)
    if options.since is None:
        shutil.copyfile(options.source, link)
    done = 0

    def wrote(name: str) -> None:
        nonlocal done
        done += 1
        if options.trace:
            with open(options.trace, "a") as trace:
                trace.write(json.dumps({"write": name, "at": time.monotonic()}) + "\n")
        if options.kill_after in (str(done), name):
            os.kill(os.getpid(), signal.SIGKILL)

    watch(wrote)
    from tidecast.flows.cli.main import tidecast

    arguments = ["run", "--as-of", options.as_of, "--source", str(link)]
    if options.since is not None:
        arguments = ["backfill", "--from", options.since, "--to", options.as_of]
    tidecast([*arguments, "--home", options.home, "--debug"])


def watch(wrote) -> None:
    """Call `wrote` with a name after each write of the warehouse, of MLflow, and after each file put in place."""
    from mlflow import MlflowClient

    from tidecast.flows.warehouse.warehouse import Warehouse

    def wrap(owner, method, named) -> None:
        original = getattr(owner, method)

        def wrapped(*arguments, **named_arguments):
            result = original(*arguments, **named_arguments)
            wrote(named(arguments))
            return result

        setattr(owner, method, wrapped)

    wrap(Warehouse, "_commit", lambda arguments: f"table {arguments[1]}")
    for method in MLFLOW_WRITES:
        wrap(MlflowClient, method, lambda _, method=method: f"mlflow {method}")
    wrap(Path, "replace", lambda arguments: f"file {Path(arguments[1]).name}")


# -- the drill --------------------------------------------------------------------------------------------------------


@contextmanager
def prefect_server(folder: Path) -> Iterator[dict[str, str]]:
    """One Prefect server for all runs; what a run needs in its environment to use it."""
    from tidecast.flows.scheduling import prefect_env as prefect_home
    from tidecast.flows.scheduling import prefect_server

    home = {"PREFECT_HOME": str(folder / "prefect")}
    quiet = prefect_home.additions(folder / "prefect", home, folder)
    os.environ.update(home | quiet)
    with prefect_server.starting(folder) as server:
        yield home | quiet | {"PREFECT_API_URL": server.wait()}


def drill_day(drill: Drill, as_of: date, before: str | None, kills: int, seed: int) -> None:
    """Drill one day from the state kept under `before`."""
    trace = drill.folder / f"{as_of}.jsonl"
    drill.restore(before)
    trace.unlink(missing_ok=True)
    drill.finish(as_of, trace)
    drill.save(f"after {as_of}")
    expected = tables(drill.home), models(drill.home)
    writes = writes_in(trace)
    print(f"{as_of}: {len(writes)} writes in {writes[-1][1] - writes[0][1]:.1f} s", flush=True)
    for number, (name, _) in enumerate(writes, 1):
        drill.restore(before)
        drill.killed(as_of, number)
        drill.finish(as_of)
        compare(drill, expected, f"write {number}, {name}")
        print(f"  killed after write {number}, {name}: same tables, same models", flush=True)
    generator = random.Random(seed)
    for _ in range(kills):
        number = generator.randrange(1, len(writes))
        (name, begun), (following, done) = writes[number - 1 : number + 1]
        moment = generator.uniform(0, done - begun)
        drill.restore(before)
        drill.killed_between(as_of, number, moment)
        drill.finish(as_of)
        compare(drill, expected, f"{moment:.3f} s after write {number}, {name}")
        print(f"  killed {moment:.3f} s after {name}, before {following}: same tables, same models", flush=True)


def main() -> None:
    """Drill both days and a backfill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=20, help="random moments, half of them on each day")
    parser.add_argument("--seed", type=int, default=0)
    commands = parser.add_subparsers(dest="command")
    inner = commands.add_parser("child")
    for name in ("--home", "--as-of", "--source", "--link"):
        inner.add_argument(name, required=True)
    inner.add_argument("--since")
    inner.add_argument("--trace")
    inner.add_argument("--kill-after")
    options = parser.parse_args()
    if options.command == "child":
        child(options)
        return
    with tempfile.TemporaryDirectory() as folder, prefect_server(Path(folder)) as environ:
        drill = prepare(Path(folder), environ)
        drill_day(drill, drill.first, None, options.random // 2, options.seed)
        drill_day(drill, drill.second, f"after {drill.first}", options.random - options.random // 2, options.seed + 1)
        between = replace(drill, since=drill.between[0])
        drill_day(between, drill.between[1], f"after {drill.second}", options.random // 2, options.seed + 2)
    print("Every repeated run left what an undisturbed one leaves.")


if __name__ == "__main__":
    main()
