"""Parts of error messages."""

import polars as pl
import pytest

from tidecast.features.calendars.by_name import get_calendar
from tidecast.features.calendars.inference import fit_of
from tidecast.features.error_text import counted, ended


@pytest.mark.parametrize(
    ("text", "expected"),
    [("no such file", "no such file."), ("Did you mean 'a'?", "Did you mean 'a'?"), ("It failed.\n", "It failed.")],
)
def test_a_sentence_ends_with_one_mark(text, expected):
    """Once, another library's question was followed by a full stop."""
    assert ended(text) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0 rows are new"), (1, "1 row is new"), (2, "2 rows are new"), (1234, "1,234 rows are new")],
)
def test_a_noun_and_its_verb_follow_their_number(number, expected):
    """A panel of one row was told "100% of 1 sessions have a row", and a search of one trial "1 trials"."""
    assert counted(number, "row is new", "rows are new") == expected
    assert counted(number, "row") == expected.removesuffix(" is new").removesuffix(" are new")


def test_one_session_has_a_row():
    times = pl.Series("time", ["2024-01-08"]).str.to_date()
    assert fit_of(get_calendar("weekdays"), times).fit == "100% of 1 session has a row"
