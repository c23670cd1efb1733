"""Large arrays of a fit lie in a file that nobody has to delete, and numbers are those of arrays in memory."""

import errno
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tidecast.features import PanelSchema
from tidecast.forecasting import GRUForecaster, VolatilityRegression
from tidecast.forecasting.estimator import mapped_arrays
from tidecast.forecasting.estimator.mapped_arrays import new_array

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def every_array(monkeypatch, tmp_path):
    """Every array lies in a file of this folder."""
    monkeypatch.setattr(mapped_arrays, "MAPPED_FROM", 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def anonymous_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@pytest.mark.parametrize("future", [(), ("turnover",)])
@pytest.mark.parametrize("kind", [GRUForecaster, VolatilityRegression])
def test_a_fit_learns_the_same_bits_from_files(kind, future, breathing, monkeypatch, tmp_path):
    prices = breathing.with_columns(turnover=breathing["close"].cum_sum())
    model = kind(lookback=16, horizon=2, schema=PanelSchema(future=future))
    if kind is GRUForecaster:
        model.set_params(hidden_size=4, max_epochs=2)
    in_memory = model.fit(prices)._learned()
    monkeypatch.setattr(mapped_arrays, "MAPPED_FROM", 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made, reserve = [], mapped_arrays._reserve
    monkeypatch.setattr(mapped_arrays, "_reserve", lambda file, n: made.append(n) or reserve(file, n))
    in_files = model.fit(prices)._learned()
    assert len(made) >= 3, "inputs, sessions and volatilities"
    assert in_memory.keys() == in_files.keys()
    assert all(torch.equal(tensor, in_files[name]) for name, tensor in in_memory.items())


@ON_LINUX
def test_the_file_has_no_name_from_the_beginning_so_a_kill_leaves_nothing(every_array):
    array = new_array((100, 3), np.float16)
    array[:] = 1.5
    assert list(every_array.iterdir()) == []
    assert str(every_array) in Path("/proc/self/maps").read_text()
    del array
    assert str(every_array) not in Path("/proc/self/maps").read_text()


@ON_LINUX
def test_a_large_array_takes_no_anonymous_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = anonymous_bytes()
    array = new_array((64 << 20,), np.uint8)
    array[:] = 1
    assert anonymous_bytes() - before < 8 << 20
    assert array.sum(dtype=np.int64) == 64 << 20


@pytest.mark.parametrize("fault", ["a full disk", "no folder"])
def test_without_room_for_a_file_the_array_is_in_memory(fault, every_array, monkeypatch):
    if fault == "no folder":
        monkeypatch.setattr("tempfile.tempdir", str(every_array / "not there"))
    else:
        full = OSError(errno.ENOSPC, "No space left on device")
        monkeypatch.setattr(mapped_arrays, "_reserve", lambda file, n: (_ for _ in ()).throw(full))
    array = new_array((5,), np.int32)
    array[:] = 7
    assert array.tolist() == [7] * 5


def test_where_blocks_cannot_be_reserved_they_are_written(every_array, monkeypatch):
    monkeypatch.delattr("os.posix_fallocate", raising=False)
    monkeypatch.setattr(mapped_arrays, "BLOCK", 1000)
    array = new_array((300, 3), np.float64)
    assert (array == 0).all()
