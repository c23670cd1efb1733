"""A table in temporary files equals its pieces, has one array a column, and takes no memory that cannot be dropped."""

import sys
from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.forecasting.estimator.test_mapped_arrays import ON_LINUX, anonymous_bytes
from tidecast.forecasting.estimator import mapped_frame
from tidecast.forecasting.estimator.mapped_frame import mapped_frame as mapped

NUMBERS = (pl.Float64, pl.Float32, pl.Int64, pl.UInt8)


def piece(generator, n_rows, number):
    """Rows of any kind; texts of up to 40 bytes, some of the same name; a column without any value."""
    missing = generator.random((n_rows, 8)) < generator.choice([0.0, 0.3])
    names = [f"{'long ' * generator.integers(0, 8)}é{number}{generator.integers(4)}" for _ in range(n_rows)]
    columns = {"name": pl.Series(names, dtype=pl.String)}
    columns |= {str(kind): pl.Series(generator.integers(0, 99, n_rows), dtype=kind) for kind in NUMBERS}
    columns["day"] = pl.Series(generator.integers(-999, 9999, n_rows), dtype=pl.Int32).cast(pl.Date)
    columns["instant"] = pl.Series(generator.integers(0, 10**15, n_rows), dtype=pl.Int64).cast(pl.Datetime("us"))
    columns["nothing"] = pl.Series([None] * n_rows, dtype=pl.String)
    frame = pl.DataFrame(columns)
    nulls = zip(frame.columns, missing.T, strict=True)
    return frame.with_columns(pl.when(pl.Series(mask)).then(None).otherwise(name).alias(name) for name, mask in nulls)


@pytest.mark.parametrize("seed", range(40))
def test_rows_are_those_of_the_pieces(seed, monkeypatch):
    generator = np.random.default_rng(seed)
    monkeypatch.setattr(mapped_frame, "BLOCK", int(generator.choice([8, 64, 1 << 20])))
    pieces = [piece(generator, generator.integers(0, 60), number) for number in range(generator.integers(1, 6))]
    found, wanted = mapped(iter(pieces)), pl.concat(pieces)
    assert found.equals(wanted)
    assert found.schema == wanted.schema
    assert found.n_chunks() == 1
    assert found.sort("name", "day").equals(wanted.sort("name", "day"))
    assert found.filter(pl.col("name").is_in(wanted["name"].head(3).implode())).equals(
        wanted.filter(pl.col("name").is_in(wanted["name"].head(3).implode()))
    )


@ON_LINUX
def test_it_takes_no_anonymous_memory_and_its_files_no_name(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def pieces():
        for number in range(32):
            yield pl.DataFrame({"name": f"series {number} of a long name", "x": np.full(100_000, float(number))})

    next(pieces())
    before = anonymous_bytes()
    found = mapped(pieces())
    assert found["x"].sum() == 100_000 * sum(range(32))
    assert anonymous_bytes() - before < 24 << 20, "the frame has 77 MB"
    assert found.estimated_size() > 70 << 20
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) in Path("/proc/self/maps").read_text()
    del found
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_a_column_of_another_type_is_refused():
    with pytest.raises(TypeError, match="numbers, times or text to be mapped from a file, got List"):
        mapped([pl.DataFrame({"x": [[1.0]]})])


@pytest.mark.skipif(sys.platform == "win32", reason="another error there")
def test_without_room_the_system_s_error_is_raised(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    with pytest.raises(FileNotFoundError):
        mapped([pl.DataFrame({"x": [1.0], "day": [date(2024, 1, 1)], "at": [datetime(2024, 1, 1)]})])


@pytest.mark.parametrize("other", [{"x": [1]}, {"x": [1.0], "y": [1.0]}, {"y": [1.0]}])
def test_a_piece_of_another_schema_is_refused(other):
    with pytest.raises(ValueError, match="must have one schema, got"):
        mapped([pl.DataFrame({"x": [1.0]}), pl.DataFrame(other)])
