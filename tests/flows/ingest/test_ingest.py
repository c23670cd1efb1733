"""Ingest: each row is stored, unchanged, corrected or quarantined, and nothing else happens."""

from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.flows.desk import FRI, MON, THU, TUE, WED, WEEK, Desk
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError, TidecastError
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.sources import Fetched
from tidecast.flows.warehouse.warehouse import Warehouse


def balanced(found):
    return found.rows_in == found.stored + found.corrected + found.unchanged + sum(found.quarantined.values())


def test_all_rows_up_to_as_of_are_stored_and_known_from_their_own_session(desk):
    found = desk.ingest(*WEEK, as_of=TUE)
    assert (found.as_of, found.rows_in, found.stored, found.unchanged, found.corrected) == (TUE, 4, 4, 0, 0)
    assert (found.newest_in_source, found.newest) == (WED, WED)
    revisions = desk.warehouse.revisions()
    assert revisions["known_at"].equals(revisions["time"].alias("known_at"))
    assert desk.warehouse.newest_session() == TUE


def test_a_feed_that_goes_on_was_once_stale_in_every_session_that_was_made_up_for(desk):
    later = date(2024, 1, 15)
    assert desk.ingest(*WEEK, as_of=TUE, today=later).rules["stale_feed"] == 0
    assert desk.ingest(*WEEK, as_of=WED, today=later).rules["stale_feed"] == 1  # the source has no more


def test_without_an_as_of_the_newest_session_of_the_source_is_taken(desk):
    assert desk.ingest(*WEEK).as_of == WED


def test_the_same_source_again_stores_nothing(desk):
    dirty = [*WEEK, "A,2024-01-04,-1", "A,2024-01-03,3", ",2024-01-03,3", ",2024-01-03,3"]
    first = desk.ingest(*dirty)
    versions, quarantine = desk.warehouse.versions(), desk.warehouse.quarantine()
    again = desk.ingest(*dirty)
    assert first.stored == again.unchanged == 6
    assert (again.stored, again.corrected) == (0, 0)
    assert again.quarantined == first.quarantined == {"duplicate": 1, "no_series_id": 2, "not_positive": 1}
    assert desk.warehouse.versions() == versions
    assert desk.warehouse.quarantine().equals(quarantine)
    assert again.run_counts == first.run_counts


def test_the_next_day_takes_only_what_is_new(desk):
    desk.ingest(*WEEK, as_of=TUE)
    found = desk.ingest(*WEEK, as_of=WED)
    assert (found.stored, found.unchanged) == (2, 4)
    assert found.run_counts["rows_stored"] == 2


def test_a_correction_is_one_new_revision_and_the_old_value_stays_known_to_the_past(desk):
    desk.ingest(*WEEK)
    corrected = [row.replace("A,2024-01-01,1", "A,2024-01-01,1.25") for row in WEEK]
    found = desk.ingest(*corrected)
    assert (found.stored, found.corrected, found.unchanged) == (0, 1, 5)
    assert desk.warehouse.revisions().height == 7
    assert desk.warehouse.prices(TUE)["close"].to_list() == [1, 2, 1, 2]
    assert desk.warehouse.prices(WED)["close"].to_list() == [1.25, 2, 3, 1, 2, 3]
    assert desk.ingest(*corrected).unchanged == 6


def test_a_correction_met_while_backfilling_is_known_from_the_newest_as_of_only(desk):
    desk.ingest(*WEEK)
    found = desk.ingest(*[row.replace("A,2024-01-01,1", "A,2024-01-01,1.25") for row in WEEK], as_of=TUE)
    assert found.corrected == 1
    assert desk.warehouse.prices(TUE)["close"][0] == 1
    assert desk.warehouse.prices(WED)["close"][0] == 1.25


def test_a_second_correction_in_one_session_is_the_last_word(desk):
    desk.ingest(*WEEK)
    for price in ("1.25", "1.5", "1"):
        found = desk.ingest(*[row.replace("A,2024-01-01,1", f"A,2024-01-01,{price}") for row in WEEK])
        assert found.corrected == 1
        assert desk.warehouse.prices()["close"][0] == float(price)
    assert desk.warehouse.revisions().height == 7


def test_a_correction_of_todays_row_on_the_same_day_counts_as_the_row_this_run_stored(desk):
    """Once, the first call counted it as corrected and its repetition as stored."""
    desk.ingest(*WEEK)
    corrected = [row.replace("A,2024-01-03,3", "A,2024-01-03,3.5") for row in WEEK]
    first = desk.ingest(*corrected)
    assert (first.corrected, first.run_counts["rows_stored"], first.run_counts["rows_corrected"]) == (1, 6, 0)
    assert desk.ingest(*corrected).run_counts == first.run_counts


def test_a_correction_counts_as_corrected_by_the_run_that_stored_it_and_by_no_other(desk):
    """Once, a correction of a row which the same as_of had stored counted as new, and its run kept the old counts."""

    def counts_of(as_of):
        row = desk.warehouse.runs().filter(as_of=as_of).row(0, named=True)
        return row["rows_in"], row["rows_stored"], row["rows_corrected"], row["rows_unchanged"]

    def run(*rows, **settings):
        found = desk.ingest(*rows, **settings)
        if desk.warehouse.runs().filter(as_of=found.as_of).is_empty():
            desk.warehouse.put_run({"as_of": found.as_of, "status": "done", **found.run_counts})
        return found.stored, found.corrected, found.unchanged

    assert run(*WEEK, as_of=WED) == (6, 0, 0)
    corrected = [row.replace("A,2024-01-01,1", "A,2024-01-01,1.25") for row in WEEK]
    assert run(*corrected, as_of=WED) == (0, 1, 5)
    assert counts_of(WED) == (6, 5, 1, 0)
    versions = desk.warehouse.versions()
    assert run(*corrected, as_of=WED) == (0, 0, 6)
    assert desk.warehouse.versions() == versions

    later = [*(row.replace("B,2024-01-02,2", "B,2024-01-02,2.5") for row in corrected), "A,2024-01-04,4"]
    assert run(*later, as_of=THU) == (1, 1, 5)
    assert counts_of(THU) == (7, 1, 1, 5)
    assert run(*later, as_of=WED) == (0, 0, 6)
    assert counts_of(WED) == (6, 5, 1, 0)
    assert desk.warehouse.runs()["status"].to_list() == ["done", "done"]


def test_a_row_that_comes_late_does_not_change_what_an_earlier_as_of_saw(desk):
    desk.ingest(*WEEK, as_of=WED)
    before = desk.warehouse.prices(TUE)
    later = [*WEEK, "C,2024-01-01,9", "C,2024-01-04,9", "A,2024-01-04,4"]
    desk.ingest(*later, as_of=THU)
    assert desk.warehouse.prices(TUE).equals(before)
    late = desk.warehouse.revisions().filter(pl.col("series_id") == "C")
    assert late.select("time", "known_at").rows() == [(MON, THU), (THU, THU)]


def test_sessions_skipped_between_two_runs_are_known_from_their_own_day(desk):
    desk.ingest(*WEEK, as_of=MON)
    desk.ingest(*WEEK, as_of=WED)
    assert desk.warehouse.prices(TUE).height == 4


def test_a_killed_run_and_its_repetition_count_like_one(desk, tmp_path):
    """Once, the repetition found all rows unchanged and recorded that the run had stored none."""
    undisturbed = desk.ingest(*WEEK).run_counts

    class Dying(Warehouse):
        def _commit(self, name, attempt):
            super()._commit(name, attempt)
            raise KeyboardInterrupt

    (tmp_path / "other").mkdir()
    other = Desk(tmp_path / "other", calendar="weekdays")
    alive, other.warehouse = other.warehouse, Dying(other.warehouse.uri)
    with pytest.raises(KeyboardInterrupt):
        other.ingest(*WEEK)
    other.warehouse = alive
    assert other.ingest(*WEEK).run_counts == undisturbed
    assert alive.prices().equals(desk.warehouse.prices())
    assert alive.versions() == desk.warehouse.versions()


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (",2024-01-03,1", "no_series_id"),
        ("  ,2024-01-03,1", "no_series_id"),
        ("C,31/12/2024,1", "unreadable_time"),
        ("C,,1", "unreadable_time"),
        ("C,2023-12-30,1", "not_a_session"),
        ("C,2024-01-03,", "missing_price"),
        ("C,2024-01-03,NaN", "missing_price"),
        ("C,2024-01-03,12 USD", "unreadable_price"),
        ("C,2024-01-03,inf", "not_finite"),
        ("C,2024-01-03,0", "not_positive"),
        ("C,2024-01-03,-1", "not_positive"),
    ],
)
def test_a_row_that_breaks_a_rule_is_quarantined_with_its_original_values(desk, row, rule):
    found = desk.ingest(*WEEK, row)
    assert found.quarantined == {rule: 1}
    assert (found.stored, found.rows_in) == (6, 7)
    kept = desk.warehouse.quarantine().row(0, named=True)
    series_id, time, close = (f'"{text}"' if text else "null" for text in row.split(","))
    assert kept["original"] == f'{{"series_id": {series_id}, "time": {time}, "close": {close}}}'
    assert (kept["rule"], kept["as_of"]) == (rule, WED)


def test_of_equal_rows_one_is_kept_and_of_conflicting_ones_none(desk):
    found = desk.ingest(
        *WEEK, "A,2024-01-01,1", "A,2024-01-01,1.0", "B,2024-01-01,1", "B,2024-01-01,7", "A,2024-01-02,"
    )
    assert found.quarantined == {"conflicting_duplicate": 3, "duplicate": 2, "missing_price": 1}
    assert desk.warehouse.prices().filter(pl.col("time") == MON)["series_id"].to_list() == ["A"]
    assert balanced(found)


def test_prices_may_be_negative_where_the_settings_say_so(tmp_path):
    desk = Desk(tmp_path, calendar="weekdays", positive=False)
    assert desk.ingest("A,2024-01-01,-36.98", "A,2024-01-02,0").stored == 2


def test_a_row_dated_after_today_is_quarantined_and_does_not_become_the_newest_session(desk):
    found = desk.ingest(*WEEK, "A,2042-01-03,4", today=FRI)
    assert found.as_of == WED
    assert (found.rows_in, found.stored, found.quarantined) == (7, 6, {"in_the_future": 1})
    assert desk.warehouse.quarantine()["time"].to_list() == [date(2042, 1, 3)]
    again = desk.ingest(*WEEK, "A,2042-01-03,4", today=FRI, as_of=TUE)
    assert (again.rows_in, again.unchanged, again.quarantined) == (5, 4, {"in_the_future": 1})
    assert desk.warehouse.quarantine().height == 1
    assert desk.ingest(*WEEK, "A,2042-01-03,4", as_of=WED).newest_in_source == date(2042, 1, 3)


def test_any_text_is_a_series_id(desk):
    desk.ingest("<script>,2024-01-01,1", "../x,2024-01-01,1", "' OR 1=1 --,2024-01-01,1", "<script>,2024-01-02,2")
    desk.ingest("<script>,2024-01-01,9", "../x,2024-01-01,1", "' OR 1=1 --,2024-01-01,1", "<script>,2024-01-02,2")
    assert desk.warehouse.prices()["series_id"].unique().sort().to_list() == ["' OR 1=1 --", "../x", "<script>"]
    assert desk.warehouse.revisions().height == 5


def test_what_is_in_quarantine_is_not_said_to_be_stored_with_doubts(desk):
    """Once, a second rule that a row in quarantine broke was counted there: the two rows below the header of yfinance's
    files were "stored and flagged"."""
    found = desk.ingest("Ticker,Ticker,AAPL", "A,Date,", *WEEK)
    assert (found.quarantined, found.doubts) == ({"unreadable_time": 2}, {})
    assert found.rules["missing_price"] == 1


def test_names_that_look_alike_are_pointed_out_and_kept_apart(desk):
    assert desk.ingest("A,2024-01-01,1", "b c,2024-01-01,1").messages[1:] == ()
    found = desk.ingest("A ,2024-01-02,1", "B\u00a0C,2024-01-02,2")
    assert found.stored == 2
    assert "only in blanks, capitals or invisible marks: 'A', 'A ', 'B\\xa0C', 'b c'." in found.messages[-1]
    found = desk.ingest("Pér,2024-01-03,1", "Pe\u0301r,2024-01-03,2", "D\u200b,2024-01-03,1", "D,2024-01-03,1")
    assert found.stored == 4
    assert "marks: 'A', 'A ', 'B\\xa0C', 'b c', 'D' and 3 more" in found.messages[-1]


def test_a_series_of_one_row_and_a_paused_one_are_stored_like_any_other(desk):
    assert desk.ingest("A,2008-12-09,290", "A,2018-02-01,124.8", "B,2018-02-01,1").stored == 3


def test_integer_ids_in_parquet_become_text(tmp_path):
    file = tmp_path / "p.parquet"
    pl.DataFrame({"series_id": [7, 8], "time": [MON, MON], "close": [1, 2]}).write_parquet(file)
    warehouse = Warehouse(str(tmp_path / "w"))
    ingest(warehouse, Settings(source=str(file)))
    assert warehouse.prices()["series_id"].to_list() == ["7", "8"]


# what the source itself says


def deliveries(desk, *rows, as_of=None):
    desk.file.write_text("\n".join(["series_id,time,close,known_at", *rows, ""]))
    return ingest(desk.warehouse, desk.settings, as_of)


REVISED = [
    "A,2024-01-01,1,2024-01-01", "A,2024-01-02,2,2024-01-02", "A,2024-01-01,1.5,2024-01-02",
    "A,2024-01-03,3,2024-01-03", "A,2024-01-01,1.5,2024-01-03", "A,2024-01-02,2.5,2024-01-03",
    "A,2024-01-01,1.75,2024-01-04", "A,2024-01-04,4,2024-01-04",
]  # fmt: skip


def test_several_revisions_of_a_row_in_one_delivery_are_stored_by_the_day_the_source_knew_them(desk):
    found = deliveries(desk, *reversed(REVISED))
    assert (found.rows_in, found.stored, found.corrected, found.unchanged) == (8, 4, 3, 1)
    assert found.run_counts["rows_stored"] + found.run_counts["rows_corrected"] == 7
    assert [desk.warehouse.prices(day)["close"].to_list() for day in (MON, TUE, WED, THU)] == [
        [1], [1.5, 2], [1.5, 2.5, 3], [1.75, 2.5, 3, 4],
    ]  # fmt: skip
    versions = desk.warehouse.versions()
    again = deliveries(desk, *REVISED)
    assert (again.unchanged, again.run_counts) == (8, found.run_counts)
    assert desk.warehouse.versions() == versions


def test_one_load_of_all_deliveries_equals_their_replay_day_by_day(tmp_path):
    at_once, by_day = (Desk(tmp_path / name, calendar="weekdays") for name in ("a", "b"))
    for desk in (at_once, by_day):
        desk.file.parent.mkdir()
    deliveries(at_once, *REVISED)
    for day in (MON, TUE, WED, THU):
        deliveries(by_day, *(row for row in REVISED if row.endswith(str(day))), as_of=day)
    columns = ["series_id", "time", "known_at", "close"]
    assert at_once.warehouse.revisions().select(columns).equals(by_day.warehouse.revisions().select(columns))


def test_what_the_source_knew_only_after_as_of_is_left_for_a_later_run(desk):
    found = deliveries(desk, *REVISED, as_of=TUE)
    assert (found.rows_in, found.stored, found.corrected) == (3, 2, 1)
    assert "3 rows became known to the source only after 2024-01-02" in found.messages[-1]
    assert deliveries(desk, *REVISED).corrected == 2


def test_no_price_is_known_before_its_session_whatever_the_source_says(desk):
    deliveries(desk, "A,2024-01-02,1,2024-01-01", "A,2024-01-03,2,2024-01-03")
    assert desk.warehouse.revisions()["known_at"].to_list() == [TUE, WED]


def test_the_source_is_asked_from_the_sessions_read_again_on_and_a_repeated_run_asks_for_the_same(desk, monkeypatch):
    class Asked:
        name = "asked"

        def fetch(self, since=None):
            asked.append(since)
            rows = pl.DataFrame([row.split(",") for row in WEEK], schema=["series_id", "time", "close"], orient="row")
            rows = rows.with_columns(pl.col("time").str.to_date(), pl.col("close").cast(float))
            return Fetched(rows.filter(pl.col("time") >= (since or MON), pl.col("time") <= newest))

    asked = []
    monkeypatch.setattr("tidecast.flows.ingest.ingest.open_source", lambda settings: Asked())
    desk.settings = desk.settings.model_copy(update={"reread_sessions": 1})
    counts = {}
    for newest in (MON, TUE, TUE, WED, WED):
        counts.setdefault(newest, []).append(ingest(desk.warehouse, desk.settings).run_counts)
    friday = date(2023, 12, 29)
    assert asked == [None, friday, MON, friday, MON, TUE, MON]
    assert counts[TUE][0] == counts[TUE][1]
    assert counts[WED][0] == counts[WED][1]
    assert desk.warehouse.prices().height == 6


# what is evidence only


def evident(desk, dividend="", split="", adjusted="", repeated=False):
    """Sixty quiet sessions, with these words on the fifty-first."""
    days = pl.date_range(MON, date(2024, 3, 22), eager=True)
    days = days.filter(days.dt.weekday() <= 5)
    halved = [2 if split and number >= 53 else 1 for number in range(days.len())]  # three days after the split's
    close = [(100 + number % 2) / halved[number] for number in range(days.len())]
    rows = [f"A,{day},{price},,,{price}" for day, price in zip(days, close, strict=True)]
    rows[50] = f"A,{days[50]},100,{dividend},{split},{adjusted or 100}"
    rows += [rows[50] + "9"] if repeated else []
    text = "\n".join(["series_id,time,close,dividend,split_ratio,Adj Close", *rows, ""])
    desk.file.write_text(text)
    return ingest(desk.warehouse, desk.settings)


def test_dividends_and_splits_of_a_source_reach_the_rules(desk, tmp_path):
    assert evident(desk, dividend="30").rules["dividend_unit"] == 1
    other = Desk(tmp_path, calendar="weekdays")
    other.warehouse = Warehouse(str(tmp_path / "other"))
    assert evident(other, split="2").rules["split_not_applied"] > 0


def test_an_adjusted_close_is_evidence_and_is_neither_stored_nor_a_reason_for_a_conflict(desk):
    found = evident(desk, adjusted="70", repeated=True)
    assert found.rules["adjusted_close"] > 0
    assert found.quarantined == {"duplicate": 1}
    assert "adj_close" not in desk.warehouse.revisions().columns


def test_a_series_of_which_no_row_comes_any_more_is_flagged_and_one_that_ended_long_ago_is_not(desk):
    days = pl.date_range(MON, date(2024, 9, 30), eager=True)
    days = days.filter(days.dt.weekday() <= 5)
    rows = [f"{name},{day},{100 + number % 2}" for number, day in enumerate(days) for name in "ABC"]
    desk.ingest(*(row for row in rows[: 3 * 70] if row[0] != "C" or row < f"C,{days[30]}"), as_of=None)
    flagged = {}
    for number in (75, 120, 150):  # a feed of A alone, from a few sessions before on
        found = desk.ingest(*(row for row in rows[3 * (number - 50) : 3 * number] if row[0] == "A"))
        flagged[number] = found.rules["stale_series"]
    assert flagged == {75: 2, 120: 1, 150: 0}
    assert sorted(desk.warehouse.flags().filter(rule="stale_series")["series_id"]) == ["B", "C"]


# sources without use


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["A,31/12/2024,1", "A,30/12/2024,1"],
            "breaks a rule: 2 unreadable_time.*ISO 8601, like 2024-12-31",
        ),
        (["A,2024-01-01,'1,5'", "A,2024-01-02,abc"], "cannot be read|unreadable_price"),
        (["A,2024-01-01,abc"], "every row of .* breaks a rule: 1 unreadable_price.*decimal point"),
        (["A,2024-01-01,-1"], "not_positive.*set TIDECAST_POSITIVE=false"),
        (["A,2024-01-02T10:00,1", "A,2024-01-02T11:00,2"], "is intraday: 'A' has 2 times on 2024-01-02"),
    ],
)
def test_a_source_without_a_usable_price_is_one_clear_error_and_nothing_is_written(desk, rows, message):
    with pytest.raises(SourceError, match=message) as error:
        desk.ingest(*rows)
    assert "\n" not in str(error.value)
    assert desk.warehouse.versions() == {}


# any dirt

NAMES = st.sampled_from(["A", "B", "<script>", ""])
TIMES = st.sampled_from(["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-06", "03/01/2024", ""])
PRICES = st.sampled_from(["1", "2.5", "0", "-1", "inf", "NaN", "", "abc"])
ROWS = st.lists(st.tuples(NAMES, TIMES, PRICES).map(",".join), max_size=12)


@settings(max_examples=25, deadline=None, database=None)
@given(first=ROWS, second=ROWS, as_of=st.sampled_from([MON, TUE, WED, None]))
def test_whatever_comes_in_each_row_is_counted_once_and_the_same_again_changes_nothing(
    tmp_path_factory, first, second, as_of
):
    desk = Desk(tmp_path_factory.mktemp("desk"), calendar="weekdays")
    for rows in (first, second):
        try:
            found = desk.ingest(*rows, as_of=as_of)
        except TidecastError:
            continue
        assert balanced(found)
        versions = desk.warehouse.versions()
        again = desk.ingest(*rows, as_of=as_of)
        assert balanced(again)
        assert (again.rows_in, again.stored, again.corrected) == (found.rows_in, 0, 0)
        assert again.quarantined == found.quarantined
        assert again.run_counts == found.run_counts
        assert desk.warehouse.versions() == versions
        assert (
            desk.warehouse.revisions().select(pl.struct("series_id", "time", "known_at").is_duplicated().any()).item()
            is False
        )


HEADER = "series_id,time,close,volume,vix,known_at,Stock Splits"


@pytest.fixture
def ingest_rows(tmp_path):
    """Ingest rows with more than a price."""
    settings = Settings(
        source=str(tmp_path / "prices.csv"), calendar="weekdays", covariates=("vix",), known_at="known_at"
    )
    warehouse = Warehouse(str(tmp_path / "warehouse"))

    def ingested(*rows):
        (tmp_path / "prices.csv").write_text("\n".join([HEADER, *rows, ""]))
        return ingest(warehouse, settings), warehouse

    return ingested


@pytest.mark.parametrize("values", ["1.2M,5,,", "-3,5,,", "9,five,,", "9,inf,,", "9,5,,2:1", "9,5,,-2"])
def test_a_number_that_cannot_be_used_is_left_out_and_counted(ingest_rows, values):
    """Once, a volume with thousands separators was a column of nulls, and no message said so."""
    found, warehouse = ingest_rows(f"A,{MON},1,9,5,,", f"A,{TUE},2,{values}", f"A,{WED},3,NA,,-,")
    assert (found.stored, found.doubts, found.rules["unreadable_value"]) == (3, {"unreadable_value": 1}, 1)
    assert warehouse.flags().select("time", "rule").rows() == [(TUE, "unreadable_value")]
    assert warehouse.quotes().row(1) in {
        ("A", TUE, 2.0, None, 5.0),
        ("A", TUE, 2.0, 9.0, None),
        ("A", TUE, 2.0, 9.0, 5.0),
    }


def test_a_row_that_was_known_on_a_day_that_cannot_be_read_is_kept_aside(ingest_rows):
    """Once, it counted as known on its own day, and a forecast of that day could be computed again with it."""
    found, warehouse = ingest_rows(f"A,{MON},1,9,5,,", f"A,{TUE},2,9,5,31/12/2024,", f"A,{WED},3,9,5,{WED},")
    assert found.quarantined == {"unreadable_known_at": 1}
    assert warehouse.quotes()["time"].to_list() == [MON, WED]
