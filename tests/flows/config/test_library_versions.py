"""`doctor` names versions of libraries that do not work, and what to install."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tidecast.flows.config.library_versions import KNOWN_BAD, version_problems

ROOT = Path(__file__).parents[3]
REQUIRED = {
    Requirement(text).name: Requirement(text).specifier
    for text in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A function: let a library seem to be installed in a version."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(library, version, *requirements):
        folder = tmp_path / f"{library}-{version}.dist-info"
        folder.mkdir()
        needs = "".join(f"Requires-Dist: {text}\n" for text in requirements)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: {version}\n{needs}")

    return install


def test_what_is_installed_here_works():
    assert version_problems() == []


def test_a_known_bad_version_is_named_with_its_effect_and_what_to_install(installed):
    installed("fastapi", "0.151.2")
    installed("sqlalchemy", "2.1.0")
    assert version_problems() == [
        "fastapi must not be >=0.151, found 0.151.2: Prefect 3.8 runs no flow with it. "
        "Run: pip install 'fastapi<0.151'",
        "sqlalchemy must not be >=2.1, found 2.1.0: Prefect 3.8 schedules no run with it, and says nothing. "
        "Run: pip install 'sqlalchemy>=2.0,<2.1'",
    ]


def test_a_version_outside_of_the_requirements_is_named_and_extras_are_not_required(installed):
    installed("tidecast", "0.1.0", "mlflow<4,>=3.8", "polars>=1.30", 'yfinance>=99; extra == "yahoo"', "absent-one>=1")
    installed("mlflow", "4.0.1")
    problems = version_problems()
    assert problems == [
        "mlflow must be <4,>=3.8, found 4.0.1: Tidecast is not tested with it. Run: pip install 'mlflow<4,>=3.8'"
    ]


@pytest.mark.parametrize("bad", KNOWN_BAD, ids=lambda bad: bad.library)
def test_the_table_and_the_requirements_of_the_project_agree(bad):
    first = bad.versions.removeprefix(">=")
    assert SpecifierSet(bad.versions).contains(first)
    assert not REQUIRED[bad.library].contains(first)
    assert Requirement(bad.install).specifier == REQUIRED[bad.library]
