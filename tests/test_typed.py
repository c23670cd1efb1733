"""Type checkers of projects that use the packages read their annotations."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("features", "forecasting", "flows")


def test_the_package_says_that_it_is_typed_in_the_wheel_too():
    assert (ROOT / "tidecast" / "py.typed").is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["tidecast"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_function_says_what_it_returns(package):
    lacking = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is None
    ]
    assert lacking == []


def test_forecasts_and_paths_come_back_as_the_kind_that_was_given():
    tree = ast.parse((ROOT / "forecasting" / "forecasters" / "base.py").read_text(encoding="utf-8"))
    for name in ("predict", "sample"):
        returned = [
            ast.unparse(node.returns) for node in ast.walk(tree) if getattr(node, "name", "") == name and node.returns
        ]
        assert returned == ["Any", "FrameLike", "Frame"]  # without a panel: the kind that was fitted
