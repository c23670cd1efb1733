"""Draw fan.png and fan_dark.png: forecasts of three euro rates, and the skill of the model that made them.

    python -m docs.pictures.fan

A GRU learns on all rates that the European Central Bank still publishes, from 2005 up to 504 sessions before their end,
once. It then forecasts from each later session. The fans start five sessions before the end, so that their truths are
known; the skill is that of all 504 origins and all rates. Half a minute of CPU time.
"""

import io
from pathlib import Path

import polars as pl

from docs.pictures.light_and_dark import HERE, write_both
from tidecast.features import PanelSchema
from tidecast.forecasting import GRUForecaster, RollingOrigin, backtest, evaluate
from tidecast.forecasting.plotting.canvas import Figure, legend_above, new_figure, price_axis, title
from tidecast.forecasting.plotting.fan import Fan, draw_fan, legend_of
from tidecast.forecasting.plotting.palette import Theme
from tidecast.forecasting.plotting.scores import draw_skill
from tidecast.forecasting.plotting.tables import to_draw

RATES = Path(__file__).parents[2] / "flows" / "data" / "ecb_fx_daily.parquet"
SHOWN = ["USD", "JPY", "GBP"]
ORIGINS = 504


def rates() -> pl.DataFrame:
    """The rates since 2005 of the currencies that are still published, as a panel."""
    panel = pl.read_parquet(RATES).rename({"date": "time", "value": "close"})
    newest = pl.col("time").max().over("series_id") == pl.col("time").max()
    return panel.filter(newest & (pl.col("time") >= pl.date(2005, 1, 1))).sort("series_id", "time")


def picture(panel: pl.DataFrame, table: pl.DataFrame, summary: pl.DataFrame, theme: Theme) -> Figure:
    """Three fans and the skill by step."""
    newest = table.filter((pl.col("model") == "GRU") & (pl.col("origin") == table["origin"].max()))
    found = to_draw(panel, newest, "close")
    figure, charts = new_figure(2, 2, height=2.3, theme=theme)
    *fans, skill = charts
    intervals: list[tuple[str, str]] = []
    for chart, name in zip(fans, SHOWN, strict=True):
        intervals = draw_fan(chart, Fan.of(*found.of(name), sessions=40), theme)
        title(chart, name, theme)
        price_axis(chart, f"{name} per euro")
    draw_skill(skill, summary, {"GRU": "GRU"}, "CRPS skill, %", theme)
    (random_walk,) = skill.texts
    random_walk.set(ha="right", position=(-2, 6))  # inside the chart, above its line
    pooled = summary.filter(group="pooled", model="GRU").row(0, named=True)
    interval = f"{100 * pooled['skill_low']:.2f} … {100 * pooled['skill_high']:.2f}"
    all_steps = f"GRU, {pooled['n_origins']} days: {100 * pooled['skill']:+.2f} % (95 %: {interval})"
    title(skill, all_steps, theme, max_length=60)
    legend_above(figure, legend_of(intervals, theme, truth=True), theme)
    return figure


def png(figure: Figure) -> bytes:
    """Return a PNG of 1,600 pixels."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=200)
    return content.getvalue()


def main() -> None:
    """Fit, forecast and draw."""
    panel = rates()
    model = GRUForecaster(schema=PanelSchema(calendar="TARGET"), random_state=0)
    table = backtest({"GRU": model}, panel, RollingOrigin(n_splits=1, horizon=model.horizon, stride=ORIGINS))
    summary = evaluate(table, panel, target="close").summary
    write_both(HERE / "fan.png", lambda theme: png(picture(panel, table, summary, theme)))


if __name__ == "__main__":
    main()
