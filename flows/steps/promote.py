"""Choose the champion: by a training and the rules of the gate, or by hand. A decision is stored, then carried out.

Call these while holding the state folder. Each can be killed and called again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl

from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import TidecastError
from tidecast.flows.log import log
from tidecast.flows.steps.due import gate_due
from tidecast.flows.tracking.lost_model import ModelLost, not_in
from tidecast.flows.tracking.registry import ChampionChanged, Registry
from tidecast.flows.tracking.run_record import fingerprint
from tidecast.flows.tracking.store import TrackingError
from tidecast.flows.tracking.training_runs import Tracking
from tidecast.flows.tracking.tuning_runs import TuningRuns
from tidecast.flows.training import decisions
from tidecast.flows.training.champion import Champion
from tidecast.flows.training.decisions import Row, TrainingKey
from tidecast.flows.training.engine import engine_of
from tidecast.flows.training.model_panel import model_panel, read_versions
from tidecast.flows.training.recorded_recipe import recorded_champion
from tidecast.flows.training.stored_panel import StoredPanel
from tidecast.flows.training.train import refit_random_walk, train
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.flows.watch.demotion import Evidence, demotion_row
from tidecast.flows.workspace.panel_identity import identify
from tidecast.flows.workspace.workspace import Workspace
from tidecast.forecasting.tables.quantiles import check_quantiles


@dataclass(frozen=True)
class Promoter:
    """Decides which version is champion, stores each decision, and moves the alias.

    Parameters
    ----------
    state_folder : StateFolder
    warehouse : Warehouse
        Prices are read, decisions read and stored.
    settings : Settings
    registry : Registry
    tracking : Tracking
        Trainings in MLflow.
    tuning_runs : TuningRuns
        Searches in MLflow.
    """

    state_folder: StateFolder
    warehouse: Warehouse
    settings: Settings
    registry: Registry
    tracking: Tracking
    tuning_runs: TuningRuns

    @classmethod
    def of(cls, workspace: Workspace) -> Promoter:
        """Return the promoter of an opened state folder.

        Parameters
        ----------
        workspace : Workspace
        """
        return cls(
            workspace.state_folder, workspace.warehouse, workspace.settings, workspace.registry(log.info),
            workspace.tracking(log.info), workspace.tuning_runs(log.info),
        )  # fmt: skip

    def train(self, as_of: date, by: str, prefect: Mapping[str, str] | None = None, anew: bool = False) -> Row:
        """Train on the rows known at `as_of`, log, register, and make the winner champion; return the decision.

        A training on the same rows with the same settings is not repeated: its decision is returned.

        Parameters
        ----------
        as_of : date
        by : str
            Who trains.
        prefect : mapping, optional
            ``id`` and, where it has one, ``url`` of the flow run.
        anew : bool
            The champion's model is lost: train its recipe again, as `decisions` records it.

        Raises
        ------
        ChampionChanged
            Somebody else made another version champion meanwhile.
        ModelLost
            The champion's model is lost, and `anew` is False.
        TidecastError
            The champion has seen later rows; or nothing is lost, and `anew` is True.
        """
        self.settle()
        versions = read_versions(self.warehouse)
        panel = model_panel(self.warehouse, self.settings, as_of, versions)
        past, trained = self.warehouse.decisions(), TrainingKey(as_of, fingerprint(panel), self.settings.digest)
        before = decisions.decided(past, trained)
        if before and not anew:
            return before
        champion, lost = self._to_replace(past, anew)
        if champion is not None and champion.trained_through > as_of:
            raise TidecastError(
                f"A training must see all that the champion has: rows up to {champion.trained_through}, got as_of "
                f"{as_of}. Leave --as-of out."
            )
        is_due = gate_due(decisions.newest(decisions.gates(past), as_of), as_of, self.settings)
        found = self.tuning_runs.newest(as_of) if is_due else None
        with engine_of(self.settings, self.warehouse.uri):
            stored = StoredPanel(self.warehouse.pinned(self.warehouse.versions()), self.settings, as_of)
            training = train(panel, as_of, self.settings, champion, is_due, log.info, versions, found, stored)
        key = trained.key(f"lost {lost['decision']}" if lost else champion.version if champion else "")
        gates_before = decisions.gates(past).height
        row = decisions.of_training(training, trained, champion, gates_before, by, datetime.now(UTC))
        if lost:
            row |= {"decision": key, "champion_version": self.registry.aliases().get("champion")}
        run_id = self.tracking.log_training(training, key, row, prefect)
        log.info(f"In MLflow: {self.tracking.url_of(run_id)}")
        return self._promote_logged(key, run_id)

    def demote(self, as_of: date, evidence: Evidence, by: str, prefect: Mapping[str, str] | None = None) -> Row | None:
        """Replace a champion that forecasts worse than the random walk by the random walk; return the decision.

        None if another model is champion. Where the session has demoted it before, that decision is returned.

        Parameters
        ----------
        as_of : date
        evidence : Evidence
            Of its live forecasts.
        by : str
            Who decides.
        prefect : mapping, optional
            ``id`` and, where it has one, ``url`` of the flow run.
        """
        self.settle()
        last = decisions.last_of(self.warehouse.decisions())
        if last is not None and last["as_of"] == as_of and last["outcome"] == "demoted":
            return last
        champion = present_champion(self.registry, self.warehouse.decisions())
        if champion is None or champion.name != evidence.model:
            return None
        versions = read_versions(self.warehouse)
        panel = model_panel(self.warehouse, self.settings, as_of, versions)
        found = demotion_row(evidence)
        training = refit_random_walk(panel, as_of, self.settings, champion, str(found["reason"]), log.info, versions)
        trained = TrainingKey(as_of, "demotion", self.settings.digest)
        gates_before = decisions.gates(self.warehouse.decisions()).height
        row = decisions.of_training(training, trained, champion, gates_before, by, datetime.now(UTC)) | found
        key = trained.key(champion.version)
        return self._promote_logged(key, self.tracking.log_training(training, key, row, prefect))

    def promote(self, version: str | None, by: str, why: str) -> Row:
        """Make a version champion by hand; return the decision.

        Parameters
        ----------
        version : str or None
            None: the challenger.
        by, why : str
            Who decides, and the reason.

        Raises
        ------
        TidecastError
            There is no such version, it is champion already, incomplete, of another panel, or cannot forecast this
            panel.
        """
        self.settle()
        version = version or self.registry.aliases().get("challenger")
        if version is None:
            raise TidecastError("There must be a challenger to promote, found none. Name a version: tidecast promote 3")
        return self._choose(version, "promoted by hand", by, why)

    def rollback(self, by: str, why: str) -> Row:
        """Make the previous champion champion again; return the decision.

        Parameters
        ----------
        by, why : str
            Who decides, and the reason.

        Raises
        ------
        TidecastError
            There is no previous champion, or it cannot forecast this panel.
        """
        self.settle()
        previous = self.registry.aliases().get("previous")
        if previous is None:
            raise TidecastError("There must be a champion before this one to go back to, found none.")
        return self._choose(previous, decisions.ROLLED_BACK, by, why)

    def settle(self) -> None:
        """Finish the work of a killed run: log trainings that MLflow could not take, carry out the last decision."""
        identify(self.state_folder, self.warehouse, self.settings)  # before anything is written for another panel
        self._promote_unsent()
        last = decisions.last_of(self.warehouse.decisions())
        if last is None:
            return
        champion = self.registry.aliases().get("champion")
        if last["version"] not in self.registry.versions():
            return  # it is lost: `present_champion` says so
        if champion != last["version"] and champion == last["champion_version"]:
            log.info(f"Carrying out what was decided before: version {last['version']} becomes champion.")
            self._carry_out(last)

    def _to_replace(self, past: pl.DataFrame, anew: bool) -> tuple[Champion | None, Row | None]:
        """The champion. Where its model is lost and `anew`: as recorded, with the decision that made it champion."""
        try:
            champion = present_champion(self.registry, self.warehouse.decisions())
        except ModelLost:
            if not anew:
                raise
            return recorded_champion(past), decisions.last_of(past)
        if anew:
            version = f"version {champion.version} is whole" if champion else "none was ever decided on"
            raise TidecastError(f"A champion's model must be lost to be trained anew, but {version}. Leave --anew out.")
        return champion, None

    def _promote_unsent(self) -> None:
        """Log, register and promote the trainings that MLflow could not take when they ended."""
        for key in self.tracking.kept():
            if (self.warehouse.decisions()["decision"] == key).any():  # killed later: it is the last decision
                self.tracking.forget(key)
                continue
            log.info("A training could not be logged when it ended. Logging it …")
            self._promote_logged(key, self.tracking.send(key))

    def _promote_logged(self, key: str, run_id: str) -> Row:
        """Register the model of a logged training, check that it forecasts as it did, and make it champion."""
        version = self.registry.register(run_id, key)
        if not self.registry.load(version).model.predict().equals(self.tracking.kept_forecasts(key)):
            raise TidecastError(
                f"Version {version} must forecast as the model that was logged; it does not. Not promoted."
            )
        row = self.tracking.kept_decision(key) | {"version": version, "run_id": run_id}
        try:
            carried_out = self._carry_out(row)
        except ChampionChanged:  # the refusal is stored: it is not tried again
            self.tracking.forget(key)
            raise
        self.tracking.forget(key)
        self._add_report(carried_out)
        return carried_out

    def _add_report(self, row: Row) -> None:
        """Store the session's report in the training's run, if it is written. Otherwise the daily run does so later."""
        report = self.state_folder.reports / f"{row['as_of']}.html"
        if not report.exists():
            return
        try:
            self.tracking.add_report(row["run_id"], report)
        except TrackingError as error:  # the champion is decided; the page is in the state folder
            log.warning(f"The report {report} is not in MLflow: {error}")

    def _choose(self, version: str, outcome: str, by: str, why: str) -> Row:
        """Check, store and carry out a person's choice."""
        present = self.registry.aliases().get("champion")
        if version == present:
            raise TidecastError(f"Another version must be chosen: version {version} is champion already.")
        as_of = self.warehouse.newest_session()
        if as_of is None:
            raise TidecastError("The panel must have prices before a champion can be chosen. Start with: tidecast run")
        chosen = self.registry.load(version)
        refuse_misfit(chosen, self.settings, model_panel(self.warehouse, self.settings, as_of), as_of)
        past = self.warehouse.decisions()
        try:
            champion = None if present is None else self.registry.load(present)
        except TrackingError:  # a champion whose model is lost can be replaced, too
            champion = recorded_champion(past)
        return self._carry_out(decisions.by_hand(outcome, as_of, chosen, champion, by, why, past, datetime.now(UTC)))

    def _carry_out(self, row: Row) -> Row:
        """Store a decision, then move the alias. Where the registry refuses that, store the refusal."""
        self.warehouse.store_decision(row)
        try:
            self.registry.promote(row["version"], row["champion_version"])
        except ChampionChanged as error:
            self.warehouse.store_decision(decisions.refused(row, str(error), datetime.now(UTC)))
            raise
        log.info(f"Version {row['version']} is champion, {row['outcome']}: {row['reason']}")
        return row


def training_session(warehouse: Warehouse, settings: Settings, as_of: date | None) -> date:
    """Return the session a training by hand stands on: the last one up to `as_of`, or up to the newest prices.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    as_of : date or None
        None: the newest prices.

    Raises
    ------
    TidecastError
        There are no prices up to then.
    """
    newest = warehouse.newest_session()
    if newest is None or settings.calendar is None:
        raise TidecastError("There must be prices to train on, found none. Start with: tidecast run")
    oldest = warehouse.oldest_session()
    if as_of is not None and oldest is not None and as_of < oldest:
        raise TidecastError(f"--as-of must not lie before the oldest price, {oldest}, got {as_of}.")
    return settings.sessions.at_or_before(min(as_of or newest, newest))


def present_champion(registry: Registry, past: pl.DataFrame) -> Champion | None:
    """Return the champion; None before the first.

    Parameters
    ----------
    registry : Registry
    past : polars.DataFrame
        The table `decisions`.

    Raises
    ------
    ModelLost
        Its model is missing or damaged.
    TidecastError
        The registry has no champion, though one was decided on: a fault must not look like a new panel.
    """
    champion = registry.champion()
    last = decisions.last_of(past)
    if champion is None and last is not None:
        if last["version"] not in registry.versions():
            raise not_in(registry.store, last)
        raise TidecastError(
            f"Version {last['version']} must be champion, as decided for {last['as_of']}, but the registry names none. "
            f'Name one: tidecast promote {last["version"]} --why "the alias was lost"'
        )
    return champion


def refuse_misfit(chosen: Champion, settings: Settings, panel: pl.DataFrame, as_of: date) -> None:
    """Refuse a version that cannot forecast this panel as it is published.

    Parameters
    ----------
    chosen : Champion
        The version.
    settings : Settings
    panel : polars.DataFrame
        As the model sees it.
    as_of : date

    Raises
    ------
    TidecastError
        It has another horizon or other quantiles, needs columns that the panel does not have, has seen rows later than
        the panel's, or forecasts prices that are not finite.
    """
    model = chosen.model
    wanted = {"horizon": settings.horizon, "quantiles": check_quantiles(settings.quantiles)}
    has = {"horizon": model.horizon, "quantiles": check_quantiles(model.quantiles)}
    if other := [name for name in wanted if wanted[name] != has[name]]:
        differs = "; ".join(f"{name} is {_short(has[name])}, not {_short(wanted[name])}" for name in other)
        raise TidecastError(f"Version {chosen.version} must forecast what this panel publishes, but its {differs}.")
    if missing := sorted(set(model.columns_) - set(panel.columns)):
        raise TidecastError(f"Version {chosen.version} must find its columns in the panel; {missing} are not there.")
    if chosen.trained_through > as_of:
        raise TidecastError(
            f"Version {chosen.version} must not have seen more than the panel has: it was trained through "
            f"{chosen.trained_through}, the newest prices are of {as_of}."
        )
    if not np.isfinite(model.predict(panel).select(pl.selectors.float()).to_numpy()).all():
        raise TidecastError(f"Version {chosen.version} must forecast finite prices from {as_of}; it does not.")


def _short(value: Any) -> str:
    return str(value) if isinstance(value, int) else ", ".join(f"{level:g}" for level in value)
