"""Output at 60 columns, and without a terminal: nothing is cut inside a number, nothing is coloured."""

import re
from io import StringIO

import click
import pytest
from rich.cells import cell_len

from tidecast.flows.cli.main import SECTIONS, tidecast
from tidecast.flows.cli.terminal import console, facts, progress, table
from tidecast.flows.log import log

HEADS = ["session", "outcome", "winner", "version", "candidate", "distribution, % (95 %)", "p", "gates", "by"]
ROW = ["2026-10-30", "promoted", "LSTM", "12", "volatility regression", "+0.22 (0.11 … 0.33)", "< 0.001", "7", "ada"]


@pytest.fixture
def printed(monkeypatch):
    """A function: what a console of so many columns prints."""

    def run(columns, say):
        if columns is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", str(columns))
        out = console()
        out.file = StringIO()
        say(out)
        return out.file.getvalue()

    return run


@pytest.mark.parametrize("columns", [60, 80, 110, 200])
def test_a_wide_table_never_breaks_a_number_and_never_exceeds_the_width(printed, columns):
    text = printed(columns, lambda out: out.print(table(HEADS, [ROW, ROW], whole=[HEADS[5]])))
    assert all(cell_len(line) <= columns for line in text.splitlines()), text
    for cell in ("2026-10-30", "+0.22 (0.11 … 0.33)", "< 0.001"):
        assert text.count(cell) == 2, text


def test_a_table_that_does_not_fit_is_a_list_of_names_and_values(printed):
    text = printed(60, lambda out: out.print(table(HEADS, [ROW], whole=[HEADS[5]])))
    assert text.startswith("session 2026-10-30\n  outcome")
    assert re.search(r"^  candidate +volatility regression$", text, re.MULTILINE)


def test_numbers_with_three_columns_stay_side_by_side_at_60(printed):
    text = printed(60, lambda out: out.print(table(["table", "rows", "version"], [["prices", 221702, 3]])))
    assert [line.split() for line in text.splitlines()] == [["table", "rows", "version"], ["prices", "221702", "3"]]


LONG = "221,702 rows read: 221,702 new, 0 corrected, 0 known, 0 in quarantine, and 1,234,567 more"


def test_facts_wrap_between_words_where_the_width_is_given_and_not_in_a_pipe(printed):
    narrow = printed(60, lambda out: facts(out, [("Prices", LONG), ("Report", "/a/very/long/" + "x" * 80 + "/p.html")]))
    assert set(re.findall(r"[\d,]*\d", LONG)) <= set(re.findall(r"[\d,]*\d", narrow))
    assert all(len(line) <= 60 for line in narrow.splitlines() if "xxx" not in line)
    assert "x" * 80 in narrow, "a path can be copied"
    assert all(line.startswith(("Prices    ", "Report    ", " " * 10)) for line in narrow.splitlines())
    assert printed(None, lambda out: facts(out, [("Prices", LONG)])) == f"Prices    {LONG}\n"


@pytest.mark.parametrize("columns", range(40, 70))
def test_a_number_stays_with_its_sign_its_unit_and_its_interval(printed, columns):
    verdict = "Distribution +0.22 % (95 %: 0.11 … 0.33), p < 0.001. Median 0.00 % (equal to the last price), p = 0.5."
    text = printed(columns, lambda out: facts(out, [("Champion", verdict)]))
    for whole in ("+0.22 %", "0.11 … 0.33", "< 0.001", "= 0.5", "0.00 %"):
        assert whole in text, text


def test_errors_wrap_between_words(printed):
    text = printed(60, lambda out: out.print(f"tidecast: {LONG}"))
    assert "1,234,567" in text
    assert all(len(line) <= 60 for line in text.splitlines())


def test_a_pipe_gets_no_control_characters_even_with_forced_colours_no_spinner(printed, monkeypatch):
    def work(out):
        with progress(out):
            log.info("221,702 rows")

    assert printed(None, work).endswith("s  221,702 rows\n")
    monkeypatch.setenv("FORCE_COLOR", "1")
    forced = printed(None, work)
    assert "\r" not in forced
    assert "working" not in forced
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*3\dm", printed(None, lambda out: out.print("red", style="red")))


def commands(group=tidecast, path=()):
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def help_of(path, columns):
    """The help of a command as a terminal of so many columns shows it; click's own test runner always has 80."""
    context = tidecast.context_class(tidecast, info_name="tidecast", terminal_width=columns, max_content_width=110)
    command = tidecast
    for name in path:
        command = command.commands[name]
        context = command.context_class(command, info_name=name, parent=context)
    return command.get_help(context)


@pytest.mark.parametrize("path", [(), *commands()], ids=" ".join)
def test_every_help_fits_and_says_what_it_reads_and_writes(path):
    for columns in (60, 110):
        said = help_of(path, columns)
        assert all(cell_len(line) <= columns for line in said.splitlines()), said
        assert "..." not in said.replace("[ARGS]...", "")
    if path:
        text = " ".join(said.split())
        assert re.search(r"Reads |[Ww]rites |Rewrites ", text), text
        assert f"tidecast {' '.join(path)}" in text.partition("Example")[2]


def test_the_short_helps_are_whole_sentences_and_no_command_is_forgotten():
    listed = [command for commands in SECTIONS.values() for command in commands]
    assert {command.name for command in listed} == set(tidecast.commands)
    for command in listed:
        text = command.get_short_help_str(200)
        assert text.endswith("."), text
        assert len(text) <= 55, text
