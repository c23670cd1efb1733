"""The examples that need a Prefect server or MLflow: on the bundled rates, and on a file of other names and days."""

import asyncio
import json
import os
import runpy
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import matplotlib.figure
import mlflow
import polars as pl
import pytest

from examples import prices as example_prices
from tests.coins import ARGUMENTS, write_coins
from tidecast import panel_from
from tidecast.flows.tracking.addresses import quietly
from tidecast.flows.warehouse.warehouse import Warehouse

NOTEBOOK = Path(__file__).parents[2] / "examples" / "champion.ipynb"


@dataclass
class Nightly:
    """What the example of a flow left, and what it ran on."""

    arguments: list[str]
    panel: pl.DataFrame
    home: Path
    shown: pl.DataFrame

    @property
    def live(self) -> list[str]:
        """Series with a price on the newest day: the daily run forecasts no others."""
        newest = self.panel.filter(pl.col("time") == pl.col("time").max())
        return newest["series_id"].sort().to_list()


@pytest.fixture(scope="module", params=["bundled", "own"])
def nightly(request, prefect_api, empty_mlflow_db, random_walks, tmp_path_factory) -> Nightly:
    """The example of a flow, run once for the tests of what it leaves."""
    folder = tmp_path_factory.mktemp("nightly")
    arguments, panel = [], example_prices.bundled_prices()
    if request.param == "own":
        path = write_coins(folder / "coins.csv", random_walks(3, 300))
        arguments, panel = [str(path), *ARGUMENTS], panel_from(pl.read_csv(path, try_parse_dates=True), "Coin", "Day")
    (folder / "state").mkdir()
    shutil.copyfile(empty_mlflow_db, folder / "state" / "mlflow.db")  # making one takes seconds
    with quietly({}):
        from examples import prefect_flow  # here, because the import of Prefect warns

        home, shown = prefect_flow.main(panel, folder)
    return Nightly(arguments, panel, home, shown)


@pytest.fixture(autouse=True)
def mlflow_as_before():
    """Forget the address that an example set: a later daily run in this process would use it."""
    yield
    mlflow.set_tracking_uri(None)
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_the_daily_forecast_runs_between_tasks_of_a_flow(nightly):
    published = Warehouse(str(nightly.home / "warehouse")).forecasts()
    assert published["series_id"].unique().sort().to_list() == nightly.live
    assert published.select("series_id", "step").n_unique() == len(published) == 5 * len(nightly.live)
    assert published["origin"].unique().to_list() == [nightly.panel["time"].max()]
    assert nightly.shown["series_id"].to_list() == nightly.live
    widths = nightly.shown.select(
        ours=pl.col("q0.95_network") - pl.col("q0.05_network"), published=pl.col("q0.95") - pl.col("q0.05")
    )
    assert (widths["ours"] / widths["published"]).is_between(0.5, 2.0).all()  # the same prices, another model


async def asked(app, content: bytes) -> httpx.Response:
    """The answer of MLflow's scoring server, without a socket."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://served") as client:
        return await client.post("/invocations", content=content, headers={"Content-Type": "application/json"})


def test_the_champion_forecasts_in_a_program_and_its_server_answers_the_request(nightly, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDECAST_HOME", str(nightly.home))
    monkeypatch.setattr(sys, "argv", ["serving", *nightly.arguments])
    with quietly({}):
        forecast, _ = runpy.run_module("examples.serving", run_name="__main__")["result"]
        from mlflow.pyfunc.scoring_server import init  # here, because its import warns

        app = init(mlflow.pyfunc.load_model("models:/tidecast@champion"))
    assert "mlflow models serve -m models:/tidecast@champion" in capsys.readouterr().out
    published = Warehouse(str(nightly.home / "warehouse")).forecasts()
    both = forecast.join(published, on=["series_id", "origin", "step", "time"], suffix="_published")
    assert len(both) == len(published)
    assert set(forecast["series_id"]) == set(nightly.panel["series_id"])
    assert both["forecast"].equals(both["forecast_published"], null_equal=False)
    assert (both["q0.95"] / both["q0.95_published"] - 1).abs().max() < 0.01  # from fewer rows
    answer = asyncio.run(asked(app, Path("request.json").read_bytes()))
    assert answer.status_code == 200, answer.text
    served = pl.DataFrame(answer.json()["predictions"]).with_columns(
        pl.col("origin", "time").str.to_datetime().dt.date()
    )
    assert served.select("series_id", "time").equals(forecast.select("series_id", "time"))
    assert served["q0.95"].equals(forecast["q0.95"])


def test_the_notebook_of_the_champion_has_no_outputs_and_runs(nightly, monkeypatch):
    monkeypatch.setenv("TIDECAST_HOME", str(nightly.home))
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    names: dict[str, object] = {}
    with quietly({}):
        for cell in code:
            exec(compile("".join(cell["source"]), NOTEBOOK.name, "exec"), names)
    assert names["decisions"]["winner"].to_list() == ["random_walk"]
    assert len(names["both"]) == 5 * len(nightly.live)
    assert names["largest_difference"] < 1e-9
    assert isinstance(names["figure"], matplotlib.figure.Figure)
    assert len([axes for axes in names["figure"].axes if axes.get_visible()]) == len(nightly.live)
