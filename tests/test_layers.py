"""Imports point one way, each heavy library has one home, and importing changes nothing."""

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = {
    "features": (
        "error_text", "docstrings", "frozen_settings", "column_names", "number_texts", "frames", "frame_notes",
        "segments", "calendars", "session_dates", "stray_rows", "panel", "known_ahead", "foreign_frames", "volatility",
        "corporate_actions", "transformers", "windows", "causality",
    ),
    "forecasting": (
        "tables", "interop", "estimator", "network", "saving", "panel", "export", "evaluation", "plotting",
        "forecasters", "regressors", "persistence", "backtesting", "tuning",
    ),
    "flows": (
        "redaction", "os_errors", "errors", "interrupt", "log", "safe_output", "config", "io", "warehouse", "parsing",
        "sources", "rules", "ingest", "reporting", "training", "publish", "tracking", "workspace", "watch", "steps",
        "prefect_ui", "opening", "tasks", "watching", "daily", "backfill", "tune", "feature_table", "maintenance",
        "scheduling", "cli",
    ),
}  # fmt: skip
"""The packages and files of each folder from the ground up: each imports only what stands before it."""

PACKAGES = tuple(ORDER)
OUTSIDE_OF = {
    "features": {"torch", "optuna", "mlflow", "prefect", "deltalake"},
    "forecasting": {"mlflow", "prefect", "deltalake"},
    "flows": {"optuna"},
}
HOMES = {
    "mlflow": ("flows/tracking/",),
    "deltalake": ("flows/warehouse/",),
    "onnx": ("forecasting/export/",),
}
MOST_FILES = 17
"""In one folder; a reader takes in no more at a glance."""


def sources():
    inside = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return [*inside, *(ROOT / "tidecast").glob("*.py")]


def module_of(path):
    """The dotted name below `tidecast`: "flows.daily" of flows/daily.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sources() if path.parent != ROOT / "tidecast"}


def imported(path):
    """Everything that a file imports, wherever in the file, as dotted names; of ours without "tidecast."."""
    return imported_by(path.read_text(encoding="utf-8"), path)


@cache
def imported_by(text, path):
    """As `imported`; one file is parsed once."""
    found = set()
    for node in ast.walk(ast.parse(text, filename=str(path))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}, line {node.lineno}: imports are absolute here"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    assert not {name for name in found if name.partition(".")[0] in PACKAGES} - {""}, f"{path}: write tidecast.…"
    return {name.removeprefix("tidecast.") for name in found}


def module_in(name):
    """The longest module of ours that a dotted name begins with; None for other libraries."""
    while name:
        if name in MODULES:
            return name
        name = name.rpartition(".")[0]
    return None


def arrows():
    """(module, module it imports) of ours, once each; the packages' faces and their lists of names apart."""
    for name, path in MODULES.items():
        if path.name != "__init__.py":
            for found in sorted({module_in(wanted) for wanted in imported(path)} - {None, name}):
                yield name, found


ARROWS = sorted(arrows())


def test_every_package_and_file_has_its_place_in_the_order():
    for package, order in ORDER.items():
        there = {name.split(".")[1] for name in MODULES if name.startswith(f"{package}.")}
        assert there == set(order)


def test_a_package_imports_nothing_from_above_itself():
    places = {package: place for place, package in enumerate(PACKAGES)}
    upwards = [(low, high) for low, high in ARROWS if places[low.split(".")[0]] < places[high.split(".")[0]]]
    assert upwards == []


@pytest.mark.parametrize("package", PACKAGES)
def test_inside_a_package_no_import_points_upwards(package):
    places = {f"{package}.{part}": place for place, part in enumerate(ORDER[package])}

    def place_of(module):
        return places[".".join(module.split(".")[:2])]

    inside = [
        (low, high)
        for low, high in ARROWS
        if low.startswith(f"{package}.") and high.startswith(f"{package}.") and place_of(low) < place_of(high)
    ]
    assert inside == []


def test_no_modules_import_each_other_in_a_circle():
    towards = {name: {high for low, high in ARROWS if low == name} for name in MODULES}
    done, path = set(), []

    def visit(name):
        assert name not in path, "circle: " + " → ".join([*path[path.index(name) :], name])
        if name not in done:
            path.append(name)
            for following in sorted(towards.get(name, ())):
                visit(following)
            done.add(path.pop())

    for name in sorted(towards):
        visit(name)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_a_library_that_lives_elsewhere(package):
    found = {
        name: {wanted.partition(".")[0] for wanted in imported(path)} & OUTSIDE_OF[package]
        for name, path in MODULES.items()
        if name.split(".")[0] == package
    }
    assert {name: libraries for name, libraries in found.items() if libraries} == {}


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_is_imported_only_at_its_home(library):
    users = {
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if library in {wanted.partition(".")[0] for wanted in imported(path)}
    }
    assert users, f"nothing imports {library}: its home has moved"
    assert [user for user in users if not user.startswith(HOMES[library])] == []


def test_no_folder_holds_more_files_than_one_takes_in_at_a_glance():
    folders = {path.parent for path in sources()}
    counts = {str(folder): sum(1 for path in folder.glob("*.py") if path.name != "__init__.py") for folder in folders}
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}


def test_nothing_stray_lies_at_the_root():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    expected = {
        ".dockerignore", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "Dockerfile", "LICENSE", "MANIFEST.in",
        "Makefile", "NOTICE", "README.md", "constraints.txt", "mkdocs.yml", "mlflow.yml", "pyproject.toml",
    }  # fmt: skip
    assert {path for path in tracked if "/" not in path} == expected
    folders = {path.partition("/")[0] for path in tracked if "/" in path}
    assert folders == {".ci", "benchmarks", "docs", "examples", "features", "flows", "forecasting", "tests", "tidecast"}


def test_the_walk_over_imports_sees_what_hides_in_functions(tmp_path):
    hidden = tmp_path / "hidden.py"
    hidden.write_text("def f():\n    import mlflow.pyfunc\n    from torch.nn import GRU\n")
    assert imported(hidden) == {"mlflow.pyfunc", "torch.nn.GRU"}
    hidden.write_text("if TYPE_CHECKING:\n    from tidecast.flows.daily import daily_forecast\n")
    assert {module_in(name) for name in imported(hidden)} == {"flows.daily"}


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
        (
            "flows.config.settings",
            "pydantic, polars",
            ["torch", "scipy", "sklearn", "deltalake", "prefect", "mlflow", "matplotlib", "exchange_calendars"],
        ),
        ("flows.log", "logging", ["polars", "prefect"]),
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
