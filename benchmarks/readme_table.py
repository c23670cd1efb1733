"""The table of results in README.md, made of the tables of benchmarks/README.md.

    python -m benchmarks.readme_table

Write new tables into benchmarks/README.md first, under "Accuracy". The command then rewrites README.md between its two
markers. A test compares the two.
"""

from pathlib import Path

from docs.pictures.tables import first_match, table_below

README = Path(__file__).parents[1] / "README.md"
RECORDS = "benchmarks/README.md"
BEGIN, END = "<!-- results: python -m benchmarks.readme_table -->\n", "<!-- end of results -->"
PANELS = ("ECB rates, 41 series", "EIA energy, 3 series")
MEAN = "mean (95 %)"


def largest(p_values: str) -> str:
    """Return the largest of the p-values of several seeds, as it is written: "0.001" of "<0.001, 0.001".

    Parameters
    ----------
    p_values : str
    """
    return max(p_values.split(", "), key=lambda text: (float(text.lstrip("<")), "<" not in text))


def results() -> str:
    """Return the table, with the dates of its rows and of the measurement."""
    text = (README.parent / RECORDS).read_text(encoding="utf-8")
    measured = first_match(r"## Accuracy(?s:.*?)(\d{4}-\d{2}-\d{2})", text).group(1)
    tables = [table_below(RECORDS, panel) for panel in PANELS]
    headings = [next(iter(table[0])) for table in tables]
    lines = [
        f"| measured {measured} | {headings[0]} | p | {headings[1]} | p |",
        "|---|---|---|---|---|",
    ]
    for rows in zip(*tables, strict=True):
        cells = [f"{row[MEAN]} | {largest(row['p'])}" for row in rows]
        lines.append(f"| {rows[0][headings[0]]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def with_results(readme: str) -> str:
    """Return README's text with the table between its markers made anew.

    Parameters
    ----------
    readme : str
    """
    before, rest = readme.split(BEGIN)
    return before + BEGIN + results() + END + rest.split(END)[1]


if __name__ == "__main__":
    README.write_text(with_results(README.read_text(encoding="utf-8")), encoding="utf-8")
