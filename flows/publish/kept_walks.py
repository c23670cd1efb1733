"""The random walks that forecasts are scored beside, kept in a folder: a fit takes the whole panel, every day."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from tidecast.features.panel import PanelSchema
from tidecast.flows.config.settings import Settings
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting.forecasters.baselines import RandomWalk
from tidecast.forecasting.saving.saved_classes import UnreadableModel

MOST_KEPT = 8
"""Random walks in a folder: a champion has one, and the last sessions of a stand-in one each."""


@dataclass(frozen=True)
class KeptWalks:
    """Random walks by the session that they were fitted through.

    A kept one is as good as a new one, because the rows known at a session do not change. Before anything is published
    they may: then nothing is kept. A folder that is lost, or cannot be written, costs time only.

    Attributes
    ----------
    folder : Path or None
        None: nothing is kept.
    warehouse : Warehouse
    """

    folder: Path | None
    warehouse: Warehouse
    _fitted: dict[str, RandomWalk] = field(default_factory=dict)

    def fitted(self, through: date, settings: Settings) -> RandomWalk:
        """Return the random walk fitted on the rows known at a session.

        Parameters
        ----------
        through : date
            The session.
        settings : Settings
            Horizon, lookback, quantiles and what the prices are.
        """
        schema = PanelSchema(positive=settings.positive, calendar=settings.calendar)
        walk = RandomWalk(settings.horizon, settings.lookback, settings.quantiles, schema=schema)
        what = json.dumps([self.warehouse.uri, through.isoformat(), walk.recipe()])
        name = f"{through}-{hashlib.sha256(what.encode()).hexdigest()[:16]}"
        if name not in self._fitted:
            self._fitted[name] = self._loaded(name) or self._kept(name, walk.fit(self.warehouse.prices(through)))
        return self._fitted[name]

    def _loaded(self, name: str) -> RandomWalk | None:
        if self.folder is None:
            return None
        with suppress(OSError, UnreadableModel, TypeError, ValueError):
            return RandomWalk.load(self.folder / name)
        return None

    def _kept(self, name: str, walk: RandomWalk) -> RandomWalk:
        if self.folder is None or not self.warehouse.has_published():
            return walk
        draft = self.folder / "draft"
        with suppress(OSError):
            shutil.rmtree(draft, ignore_errors=True)
            walk.save(draft)
            shutil.rmtree(self.folder / name, ignore_errors=True)
            draft.rename(self.folder / name)
            oldest_first = sorted(self.folder.iterdir(), key=lambda one: one.stat().st_mtime)
            for old in oldest_first[:-MOST_KEPT]:
                shutil.rmtree(old, ignore_errors=True)
        return walk
