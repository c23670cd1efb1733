"""No table is made from rows or from an array without saying which way round they lie."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("features", "forecasting", "flows", "benchmarks", "examples")
GUESSING = {"DataFrame", "LazyFrame", "from_numpy", "from_records"}  # of polars: a square array may be either way round
CHECKS = {"isinstance", "issubclass", "cast"}


def sources():
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


class Constructors(ast.NodeVisitor):
    """Collects the lines of a module that make a polars table whose orientation is left to be guessed."""

    def __init__(self, tree):
        self.modules, self.names, self.lines = set(), set(), []
        self.annotations = {id(part) for node in ast.walk(tree) for part in self._annotations(node)}
        for node in ast.walk(tree):  # imports inside functions, too
            if isinstance(node, ast.Import):
                self.modules |= {name.asname or name.name for name in node.names if name.name == "polars"}
            elif isinstance(node, ast.ImportFrom) and node.module == "polars":
                self.names |= {name.asname or name.name for name in node.names if name.name in GUESSING}
        self.visit(tree)

    @staticmethod
    def _annotations(node):
        found = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        return [part for given in found if given is not None for part in ast.walk(given)]

    def _guesses(self, node):
        if isinstance(node, ast.Attribute):
            return node.attr in GUESSING and isinstance(node.value, ast.Name) and node.value.id in self.modules
        return isinstance(node, ast.Name) and node.id in self.names

    def visit_Call(self, node):
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if self._guesses(node.func):
            if not _says_which_way(node):
                self.lines.append(node.lineno)
            parts = [*node.args, *(keyword.value for keyword in node.keywords)]
        elif name in CHECKS:  # a type among others, which makes no table
            parts = [] if name != "cast" else node.args[1:]
        else:  # a default_factory is called without data
            parts = [node.func, *node.args, *(k.value for k in node.keywords if k.arg != "default_factory")]
        for part in parts:
            self.visit(part)

    def visit_Attribute(self, node):
        method_of_class = isinstance(node.value, ast.Attribute | ast.Name) and self._guesses(node.value)
        if self._guesses(node) and id(node) not in self.annotations:
            self.lines.append(node.lineno)  # handed on under another name
        elif not method_of_class:
            self.generic_visit(node)

    def visit_Name(self, node):
        if self._guesses(node) and isinstance(node.ctx, ast.Load) and id(node) not in self.annotations:
            self.lines.append(node.lineno)


def _says_which_way(call):
    given = {keyword.arg for keyword in call.keywords}
    data = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "data"), None)
    return "orient" in given or (data is None and None not in given) or _has_names(data)


def _has_names(data):
    """Whether the columns have their names with them: a dictionary, or a list of nothing but dictionaries."""
    if isinstance(data, ast.BinOp) and isinstance(data.op, ast.BitOr):
        return _has_names(data.left) or _has_names(data.right)
    if isinstance(data, ast.List) and data.elts:
        return all(_has_names(part) for part in data.elts)
    if isinstance(data, ast.ListComp):
        return _has_names(data.elt)
    called = isinstance(data, ast.Call) and isinstance(data.func, ast.Name) and data.func.id == "dict"
    return called or isinstance(data, ast.Dict | ast.DictComp)


def guesses(text):
    return Constructors(ast.parse(text)).lines


def test_every_table_in_the_tree_says_which_way_its_values_lie():
    found = {path.relative_to(ROOT).as_posix(): guesses(path.read_text(encoding="utf-8")) for path in sources()}
    assert len(found) > 100
    assert {path: lines for path, lines in found.items() if lines} == {}, (
        "give orient=, or the columns by name (a dictionary, from_dict, from_dicts)"
    )


@pytest.mark.parametrize(
    "text",
    [
        "import polars as pl\npl.DataFrame(values)",
        "import polars as pl\npl.DataFrame(values.reshape(-1, 3), schema=names)",
        "import polars\npolars.LazyFrame(data=rows)",
        "import polars as anything\nanything.from_numpy(values)",
        "from polars import DataFrame as Table\nTable([(1, 2), (3, 4)])",
        "from polars import from_records\nfrom_records(rows)",
        "def f():\n    import polars as pl\n    return pl.DataFrame([[1, 2]])",
        "import polars as pl\nmake = pl.DataFrame\nmake(values)",
        "import polars as pl\nfrom functools import partial\nmake = partial(pl.DataFrame, schema=names)",
        "import polars as pl\nlist(map(pl.DataFrame, arrays))",
        "import polars as pl\npl.DataFrame(**settings)",
        "import polars as pl\npl.DataFrame({'a': pl.DataFrame(values)})",
        "import polars as pl\npl.DataFrame(np.ones(3)).select('a')",
    ],
)
def test_a_table_that_leaves_it_to_be_guessed_is_found(text):
    assert len(guesses(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import polars as pl\npl.DataFrame(values, orient='row')",
        "import polars as pl\npl.DataFrame({'a': values})",
        "import polars as pl\npl.DataFrame(schema={'a': pl.Int64})",
        "import polars as pl\npl.DataFrame({'a': x} | {'b': y})",
        "import polars as pl\npl.DataFrame([{'a': x} for x in y])",
        "import polars as pl\npl.from_dicts(rows)",
        "import pandas as pd\npd.DataFrame(values)",
        "import torch\ntorch.from_numpy(values)",
        "import polars as pl\nisinstance(x, pl.DataFrame | pl.LazyFrame)",
        "import polars as pl\ndef f(x: list[pl.DataFrame]) -> dict[str, pl.DataFrame]:\n    y: pl.DataFrame = x[0]",
        "import polars as pl\npl.DataFrame.deserialize(file)",
        "import polars as pl\nfield(default_factory=pl.DataFrame)",
    ],
)
def test_a_table_that_says_it_is_not_found(text):
    assert guesses(text) == []
