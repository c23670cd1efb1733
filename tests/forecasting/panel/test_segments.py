"""Training history in stretches, every target once or more and none beyond the cut; states carried through it."""

import math
from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
import torch

from tidecast.features import PanelCalendar, check_panel
from tidecast.forecasting.network.cell_registry import CELLS
from tidecast.forecasting.network.recurrent import RecurrentNetwork
from tidecast.forecasting.network.training import isolated
from tidecast.forecasting.panel.flat_panel import panel_rows
from tidecast.forecasting.panel.segments import Segments, run_through


def rows_of(panel, lookback=16):
    return panel_rows(check_panel(panel), True, "close", PanelCalendar.of(panel), lookback)


def segments_of(panel, length=16, horizon=3, lookback=16):
    rows = rows_of(panel, lookback)
    inputs_N1 = torch.arange(len(rows), dtype=torch.float32)[:, None]  # each row's input is its own number
    return rows, Segments(rows, inputs_N1, torch.ones(len(rows)), length, horizon)


def days(rows):
    """The panel's sessions in order."""
    return rows.frame["time"].unique().sort().to_list()


def targets_in(batches):
    """(row, step) of every target, as often as it is there; the row by its input."""
    found = []
    for batch in batches:
        b, t, h = torch.nonzero(batch.weight_BTH, as_tuple=True)
        found += zip(batch.x_BTF[b, t, 0].int().tolist(), (h + 1).tolist(), strict=True)
    return found


def session_at(rows, time):
    """Number of the last session at or before a time; they all have one calendar here."""
    return int(rows.sessions_at(time)[0])


def all_targets(rows, since, until, horizon=3):
    """Every (row, step) with a known, scalable change between two sessions, by brute force."""
    session, found = rows.session.tolist(), set()
    first = rows.first(torch.arange(len(rows))).tolist()
    since, until = session_at(rows, since), session_at(rows, until)
    place = {(first[n], session[n]): n for n in range(len(rows))}
    for row in range(len(rows)):
        for step in range(1, horizon + 1):
            truth = (first[row], session[row] + step)
            if rows.moving[row] and truth in place and session[row] >= since and session[row] + step <= until:
                found.add((row, step))
    return found


@pytest.mark.parametrize("kind", ["breathing", "untidy_panel"])
def test_an_epoch_meets_every_target_up_to_the_cut_and_none_beyond(kind, request):
    rows, segments = segments_of(request.getfixturevalue(kind))
    until = days(rows)[-61]
    for seed in range(3):
        found = targets_in(segments.epoch(until, batch_size=8, shuffle=np.random.default_rng(seed)))
        assert set(found) == all_targets(rows, since=date(1900, 1, 1), until=until)


def test_one_origin_in_every_few_rows_and_over_epochs_all_of_them(panel):
    rows, segments = segments_of(panel)
    until, shuffle = days(rows)[-20], np.random.default_rng(0)
    whole = all_targets(rows, days(rows)[0], until)
    thin = replace(segments, every=5)
    epochs = [targets_in(thin.epoch(until, 8, shuffle)) for _ in range(30)]
    assert all(set(epoch) <= whole for epoch in epochs)
    assert max(len(epoch) for epoch in epochs) < 0.3 * len(whole)
    assert len(set().union(*epochs)) > 0.98 * len(whole)


def test_each_epoch_cuts_its_stretches_anew_but_takes_as_many_steps(breathing):
    rows, segments = segments_of(breathing)
    until = days(rows)[-1]
    shuffle = np.random.default_rng(0)
    epochs = [[batch.x_BTF for batch in segments.epoch(until, 8, shuffle)] for _ in range(3)]
    n_steps = -(-len(segments.starts(until)) // 8)
    assert [len(epoch) for epoch in epochs] == [n_steps] * 3
    starts = [set(torch.cat(epoch)[:, 0, 0].tolist()) for epoch in epochs]
    assert len(starts[0] & starts[1]) < 0.5 * len(starts[0])


@pytest.mark.parametrize("kind", ["breathing", "untidy_panel"])
def test_validation_and_training_share_no_target(kind, request):
    rows, segments = segments_of(request.getfixturevalue(kind))
    train_end, validation_end = days(rows)[-91], days(rows)[-41]
    trained = targets_in(segments.epoch(train_end, 8, np.random.default_rng(0)))
    validated = targets_in(segments.held_out(train_end, validation_end))
    assert len(validated) == len(set(validated))
    assert set(validated) == all_targets(rows, train_end, validation_end)
    session = rows.session.tolist()
    assert max(session[row] + step for row, step in trained) == session_at(rows, train_end)
    assert min(session[row] for row, _ in validated) == session_at(rows, train_end)
    assert max(session[row] + step for row, step in validated) == session_at(rows, validation_end)


def test_validation_warms_the_state_up_on_a_stretch(breathing):
    rows, segments = segments_of(breathing)
    (batch,) = segments.held_out(days(rows)[250], days(rows)[270])
    assert batch.x_BTF.shape == (4, 15 + 21, 1)
    assert batch.x_BTF[0, :, 0].tolist() == list(range(250 - 15, 250 + 21))
    assert (batch.weight_BTH[:, :15] == 0).all()


def test_targets_are_changes_over_volatility_and_root_step(breathing):
    rows, segments = segments_of(breathing)
    (batch,) = segments.held_out(days(rows)[250], days(rows)[270])
    log_price = breathing["close"].log().to_numpy()
    expected = [(log_price[255 + k] - log_price[255]) / rows.volatility[255].item() / math.sqrt(k) for k in (1, 2, 3)]
    assert batch.y_BTH[0, 20].tolist() == pytest.approx(expected, rel=1e-6)


def test_rows_past_the_end_of_a_sequence_have_no_target():
    """A stretch over a series shorter than itself runs into the next one, whose rows must not count for the first."""
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 6, 30), eager=True)
    days = days.filter(days.dt.weekday() <= 5)
    walk = np.exp(np.random.default_rng(0).normal(size=len(days)).cumsum() * 0.01)
    long = pl.DataFrame({"series_id": "b", "time": days, "close": walk})
    short = pl.DataFrame({"series_id": "a", "time": days[:9], "close": walk[:9]})
    rows, segments = segments_of(pl.concat([short, long]), lookback=4)
    until = days[-1]
    for batch in segments.epoch(until, 1, np.random.default_rng(0)):
        if batch.x_BTF[0, 0, 0] == 0:
            assert batch.weight_BTH[0, 9:].sum() == 0
            assert batch.weight_BTH[0, 3:8].sum() > 0
    assert set(targets_in(segments.epoch(until, 4, np.random.default_rng(1)))) == all_targets(
        rows, date(1900, 1, 1), until
    )


# ------------------------------------------------------------------ states
def network_of(cell):
    with isolated(0):
        return RecurrentNetwork(cell, 3, 6, num_layers=1, dropout=0.0, horizon=4, n_outputs=5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("block", "chunk"), [(2, 50), (256, 512)])
def test_states_of_a_panel_are_those_of_each_sequence_run_alone(cell, block, chunk, untidy_panel, monkeypatch):
    monkeypatch.setattr("tidecast.forecasting.panel.segments.BLOCK", block)
    monkeypatch.setattr("tidecast.forecasting.panel.segments.CHUNK", chunk)
    rows = rows_of(untidy_panel)
    network = network_of(cell)
    inputs_NF = torch.randn(len(rows), 3, generator=torch.Generator().manual_seed(0))
    at = torch.nonzero(rows.ready)[::7, 0]
    with torch.inference_mode():
        ends = rows.ends(at)
        state, h_ND = run_through(network, inputs_NF, rows, ends, at)
        for row, h in [
            *zip(at[::40].tolist(), h_ND[::40], strict=True),
            *zip(ends.tolist(), network.top(state), strict=True),
        ]:
            alone, _ = network.encode(inputs_NF[None, int(rows.first(torch.tensor(row))) : row + 1])
            assert torch.allclose(h, alone[0, -1], atol=1e-6)


def test_states_may_be_carried_to_any_rows_and_noted_at_none(breathing):
    rows = rows_of(breathing)
    network = network_of("gru")
    inputs_NF = torch.randn(len(rows), 3, generator=torch.Generator().manual_seed(0))
    ends = torch.tensor([900, 40, 1279, 41])
    with torch.inference_mode():
        state, h_ND = run_through(network, inputs_NF, rows, ends, ends[:0])
        reversed_, _ = run_through(network, inputs_NF, rows, ends.flip(0), ends[:0])
    assert h_ND.shape == (0, 6)
    assert torch.allclose(network.top(state), network.top(reversed_).flip(0), atol=1e-6)
    assert rows.ends(torch.tensor([3, 40, 41, 900, 1279])).tolist() == [41, 900, 1279]
