"""What an export does: the publishes that it takes, and the dates that it writes anew. Pure; nothing is read here."""

from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AwareDatetime

from coinbeam.batch.tables import ASSETS, DAILY_FACT, FEAR_GREED_FACT, SNAPSHOT_FACT
from coinbeam.contracts import Contract, load_contract
from coinbeam.marts.plan import Publication, Range, hull
from coinbeam.marts.specs import MARTS
from coinbeam.warehouse.arrow import in_portions
from serving.lakehouse.equality import differing

RECORD = "publication"
"""The table that says which publishes the open tables hold; it is written last."""

FACTS = (SNAPSHOT_FACT, DAILY_FACT, FEAR_GREED_FACT)

MOST_ROWS = 1_000_000
"""Rows of one data file, unless a single day has more; it bounds the memory of an export."""

_DAY = timedelta(days=1)


class Refreshed(Publication):
    """A publish that the marts have seen."""

    refreshed_at: AwareDatetime


def exported_contracts() -> list[Contract]:
    """The contracts of the open tables, facts before what is made of them; the record is not among them."""
    return [load_contract(name) for name in (*FACTS, ASSETS, *(mart.name for mart in MARTS))]


def waiting(published: Iterable[Refreshed], seen: Iterable[Refreshed]) -> list[Refreshed]:
    """The publishes that the open tables do not hold, oldest refresh first.

    A batch that is published again, at another instant, is another publish.
    """
    known = set(seen)
    new = [publication for publication in published if publication not in known]
    return sorted(new, key=lambda one: (one.refreshed_at, one.published_at, one.batch_id, one.table_name))


def batches(publications: Iterable[Refreshed]) -> list[str]:
    """The batches of publishes, once each, in their order."""
    return list(dict.fromkeys(one.batch_id for one in publications))


def touched(contract: Contract, publications: Sequence[Refreshed], renamed_from: date | None) -> list[Range] | None:
    """The dates of a table that publishes may have changed; None for a table that is written whole.

    A fact changes on the dates of its own publishes. A mart changes from the first date of any on, since each of its
    days follows from the days before, and a renamed asset changes all of its rows.

    Args:
        renamed_from: the first date of an asset whose name in the marts is another one since the last export.
    """
    if contract.partition_column is None:
        return None
    if contract.name in FACTS:
        return sorted((one.first_date, one.last_date) for one in publications if one.table_name == contract.name)
    firsts = [one.first_date for one in publications] + ([renamed_from] if renamed_from else [])
    return [(min(firsts), date.max)]


def pieces(ranges: Iterable[Range], rows: Mapping[date, int], files: Sequence[Range]) -> list[Range]:
    """The dates that are written anew, one data file each: no file spans two months, and none is replaced in part.

    Args:
        ranges: dates that may have changed.
        rows: number of rows in BigQuery by date, of every month that a range touches.
        files: first and last date of each present data file.
    """
    found: list[Range] = []
    changed = list(ranges)
    for month in sorted({month_of(day) for day in rows} | {month_of(first) for first, _ in files}):
        last = last_of_month(month)
        inside = [(max(first, month), min(end, last)) for first, end in changed if first <= last and month <= end]
        if inside:
            whole = _grown(hull(inside), [one for one in files if month_of(one[0]) == month])
            found += in_portions(*whole, rows, MOST_ROWS)
    return found


def _grown(piece: Range, files: Sequence[Range]) -> Range:
    """A piece that holds every file that it overlaps."""
    overlapping = [one for one in files if one[0] <= piece[1] and piece[0] <= one[1]]
    grown = hull([piece, *overlapping])
    return piece if grown == piece else _grown(grown, files)


def month_of(day: date) -> date:
    """The first day of a month."""
    return day.replace(day=1)


def last_of_month(day: date) -> date:
    """The last day of a month."""
    return day.replace(day=monthrange(day.year, day.month)[1])


def first_renamed(before: pa.Table, after: pa.Table) -> date | None:
    """The first date of an asset that has another name or symbol than before, or None.

    Args:
        before: rows of ``asset_stats``; ``after`` too.
    """
    key, names = ["asset_id", "quote_currency"], ["symbol", "name"]
    known = before.select([*key, *names, "first_date"]).rename_columns([*key, "old_symbol", "old_name", "old_first"])
    both = known.join(after.select([*key, *names, "first_date"]), key, join_type="inner").combine_chunks()
    other = pc.or_(differing(both["old_symbol"], both["symbol"]), differing(both["old_name"], both["name"]))
    firsts = both.filter(other).select(["old_first", "first_date"])
    found = [day for name in firsts.column_names for day in firsts[name].to_pylist() if day is not None]
    return min(found) if found else None
