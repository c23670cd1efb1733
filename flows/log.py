"""The logger of the flows. Its records go to the terminal and, while a flow runs, to Prefect's interface."""

import logging

NAME = "tidecast"

log = logging.getLogger(NAME)
