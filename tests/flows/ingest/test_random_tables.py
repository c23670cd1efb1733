"""Rows of random tables are stored or quarantined, or a table is refused clearly; see tests/random_tables.py."""

import pytest

from tests.random_tables import run


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_any_table_is_taken_in_whole_or_refused_clearly(monkeypatch, first):
    import tidecast.flows.ingest.ingest

    real = tidecast.flows.ingest.ingest.open_source

    def opened(source):
        monkeypatch.setattr(
            "tidecast.flows.ingest.ingest.open_source", real if source is None else lambda settings: source
        )

    outcomes = [run(seed, opened) for seed in range(first, first + 10)]
    assert set(outcomes) <= {"stored", "refused"}
