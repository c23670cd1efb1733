"""Print the table of all exhibits: ``python -m examples.look_aheads``."""

from __future__ import annotations

from examples.look_aheads import (
    centred_window,
    described_day,
    random_split,
    whole_series_denoising,
    whole_series_scaling,
)
from examples.look_aheads.measuring import Exhibit

EXHIBITS = (
    whole_series_scaling.exhibit,
    whole_series_denoising.exhibit,
    centred_window.exhibit,
    random_split.exhibit,
    described_day.exhibit,
)


def table_of(exhibits: list[Exhibit]) -> str:
    """Return a Markdown table of the skills, and below it how each look-ahead was found.

    Parameters
    ----------
    exhibits : list of Exhibit

    Returns
    -------
    str
    """
    rows = [f"| {each.name} | {each.false} | {each.honest} |" for each in exhibits]
    found = [f"- {each.name}: {each.found}" for each in exhibits]
    heads = ["| look-ahead | skill with it | skill without it |", "|---|---|---|"]
    return "\n".join([*heads, *rows, "", *found])


if __name__ == "__main__":
    print(table_of([exhibit() for exhibit in EXHIBITS]))
