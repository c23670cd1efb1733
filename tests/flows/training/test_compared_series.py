"""Which series models are compared on."""

import polars as pl

from tidecast.flows.training.compared_series import FEWEST_SERIES, MOST_FORECASTS, compared_series, sample_text

DAYS = pl.date_range(pl.date(2020, 1, 1), pl.date(2022, 12, 31), eager=True)


def panel(n_series: int, ended: int = 0) -> pl.DataFrame:
    """Series of 1,096 days; the first `ended` of them lack the newest 900."""
    frames = []
    for number in range(n_series):
        days = DAYS.head(196) if number < ended else DAYS
        frames.append(pl.DataFrame({"series_id": f"S{number:03d}", "time": days, "close": 1.0}))
    return pl.concat(frames)


def test_small_panels_are_compared_whole():
    whole = panel(60)
    assert compared_series(whole, 500, 5).equals(whole)


def test_a_sample_keeps_comparisons_at_their_size_and_rows_in_their_order():
    whole = panel(200)
    some = compared_series(whole, 1000, 10)
    assert some["series_id"].n_unique() == MOST_FORECASTS // 10_000
    assert some.equals(whole.filter(pl.col("series_id").is_in(some["series_id"].unique().implode())))


def test_the_sample_of_a_growing_panel_changes_little():
    before, after = (set(compared_series(panel(n), 1000, 10)["series_id"].unique()) for n in (200, 210))
    assert len(before - after) <= 10


def test_series_that_ended_are_not_drawn_and_a_tenth_of_series_can_be_told():
    drawn = compared_series(panel(200, ended=150), 800, 1000)["series_id"].unique()
    assert len(drawn) == FEWEST_SERIES
    assert drawn.str.slice(1).cast(pl.Int64).min() >= 150


def test_the_sample_is_told_in_a_sentence():
    assert sample_text(panel(60), 500, 5) == ""
    assert sample_text(panel(200, ended=150), 800, 1000) == ("Compared on 30 of 200 series, a sample drawn by name.")


def test_through_a_session_it_is_the_sample_of_the_panel_that_ends_there():
    whole, session = panel(200, ended=30), DAYS[700]
    older = whole.filter(pl.col("time") <= session)
    assert compared_series(whole, 600, 20, session).equals(compared_series(older, 600, 20))
    assert compared_series(whole, 60, 2, session).equals(older)
