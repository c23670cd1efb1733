"""Columns that users name: whatever they are called, they are stored and learned from as they are, or refused."""

import ast
from datetime import date
from pathlib import Path

import dataframely as dy
import polars as pl
import pytest

from tidecast.features.panel import RESERVED, PanelSchema
from tidecast.features.transformers.price_features import PriceFeatures
from tidecast.flows.config.column_names import COMPUTED, OURS, STANDARD, USER
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SettingsError, SourceError
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.rules.price_rules import PriceRules
from tidecast.flows.training.candidates import CandidateSet
from tidecast.flows.training.model_panel import model_panel
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting import GRUForecaster, RandomWalk, evaluate

ROOT = Path(__file__).resolve().parents[3]


MAKE_COLUMNS = ("alias", "with_columns", "select", "agg", "with_row_index", "rename", "col", "DataFrame", "Series")
"""Functions and methods whose arguments name columns."""


def test_the_names_that_networks_compute_are_those_of_the_default_features():
    assert set(COMPUTED) == set(PriceFeatures(ranges=True).added_)


def names_of_columns() -> list[str]:
    """What occurs in our source as the name of a column: text and keywords in calls that make or read columns."""
    found = set()
    for folder in ("features", "forecasting", "flows"):
        for file in (ROOT / folder).rglob("*.py"):
            for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call) and getattr(call.func, "attr", "") in MAKE_COLUMNS:
                    for node in ast.walk(call):
                        if isinstance(node, ast.Constant) and isinstance(node.value, str):
                            found.add(node.value)
                    found.update(keyword.arg for keyword in call.keywords if keyword.arg)
    return sorted(name for name in found if name.isidentifier() and len(name) < 40)


def accepted(names: list[str]) -> list[str]:
    """Those of the names that the settings take for covariates, of such as differ in capitals the first."""
    taken: dict[str, str] = {}
    for name in names:
        if name.lower() not in (*OURS, *COMPUTED) and not name.startswith(RESERVED):
            for kept in Settings(covariates=(name,)).covariates:
                taken.setdefault(kept.lower(), kept)
    return [name for name in taken.values() if name not in STANDARD]


NAMES = accepted(names_of_columns())


def with_columns_called(panel: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """The panel with a column of other numbers for each name."""
    row = pl.int_range(pl.len())
    return panel.with_columns(((row * (number + 1)) % 97 / 7).alias(name) for number, name in enumerate(names))


def test_a_column_of_any_name_in_our_source_is_stored_as_it_was_given(tmp_path, random_walks):
    """Once, `unread` and `original` were stored with other values, `rule` was lost, and `at` was a raw error."""
    assert {"rule", "unread", "original", "present", "undated", "row", "number", "since", "status"} < set(NAMES)
    panel = with_columns_called(random_walks(2, 40), NAMES)
    file = tmp_path / "prices.parquet"
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    settings = Settings(source=str(file), calendar="weekdays", covariates=NAMES)
    panel.filter(pl.col("time") < panel["time"].max()).write_parquet(file)
    assert ingest(warehouse, settings).quarantined == {}
    corrected = panel.with_columns(pl.col(NAMES) + 1.0)
    corrected.write_parquet(file)
    found = ingest(warehouse, settings)
    assert (found.stored, found.corrected, found.rows_in) == (2, 78, 80)
    stored, given = warehouse.quotes(), corrected.sort("series_id", "time")
    assert [name for name in given.columns if not stored[name].equals(given[name])] == []


def test_a_network_learns_the_same_whatever_its_covariates_are_called(random_walks):
    panel = random_walks(2, 60)
    plain = [f"c{number}" for number in range(len(NAMES))]
    forecasts = []
    for names in (plain, NAMES):
        schema = PanelSchema(covariates=names[: len(names) // 2], future=names[len(names) // 2 :], calendar="weekdays")
        rows = with_columns_called(panel, names)
        weights = [1.0] * rows.height
        model = GRUForecaster(horizon=2, lookback=8, max_epochs=1, hidden_size=4, schema=schema, random_state=1)
        cut = panel["time"].unique().sort()[-4]
        model.fit(rows.filter(pl.col("time") <= cut), sample_weight=weights[: (panel["time"] <= cut).sum()])
        model.update(rows.filter(pl.col("time") == panel["time"].unique().sort()[-3]))
        table = model.predict(rows, origins="new")
        scores = evaluate(table, rows).losses
        forecasts.append((table, scores, model.score(rows, sample_weight=weights)))
    assert forecasts[0][0].equals(forecasts[1][0])
    assert forecasts[0][1].equals(forecasts[1][1])
    assert forecasts[0][2] == forecasts[1][2]


def test_no_working_column_begins_as_users_columns_do():
    names = names_of_columns()
    assert len(names) > 150
    assert not [name for name in names if name.startswith(USER)]


class NeedsVix(PriceRules):
    """A user's rule on a covariate, one named like evidence of ours."""

    vix = dy.Float64(nullable=True)

    @dy.rule()
    def calm(cls) -> pl.Expr:
        return pl.col("vix") < 30


def test_a_rule_of_the_user_sees_a_covariate_and_not_one_that_is_called_like_evidence(tmp_path, random_walks):
    panel = random_walks(1, 30).with_columns(vix=pl.int_range(pl.len()) + 10.0, change=pl.lit(1e9))
    panel.write_csv(tmp_path / "prices.csv")
    settings = Settings(
        source=str(tmp_path / "prices.csv"), calendar="weekdays", covariates=("vix", "change"),
        rules_schema=f"{__name__}:NeedsVix", rules={"calm": "quarantine"},
    )  # fmt: skip
    found = ingest(Warehouse(str(tmp_path / "warehouse")), settings)
    assert (found.stored, found.quarantined, found.doubts) == (20, {"calm": 10}, {})


@pytest.mark.parametrize(
    "schema", [{"covariates": (COMPUTED[0],)}, {"covariates": ("sector=A",), "static": ("sector",)}]
)
def test_a_covariate_that_is_called_like_an_input_of_the_network_is_refused_in_fit(random_walks, schema):
    """Once, the network saw the computed column in the place of the covariate."""
    panel = random_walks(1, 40).with_columns(pl.lit("A").alias("sector"), pl.lit(1.0).alias(schema["covariates"][0]))
    model = GRUForecaster(horizon=2, lookback=8, max_epochs=0, schema=PanelSchema(calendar="weekdays", **schema))
    with pytest.raises(
        ValueError, match=r"inputs must have different names, but '.*' are both covariates and features"
    ):
        model.fit(panel)


# standard columns as covariates


@pytest.mark.parametrize("name", STANDARD)
@pytest.mark.parametrize("spelled", [str.lower, str.title])
def test_a_standard_column_can_be_a_covariate(tmp_path, random_walks, name, spelled):
    """Once, each run stopped with polars' DuplicateError."""
    panel = random_walks(1, 60).with_columns((pl.int_range(pl.len()) + 1.0).alias(name))
    file = tmp_path / "prices.csv"
    panel.rename({name: spelled(name)}).write_csv(file)
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    settings = Settings(source=str(file), calendar="weekdays", covariates=(spelled(name),), lookback=16, max_epochs=0)
    assert settings.covariates == (name,)
    found = ingest(warehouse, settings)
    assert warehouse.prices()[name].to_list() == panel[name].to_list()
    work = CandidateSet(warehouse.prices(), found.as_of, settings, lambda text: None, None, {})
    model = work.recipes["GRU"].fit(work.panel)
    assert model.predict().height == settings.horizon
    panel.drop(name).write_csv(file)
    with pytest.raises(SourceError, match=rf"must have a column '{name}' \(covariates\)"):
        ingest(warehouse, settings)


def test_every_model_names_the_covariates_that_it_must_be_given(random_walks):
    """Once, a random walk that was trained beside networks with a covariate could not be logged or served."""
    panel = random_walks(1, 60).with_columns(volume=pl.lit(1.0), sector=pl.lit("bank"))
    schema = PanelSchema(covariates=("volume",), static=("sector",), calendar="weekdays")
    for model in (RandomWalk(2, 8, schema=schema), GRUForecaster(2, 8, max_epochs=0, hidden_size=4, schema=schema)):
        model.fit(panel)
        assert model.predict(panel.select(model.columns_)).equals(model.predict(panel))


# capitals


@pytest.mark.parametrize(
    ("setting", "names", "both"),
    [
        ("covariates", "vix, VIX", ("'vix'", "'VIX'")),
        ("static", "Sector,sector", ("'Sector'", "'sector'")),
        ("covariates", "Close", ("'Close'", "'close'")),
        ("covariates", "Year", ("'Year'", "'year'")),
        ("static", "Volume", ("'Volume'", "'volume'")),
        ("covariates", COMPUTED[0].upper(), (repr(COMPUTED[0].upper()), repr(COMPUTED[0]))),
    ],
)
def test_names_that_differ_in_capitals_alone_are_refused_before_anything_is_read(setting, names, both):
    """Once, Delta Lake refused the run's write with "Duplicate field name"."""
    with pytest.raises(SettingsError) as error:
        Settings(**{setting: names})
    assert all(name in str(error.value) for name in both)


def test_a_covariate_and_a_static_column_must_differ_in_more_than_capitals():
    with pytest.raises(SettingsError, match="'vix', 'VIX'"):
        Settings(covariates="vix", static="VIX")


def test_a_column_that_differs_from_a_stored_one_in_capitals_is_refused_before_the_source_is_opened(
    tmp_path, random_walks
):
    panel = random_walks(1, 20).with_columns(vix=pl.lit(1.0), VIX=pl.lit(2.0))
    file = tmp_path / "prices.csv"
    panel.write_csv(file)
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    settings = Settings(source=str(file), calendar="weekdays", covariates=("vix",))
    ingest(warehouse, settings)
    file.unlink()
    for setting in ("covariates", "static"):
        changed = settings.model_copy(update={"covariates": (), setting: ("VIX",)})
        with pytest.raises(SettingsError, match=r"got 'VIX', and the table prices has 'vix'\. Write 'vix'"):
            ingest(warehouse, changed)


@pytest.mark.parametrize("name", ["", " ", "*", "^v.*$", f"{RESERVED}row", "a\0b"])
def test_a_name_that_cannot_be_a_column_is_refused(name):
    with pytest.raises(SettingsError, match="covariates must"):
        Settings(covariates=(name,))


@pytest.mark.parametrize("group", ["covariates", "future", "static"])
def test_a_panel_schema_refuses_the_names_of_working_columns(group):
    with pytest.raises(ValueError, match="must not begin with '__tidecast_'"):
        PanelSchema(**{group: (f"{RESERVED}sample_weight",)})


@pytest.mark.parametrize(
    "name", ["a b", "x,y", "ü", "v.i.x", "it's", 'say "vix"', "a=b", "new\nline", "1", "{x}", "%d"]
)
def test_unusual_names_are_stored_and_read_again(tmp_path, random_walks, name):
    panel = random_walks(1, 10).with_columns(pl.int_range(pl.len()).cast(pl.Float64).alias(name))
    file = tmp_path / "prices.parquet"
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    settings = Settings(source=str(file), calendar="weekdays", covariates=(name,))
    for factor in (1.0, 2.0):
        panel.with_columns(pl.col(name) * factor).write_parquet(file)
        ingest(warehouse, settings)
    assert warehouse.prices()[name].to_list() == [2.0 * number for number in range(10)]


# values of covariates


@pytest.mark.parametrize(
    "values",
    [pl.Series([True, False, None] * 3), pl.Series(["True", "false", ""] * 3), pl.Series(["TRUE", "FALSE", "-"] * 3)],
)
def test_true_and_false_are_one_and_nought(tmp_path, random_walks, values):
    """Once, such a covariate was missing everywhere."""
    file = tmp_path / "prices.parquet"
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    random_walks(1, 9).with_columns(holiday=values).write_parquet(file)
    ingest(warehouse, Settings(source=str(file), calendar="weekdays", covariates=("holiday",)))
    assert warehouse.prices()["holiday"].to_list() == [1.0, 0.0, None] * 3


def test_a_categorical_column_of_numbers_is_a_covariate_and_one_of_text_is_refused(tmp_path, random_walks):
    file = tmp_path / "prices.parquet"
    settings = Settings(source=str(file), calendar="weekdays", covariates=("regime",))
    panel = random_walks(1, 4)
    kind = pl.Series(["1", "2", "1", None], dtype=pl.Categorical)
    panel.with_columns(regime=kind).write_parquet(file)
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    ingest(warehouse, settings)
    assert warehouse.prices()["regime"].to_list() == [1.0, 2.0, 1.0, None]
    panel.with_columns(regime=pl.Series(["bull", "bear", "bull", None], dtype=pl.Categorical)).write_parquet(file)
    with pytest.raises(SourceError, match=r"must be numbers, or true and false; 'regime' .* but 'bull'\. .*--static"):
        ingest(warehouse, settings)


def test_columns_without_any_value_are_reported_and_count_as_missing(sandbox):
    """Once, an empty static column was a raw ColumnNotFoundError, and an empty covariate failed the training."""
    sandbox.settings |= {"static": "sector", "covariates": "vix,volume"}
    first, second = sandbox.sessions[-2:]
    word = pl.when(time=second).then(pl.lit("bank")).otherwise(pl.lit(""))
    rows = sandbox.rows.with_columns(sector=word, vix=pl.lit(None, pl.Float64), volume=pl.lit(""))
    rows.filter(pl.col("time") <= first).write_csv(sandbox.source)
    workspace, found = sandbox.take_in(None, date(2030, 1, 1))
    assert any("without a value in any row: 'vix', 'volume', 'sector'" in message for message in found.messages)
    panel = model_panel(workspace.warehouse, workspace.settings, first)
    assert panel.select(pl.col("vix", "volume", "sector").null_count()).row(0) == (panel.height,) * 3
    work = CandidateSet(panel, first, workspace.settings, lambda text: None, None, {})
    assert work.recipes["GRU"].set_params(max_epochs=1).fit(work.panel).predict().height == 15

    rows.write_csv(sandbox.source)
    workspace, _ = sandbox.take_in(None, date(2030, 1, 1))
    assert model_panel(workspace.warehouse, workspace.settings, second)["sector"].unique().to_list() == ["bank"]


def test_one_column_cannot_be_the_date_and_the_price():
    """Once, `--time Date --target Date` was answered with advice on decimal points."""
    with pytest.raises(SettingsError, match="time and target must name different columns, both are 'Date'"):
        Settings(time="Date", target="Date")
