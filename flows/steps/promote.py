"""Who is champion: by a training and the rules of the gate, or by hand. What is decided is stored, then carried out.

Call these while holding the state folder. Each can be killed and called again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl

from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import TidecastError
from tidecast.flows.log import log
from tidecast.flows.steps import due as plan
from tidecast.flows.tracking.lost_model import ModelLost, not_in
from tidecast.flows.tracking.registry import ChampionChanged
from tidecast.flows.tracking.run_record import fingerprint
from tidecast.flows.tracking.store import TrackingError
from tidecast.flows.training import decisions
from tidecast.flows.training.champion import Champion
from tidecast.flows.training.decisions import Row, TrainingKey
from tidecast.flows.training.recorded_recipe import recorded_champion
from tidecast.flows.training.train import train
from tidecast.flows.workspace.panel_identity import identify
from tidecast.flows.workspace.workspace import Place
from tidecast.forecasting.tables.quantiles import check_quantiles


def train_and_promote(
    place: Place, as_of: date, by: str, prefect: Mapping[str, str] | None = None, anew: bool = False
) -> Row:
    """Train on the rows known at `as_of`, log, register, and make the winner champion; returns the decision.

    Done before on the same rows with the same settings, it is not done again.

    Parameters
    ----------
    place : Place
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
        Somebody else has made another version champion meanwhile.
    ModelLost
        The champion's model is lost, and `anew` is False.
    TidecastError
        The champion has seen later rows; or nothing is lost, and `anew` is True.
    """
    settle(place)
    warehouse = place.warehouse
    version = warehouse.versions()["prices"]
    panel = place.prices(as_of, version)
    known, trained = warehouse.decisions(), TrainingKey(as_of, fingerprint(panel), place.settings.digest)
    before = decisions.decided(known, trained)
    if before and not anew:
        return before
    champion, last = _to_replace(place, known, anew)
    if champion is not None and champion.trained_through > as_of:
        raise TidecastError(
            f"A training must see all that the champion has: rows up to {champion.trained_through}, got as_of {as_of}. "
            "Leave --as-of out."
        )
    is_due = plan.gate_due(decisions.newest(decisions.gates(known), as_of), as_of, place.settings)
    found = place.tuning_runs(log.info).newest(as_of) if is_due else None
    training = train(panel, as_of, place.settings, champion, is_due, log.info, {"prices": version}, found)
    key = trained.key(f"lost {last['decision']}" if last else champion.version if champion else "")
    gates_before = decisions.gates(known).height
    row = decisions.of_training(training, trained, champion, gates_before, by, datetime.now(UTC))
    if last:
        row |= {"decision": key, "champion_version": place.registry().aliases().get("champion")}
    tracking = place.tracking(log.info)
    run_id = tracking.log_training(training, key, row, prefect)
    log.info(f"In MLflow: {tracking.url_of(run_id)}")
    return _promote(place, key, run_id)


def _to_replace(place: Place, known: pl.DataFrame, anew: bool) -> tuple[Champion | None, Row | None]:
    """The champion; where its model is lost and is to be trained anew, as recorded, with the decision that made it."""
    try:
        champion = present_champion(place)
    except ModelLost:
        if not anew:
            raise
        return recorded_champion(known), decisions.last_of(known)
    if anew:
        version = f"version {champion.version} is whole" if champion else "none was ever decided on"
        raise TidecastError(f"A champion's model must be lost to be trained anew, but {version}. Leave --anew out.")
    return champion, None


def _promote_kept(place: Place) -> None:
    """Log, register and promote the trainings that MLflow could not take when they ended."""
    tracking = place.tracking(log.info)
    for key in tracking.kept():
        if (place.warehouse.decisions()["decision"] == key).any():  # the kill came later: it is the last decision
            tracking.forget(key)
            continue
        log.info("A training could not be logged when it ended. Logging it …")
        _promote(place, key, tracking.send(key))


def _promote(place: Place, key: str, run_id: str) -> Row:
    """Register what a logged training left, see that it forecasts as it did, and make it champion."""
    tracking, registry = place.tracking(log.info), place.registry(log.info)
    version = registry.register(run_id, key)
    if not registry.load(version).model.predict().equals(tracking.kept_forecasts(key)):
        raise TidecastError(f"Version {version} must forecast as the model that was logged; it does not. Not promoted.")
    row = tracking.kept_decision(key) | {"version": version, "run_id": run_id}
    try:
        carried_out = _carry_out(place, row)
    except ChampionChanged:  # that is stored: it is not tried again
        tracking.forget(key)
        raise
    tracking.forget(key)
    return carried_out


def training_session(place: Place, as_of: date | None) -> date:
    """The session a training by hand stands on: `as_of`, or the one before it; None: that of the newest prices.

    Raises
    ------
    TidecastError
        There are no prices up to then.
    """
    newest = place.warehouse.newest_session()
    if newest is None or place.settings.calendar is None:
        raise TidecastError("There must be prices to train on, found none. Start with: tidecast run")
    oldest = place.warehouse.oldest_session()
    if as_of is not None and oldest is not None and as_of < oldest:
        raise TidecastError(f"--as-of must not lie before the oldest price, {oldest}, got {as_of}.")
    return place.settings.sessions.at_or_before(min(as_of or newest, newest))


def promote_by_hand(place: Place, version: str | None, by: str, why: str) -> Row:
    """Make a version champion; None: the one that waits as challenger.

    Raises
    ------
    TidecastError
        There is none, it is champion already, incomplete, of another panel, or cannot forecast this panel.
    """
    settle(place)
    waiting = place.registry().aliases()
    version = version or waiting.get("challenger")
    if version is None:
        raise TidecastError("There must be a challenger to promote, found none. Name a version: tidecast promote 3")
    return _choose(place, version, "promoted by hand", by, why)


def rollback(place: Place, by: str, why: str) -> Row:
    """Make the champion before this one champion again."""
    settle(place)
    previous = place.registry().aliases().get("previous")
    if previous is None:
        raise TidecastError("There must be a champion before this one to go back to, found none.")
    return _choose(place, previous, "rolled back", by, why)


def settle(place: Place) -> None:
    """Log what MLflow could not take, and carry out the last decision, when a run was killed before it could."""
    identify(place.home, place.warehouse, place.settings)  # before anything is written for another panel
    _promote_kept(place)
    last = decisions.last_of(place.warehouse.decisions())
    if last is None:
        return
    registry = place.registry()
    champion = registry.aliases().get("champion")
    if last["version"] not in registry.versions():
        return  # it is lost: `present_champion` says so
    if champion != last["version"] and champion == last["champion_version"]:
        log.info(f"Carrying out what was decided before: version {last['version']} becomes champion.")
        _carry_out(place, last)


def present_champion(place: Place, say: Callable[[str], None] = log.info) -> Champion | None:
    """The champion; None before the first.

    Raises
    ------
    ModelLost
        Its model is not there, or damaged.
    TidecastError
        The registry has none, though one was decided on: a fault must not look like a new panel.
    """
    registry = place.registry(say)
    champion = registry.champion()
    last = decisions.last_of(place.warehouse.decisions())
    if champion is None and last is not None:
        if last["version"] not in registry.versions():
            raise not_in(registry.store, last)
        raise TidecastError(
            f"Version {last['version']} must be champion, as decided for {last['as_of']}, but the registry names none. "
            f'Name one: tidecast promote {last["version"]} --why "the alias was lost"'
        )
    return champion


def _choose(place: Place, version: str, outcome: str, by: str, why: str) -> Row:
    """A person's choice, checked, stored and carried out."""
    registry, warehouse = place.registry(log.info), place.warehouse
    standing = registry.aliases().get("champion")
    if version == standing:
        raise TidecastError(f"Another version must be chosen: version {version} is champion already.")
    as_of = warehouse.newest_session()
    if as_of is None:
        raise TidecastError("The panel must have prices before a champion can be chosen. Start with: tidecast run")
    chosen = registry.load(version)
    refuse_misfit(chosen, place.settings, place.prices(as_of), as_of)
    known = warehouse.decisions()
    try:
        champion = None if standing is None else registry.load(standing)
    except TrackingError:  # a champion whose model is lost can be replaced, too
        champion = recorded_champion(known)
    row = decisions.by_hand(outcome, as_of, chosen, champion, by, why, known, datetime.now(UTC))
    return _carry_out(place, row)


def refuse_misfit(chosen: Champion, settings: Settings, panel: pl.DataFrame, as_of: date) -> None:
    """Refuse a version that cannot forecast this panel as it is published.

    Raises
    ------
    TidecastError
        Other horizon or quantiles, columns that the panel does not have, rows later than the panel's, or prices that
        are not finite.
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


def _carry_out(place: Place, row: Row) -> Row:
    """Store a decision, then move the alias; where that is refused, store so."""
    place.warehouse.store_decision(row)
    try:
        place.registry().promote(row["version"], row["champion_version"])
    except ChampionChanged as error:
        place.warehouse.store_decision(decisions.refused(row, str(error), datetime.now(UTC)))
        raise
    log.info(f"Version {row['version']} is champion, {row['outcome']}: {row['reason']}")
    return row


def _short(value: Any) -> str:
    return str(value) if isinstance(value, int) else ", ".join(f"{level:g}" for level in value)
