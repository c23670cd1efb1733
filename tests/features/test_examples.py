"""The examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

from tidecast import features

MODULES = [module.name for module in pkgutil.walk_packages(features.__path__, "tidecast.features.")]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
