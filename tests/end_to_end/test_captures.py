"""Answers of the real API through the whole DAG: nothing is refused that is not truly bad, and every double keeps its bits."""

import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from coinbeam.contracts import load_contract
from coinbeam.settings import ROOT

pytestmark = [pytest.mark.airflow, pytest.mark.cloud]

CAPTURES = ROOT.parent / "shared" / "captures" / "markets"
FILES = sorted(CAPTURES.glob("*.json"))


@pytest.mark.skipif(not FILES, reason="needs the captures in ../shared/captures/markets")
@pytest.mark.parametrize("path", FILES or [Path("none")], ids=lambda path: path.stem)
def test_a_real_page_reaches_the_warehouse_bit_for_bit(pipeline: Any, path: Path) -> None:
    day = re.search(r"\d{4}-\d{2}-\d{2}", path.name)
    assert day
    pipeline.fill_calendar()
    ran = pipeline.run(source=str(path), snapshot_at=f"{day[0]}T00:00:00Z")
    assert ran.code == 0, ran.log[-4000:]

    rows = json.loads(path.read_text(encoding="utf-8"))
    priced = {row["id"]: row for row in rows if row["current_price"]}
    (batch,) = pipeline.batches()
    assert (batch["rows_read"], batch["rows_rejected"], batch["rows_published"]) == (len(rows), 0, len(priced))
    assert batch["source_id"] == "file"

    fact = load_contract("crypto_market_snapshot_fact")
    sql = f"SELECT * FROM `{pipeline.warehouse.table(fact)}` WHERE snapshot_date = '{day[0]}'"
    stored = json.loads(pipeline.coinbeam("query", sql, "--format", "json"))
    assert {row["asset_id"] for row in stored} == set(priced)
    doubles = [column for column in fact.source_columns if column.type == "FLOAT64"]
    for row in stored:
        source = priced[row["asset_id"]]
        for column in doubles:
            assert bits(row[column.name]) == bits(source.get(column.source)), (row["asset_id"], column.name)
        assert row["name"] == (source["name"] or None)
        assert row["market_cap_rank"] == source["market_cap_rank"]


def bits(value: float | None) -> bytes | None:
    """The 64 bits of a double."""
    return None if value is None else struct.pack("<d", float(value))
