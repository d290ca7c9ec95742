"""What the API answers equals what the source said, field by field: captured pages through the transforms and the
bundle.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from beam_pipelines.snapshot.rules import MarketRules
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.tables import SNAPSHOT_FACT
from coinbeam.contracts import load_contract
from coinbeam.landing.layout import LandedBody
from coinbeam.settings import QualitySettings
from serving.api.app import create_app
from tests.beam_pipelines.conftest import CAPTURES
from tests.beam_pipelines.pages import read_table
from tests.serving.made import MadeSource
from tests.serving.served import made_in

PAGES = sorted((CAPTURES / "markets").glob("*.json"))

NOT_KEPT = {"market_cap_rank_with_rehypothecated"}
"""Fields of the source that the warehouse does not hold."""


class CapturedSource(MadeSource):
    """A market that is one captured page."""

    def __init__(self, page: pa.Table, sparklines: dict[str, list[Any]]) -> None:
        self.page = page.sort_by([("market_cap_rank", "ascending"), ("market_cap", "descending")])
        super().__init__(0, 1, page["snapshot_date"][0].as_py())
        self.ids = self.page["asset_id"].to_pylist()
        self.lines = sparklines

    def snapshots(self, day: date, instants: Iterable[datetime]) -> pa.Table:  # noqa: ARG002 - it has only one
        """The page."""
        return self.page

    def days(self, first: date, last: date) -> pa.Table:  # noqa: ARG002 - it has none
        """No history."""
        return self._no_day()

    def sparklines(self, snapshot: pa.Table) -> dict[str, list[Any]]:  # noqa: ARG002 - those of the page
        """Those of the page."""
        return self.lines


@pytest.mark.skipif(not PAGES, reason="the captures are not here")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_field_of_a_captured_page_comes_back(path: Path, tmp_path: Path) -> None:
    said = {row["id"]: row for row in orjson.loads(path.read_bytes())}
    latest = max(datetime.fromisoformat(row["last_updated"]) for row in said.values()).astimezone(UTC)
    day = latest.replace(hour=0, minute=0, second=0, microsecond=0)
    batch = BatchManifest(f"{day:%Y%m%d}T0000Z-usd-all", "markets", "coingecko", day, "usd", 250, "all")
    rules = MarketRules(load_contract(SNAPSHOT_FACT), QualitySettings().clock_skew_seconds)
    known = next(iter(said.values()))
    periods = [p for p in ("1h", "24h", "7d") if f"price_change_percentage_{p}_in_currency" in known]
    page = read_table(LandedBody("page", path.read_bytes(), latest), batch, rules).table
    lines = {key: row["sparkline_in_7d"]["price"] for key, row in said.items() if "sparkline_in_7d" in row}
    with (
        made_in(tmp_path, CapturedSource(filled(page, batch), lines)) as (_, (settings, bucket, _source)),
        TestClient(create_app(settings, needs_key=False, bucket=bucket, clock=lambda: latest)) as api,
    ):
        answer = api.get(
            "/api/v3/coins/markets",
            params={
                "vs_currency": "usd",
                "per_page": 250,
                "sparkline": str(bool(lines)).lower(),
                "price_change_percentage": ",".join(periods),
            },
        )
        assert answer.status_code == 200
        rows = answer.json()
        assert sorted(row["id"] for row in rows) == sorted(said)
        ranks = [row["market_cap_rank"] for row in rows]
        assert ranks == sorted(ranks, key=lambda rank: (rank is None, rank))
        for row in rows:
            assert comparable(row) == comparable(said[row["id"]])
        prices = api.get("/api/v3/simple/price", params={"ids": ",".join(said), "vs_currencies": "usd"}).json()
        assert prices == {key: {"usd": row["current_price"]} for key, row in said.items()}


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose instants are instants: the source wrote one of them with another offset."""
    instants = ("ath_date", "atl_date", "last_updated")
    kept = {field: value for field, value in row.items() if field not in NOT_KEPT}
    return kept | {field: datetime.fromisoformat(row[field]) for field in instants if row[field]}


def filled(page: pa.Table, batch: BatchManifest) -> pa.Table:
    """A page with the columns that the publish fills."""
    for column in load_contract(SNAPSHOT_FACT).columns:
        if column.name not in page.column_names:
            assert column.name == "batch_id"
            page = page.append_column(column.name, pa.array([batch.batch_id] * page.num_rows))
    return page
