"""Ingest random tables: the rows of each are stored or quarantined, or it is refused in one clear sentence.

    python -m tests.random_tables --cases 2000 --seed 7

prints each other outcome with the seed that makes the table again.
"""

import argparse
import random
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl

from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import TidecastError
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.sources import Fetched
from tidecast.flows.warehouse.warehouse import Warehouse

NAMES = (
    "vix", "VIX", "Volume", "volume", "rule", "original", "row", "unread", "present", "Year", "year", "Close", "a b",
    "", "ü", "open", "high", "low", "dividend", "Stock Splits", "calendar", "known_at", "time", "series_id", "*",
    "^.*$", "x" * 300, "a,b", "('Close', 'A')", "('', '')", "index", "adj_close", "null", "__tidecast_user:vix",
    "\u200b", "no\0l", "new\nline", '"', "close", "Date", "%s", "{x}", "drop table",
)  # fmt: skip
WORDS = (
    "", " ", "NA", "nan", "-", "abc", "1,5", "1,234", "1,234.50", "1.234,5", "1 234", "12%", "1e400", "-inf", "inf",
    "0", "-0.0", "1e-320", "0x10", "１２", "true", "False", "\0", "'", '"', "a\nb", "\ud7ff", "=1+1", "9" * 400, "NaN",
    "XNYS", "24/7", "2024-01-02",
)  # fmt: skip
TIMES = (
    "2024-01-02", "20240103", "2024-01-04 00:00:00+00", "2024-01-05T16:00:00-05:00", "2024-W02-1", "2024-009",
    "31/12/2024", "2024-01-08T23:59:60Z", "0001-01-01", "9999-12-31", "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-12:00", "2024-01-09T24:00", "10000-01-01", "-0001-01-01", "2024-01", "now", "", "1704153600",
    "2024-01-02T12:00:00.123456789Z",
    "2024-02-30", "1969-12-31", "2262-04-12", "1600-01-03", "2024-01-02[Europe/Berlin]",
)  # fmt: skip
IDS: tuple[list[Any], ...] = (
    ["A"], [1, 2], [1.0, None], ["A", 1], ["", " "], ["a", "A", "a "], ["<b>", "../x"], [True, False], [b"A"],
    [1.5, 2.5], [None], ["\u202e", "\0"], [date(2024, 1, 1)],
)  # fmt: skip
CALENDARS = (None, "weekdays", "24/7", "XNYS", "XTKS", "monthly first", "weekly FRI")


class Stall:
    """A source with one frame."""

    name = "a stall"

    def __init__(self, frame: Any) -> None:
        self.frame = frame

    def fetch(self, since: date | None = None) -> Fetched:
        return Fetched(self.frame)


def days(chance: random.Random, count: int) -> list[Any]:
    """Times in one of many types, most of them weekdays in a row."""
    begin = date(2024, 1, 1)
    if chance.random() < 0.2:
        begin = chance.choice([date(1, 1, 1), date(9999, 12, 1), date(1969, 12, 28), date(2262, 4, 1)])
    repeats = chance.choice([1, 1, 2, 2])
    plain = [begin + timedelta(days=min(number // repeats, 25)) for number in range(count)]
    kind = chance.choice(["date", "text", "odd text", "naive", "utc", "offset", "zone", "whole", "clock", "mixed"])
    if kind == "date":
        return plain
    if kind == "odd text":
        return [chance.choice(TIMES) if chance.random() < 0.3 else str(day) for day in plain]
    if kind == "mixed":
        return [chance.choice([day, str(day), None, 7, "x"]) for day in plain]
    if kind == "whole":
        return [day.year * 10_000 + day.month * 100 + day.day for day in plain]
    if kind == "text":
        return [str(day) for day in plain]
    hours = chance.randint(0, 23) if kind != "clock" else 0
    moments = [datetime(day.year, day.month, day.day, hours) for day in plain]
    if kind == "clock" and moments:
        moments[-1] = moments[-1].replace(hour=16)
    if kind == "utc":
        return [moment.replace(tzinfo=UTC) for moment in moments]
    if kind == "offset":
        minutes = chance.choice([0, 30, 45, 60, 330, -210, 345])
        return [moment.replace(tzinfo=timezone(timedelta(minutes=minutes))) for moment in moments]
    return moments


def values(chance: random.Random, count: int) -> list[Any]:
    """Prices or other numbers in one of many types."""
    plain = [round(100 * (1 + 0.01 * chance.gauss(0, 1)), 2) for _ in range(count)]
    kind = chance.choice(["plain", "plain", "text", "words", "grouped", "odd", "huge", "bool", "null", "whole", "list"])
    if kind == "text":
        return [str(number) for number in plain]
    if kind == "words":
        return [chance.choice(WORDS) if chance.random() < 0.4 else str(number) for number in plain]
    if kind == "grouped":
        return [f"{number * 50:,.{chance.choice([0, 2])}f}" for number in plain]
    if kind == "odd":
        odd = [None, float("nan"), float("inf"), float("-inf"), -1.0, 0.0, 1e308, 5e-324]
        return [chance.choice(odd) if chance.random() < 0.3 else number for number in plain]
    if kind == "huge":
        return [number * 1e300 for number in plain]
    if kind == "bool":
        return [chance.random() < 0.5 for _ in plain]
    if kind == "null":
        return [None] * count
    if kind == "whole":
        return [int(number) for number in plain]
    if kind == "list":
        return [[number] for number in plain] if chance.random() < 0.3 else plain
    return plain


def ids(chance: random.Random, count: int) -> list[Any]:
    """Names of series, some of them no text."""
    few: list[Any] = ["A", "B"]
    if chance.random() < 0.5:
        few = chance.choice(IDS)
    return [few[number % len(few)] for number in range(count)]


def allowed(name: str) -> bool:
    """Whether a covariate may have this name."""
    try:
        return bool(Settings(covariates=(name,)))
    except TidecastError:
        return False


def table(chance: random.Random) -> tuple[Any, dict[str, Any]]:
    """A frame, polars or pandas, and settings for it."""
    count = chance.choice([0, 1, 2, 7, 20, 40, 40])
    columns: dict[str, list[Any]] = {"time": days(chance, count), "close": values(chance, count)}
    if chance.random() < 0.9:
        columns["series_id"] = ids(chance, count)
    for name in chance.sample(NAMES, chance.choice([0, 1, 1, 2, 4])):
        columns.setdefault(name, (days if chance.random() < 0.1 else values)(chance, count))
    extra = [name for name in columns if name not in ("time", "close", "series_id")]
    if chance.random() < 0.8:
        extra = [name for name in extra if allowed(name)]
    settings: dict[str, Any] = {"calendar": chance.choice(CALENDARS), "positive": chance.random() < 0.8}
    if chance.random() < 0.6:
        settings["covariates"] = tuple(name for name in extra if chance.random() < 0.6)
    if chance.random() < 0.3:
        settings["static"] = tuple(name for name in extra if chance.random() < 0.4)
    if chance.random() < 0.15:
        settings["layout"] = chance.choice(["long", "wide"])
    if chance.random() < 0.1:
        settings["target"] = chance.choice(NAMES)
    frame = pd.DataFrame(
        {name: pd.Series(column, dtype=object) for name, column in columns.items()}, columns=[*columns]
    )
    if chance.random() < 0.8:
        frame = frame.infer_objects()
    if chance.random() < 0.15 and count:
        frame.columns = pd.MultiIndex.from_tuples(
            [(str(name), chance.choice(["", "A", "B"])) for name in frame.columns]
        )
    if chance.random() < 0.2 and count:
        frame = pd.concat([frame, frame.iloc[: chance.randint(1, count)]])
    return frame, settings


def written(chance: random.Random, frame: Any, folder: Path) -> Path | None:
    """The frame in a file; None where no writer takes it."""
    path = folder / chance.choice(["p.csv", "p.parquet", "p.csv.gz", "p.txt"])
    try:
        if path.suffix == ".parquet":
            frame.to_parquet(path)
        else:
            frame.to_csv(path, index=chance.random() < 0.2, sep=chance.choice(",;\t|"))
            if chance.random() < 0.1 and path.suffix != ".gz":
                body = bytearray(path.read_bytes())
                body[chance.randrange(len(body) or 1) : 0] = chance.choice([b"\xff", b"\0", b'"', b",", b"\n\n"])
                path.write_bytes(body)
    except Exception:
        return None
    return path


def check(seed: int, folder: Path, opened: Callable[[Any], Any], explain: bool = False) -> str:
    """Ingest one random table into an empty warehouse, twice, and return the outcome.

    Parameters
    ----------
    seed : int
    folder : Path
    opened : callable
        Replaces the source that the settings name; None restores it.
    explain : bool
        Add the error to the outcome.

    Raises
    ------
    AssertionError
        Rows were lost, or an error is not one clear sentence.
    """
    chance = random.Random(seed)
    frame, options = table(chance)
    path = written(chance, frame, folder) if chance.random() < 0.8 else None
    opened(None if path is not None else Stall(frame))
    warehouse = Warehouse(str(folder / "warehouse"))
    try:
        settings = Settings(source=str(path or "stall"), **options)
        today = chance.choice([None, date(2024, 6, 1)])
        found = ingest(warehouse, settings, today=today)
        again = ingest(warehouse, found.settings, today=today)
    except TidecastError as error:
        message = str(error)
        assert "\n" not in message, message
        assert "gave " not in message or "reading it gave" not in message, message
        assert 20 < len(message) < 2_000, message
        assert message.endswith((".", "?", "!")) or "See" in message, message
        return f"refused: {message}" if explain else "refused"
    kept = found.stored + found.corrected + found.unchanged
    assert found.rows_in == kept + sum(found.quarantined.values()), (found.rows_in, kept, found.quarantined)
    aside = warehouse.quarantine()
    assert aside.height == sum(found.quarantined.values())
    assert aside["rule"].null_count() == aside["original"].null_count() == 0
    prices = warehouse.quotes()
    assert prices.height == kept, (prices.height, kept)
    assert prices["close"].is_finite().all()
    assert again.stored == again.corrected == 0, (again.stored, again.corrected)
    return "stored"


def run(seed: int, opened: Callable[[Any], Any], explain: bool = False) -> str:
    """Return the outcome of the table of a seed; a panic fails like any other error."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return check(seed, Path(folder), opened, explain)
        except pl.exceptions.PanicException as error:
            raise AssertionError(f"a panic: {error}") from error
        finally:
            opened(None)


def main() -> None:
    """Run many cases and print those that fail."""
    import tidecast.flows.ingest.ingest

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--explain", action="store_true", help="print each error")
    asked = parser.parse_args()
    real = tidecast.flows.ingest.ingest.open_source

    def opened(source: Any) -> None:
        tidecast.flows.ingest.ingest.open_source = real if source is None else lambda settings: source

    outcomes: Counter[str] = Counter()
    for seed in range(asked.seed, asked.seed + asked.cases):
        try:
            outcome, _, error = run(seed, opened, asked.explain).partition(": ")
            outcomes[outcome] += 1
            if error:
                print(f"seed {seed}: {error}", flush=True)
        except Exception as error:
            outcomes["failed"] += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            print(
                f"seed {seed}: {type(error).__name__}: {str(error)[:400]} ({where.filename}:{where.lineno})", flush=True
            )
    print(dict(outcomes))


if __name__ == "__main__":
    main()
