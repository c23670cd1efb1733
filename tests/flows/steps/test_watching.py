"""The steps of the watch: looks at the source, and a champion that loses its place, once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from tests.flows.trainings import SETTINGS
from tidecast.flows.steps import promote
from tidecast.flows.steps.promote import Promoter
from tidecast.flows.steps.watching import note_look, watch_stored
from tidecast.flows.tracking.registry import Registry
from tidecast.flows.training.decisions import gates, last_of
from tidecast.flows.watch.demotion import Evidence
from tidecast.flows.workspace.workspace import Workspace

pytestmark = pytest.mark.usefixtures("without_pictures")

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def workspace(store, judged) -> Workspace:
    made = Workspace(store.home, SETTINGS)
    made.warehouse.store_prices(judged.panel.with_columns(known_at=pl.col("time"), as_of=pl.lit(judged.as_of)))
    return made


@pytest.fixture
def crowned(workspace, refreshed, monkeypatch) -> Promoter:
    """A panel whose champion is a network."""
    promoter = Promoter.of(workspace)
    monkeypatch.setattr(promote, "train", lambda *args: replace(refreshed, outcome="promoted"))
    promoter.train(refreshed.as_of, "test")
    return promoter


def evidence_of(day) -> Evidence:
    return Evidence("GRU", day - timedelta(days=90), day, 60, -0.08, 321.0, day)


class Killed(BaseException):
    """The process ends here."""


def test_a_worse_champion_is_replaced_by_the_random_walk_and_recorded_like_a_gate(crowned, workspace, judged):
    assert Registry(workspace.registry().store).champion().name == "GRU"
    row = crowned.demote(judged.as_of, evidence_of(judged.as_of), "the daily flow")
    assert (row["outcome"], row["winner"], row["champion"]) == ("demoted", "random_walk", "GRU")
    assert "stake 321" in row["reason"]
    assert row["distribution_skill"] == -0.08
    champion = workspace.registry().champion()
    assert (champion.name, champion.trained_through) == ("random_walk", judged.as_of)
    assert champion.decision["outcome"] == "demoted"
    assert gates(workspace.warehouse.decisions()).is_empty()  # no gate was held: the next one is not put off


def test_a_demotion_is_not_repeated(crowned, workspace, judged):
    first = crowned.demote(judged.as_of, evidence_of(judged.as_of), "the daily flow")
    versions = workspace.registry().versions()
    assert crowned.demote(judged.as_of, evidence_of(judged.as_of), "the daily flow")["decision"] == first["decision"]
    assert workspace.registry().versions() == versions
    assert workspace.warehouse.decisions().height == 2


def test_a_demotion_that_was_killed_is_carried_out_by_the_next_run(crowned, workspace, judged, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "promote", lambda *args: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            crowned.demote(judged.as_of, evidence_of(judged.as_of), "the daily flow")
    assert workspace.registry().champion().name == "GRU"
    Promoter.of(workspace).settle()
    assert workspace.registry().champion().name == "random_walk"
    assert last_of(workspace.warehouse.decisions())["outcome"] == "demoted"


def test_another_model_than_the_one_with_the_evidence_keeps_its_place(crowned, workspace, judged):
    other = replace(evidence_of(judged.as_of), model="LSTM")
    assert crowned.demote(judged.as_of, other, "the daily flow") is None
    assert workspace.registry().champion().name == "GRU"


def test_a_training_after_a_demotion_is_held_although_the_rows_are_the_same(crowned, workspace, judged, monkeypatch):
    """Once, the decision of the demotion counted as the training of these rows."""
    crowned.demote(judged.as_of, evidence_of(judged.as_of), "the daily flow")
    monkeypatch.setattr(promote, "train", lambda *args: replace(judged, outcome="kept"))
    row = Promoter.of(workspace).train(judged.as_of, "test")
    assert row["outcome"] == "kept"


class Found:
    """What an ingest says about sessions."""

    def __init__(self, as_of, newest):
        self.as_of = self.newest_in_source = as_of
        self.newest = newest


def test_a_look_counts_once_an_hour_and_again_when_it_finds_more(workspace, judged):
    warehouse, day = workspace.warehouse, judged.as_of
    note_look(warehouse, Found(day, day), NOW)
    version = warehouse.version("looks")
    note_look(warehouse, Found(day, day), NOW + timedelta(minutes=30))
    assert warehouse.version("looks") == version
    later = NOW + timedelta(minutes=40)
    note_look(warehouse, Found(day + timedelta(days=1), day + timedelta(days=1)), later)
    assert warehouse.looks()["at"].to_list() == [later]
    note_look(warehouse, Found(day - timedelta(days=9), day), NOW + timedelta(days=1))  # an earlier session is no look
    assert warehouse.looks().height == 1


def test_what_is_watched_is_computed_from_the_tables_alone(workspace, judged):
    note_look(workspace.warehouse, Found(judged.as_of, judged.as_of), NOW)
    first, again = (watch_stored(workspace, judged.as_of, NOW) for _ in range(2))
    assert first.checked == again.checked
    assert first.checked.states == ("stale_feed",)
