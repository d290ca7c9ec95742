"""The report of docs/looker_studio.md as a picture: ``python -m docs.pictures.looker_studio --asset bitcoin``.

Looker Studio cannot run here, so the same charts are drawn from the same marts of the configured warehouse, by the
dimensions, metrics and filters that the page names.
"""

import argparse
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no display

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from coinbeam.settings import load_settings
from coinbeam.warehouse.client import Warehouse
from console.looker import GUIDE, mart

Rows = list[dict[str, Any]]
GREEN, RED, BLUE, ORANGE, GREY = "#1b7837", "#b2182b", "#2166ac", "#e08214", "#969696"


class Marts:
    """Reads what the charts show.

    Args:
        warehouse: where the marts are.
        asset: id of the asset of the second row.
        quote_currency: of all prices.
        days: how far the charts reach back.
        today: the last day.
    """

    def __init__(self, warehouse: Warehouse, asset: str, quote_currency: str, days: int, today: date) -> None:
        self._warehouse = warehouse
        self._given: dict[str, Any] = {
            "asset": asset,
            "currency": quote_currency,
            "first": today - timedelta(days=days),
        }

    def market_overview(self) -> Rows:
        """The market as a whole, by day."""
        return self._rows("market_overview", "date >= @first AND quote_currency = @currency", "date")

    def market_daily(self) -> Rows:
        """The asset, by day."""
        return self._rows("market_daily", "date >= @first AND quote_currency = @currency AND asset_id = @asset", "date")

    def latest_prices(self) -> Rows:
        """The largest assets now."""
        return self._rows(
            "latest_prices", "quote_currency = @currency AND market_cap_rank IS NOT NULL", "market_cap_rank LIMIT 12"
        )

    def asset_stats(self) -> Rows:
        """The assets with more than a month of history."""
        return self._rows("asset_stats", "quote_currency = @currency AND days_tracked > 30", "asset_id")

    def attributions(self) -> list[str]:
        """The lines that must stand beside the data."""
        names = self._warehouse.names()
        sources = (
            f"SELECT source_id FROM {names['latest_prices']} UNION DISTINCT SELECT source_id FROM "
            f"{names['fear_greed_fact']}"
        )
        shown = (
            f"SELECT DISTINCT attribution FROM {names['source_dim']} WHERE source_id IN ({sources}) ORDER BY "
            "attribution"
        )
        return [str(row["attribution"]) for row in self._warehouse.rows(shown) if row["attribution"]]

    def _rows(self, table: str, where: str, order: str) -> Rows:
        sql = f"SELECT * FROM `{self._warehouse.table(mart(table))}` WHERE {where} ORDER BY {order}"
        named = {name: value for name, value in self._given.items() if f"@{name}" in where}
        return self._warehouse.rows(sql, **named)


def draw(marts: Marts, asset: str, path: Path) -> None:
    """The report as one picture.

    Args:
        marts: what is shown.
        asset: its name in the titles.
        path: a ``.png`` or ``.svg`` file.
    """
    plt.rcParams.update({"font.size": 8, "axes.titlesize": 9, "axes.grid": True, "grid.alpha": 0.25})
    figure, axes = plt.subplots(3, 2, figsize=(11, 10))
    overview, daily = marts.market_overview(), marts.market_daily()
    draw_market(axes[0][0], overview)
    draw_breadth(axes[0][1], overview)
    draw_price(axes[1][0], daily, asset)
    draw_strength(axes[1][1], daily, asset)
    draw_latest(axes[2][0], marts.latest_prices())
    draw_risk(axes[2][1], marts.asset_stats())
    figure.text(0.01, 0.005, "; ".join(marts.attributions()), fontsize=7, color=GREY)
    figure.tight_layout(rect=(0, 0.015, 1, 1))
    figure.savefig(path, dpi=80)
    plt.close(figure)


def column(rows: Rows, name: str) -> list[Any]:
    """The values of a column; nothing stands for null."""
    return [float("nan") if row[name] is None else row[name] for row in rows]


def draw_market(axes: Axes, rows: Rows) -> None:
    """Chart 1: total market cap, and the mood."""
    axes.set_title("1  Market cap and Fear & Greed")
    axes.plot(column(rows, "date"), [value / 1e9 for value in column(rows, "total_market_cap")], color=BLUE)
    axes.set_ylabel("billion, quote currency")
    mood = axes.twinx()
    mood.grid(visible=False)
    mood.plot(column(rows, "date"), column(rows, "fear_greed_value"), color=ORANGE, linewidth=0.8)
    mood.set_ylim(0, 100)
    mood.set_ylabel("Fear & Greed", color=ORANGE)


def draw_breadth(axes: Axes, rows: Rows) -> None:
    """Chart 2: how many assets rose and fell."""
    axes.set_title("2  Assets that rose and fell in a day")
    days = column(rows, "date")
    axes.bar(days, column(rows, "advancers"), color=GREEN, width=1.0, label="advancers")
    axes.bar(days, [-value for value in column(rows, "decliners")], color=RED, width=1.0, label="decliners")
    axes.legend(loc="upper left")


def draw_price(axes: Axes, rows: Rows, asset: str) -> None:
    """Chart 3: price and its averages."""
    axes.set_title(f"3  {asset}: price, 7 and 30 day average")
    for name, colour, width in (("price", GREY, 0.8), ("sma_7d", BLUE, 1.0), ("sma_30d", ORANGE, 1.4)):
        axes.plot(column(rows, "date"), column(rows, name), color=colour, linewidth=width, label=name)
    axes.legend(loc="upper left")


def draw_strength(axes: Axes, rows: Rows, asset: str) -> None:
    """Chart 4: RSI with its customary bounds, and the drawdown."""
    axes.set_title(f"4  {asset}: RSI and drawdown")
    axes.plot(column(rows, "date"), column(rows, "rsi_14d"), color=BLUE, linewidth=0.8, label="rsi_14d")
    for bound in (30, 70):
        axes.axhline(bound, color=GREY, linewidth=0.8, linestyle="--")
    axes.plot(
        column(rows, "date"), column(rows, "drawdown_percentage"), color=RED, linewidth=0.8, label="drawdown_percentage"
    )
    axes.legend(loc="lower left")


def draw_latest(axes: Axes, rows: Rows) -> None:
    """Chart 5: the change of the largest assets."""
    axes.set_title("5  Change in 24 hours of the largest assets, percent")
    changes = column(rows, "price_change_percentage_24h")
    names = [str(row["asset_id"]) for row in rows]
    axes.barh(names, changes, color=[GREEN if change > 0 else RED for change in changes])
    axes.invert_yaxis()


def draw_risk(axes: Axes, rows: Rows) -> None:
    """Chart 6: how deep each asset fell, by how far it ever moved."""
    axes.set_title("6  Deepest fall by range, one point per asset")
    axes.scatter(column(rows, "range_percentage"), column(rows, "maximum_drawdown_percentage"), color=BLUE, s=18)
    for row in rows:
        axes.annotate(row["asset_id"], (row["range_percentage"], row["maximum_drawdown_percentage"]), fontsize=6)
    axes.set_xscale("log")
    axes.set_xlabel("range_percentage")
    axes.set_ylabel("maximum_drawdown_percentage")


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the report from the configured warehouse."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asset", default="bitcoin", help="asset of charts 3 and 4")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--output", type=Path, default=GUIDE.with_suffix(".png"))
    arguments = parser.parse_args(argv)
    warehouse = Warehouse(load_settings())
    newest = warehouse.rows(f"SELECT MAX(date) AS newest FROM `{warehouse.table(mart('market_overview'))}`")[0][
        "newest"
    ]
    currency = warehouse.settings.market.quote_currency
    draw(Marts(warehouse, arguments.asset, currency, arguments.days, newest), arguments.asset, arguments.output)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
