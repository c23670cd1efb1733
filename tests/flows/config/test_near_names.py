"""A name that is not known is refused with the near one, in the same words everywhere."""

import re

import click
import polars as pl
import pytest

from tests.flows.desk import WEEK, Desk
from tidecast.features.calendars.by_name import get_calendar
from tidecast.flows.cli.models import ModelName
from tidecast.flows.config.rule_actions import check_action
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import TidecastError
from tidecast.flows.ingest.quarantine import near_choice
from tidecast.flows.sources.opening import open_source
from tidecast.flows.workspace.load_settings import load_settings
from tidecast.forecasting import RandomWalk, RollingOrigin, tune
from tidecast.forecasting.estimator.engine_address import check_engine
from tidecast.forecasting.network.heads import check_head
from tidecast.forecasting.plotting.tables import one_model

PANEL = pl.DataFrame(
    {"series_id": "a", "time": pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 5), eager=True), "close": 1.0}
)
TABLE = pl.DataFrame({"model": ["GRU"]})

UNKNOWN = [
    (lambda folder: get_calendar("weekday"), "'weekdays'"),
    (lambda folder: check_head("scales"), "'scale'"),
    (lambda folder: check_engine("proceses"), "'processes'"),
    (lambda folder: RandomWalk(horizon=1, lookback=2).fit(PANEL).predict(PANEL, origins="al"), "'all'"),
    (lambda folder: tune(RandomWalk(), PANEL, RollingOrigin(), metric="mea"), "'mae'"),
    (lambda folder: one_model(TABLE, "GRUU"), "'GRU'"),
    (lambda folder: ModelName().convert("GRUU", None, None), "'GRU'"),
    (lambda folder: Settings(models=("LTSM",)), "'LSTM'"),
    (lambda folder: check_action("jump", "flagg"), "'flag'"),
    (lambda folder: load_settings(StateFolder(folder), {}, {"TIDECAST_LAYOUT": "lng"}, folder), "'long'"),
    (lambda folder: load_settings(StateFolder(folder), {}, {"TIDECAST_LAYUOT": "long"}, folder), "TIDECAST_LAYOUT"),
    (lambda folder: open_source(Settings(source="postgress://host/db")), "postgres://"),
    (lambda folder: open_source(Settings(source="htps://host/prices.csv")), "https://"),
    (lambda folder: open_source(Settings(source=str(folder / "ecbb"))).fetch(None), "'ecb'"),
]


@pytest.mark.parametrize(("ask", "near"), UNKNOWN, ids=[near for _, near in UNKNOWN])
def test_an_unknown_name_is_refused_with_the_near_one(ask, near, tmp_path):
    """Heads, models, metrics, choices of settings and schemes of sources were refused without one."""
    with pytest.raises((ValueError, click.UsageError, TidecastError), match=rf"Did you mean {re.escape(near)}\?"):
        ask(tmp_path)


def test_a_misspelt_rule_in_quarantine_is_named(tmp_path):
    """`tidecast quarantine --rule not_positve` said that no such row waits, and nothing more."""
    desk = Desk(tmp_path)
    desk.ingest(*WEEK, "A,2024-01-04,-1")
    assert near_choice(desk.warehouse, rules=("not_positve",)) == " Did you mean 'not_positive'?"
    assert near_choice(desk.warehouse, rules=("not_positive",)) == ""
