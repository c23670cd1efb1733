"""The steps of a day, as plain functions that the tasks of the daily flow call.

Each can be killed and called again. Tables and MLflow say what is done; no other record is kept.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl

from tidecast.features.error_text import counted, ended, shorten
from tidecast.features.panel import PanelSchema
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import TidecastError
from tidecast.flows.ingest.calendars import is_live
from tidecast.flows.ingest.ingest import Ingested
from tidecast.flows.log import log
from tidecast.flows.publish.kept_walks import KeptWalks
from tidecast.flows.publish.predict import Forecasts, Request, predict_panel
from tidecast.flows.publish.score import score
from tidecast.flows.publish.shortfall import shortfall
from tidecast.flows.reporting.pages.changes import Before
from tidecast.flows.reporting.pages.index_page import write_index
from tidecast.flows.reporting.report import SOURCES, ReportData, write_report
from tidecast.flows.reporting.watch_section import WatchData
from tidecast.flows.steps.due import NOT_ATTEMPTED, missed_sessions, run_of, training_due
from tidecast.flows.steps.promote import present_champion
from tidecast.flows.steps.take_in import take_in_prices
from tidecast.flows.tracking.registry import Registry
from tidecast.flows.tracking.training_runs import Tracking
from tidecast.flows.training.champion import Champion
from tidecast.flows.training.decisions import decision_text, made_champion, newest, trainings
from tidecast.flows.training.model_panel import AHEAD_TABLES, model_panel
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting.forecasters.baselines import RandomWalk
from tidecast.forecasting.saving.recipes import decode
from tidecast.forecasting.tables.names import RANDOM_WALK

Row = dict[str, Any]

FLAGGED_LATELY = timedelta(days=7)
"""Flags of prices not older than this mark their series in the report."""


@dataclass(frozen=True)
class Published:
    """The publication of a session.

    Attributes
    ----------
    champion : Champion
        The version that forecasts it; where it was published before, the one that would forecast it now.
    row : dict
        The session's row of the table `runs`.
    forecasts : Forecasts or None
        None when it was published before.
    """

    champion: Champion
    row: Row
    forecasts: Forecasts | None


def is_first(runs: pl.DataFrame, as_of: date) -> bool:
    """Whether no other session was ever run: only then is the training before the publication.

    Parameters
    ----------
    runs : polars.DataFrame
        The table `runs`.
    as_of : date
    """
    return runs.filter(pl.col("as_of") != as_of).is_empty()


def training_is_due(warehouse: Warehouse, settings: Settings, as_of: date) -> bool:
    """Whether to train at the end of this session's run.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    as_of : date
    """
    decided = newest(trainings(warehouse.decisions()), as_of - timedelta(days=1))
    return training_due(warehouse.runs(), decided, as_of, settings)


def champion_of(registry: Registry, warehouse: Warehouse, settings: Settings, as_of: date) -> Champion:
    """Return the champion of that day, else a stand-in that is never promoted.

    The stand-in is the random walk where there is no champion. Where every champion has seen later rows, it is the
    newest one's recipe, refit on the rows known at `as_of`.

    Parameters
    ----------
    registry : Registry
    warehouse : Warehouse
    settings : Settings
    as_of : date
    """
    champion = registry.champion(as_of)
    if champion is not None:
        return champion
    later = present_champion(registry, warehouse.decisions())
    if later is None or later.name == RANDOM_WALK:
        return random_walk_of(warehouse, settings, as_of, "No model was ever trained on rows up to this session alone.")
    log.info(f"No champion was trained on rows up to {as_of} alone: refitting the recipe of the {later.name} …")
    model = decode(later.recipe).fit(model_panel(warehouse, settings, as_of))
    reason = f"The recipe of version {later.version}, which was chosen later, refit on rows up to {as_of}."
    return _stand_in(later.name, model, as_of, reason)


def random_walk_of(warehouse: Warehouse, settings: Settings, as_of: date, reason: str) -> Champion:
    """Return the random walk as a stand-in, fit on the rows known at `as_of`.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    as_of : date
    reason : str
        Why it stands in, for readers.
    """
    schema = PanelSchema(positive=settings.positive, calendar=settings.calendar)
    model = RandomWalk(settings.horizon, settings.lookback, settings.quantiles, schema=schema)
    return _stand_in(RANDOM_WALK, model.fit(model_panel(warehouse, settings, as_of)), as_of, reason)


def publish(
    warehouse: Warehouse, settings: Settings, found: Ingested, champion: Champion, started: datetime,
    reissue: bool = False, training: str | None = None, run_id: str | None = None,
) -> Published:  # fmt: skip
    """Forecast, publish all in one commit, and record it in `runs`. Issued forecasts stay, unless `reissue`.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    found : Ingested
        The prices that were taken in.
    champion : Champion
        It forecasts.
    started : datetime
        When the run began; with a time zone.
    reissue : bool, default=False
        Whether to replace issued forecasts.
    training : str, optional
        Outcome of a training before the publication; None without one.
    run_id : str, optional
        Id of Prefect's run.

    Raises
    ------
    WarehouseError
        As `check_forecasts`.
    """
    as_of = found.as_of
    before = run_of(warehouse.runs(), as_of)
    if before is not None:
        if not reissue:
            return Published(champion, before, None)
        warehouse.put_run(before | {"status": "published"})  # it is not done until it is scored again
        training = before["training"]
    versions = warehouse.versions()
    live = is_live(as_of, found.newest, settings.sessions)
    forecasts = predict_panel(warehouse, Request(champion, settings, as_of, champion.run_id, live), versions)
    read = {name: version for name, version in versions.items() if name in ("prices", "actions", *AHEAD_TABLES)}
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
        "training": training or NOT_ATTEMPTED,
        "table_versions": json.dumps(read),
        "settings_digest": settings.digest,
        "run_id": run_id,
        "started": started,
    }
    warehouse.put_run(row)
    log.info(f"Published forecasts of {row['series_forecast']} series by the {champion.name.replace('_', ' ')}.")
    for reason, series in forecasts.left_out.items():
        log.info(f"Left out, {reason}: {shorten(series)}.")
    if forecasts.missing_ahead:
        log.warning(forecasts.missing_ahead)
    return Published(champion, row, forecasts)


def score_what_came_true(warehouse: Warehouse, settings: Settings, as_of: date, walks: Path | None = None) -> int:
    """Score the forecasts whose truth is known at `as_of` and that have no score yet; return how many.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    as_of : date
    walks : Path, optional
        Folder of fitted random walks.
    """
    stored = warehouse.store_scores(score(warehouse, as_of, settings, walks))
    log.info(f"Scored {counted(stored, 'forecast that has', 'forecasts that have')} come true.")
    if walks is not None and (warehouse.forecasts(as_of)["trained_through"] == as_of).any():
        # now, while the panel is at hand
        KeptWalks(walks, warehouse).fitted(as_of, settings)
    return stored


def write_report_page(
    warehouse: Warehouse, settings: Settings, found: Ingested, published: Published, folder: Path,
    watched: WatchData | None = None,
) -> Path:  # fmt: skip
    """Write the session's page into a folder; return its path.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    found : Ingested
        The prices that were taken in.
    published : Published
    folder : Path
        Created if it does not exist.
    watched : WatchData, optional
        The watch's part of the page.
    """
    row, champion = published.row, published.champion
    as_of = row["as_of"]
    issued, runs, decisions = warehouse.forecasts(as_of), warehouse.runs(), warehouse.decisions()
    before = _session_before(warehouse, runs, as_of)
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
        prices=warehouse.closes(as_of),
        scores=warehouse.scores().filter(pl.col("time") <= as_of),
        counts=found.run_counts,
        quarantined=found.quarantined,
        flagged=found.doubts,
        left_out=published.forecasts.left_out if published.forecasts else {},
        missing_ahead=published.forecasts.missing_ahead if published.forecasts else "",
        source=settings.source,
        settings_digest=settings.digest,
        table_versions=json.loads(row["table_versions"]),
        versions={name: metadata.version(name) for name in ("torch", "mlflow", "prefect")},
        positive=settings.positive,
        live=bool(issued["live"].any()),
        quoted=row["series_live"] or 0,
        watched=watched,
        decided=decision_text(made) if (made := made_champion(decisions, row["champion_version"])) else "",
        before=before,
        flags=warehouse.flags().filter(pl.col("as_of") == as_of, pl.col("time") > as_of - FLAGGED_LATELY),
        corrected=warehouse.corrections(as_of) if before is not None else None,
    )
    path = write_report(folder / f"{as_of}.html", data)
    write_index_page(warehouse, settings, folder)
    return path


def write_index_page(warehouse: Warehouse, settings: Settings, folder: Path) -> Path:
    """Write the index of all days, and link the days' pages with each other; return its path.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    folder : Path
        Of the pages.
    """
    source = SOURCES.get(settings.source, settings.source)
    return write_index(folder, warehouse.runs(), warehouse.scores(), warehouse.decisions(), source)


def _session_before(warehouse: Warehouse, runs: pl.DataFrame, as_of: date) -> Before | None:
    """The newest session with forecasts before `as_of`."""
    earlier = runs.filter(pl.col("as_of") < as_of, pl.col("champion").is_not_null()).sort("as_of").tail(1).to_dicts()
    if not earlier:
        return None
    row = earlier[0]
    forecasts = warehouse.forecasts(row["as_of"])
    if forecasts.is_empty():
        return None
    return Before(row["as_of"], row["champion"], row["champion_version"] or "", forecasts)


def file_report(tracking: Tracking, warehouse: Warehouse, as_of: date, report: Path) -> list[str]:
    """Store a session's report in MLflow, in the runs of the trainings of that session; return their ids.

    A training that ends after the report does so itself. A repetition replaces the page.

    Parameters
    ----------
    tracking : Tracking
    warehouse : Warehouse
    as_of : date
    report : Path
        The page.

    Raises
    ------
    TrackingError
        MLflow did not accept it.
    """
    decided = trainings(warehouse.decisions()).filter(pl.col("as_of") == as_of)
    run_ids = decided["run_id"].drop_nulls().unique(maintain_order=True).to_list()
    for run_id in run_ids:
        tracking.add_report(run_id, report)
    return run_ids


def close(warehouse: Warehouse, row: Row, training: str | None, failed: bool, finished: datetime) -> Row:
    """Store the final row of the session's run, and return it.

    Parameters
    ----------
    warehouse : Warehouse
    row : Row
        Of `runs`.
    training : str or None
        Outcome of a training after the publication; None without one.
    failed : bool
        Whether a step failed.
    finished : datetime
        With a time zone.
    """
    status = "failed" if failed else "done"
    closed = row | {"status": status, "training": training or row["training"], "finished": finished}
    warehouse.put_run(closed)
    return closed


def catch_up(
    state_folder: StateFolder, warehouse: Warehouse, registry: Registry, found: Ingested, today: date, now: datetime
) -> dict[date, str]:
    """Run the sessions missed since the last run, oldest first, each as its own run would have done; without training.

    Parameters
    ----------
    state_folder : StateFolder
    warehouse : Warehouse
    registry : Registry
    found : Ingested
        The newest session's prices, with the settings.
    today : date
        See `latest_day_anywhere`.
    now : datetime
        Recorded as start and end of the runs.

    Returns
    -------
    dict of date to str
        The sessions that were run, each with its shortfall; see `run_past_session`.
    """
    runs = warehouse.runs()
    since: date = runs["as_of"][0] if runs.height else found.as_of
    older, missed = missed_sessions(runs, warehouse.sessions(since, found.as_of), found.as_of)
    if older:
        log.warning(
            f"{counted(len(older), 'older session was', 'older sessions were')} missed as well. {_backfill(older)}"
        )
    shortfalls = {}
    for session in missed:
        log.info(f"Making up for the missed session {session} …")
        try:
            shortfalls[session] = run_past_session(
                state_folder, warehouse, registry, found.settings, session, today, now
            )
        except Exception as error:
            rest = [day for day in missed if day >= session]
            why = f"the session {session} could not be run: {ended(str(error))}"
            raise TidecastError(f"{why} {_backfill(rest)}") from error
    return shortfalls


def _backfill(sessions: Sequence[date]) -> str:
    return f"Run them with: tidecast backfill --from {sessions[0]} --to {sessions[-1]}"


def run_past_session(
    state_folder: StateFolder, warehouse: Warehouse, registry: Registry, settings: Settings, session: date,
    today: date, now: datetime,
) -> str:  # fmt: skip
    """Run one session later than it was due, with what was known then; without training. Safe to repeat.

    Parameters
    ----------
    state_folder : StateFolder
    warehouse : Warehouse
    registry : Registry
    settings : Settings
    session : date
    today : date
        See `latest_day_anywhere`.
    now : datetime
        Recorded as start and end of the run.

    Returns
    -------
    str
        What its forecasts lack: see `shortfall`.
    """
    past = take_in_prices(state_folder, warehouse, settings, session, today, now)
    champion = champion_of(registry, warehouse, settings, session)
    published = publish(warehouse, settings, past, champion, now)
    score_what_came_true(warehouse, settings, session, state_folder.walks)
    close(warehouse, published.row, None, failed=False, finished=now)
    return shortfall(published.row, published.forecasts)


def _stand_in(name: str, model: Any, as_of: date, reason: str) -> Champion:
    decision = {"outcome": "stand-in", "reason": reason, "verdict": None}
    return Champion(name, "", "", as_of, model.recipe(), model, decision, None, None)
