"""The result of a run says how it ended."""

from datetime import date

import pytest

from tidecast.flows.steps.day import Day, Incomplete, Problems


@pytest.mark.parametrize(
    ("champion", "problems", "outcome"),
    [
        ("a champion", (), "published"),
        (None, (), "done before"),
        ("a champion", ("scoring failed: no memory",), "incomplete"),
        (None, ("copying the forecasts out failed: no answer",), "incomplete"),
    ],
)
def test_a_day_is_published_done_before_or_incomplete(champion, problems, outcome):
    day = Day(None, date(2024, 1, 5), None, {}, champion=champion, problems=problems)
    assert day.outcome == outcome


def test_all_problems_are_counted_and_the_first_is_shown():
    problems = Problems()
    for step in ("scoring", "the report"):
        with problems.noted(step):
            raise MemoryError("no memory left")
    error = Incomplete(Day(None, date(2024, 1, 5), None, {}, champion="a champion", problems=tuple(problems)))
    assert str(error) == (
        "The forecasts of 2024-01-05 are published, but scoring failed: no memory left. 1 more of its steps "
        "failed. Fix it, then run again."
    )
