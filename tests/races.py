"""Several processes ingest, publish and tidy up one warehouse at once, while others are killed: what must come of it.

    python -m tests.races [--deliveries 40] [--writers 4] [--kills 100] [--seed 0]

The source moves on from delivery to delivery: two a day, the second corrects that day's closes, and each corrects an
older one. Whoever reads it, in whatever order and however often it is killed, the table must end as that of one writer
whom nobody disturbed, and every published forecast must be found in the version of `prices` that it is said to have
read. Then the tables are tidied up, with nothing kept for a while, by one process that is killed again and again.

Processes are forked before anything is computed here: polars has no threads yet that a fork would lose.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from tidecast.flows.config.settings import Settings
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.maintenance import maintain
from tidecast.flows.warehouse.warehouse import Warehouse

SERIES = 20
MONDAY = date(2024, 1, 1)
DAYS = [MONDAY + timedelta(days=7 * week + day) for week in range(60) for day in range(5)]
WARM_UP = 5
"""Days that are there from the first delivery on."""

PAUSE = 0.3
"""Seconds between two kills, on average: an ingest takes about as long."""

PATIENCE = 120.0


class Races:
    """One warehouse in a folder, and the processes that work on it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.source, self.stop = folder / "prices.csv", folder / "stop"
        self.warehouse = Warehouse(str(folder / "warehouse"))
        self.settings = Settings(source=str(self.source), calendar="weekdays")
        self.running: dict[int, Callable[[], None]] = {}

    def deliver(self, number: int) -> None:
        """Let the source be the delivery of this number, at once."""
        draft = self.source.with_suffix(".tmp")
        draft.write_text(delivery(number))
        draft.replace(self.source)

    def start(self, work: Callable[[], None]) -> int:
        """Do it in a process of its own."""
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work()
                status = 0
            except BaseException:
                traceback.print_exc()  # nobody above will
            finally:
                sys.stderr.flush()
                os._exit(status)
        self.running[child] = work
        return child

    def end(self, child: int) -> None:
        """Wait for it; one that was not killed must have ended well."""
        del self.running[child]
        _, status = os.waitpid(child, 0)
        if status not in (0, signal.SIGKILL):
            raise AssertionError(f"no process may fail, one ended with status {status}")

    def kill(self, child: int) -> None:
        """As the kernel would."""
        os.kill(child, signal.SIGKILL)
        self.end(child)

    # what the processes do

    def write(self) -> None:
        """Ingest and publish whatever the source has, until told to stop."""
        while not self.stop.exists():
            day = ingest(self.warehouse, self.settings).as_of
            publish(self.warehouse, day)
            newest = self.warehouse.prices(day).filter(series_id="S0", time=day)["close"].item()
            (self.folder / f"done-{newest - 1000:.0f}").touch()

    def tidy(self) -> None:
        """Join files, and look for some to remove, until told to stop."""
        while not self.stop.exists():
            maintain(self.warehouse)
            time.sleep(0.1)

    def tidy_at_once(self) -> None:
        """Nobody else is at work: remove what no published forecast has read."""
        maintain(self.warehouse, timedelta(0))

    # the race

    def race(self, deliveries: int, writers: int, kills: int) -> None:
        """Let them work until all deliveries are taken, and kill them meanwhile, at random moments."""
        self.deliver(0)
        for work in (*[self.write] * writers, self.tidy):
            self.start(work)
        pauses = [self.random.uniform(0, 2 * PAUSE) for _ in range(kills)]
        for number in range(deliveries):
            self.deliver(number)
            ends = time.monotonic() + PATIENCE
            for _ in range(kills // deliveries):
                time.sleep(pauses.pop())
                victim = self.random.choice(sorted(self.running))
                work = self.running[victim]
                self.kill(victim)
                self.start(work)
            while not (self.folder / f"done-{number}").exists():
                time.sleep(0.01)
                if time.monotonic() > ends:
                    raise AssertionError(f"delivery {number} must be taken within {PATIENCE} s")
        self.stop.touch()
        for child in list(self.running):
            self.end(child)

    def tidy_up(self, kills: int) -> None:
        """Kill it at random moments, then let it end."""
        for _ in range(kills):
            child = self.start(self.tidy_at_once)
            time.sleep(self.random.uniform(0, PAUSE))
            self.kill(child)
        self.end(self.start(self.tidy_at_once))


def delivery(number: int) -> str:
    """All the source knows by then: day by day; the second delivery of a day corrects its closes."""
    today = WARM_UP + number // 2
    lines = ["series_id,time,close"]
    for place, day in enumerate(DAYS[: today + 1]):
        for series in range(SERIES):
            close = 100.0 + series + 0.01 * place
            last = min(number, 2 * (place - WARM_UP) + 1)  # the newest delivery that said something of this day
            if place >= WARM_UP:
                close += 0.001 * (last % 2)
            if series % 5 == place % 5 and number >= 2 * (place + 2 - WARM_UP) >= 0:
                close += 0.5  # two days later it is corrected
            if series == 0 and place == today:
                close = 1000.0 + number
            lines.append(f"S{series},{day},{close:.4f}")
        lines.append(f"S1,{day},-1")
    return "\n".join(lines) + "\n"


def publish(warehouse: Warehouse, day: date) -> None:
    """The last closes as forecasts, and what they were read from."""
    version = warehouse.version("prices")
    warehouse.publish(day, forecasts(warehouse.prices(day, version), day), read={"prices": version})
    warehouse.put_run({"as_of": day, "status": "done", "table_versions": json.dumps(warehouse.read_by(day)[0])})


def forecasts(panel: pl.DataFrame, day: date) -> pl.DataFrame:
    """One step, the last close."""
    last = panel.filter(pl.col("time") == day).sort("series_id")
    return last.select(
        "series_id", step=1, origin=pl.lit(day), time=pl.lit(day + timedelta(days=1)), forecast="close",
        model=pl.lit("last close"), run_id=pl.lit("r"), live=True, trained_through=pl.lit(day),
    )  # fmt: skip


def check(races: Races, deliveries: int) -> None:
    """Refuse any difference to one writer whom nobody disturbed."""
    alone = Races(races.folder / "alone", 0)
    alone.folder.mkdir()
    for number in range(deliveries):
        alone.deliver(number)
        publish(alone.warehouse, ingest(alone.warehouse, alone.settings).as_of)
    for name in ("revisions", "quarantine", "flags"):
        found, wanted = getattr(races.warehouse, name)(), getattr(alone.warehouse, name)()
        only = [a.join(b, on=a.columns, how="anti", nulls_equal=True) for a, b in ((found, wanted), (wanted, found))]
        assert found.height == wanted.height, f"{name}: {found.height} rows instead of {wanted.height}:\n{only}"
        assert found.equals(wanted), f"{name} differ:\n{only}"
    runs = races.warehouse.runs()
    days = alone.warehouse.runs()["as_of"].to_list()
    assert runs["as_of"].to_list() == days, f"runs must be of {days}, found {runs['as_of'].to_list()}"
    for day, text in runs.select("as_of", "table_versions").iter_rows():
        version = json.loads(text)["prices"]
        read = forecasts(races.warehouse.prices(day, version), day)
        issued = races.warehouse.forecasts(day).select(read.columns)
        assert issued.equals(read), f"the forecasts of {day} were not read from version {version}:\n{issued}\n{read}"


def main() -> None:
    """Race, tidy up, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in (("deliveries", 40), ("writers", 4), ("kills", 100), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        races = Races(Path(folder), options.seed)
        try:
            races.race(options.deliveries, options.writers, options.kills)
            races.tidy_up(max(3, options.kills // 10))
        finally:
            for child in list(races.running):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        check(races, options.deliveries)
    print(f"{options.deliveries} deliveries, {options.writers} writers: the tables of one whom nobody disturbed.")


if __name__ == "__main__":
    main()
