"""The examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

from tidecast import features

MODULES = [f"features.{module.name}" for module in pkgutil.iter_modules(features.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
