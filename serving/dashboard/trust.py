"""Whether the numbers deserve trust: their age, the rules that they broke, the days that are missing."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from typing import Any

import orjson
import pandas as pd

from coinbeam.bundle.gaps import gaps as gaps_of
from coinbeam.bundle.manifest import STATUS
from coinbeam.bundle.reader import Bundle
from coinbeam.clock import parse_instant
from coinbeam.contracts import load_contract
from serving.dashboard import formats

FRESHNESS = "Freshness"
NEEDS_A_LOOK = ("Unresolved batches", "Open incidents")
"""Blocks of the status that are empty while all is well."""

Row = dict[str, Any]


def status(bundle: Bundle) -> list[dict[str, Any]]:
    """The blocks of `coinbeam status` when the version was made; none in a version of an older release."""
    return bundle.status() if STATUS in bundle.manifest.files else []


def freshness(rows: Iterable[Row], now: datetime) -> list[Row]:
    """The age of each table now; the version only says when its newest row was."""
    return [_aged(row, now) for row in rows]


def _aged(row: Row, now: datetime) -> Row:
    if not row.get("newest"):
        return row
    age = now - parse_instant(str(row["newest"]))
    state = load_contract(row["table"]).freshness_at(age.total_seconds() / 3_600)
    return row | {"age_hours": round(age.total_seconds() / 3_600, 1), "state": state}


def complaints(blocks: Iterable[dict[str, Any]], failed: int, now: datetime) -> list[str]:
    """What a person should look at, in a few words each; nothing when all is well."""
    by_title = {block["title"]: block["rows"] for block in blocks}
    aged = [row for row in freshness(by_title.get(FRESHNESS, ()), now) if row.get("state", "fresh") != "fresh"]
    found = [f"{row['table']} is {row['state']}" for row in aged]
    found += [f"{title.lower()}: {len(rows)}" for title in NEEDS_A_LOOK if (rows := by_title.get(title))]
    return found + ([f"failed quality rules: {failed}"] if failed else [])


def quality(bundle: Bundle) -> pd.DataFrame:
    """What the rules of the last days found, the newest first."""
    return bundle.table("quality_result").to_pandas().sort_values("checked_at", ascending=False, ignore_index=True)


def sample(text: Any) -> str:
    """The failing keys of a rule in one line."""
    if not isinstance(text, str):
        return formats.MISSING
    try:
        keys = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return ", ".join(map(str, keys)) if isinstance(keys, list) else text


def gaps(bundle: Bundle, currency: str, today: date) -> pd.DataFrame:
    """Stretches of days without a price up to a day, the longest first."""
    found = gaps_of(bundle, currency, round(datetime.combine(today, time.max, UTC).timestamp() * 1_000))
    rows = pd.DataFrame(
        {
            "asset_id": [bundle.assets[number] for number in found.numbers.tolist()],
            "first_date": found.first.astype(str),
            "last_date": found.last.astype(str),
            "days": found.days,
        }
    )
    return rows.sort_values(["days", "asset_id", "first_date"], ascending=[False, True, True], ignore_index=True)


def cells(rows: Iterable[Row], columns: Iterable[str]) -> pd.DataFrame:
    """Rows of a block of the status, every cell as a person reads it."""
    texts = [{formats.title(name): formats.readable(row.get(name)) for name in columns} for row in rows]
    return pd.DataFrame(texts, columns=[formats.title(name) for name in columns])
