"""The examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

from tidecast import forecasting

MODULES = [module.name for module in pkgutil.walk_packages(forecasting.__path__, "tidecast.forecasting.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name):
    for library, engine in (("ray", "ray"), ("pyspark", "spark")):
        if name.endswith(f"{engine}_backend"):
            pytest.importorskip(library, reason="an engine is an extra that the development tools do not install")
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize(
    "name",
    [
        "forecasters.recurrent",
        "regressors",
        "forecasters.baselines",
        "evaluation.splits",
        "backtesting.backtest",
        "evaluation.dm_test",
    ],
)
def test_a_module_that_people_call_has_an_example(name):
    module = importlib.import_module(f"tidecast.forecasting.{name}")
    assert any(found.examples for found in doctest.DocTestFinder().find(module))
