"""Take in what is known ahead: store it, and remember which kinds of events are inputs."""

from datetime import date

from tidecast.features.error_text import counted, shorten
from tidecast.flows.config.column_names import check_names, refuse_clashes
from tidecast.flows.config.panel_file import remember
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.ingest.ahead import TakenIn, take_in_events, take_in_future
from tidecast.flows.log import log
from tidecast.flows.warehouse.warehouse import Warehouse


def take_in_ahead(state_folder: StateFolder, warehouse: Warehouse, settings: Settings, as_of: date) -> Settings:
    """Store the future covariates and events of their sources; return the settings with the kinds of events.

    Parameters
    ----------
    state_folder : StateFolder
    warehouse : Warehouse
    settings : Settings
    as_of : date
        The session the run stands on.

    Raises
    ------
    SourceError, SettingsError, WarehouseError
        A source cannot be read, a kind of event has the name of another column, or a table cannot be written.
    """
    if settings.future is not None:
        _tell("Future covariates", take_in_future(warehouse, settings, as_of))
    if settings.events is None:
        return settings
    _tell("Events", take_in_events(warehouse, settings, as_of))
    kinds = tuple(warehouse.event_kinds())
    if settings.event_kinds:
        if others := [kind for kind in kinds if kind not in settings.event_kinds]:
            log.info(f"Kinds of events that are no inputs: {shorten(others)}. Name them in event_kinds to use them.")
        return settings
    check_names(kinds, "event_kinds")
    refuse_clashes(settings.covariates, settings.static, settings.future_covariates, kinds)
    settings = settings.model_copy(update={"event_kinds": kinds})
    remember(state_folder, settings)
    log.info(f"Kinds of events that are inputs from now on: {shorten(kinds)}.")
    return settings


def _tell(what: str, taken_in: TakenIn) -> None:
    for message in taken_in.messages:
        log.warning(message)
    log.info(f"{what}: {counted(taken_in.read, 'row')} read, {taken_in.stored:,} new.")
