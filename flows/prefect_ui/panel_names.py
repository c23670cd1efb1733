"""A panel's name on a Prefect server that several panels share."""

import re

from tidecast.flows.config.state_folder import NAME, StateFolder

_LETTERS = 6
"""Letters of the panel's id in its name."""


def panel_name(folder: StateFolder) -> str:
    """Return the panel's name: that of its folder, for people, and the beginning of its id, so that it is unique.

    Parameters
    ----------
    folder : StateFolder
        Gets an id, if it has none.

    Returns
    -------
    str
        Lower-case letters, digits and hyphens: "rates-3fa85f" for the state folder "rates/.tidecast".
    """
    named = folder.path.parent.name if folder.path.name == NAME else folder.path.name
    words = re.sub(r"[^a-z0-9]+", "-", named.lower()).strip("-") or "panel"
    return f"{words[:40].rstrip('-')}-{folder.panel_id()[:_LETTERS]}"
