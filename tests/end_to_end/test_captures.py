"""Answers of the real API through the whole DAG: nothing is refused that is not truly bad, and every double keeps its
bits.
"""

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
# The smallest with sparklines; what the job makes of each of the others is tested beside it, bit for bit.
FILES = sorted(CAPTURES.glob("*sparkline*.json"))


@pytest.mark.skipif(not FILES, reason="needs the captures in ../shared/captures/markets")
@pytest.mark.timeout(600)
def test_real_pages_reach_the_warehouse_bit_for_bit(pipeline: Any) -> None:
    days = {path: re.findall(r"\d{4}-\d{2}-\d{2}", path.name)[0] for path in FILES}
    pipeline.fill_calendar()
    ran = pipeline.run_all([{"source": str(path), "snapshot_at": f"{day}T00:00:00Z"} for path, day in days.items()])
    assert ran.code == 0, ran.log[-4000:]
    batches = {f"{batch['snapshot_date']}": batch for batch in pipeline.batches()}
    assert len(batches) == len(FILES)
    for path, day in days.items():
        check_page(pipeline, path, day, batches[day])


def check_page(pipeline: Any, path: Path, day: str, batch: dict[str, Any]) -> None:
    """Every priced row of a page is published, and every double keeps its bits."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    priced = {row["id"]: row for row in rows if row["current_price"]}
    assert (batch["rows_read"], batch["rows_rejected"], batch["rows_published"]) == (len(rows), 0, len(priced)), path
    assert batch["source_id"] == "file"

    fact = load_contract("crypto_market_snapshot_fact")
    sql = f"SELECT * FROM `{pipeline.warehouse.table(fact)}` WHERE snapshot_date = '{day}'"
    stored = json.loads(pipeline.coinbeam("query", sql, "--format", "json"))
    assert {row["asset_id"] for row in stored} == set(priced), path
    doubles = [column for column in fact.source_columns if column.type == "FLOAT64"]
    for row in stored:
        source = priced[row["asset_id"]]
        for column in doubles:
            field, _, member = str(column.source).partition(".")
            given = (source.get(field) or {}).get(member) if member else source.get(field)
            assert bits(row[column.name]) == bits(given), (path, row["asset_id"], column.name)
        assert row["name"] == (source["name"] or None)
        assert row["market_cap_rank"] == source["market_cap_rank"]


def bits(value: float | None) -> bytes | None:
    """The 64 bits of a double."""
    return None if value is None else struct.pack("<d", float(value))
