"""Long work says how much of it is left; short work says nothing."""

import logging
import time

import pytest
from joblib import Parallel, delayed

from tidecast.forecasting import GRUForecaster, RandomWalk
from tidecast.forecasting.estimator import fit_notes, time_left
from tidecast.forecasting.estimator.fit_notes import FitNote, fits_of
from tidecast.forecasting.estimator.time_left import Work


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "tidecast")
    return lambda: [record.getMessage() for record in caplog.records if hasattr(record, time_left.PASSES)]


@pytest.fixture
def clock(monkeypatch):
    """The clock of all work, set by hand."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(time_left, "time", clock)
    return clock


def test_work_says_what_is_left_every_ten_seconds_and_short_work_nothing(lines, clock):
    work = Work("Training", 30, "epochs")
    for done in range(1, 9):
        clock.now += 1.0
        work.at(done)
    assert lines() == []
    clock.now += 3.0
    work.at(11)
    clock.now += 5.0
    work.at(16)
    assert lines() == ["  Training: 11 of 30 epochs, about 20 s left"]
    clock.now += 100.0
    work.at(30)
    assert len(lines()) == 1, "it is done"


def test_an_estimate_counted_the_time_in_which_workers_load_libraries(lines, clock):
    work = Work("Backtest", 8)
    clock.now += 60.0
    work.at(0.125)
    clock.now += 20.0
    work.at(1.125)
    assert lines() == ["  Backtest: 2 %", "  Backtest: 14 %, about 2 min left"]


def test_work_that_is_continued_is_as_fast_as_what_was_done_since(lines, clock):
    work = Work("Search", 50, "trials", since=40)
    clock.now += 100.0
    assert work.left(40) == ""
    assert work.left(41) == ""
    clock.now += 100.0
    assert work.left(45) == ", about 2 min left"


def test_a_training_says_how_far_it_is(panel, lines, monkeypatch):
    monkeypatch.setattr(time_left, "EVERY", 0.0)
    GRUForecaster(horizon=2, lookback=16, max_epochs=4).fit(panel)
    assert lines()[:2] == ["  Training: 1 of 4 epochs at most", "  Training: 2 of 4 epochs at most, about 10 s left"]


def fit(note, share):
    with note.noted():
        time_left._heard_by.get()(share)
        time.sleep(1.5)


@pytest.mark.parametrize("apart", [False, True])
def test_fits_in_other_processes_are_counted_while_they_run(apart, lines, monkeypatch):
    monkeypatch.setattr(time_left, "EVERY", 0.0)
    monkeypatch.setattr(fit_notes, "LOOK_EVERY", 0.1)
    walk, network = RandomWalk(), GRUForecaster()
    with fits_of("Backtest", [walk, network, network], apart) as fits:
        Parallel(n_jobs=2 if apart else 1, backend="loky" if apart else "sequential")(
            delayed(fit)(fits.note(k), 0.25) for k in (1, 2)
        )
    running = {line.split(",")[0] for line in lines()} & {f"  Backtest: {share} %" for share in (12, 25, 62)}
    assert running, "a share of an epoch's end, in this process or in others"


def test_a_fit_on_a_machine_that_does_not_see_the_file_counts_when_it_has_ended(lines, monkeypatch, tmp_path):
    monkeypatch.setattr(time_left, "EVERY", 0.0)
    network = GRUForecaster()
    with fits_of("Backtest", [network, RandomWalk(), network], True) as fits:
        fit(FitNote(str(tmp_path / "not here"), 0), 0.25)
        fits.one_ended(network)
        fits.one_ended(RandomWalk())
        fits.look()
    assert lines()[-1].startswith("  Backtest: 50 %")
