"""Read the tables of a page in Markdown, so that a picture shows the numbers of the page."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def first_match(pattern: str, text: str) -> re.Match[str]:
    """Return the first match; ``^`` matches at each line's beginning.

    Parameters
    ----------
    pattern, text : str

    Raises
    ------
    ValueError
        Nothing in the text matches the pattern.
    """
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ValueError(f"The text must match {pattern!r}, but does not; it begins with {text[:60]!r}.")
    return found


def table_below(page: str, heading: str) -> list[dict[str, str]]:
    """Return the rows of the first table below a heading, each as column name to text.

    Parameters
    ----------
    page : str
        Path from the root of the repository.
    heading : str
        Beginning of the heading's text, or of the table's first cell.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    below = text[first_match(rf"^(#+ |\| ){re.escape(heading)}", text).start() :]
    lines = first_match(r"(?:^\|.*\n)+", below).group().splitlines()
    names, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(names, row, strict=True)) for row in rows]


def number(text: str) -> float:
    """Return the first number of a text: -0.25 of "−0.25 %".

    Parameters
    ----------
    text : str
    """
    return float(first_match(r"[−+-]?\d+(\.\d+)?", text).group().replace("−", "-"))


def interval(text: str) -> tuple[float, float, float]:
    """Return the middle, low and high of a text like "+0.23 (0.10 … 0.35)".

    Parameters
    ----------
    text : str
    """
    middle, low, high = (number(found) for found in re.findall(r"[−+-]?\d+\.\d+", text)[:3])
    return middle, low, high
