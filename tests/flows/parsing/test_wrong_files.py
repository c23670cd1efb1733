"""Files that are not what their settings say: one sentence that names the fault, and nothing stored by mistake."""

import pytest

from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.warehouse.warehouse import Warehouse


def error_of(tmp_path, text, **settings):
    (tmp_path / "prices.csv").write_text(text)
    with pytest.raises(SourceError) as error:
        ingest(Warehouse(str(tmp_path / "warehouse")), Settings(source=str(tmp_path / "prices.csv"), **settings))
    return str(error.value)


def test_a_file_without_a_header_is_not_answered_with_a_price_as_the_name_of_a_column(tmp_path):
    """Once, the advice was --time '2024-01-02', which would have lost the first row."""
    said = error_of(tmp_path, "A,2024-01-02,98.5\nA,2024-01-03,98.6\n", series_id="Name", time="Date", target="Close")
    assert "must have names of columns in its first line, found 'A', '2024-01-02', '98.5'" in said
    assert said.endswith("Put a line with names above it.")


def test_lines_above_the_header_are_named_as_such(tmp_path):
    """Once, the advice was to put values in double quotes."""
    said = error_of(tmp_path, "# from a vendor\n# today\nseries_id,time,close\nA,2024-01-02,1\n")
    assert "line 3 has 3 values, but the first line has one. Remove the lines above the names of the columns" in said


@pytest.mark.parametrize("begin", ["<!DOCTYPE html>", "<html>", '<?xml version="1.0"?>'])
def test_a_saved_web_page_is_not_an_empty_table(begin, tmp_path):
    """Once, a login page saved as prices.csv "must have at least one row"."""
    assert "so it is a page or XML. Download the table itself" in error_of(tmp_path, f"{begin}<body>log in</body>\n")


def test_an_unreadable_column_is_named(tmp_path):
    """Once, with the flags of two columns swapped, the answer spoke of decimal points only."""
    rows = "Name,Date,Close\nA,2024-01-02,98.5\nA,2024-01-03,98.6\n"
    said = error_of(tmp_path, rows, series_id="Close", time="Date", target="Name")
    assert "Its prices were read from the column 'Name'." in said
    said = error_of(tmp_path, rows.replace("2024-01-0", "1/2/2024"), series_id="Name", time="Date", target="Close")
    assert "Its times were read from the column 'Date'." in said
    assert "docs/tutorial/own_data.md has the lines that convert a file" in said


def test_the_columns_of_a_wide_table_are_not_called_one_column(tmp_path):
    said = error_of(tmp_path, 'time,A,B\n2024-01-02,"1,5","2,5"\n2024-01-03,"1,6","2,6"\n', layout="wide")
    assert "unreadable_price" in said
    assert "were read from" not in said


def test_one_answer_names_all_three_options_of_a_long_file(tmp_path):
    """Once, a newcomer learned of --time first, and of --series-id and --target from the next error."""
    said = error_of(tmp_path, "Name,Date,Close\nA,2024-01-02,98.5\nA,2024-01-03,98.6\n")
    assert said.endswith("Did you mean 'Date'? Then add --time 'Date' --series-id 'Name' --target 'Close'.")
    assert "must have a column 'time', found 'Name', 'Date', 'Close'" in said
    said = error_of(tmp_path, "Date,Gold,Oil\n2024-01-02,98.5,70\n2024-01-03,98.6,71\n")
    assert said.endswith("Then add --time 'Date'.")
