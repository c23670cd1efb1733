"""One import name that nobody else has: `tidecast`. In a checkout the folders' own names work, too."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def python(script: str, cwd: Path, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_tidecast_gives_every_public_name_and_loads_nothing_before_it_is_asked(tmp_path):
    script = """
import sys, tidecast
assert not {"polars", "numpy", "torch", "prefect"} & set(sys.modules), "a library was loaded"
from tidecast import PanelSchema
assert "torch" not in sys.modules
from tidecast import features, flows, forecasting
for package in (features, forecasting, flows):
    for name in package.__all__:
        assert getattr(tidecast, name) is getattr(package, name), name
        assert name in dir(tidecast), name
try:
    tidecast.GRUForcaster
except AttributeError as error:
    assert "GRUForcaster" in str(error)
else:
    raise AssertionError
"""
    done = python(script, tmp_path)
    assert done.returncode == 0, done.stderr


def test_no_public_name_is_given_by_two_packages():
    from tidecast import features, flows, forecasting

    names = [name for package in (features, forecasting, flows) for name in package.__all__]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("first", ["tidecast", "the folders"])
def test_in_a_checkout_the_folders_names_give_the_same_objects(first, tmp_path):
    orders = {"tidecast": ("tidecast", "forecasting"), "the folders": ("forecasting", "tidecast")}
    script = f"""
import {orders[first][0]}, {orders[first][1]}
import tidecast.features.panel
import features.panel
from forecasting import GRUForecaster
from forecasting.forecasters.recurrent import GRUForecaster as by_module
from flows.config.settings import Settings
assert forecasting is tidecast.forecasting
assert features.panel is tidecast.features.panel
assert GRUForecaster is by_module is tidecast.GRUForecaster
assert Settings is tidecast.flows.config.settings.Settings
assert tidecast.features.panel.__spec__.name == "tidecast.features.panel"
try:
    import features.nothing
except ModuleNotFoundError as error:
    assert "features.nothing" in str(error)
else:
    raise AssertionError
"""
    done = python(script, tmp_path)
    assert done.returncode == 0, done.stderr


def test_in_a_checkout_the_former_module_names_of_logged_models_still_work(tmp_path):
    script = """
from forecasting.persistence import load_forecaster
import tidecast.forecasting
assert load_forecaster is tidecast.load_forecaster
assert tidecast.forecasting.__spec__.name == "tidecast.forecasting"
"""
    done = python(script, tmp_path)
    assert done.returncode == 0, done.stderr


def tracked() -> list[str]:
    """Files of this checkout that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    return [name for name in listed if name and (ROOT / name).exists()]


@pytest.fixture(scope="session")
def source_archive(tmp_path_factory) -> Path:
    """The unpacked source archive of this checkout."""
    place = tmp_path_factory.mktemp("archive")
    for name in tracked():
        copy = place / "checkout" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            copy.symlink_to(os.readlink(ROOT / name))
        else:
            copy.write_bytes((ROOT / name).read_bytes())
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(place)!r})"
    subprocess.run(
        [sys.executable, "-c", build], cwd=place / "checkout", check=True, capture_output=True, text=True, timeout=300
    )
    (archive,) = place.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(place, filter="data")
    return place / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="session")
def installed(source_archive, tmp_path_factory) -> Path:
    """A folder into which the wheel is installed that the source archive builds; nothing is fetched."""
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    options = ["--no-build-isolation", "--no-compile", "--target", str(place / "site"), str(source_archive)]
    subprocess.run([*pip, *options], check=True, capture_output=True, text=True, timeout=300)
    return place / "site"


@pytest.fixture
def crowded(tmp_path) -> Path:
    """A project that uses all of our folders' names for its own things."""
    for package in ("flows", "forecasting"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f"raise SystemExit('{package} of the project was imported')\n")
    (tmp_path / "features.py").write_text("raise SystemExit('features.py of the project was imported')\n")
    (tmp_path / "daily.py").write_text("raise SystemExit('daily.py of the project was imported')\n")
    return tmp_path


def test_a_wheel_installs_one_name(installed):
    ours = {path.name for path in installed.iterdir() if path.suffix != ".dist-info" and path.name != "bin"}
    assert ours == {"tidecast"}
    package = installed / "tidecast"
    assert not any(path.is_symlink() for path in package.rglob("*"))
    assert (package / "flows" / "data" / "ecb_fx_daily.parquet").is_file()
    assert (package / "flows" / "reporting" / "templates" / "report.html").is_file()
    assert (package / "py.typed").is_file()


def test_the_source_archive_installs_each_file_of_the_three_folders_and_nothing_else(installed):
    """What a checkout has, a wheel has: a template that is not listed in pyproject.toml would be missing in silence."""
    folders = {"features", "flows", "forecasting"}
    expected = {f"tidecast/{name}" for name in tracked() if name.split("/")[0] in folders}
    expected |= {name for name in tracked() if name.startswith("tidecast/") and not (ROOT / name).is_symlink()}
    found = {path.relative_to(installed).as_posix() for path in (installed / "tidecast").rglob("*") if path.is_file()}
    assert found == expected


def test_the_source_archive_has_what_an_installation_needs_and_no_tests(source_archive):
    found = {path.name for path in source_archive.iterdir()}
    assert {"constraints.txt", "CHANGELOG.md", "LICENSE", "NOTICE", "README.md", "pyproject.toml", "tidecast"} <= found
    assert not {"tests", "benchmarks", "docs", "examples", "shared"} & found


def test_the_models_are_found_next_to_a_projects_own_folders_of_those_names(installed, crowded, panel):
    panel.filter(panel["series_id"] == "A").head(120).write_parquet(crowded / "prices.parquet")
    script = f"""
import polars as pl
from tidecast import GRUForecaster, PriceFeatures, daily_forecast
import tidecast
assert tidecast.__file__.startswith({str(installed)!r}), tidecast.__file__
model = GRUForecaster(horizon=2, max_epochs=1, features=PriceFeatures()).fit(pl.read_parquet("prices.parquet"))
assert model.predict().height == 2
"""
    done = python(script, crowded, installed)
    assert done.returncode == 0, done.stderr


def test_a_day_runs_from_the_wheel_next_to_a_projects_own_folders_of_those_names(installed, crowded, panel):
    panel.filter(panel["series_id"] < "C").group_by("series_id").head(130).write_parquet(crowded / "prices.parquet")
    environment = {**os.environ, "PYTHONPATH": str(installed), "HOME": str(crowded), "TIDECAST_CALENDAR": "weekdays"}
    run = [sys.executable, "-m", "tidecast", "run", "--source", "prices.parquet", "--output", "out.csv"]
    done = subprocess.run(run, cwd=crowded, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (crowded / "out.csv").read_text().count("\n") == 1 + 2 * 5
    assert "was imported" not in done.stdout + done.stderr
