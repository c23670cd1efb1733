"""A price file of a few rows, and the warehouse that ingests it."""

from datetime import date

from tidecast.flows.config.settings import Settings
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.warehouse.warehouse import Warehouse

MON, TUE, WED, THU, FRI = (date(2024, 1, day) for day in (1, 2, 3, 4, 5))
WEEK = [f"{name},{day},{price}" for name in "AB" for price, day in enumerate((MON, TUE, WED), start=1)]


class Desk:
    """A price file, its settings and a warehouse."""

    def __init__(self, folder, **changes):
        self.file = folder / "prices.csv"
        self.warehouse = Warehouse(str(folder / "warehouse"))
        self.settings = Settings(source=str(self.file), **changes)

    def ingest(self, *rows, as_of=None, today=None, now=None):
        """Write these rows, "A,2024-01-02,1.5", to the file and ingest it."""
        self.file.write_text("\n".join(["series_id,time,close", *rows, ""]))
        return ingest(self.warehouse, self.settings, as_of, today, now)

    def rules(self):
        return sorted(self.warehouse.quarantine()["rule"])
