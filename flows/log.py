"""The one logger of the flows. A record goes to the terminal, and to Prefect's interface while a flow runs."""

import logging

NAME = "tidecast"

log = logging.getLogger(NAME)
