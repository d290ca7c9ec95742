"""The picture of the report is drawn from the marts by the fields that the page names."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from coinbeam.batch.tables import DAILY_FACT, FEAR_GREED_FACT
from coinbeam.contracts import load_all
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from console.looker import GUIDE, MARTS, mart
from docs.pictures.looker_studio import Marts, draw, main
from tests.coinbeam.conftest import DAY, Stage, asset_row, fact_row
from tests.coinbeam.marts.conftest import START, Bench, day_row, index_row
from tests.temporary import LocalCloud

DAYS = [START + timedelta(days=n) for n in range(40)]


@pytest.fixture
def filled(fresh_cloud: LocalCloud) -> Bench:
    """Marts of two assets and forty days."""
    stage = Stage(Warehouse(fresh_cloud.settings, clock=lambda: DAY))
    ensure_schema(stage.warehouse)
    bench = Bench(stage.warehouse)
    prices = [
        day_row(asset, day, 10.0 + n % 7, "history") for asset in ("bitcoin", "ethereum") for n, day in enumerate(DAYS)
    ]
    bench.put(DAILY_FACT, "history", prices)
    bench.put(FEAR_GREED_FACT, "index", [index_row(day, 40) for day in DAYS])
    stage.publish(
        "batch",
        crypto_market_snapshot_fact=[fact_row("bitcoin", market_cap_rank=1)],
        crypto_asset_dim=[asset_row("bitcoin")],
    )
    bench.refresh()
    return bench


@pytest.mark.cloud
def test_the_report_is_drawn_from_the_marts(filled: Bench, tmp_path: Path) -> None:
    path = tmp_path / "report.svg"
    marts = Marts(filled.warehouse, "bitcoin", "usd", 60, DAYS[-1])
    assert len(marts.market_daily()) >= len(DAYS)
    assert len(marts.market_overview()) >= len(DAYS)
    assert [row["asset_id"] for row in marts.latest_prices()] == ["bitcoin"]
    assert {row["asset_id"] for row in marts.asset_stats()} == {"bitcoin", "ethereum"}
    draw(marts, "bitcoin", path)
    drawn = path.read_text(encoding="utf-8")
    assert re.findall(r"<!-- (\d)  \w", drawn) == ["1", "2", "3", "4", "5", "6"], "every chart has its title"
    assert "Simulated data, not market prices" in drawn


@pytest.mark.cloud
def test_the_command_writes_the_picture(filled: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "report.png"
    main(["--asset", "ethereum", "--days", "30", "--output", str(path)])
    assert path.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == f"wrote {path}\n"
    assert filled.warehouse.settings.market.quote_currency == "usd"


def charts() -> list[list[str]]:
    """The rows of the table of charts, cell by cell."""
    table = GUIDE.read_text(encoding="utf-8").partition("## Charts")[2].partition("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in table.splitlines()
        if re.match(r"\| \d", line)
    ]


@pytest.mark.parametrize("chart", charts(), ids=lambda chart: chart[0])
def test_a_chart_names_fields_that_its_source_has(chart: list[str]) -> None:
    source, *named = (re.findall(r"`(\w+)`", cell) for cell in chart[1:5])
    [name] = source
    known = set(mart(name).by_name)
    assert [field for cell in named for field in cell if field not in known] == []
    assert named[1], "a chart has a metric"
    assert chart[5], "and a reason"


def test_the_charts_use_every_mart() -> None:
    assert len(charts()) == 10
    assert {re.findall(r"`(\w+)`", chart[1])[0] for chart in charts()} == set(MARTS)


def test_a_chart_of_a_field_that_went_away_would_be_found() -> None:
    assert not {"rsi_14"} & {column.name for contract in load_all().values() for column in contract.columns}
    with pytest.raises(AssertionError):
        test_a_chart_names_fields_that_its_source_has(["4 x", "`market_daily`", "`date`", "`rsi_14`", "", "why"])


def test_the_picture_is_there() -> None:
    assert GUIDE.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
