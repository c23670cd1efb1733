"""The steps of a day, as plain functions on a `Place`: what the tasks of the daily flow call.

Each can be killed and called again. What is done is read from the tables and from MLflow, never from a note of our own.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl

from tidecast.features.panel import PanelSchema
from tidecast.flows.errors import TidecastError
from tidecast.flows.ingest.calendars import is_live
from tidecast.flows.ingest.ingest import Ingested
from tidecast.flows.log import log
from tidecast.flows.publish.export import publish_out
from tidecast.flows.publish.predict import Forecasts, predict
from tidecast.flows.publish.score import score
from tidecast.flows.redaction import redact
from tidecast.flows.reporting.report import ReportData, write_report
from tidecast.flows.steps import due as plan
from tidecast.flows.steps.promote import present_champion
from tidecast.flows.steps.take_in import take_in_prices
from tidecast.flows.tracking.registry import Champion
from tidecast.flows.training.decisions import decided_words, made_champion, newest, trainings
from tidecast.flows.workspace.workspace import Place
from tidecast.forecasting.forecasters.baselines import RandomWalk
from tidecast.forecasting.saving.recipes import decode
from tidecast.forecasting.tables.names import RANDOM_WALK

Row = dict[str, Any]

LONGEST = 300
"""Characters of a failure that are shown; Prefect's log has all of it."""


@dataclass(frozen=True)
class Published:
    """What is published for a session.

    Attributes
    ----------
    champion : Champion
        Who forecasts it; where it was published before, who would now.
    row : dict
        The session's row of the table `runs`.
    forecasts : Forecasts or None
        None when it was published before.
    """

    champion: Champion
    row: Row
    forecasts: Forecasts | None


class Problems(list[str]):
    """What failed in steps that must not keep the others from being done."""

    @contextmanager
    def noted(self, step: str) -> Iterator[None]:
        """Note a failure of the body, and go on."""
        try:
            yield
        except Exception as error:
            why = redact(" ".join(str(error).split())) or type(error).__name__
            if len(why) > LONGEST and not isinstance(error, TidecastError):  # ours end with what to do
                why = f"{why[:LONGEST]} …"
            self.append(f"{step} failed: {why}")
            log.warning(self[-1])
            log.debug("where it failed", exc_info=True)


def is_first(place: Place, as_of: date) -> bool:
    """Whether no other session was ever run: only then is trained before publishing."""
    return place.warehouse.runs().filter(pl.col("as_of") != as_of).is_empty()


def training_is_due(place: Place, as_of: date) -> bool:
    """Whether to train at the end of this session's run."""
    warehouse = place.warehouse
    decided = newest(trainings(warehouse.decisions()), as_of - timedelta(days=1))
    return plan.training_due(warehouse.runs(), decided, as_of, place.settings)


def champion_of(place: Place, as_of: date) -> Champion:
    """Who forecasts this session: the champion of that day, else a stand-in that is never promoted.

    When every champion has seen later rows, that is the newest one's recipe, refit on the rows known at `as_of`; when
    there is none, the random walk.
    """
    champion = place.registry(log.info).champion(as_of)
    if champion is not None:
        return champion
    later = present_champion(place)
    if later is None or later.name == RANDOM_WALK:
        return random_walk_of(place, as_of, "No model was ever trained on rows up to this session alone.")
    log.info(f"No champion was trained on rows up to {as_of} alone: refitting the recipe of the {later.name} …")
    model = decode(later.recipe).fit(place.prices(as_of))
    reason = f"The recipe of version {later.version}, which was chosen later, refit on rows up to {as_of}."
    return _stand_in(later.name, model, as_of, reason)


def random_walk_of(place: Place, as_of: date, reason: str) -> Champion:
    """The random walk, fit on the rows known at `as_of`."""
    settings = place.settings
    schema = PanelSchema(positive=settings.positive, calendar=settings.calendar)
    model = RandomWalk(settings.horizon, settings.lookback, settings.quantiles, schema=schema)
    return _stand_in(RANDOM_WALK, model.fit(place.prices(as_of)), as_of, reason)


def publish(
    place: Place, found: Ingested, champion: Champion, started: datetime, reissue: bool = False,
    training: str | None = None, run_id: str | None = None,
) -> Published:  # fmt: skip
    """Forecast, publish all in one commit, and say so in `runs`. What is issued stays, unless `reissue`."""
    warehouse, as_of = place.warehouse, found.as_of
    before = place.run_of(as_of)
    if before is not None:
        if not reissue:
            return Published(champion, before, None)
        warehouse.put_run(before | {"status": "published"})  # until it is scored anew, it is not done
        training = before["training"]
    versions = warehouse.versions()
    live = is_live(as_of, found.newest, place.settings.sessions)
    forecasts = predict(place.prices(as_of, versions["prices"]), champion, place.settings, as_of, champion.run_id, live)
    read = {name: version for name, version in versions.items() if name in ("prices", "actions")}
    if not warehouse.publish(as_of, forecasts.table, reissue, read):
        read = warehouse.read_by(as_of)[0]  # a killed run issued them, before prices that are there now
    row = {
        "as_of": as_of,
        "status": "published",
        **found.run_counts,
        "series_live": forecasts.live_series,
        "series_forecast": forecasts.table["series_id"].n_unique(),
        "champion": champion.name,
        "champion_version": champion.version or None,
        "trained_through": champion.trained_through,
        "training": training or plan.NOT_ATTEMPTED,
        "table_versions": json.dumps(read),
        "settings_digest": place.settings.digest,
        "run_id": run_id,
        "started": started,
    }
    warehouse.put_run(row)
    log.info(f"Published forecasts of {row['series_forecast']} series by the {champion.name.replace('_', ' ')}.")
    return Published(champion, row, forecasts)


def copy_out(place: Place) -> list[date]:
    """Copy published forecasts that are not there yet into the user's own table; returns their sessions."""
    return publish_out(place.warehouse, place.settings)


def score_what_came_true(place: Place, as_of: date) -> int:
    """Score the forecasts whose truth is known at `as_of` and that have no score yet; returns how many."""
    stored = place.warehouse.store_scores(score(place.warehouse, as_of, place.settings))
    log.info(f"Scored {stored} forecasts that have come true.")
    return stored


def write_report_page(place: Place, found: Ingested, published: Published) -> Path:
    """Write the session's page; returns where it is."""
    warehouse, row, champion = place.warehouse, published.row, published.champion
    as_of, settings = row["as_of"], place.settings
    issued = warehouse.forecasts(as_of)
    is_its_own = row["champion_version"] == (champion.version or None)  # a killed run may have trained another since
    data = ReportData(
        as_of=as_of,
        champion=row["champion"],
        version=row["champion_version"] or "",
        run_id=issued["run_id"][0] or "",
        trained_through=row["trained_through"],
        decision=champion.decision if is_its_own else {"reason": "It was published before."},
        gate_as_of=champion.gate_as_of if is_its_own else None,
        evidence=champion.evidence if is_its_own else None,
        forecasts=issued,
        prices=place.prices(as_of),
        scores=warehouse.scores().filter(pl.col("time") <= as_of),
        counts=found.run_counts,
        quarantined=found.quarantined,
        flagged=found.doubts,
        left_out=published.forecasts.left_out if published.forecasts else {},
        source=settings.source,
        settings_digest=settings.digest,
        table_versions=json.loads(row["table_versions"]),
        versions={name: metadata.version(name) for name in ("torch", "mlflow", "prefect")},
        positive=settings.positive,
        live=bool(issued["live"].all()),
        decided=decided_words(made) if (made := made_champion(warehouse.decisions(), row["champion_version"])) else "",
    )
    return write_report(place.home.reports / f"{as_of}.html", data)


def close(place: Place, row: Row, training: str | None, failed: bool, finished: datetime) -> Row:
    """The session's row as it stays."""
    status = "failed" if failed else "done"
    closed = row | {"status": status, "training": training or row["training"], "finished": finished}
    place.warehouse.put_run(closed)
    return closed


def catch_up(place: Place, found: Ingested, today: date, now: datetime) -> list[date]:
    """Run the sessions missed since the last run, oldest first, each as it would have been run; without training."""
    runs = place.warehouse.runs()
    since: date = runs["as_of"][0] if runs.height else found.as_of
    missed = plan.missed_sessions(runs, place.warehouse.sessions(since, found.as_of), found.as_of)
    for session in missed:
        log.info(f"Making up for the missed session {session} …")
        _, past = take_in_prices(place, session, today)
        published = publish(place, past, champion_of(place, session), now)
        score_what_came_true(place, session)
        close(place, published.row, None, failed=False, finished=now)
    return missed


def _stand_in(name: str, model: Any, as_of: date, reason: str) -> Champion:
    decision = {"outcome": "stand-in", "reason": reason, "verdict": None}
    return Champion(name, "", "", as_of, model.recipe(), model, decision, None, None)
