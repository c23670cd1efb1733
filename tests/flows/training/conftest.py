"""Prices, and a training on this machine that those on clusters must equal."""

import pytest

from tests.flows.training.cluster_trainings import trained


@pytest.fixture(scope="module")
def short_walks(random_walks):
    return random_walks(n_series=3, n_rows=500)


@pytest.fixture(scope="module")
def local(short_walks):
    return trained(short_walks)
