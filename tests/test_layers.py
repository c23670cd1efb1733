"""Imports point one way, each heavy library has one home, and importing changes nothing."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("features", "forecasting", "flows")
OUTSIDE_OF = {
    "features": {"forecasting", "flows", "torch", "optuna", "mlflow", "prefect", "deltalake"},
    "forecasting": {"flows", "mlflow", "prefect", "deltalake"},
    "flows": {"optuna"},
}
HOMES = {
    "mlflow": {
        "flows/tracking/store.py", "flows/tracking/training_runs.py", "flows/tracking/registry.py", "flows/tracking/model_package.py",
        "flows/tracking/served_model.py", "flows/tracking/tuning_runs.py",
    },
    "deltalake": {"flows/warehouse/delta_writer.py", "flows/warehouse/delta_reader.py"},
}  # fmt: skip


def sources():
    inside = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return [*inside, *(ROOT / "tidecast").glob("*.py")]


def imported(path):
    """First names of everything that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            found |= {top_of(name.name) for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}, line {node.lineno}: imports are absolute here"
            found |= {top_of(f"{node.module}.{name.name}") for name in node.names}
    return found


def top_of(dotted):
    """The library that a dotted name lies in; of ours, the package: "flows" of "tidecast.flows.daily"."""
    first, _, rest = dotted.partition(".")
    return rest.partition(".")[0] if first == "tidecast" else first


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_nothing_from_above_itself(package):
    found = {path.relative_to(ROOT).as_posix(): imported(path) for path in (ROOT / package).rglob("*.py")}
    assert found, f"{package} has no files"
    assert {path: names & OUTSIDE_OF[package] for path, names in found.items() if names & OUTSIDE_OF[package]} == {}


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_is_imported_only_at_its_home(library):
    users = {path.relative_to(ROOT).as_posix() for path in sources() if library in imported(path)}
    assert users <= HOMES[library]


def test_the_walk_over_imports_sees_what_hides_in_functions(tmp_path):
    hidden = tmp_path / "hidden.py"
    hidden.write_text("def f():\n    import mlflow.pyfunc\n    from torch.nn import GRU\n")
    assert imported(hidden) == {"mlflow", "torch"}


SNAPSHOT = """
import os, sys
import {libraries}  # whatever these change is theirs
before = dict(os.environ)
import tidecast.{package}
assert dict(os.environ) == before, "importing changed the environment"
loaded = [name for name in {forbidden} if name in sys.modules]
assert not loaded, loaded
"""


@pytest.mark.parametrize(
    ("package", "libraries", "forbidden"),
    [
        (
            "features",
            "polars, sklearn",
            ["torch", "tidecast.forecasting", "tidecast.flows", "mlflow", "prefect", "deltalake", "exchange_calendars"],
        ),
        (
            "forecasting",
            "polars, sklearn, torch",
            ["tidecast.flows", "mlflow", "prefect", "deltalake", "exchange_calendars", "matplotlib"],
        ),
    ],
)
def test_importing_a_package_loads_nothing_heavy_and_changes_nothing(package, libraries, forbidden, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    script = SNAPSHOT.format(package=package, libraries=libraries, forbidden=forbidden)
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_what_needs_no_network_is_imported_without_torch_and_the_models_when_asked_for():
    script = """
import sys
import tidecast.flows.config.settings
from tidecast import forecasting
from tidecast.forecasting import backtest, decide
assert callable(backtest) and callable(decide), "the functions, not the files of the same name"
assert "torch" not in sys.modules
assert set(forecasting.__all__) <= set(dir(forecasting))
assert all(getattr(forecasting, name) is not None for name in forecasting.__all__)
from tidecast.forecasting import GRUForecaster
assert "torch" in sys.modules
import numpy as np
forecasting.GRURegressor(max_epochs=1).fit(np.eye(8)[:, :, None], np.arange(8.0))
assert "torch._dynamo" not in sys.modules, "the compiler, 2 seconds and 67 MB that no training needs"
try:
    forecasting.GRUForcaster
except AttributeError as error:
    assert "GRUForcaster" in str(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
