"""The line of a recorded batch: the numbers that it has, in an order that expressions of metrics may rely on."""

from typing import Any

import pytest

from coinbeam.ops.batch_line import RECORDED, words
from coinbeam.ops.call_ledger import Usage

ROW: dict[str, Any] = {
    "table_name": "crypto_market_snapshot_fact",
    "status": "published",
    "mode": "fetch",
    "rows_published": 60,
    "rows_rejected": 0,
    "api_calls": 3,
    "batch_id": "20261121T0000Z-usd-top-60",
}


def numbers(text: str) -> dict[str, str]:
    """The line taken apart again."""
    assert text.startswith(f"{RECORDED} ")
    return dict(part.split("=") for part in text.removeprefix(RECORDED).split())


def test_every_number_has_a_name_and_the_batch_stands_last() -> None:
    told = numbers(words(ROW, Usage(10_000, 9_000, 500, 3), 95.4))
    assert told == {name: str(value) for name, value in ROW.items()} | {
        "age_seconds": "95",
        "calls_left": "500",
        "quota_left_percent": "5",
    }
    assert list(told)[-1] == "batch_id"


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "replay"},
        {"status": "failed"},
        {"status": "gap", "mode": "gap"},
        {"table_name": "crypto_market_daily_fact"},
    ],
    ids=["a replay", "a failed batch", "a gap", "history"],
)
def test_what_is_old_on_purpose_has_no_age(changes: dict[str, str]) -> None:
    assert "age_seconds" not in numbers(words(ROW | changes, None, 1e6))


def test_what_a_batch_does_not_count_is_left_out() -> None:
    assert "rows_rejected" not in numbers(words(ROW | {"rows_rejected": None}, None, 0))
    assert "calls_left" not in numbers(words(ROW, None, 0))


@pytest.mark.parametrize(("spent", "percent"), [(0, 100), (9_000, 10), (9_001, 9), (10_000, 0), (12_000, 0)])
def test_a_share_is_rounded_down_so_that_an_alert_is_never_late(spent: int, percent: int) -> None:
    assert numbers(words(ROW, Usage(10_000, spent, 0, 0), 0))["quota_left_percent"] == str(percent)
