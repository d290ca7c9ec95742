"""Which ids are assets: those of the dimension, once a coin list has filled it."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from coinbeam.batch.tables import ASSETS
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError
from coinbeam.feeds.market import counting_for
from coinbeam.warehouse.client import Warehouse

MOST_NAMED = 5
"""How many ids, and how many suggestions for each, a message names."""


def refuse_unknown(warehouse: Warehouse, ids: Collection[str], remedy: str, source_id: str) -> None:
    """Refuse ids that no coin list ever held, with the nearest ones that it holds.

    Before the first list that counts for the source anything may be an asset.

    Raises:
        SettingsError: an id is unknown.
    """
    counts = counting_for(source_id)
    unknown = sorted(set(ids) - _known(warehouse, ids, counts)) if ids and _has_list(warehouse, counts) else []
    if unknown:
        named = "; ".join(f"{one!r}{_nearest(warehouse, one, counts)}" for one in unknown[:MOST_NAMED])
        raise SettingsError(f"No coin list knows {named}.", remedy)


def _table(warehouse: Warehouse) -> str:
    return warehouse.table(load_contract(ASSETS))


def _has_list(warehouse: Warehouse, counts: str) -> bool:
    """Whether a coin list filled the dimension; members that only prices told of are no list."""
    table = _table(warehouse)
    if not warehouse.exists(table):
        return False
    listed = f"is_current AND status = 'active' AND {counts}"
    return bool(warehouse.rows(f"SELECT 1 AS one FROM `{table}` WHERE {listed} LIMIT 1"))


def _known(warehouse: Warehouse, ids: Iterable[str], counts: str) -> set[str]:
    told = f"(status != 'inferred' OR name IS NOT NULL) AND {counts}"  # what only history told of, nobody else ever saw
    sql = f"SELECT DISTINCT asset_id FROM `{_table(warehouse)}` WHERE asset_id IN UNNEST(@ids) AND {told}"
    return {row["asset_id"] for row in warehouse.rows(sql, ids=sorted(ids))}


def _nearest(warehouse: Warehouse, unknown: str, counts: str) -> str:
    """The ids whose symbol or name an unknown id is, then those that are spelled nearly so."""
    sql = (
        f"SELECT asset_id, symbol, name FROM `{_table(warehouse)}` WHERE is_current AND status = 'active' AND {counts}"
    )
    rows = warehouse.rows(sql)
    text = unknown.lower()
    same = [row["asset_id"] for row in rows if text in {str(row["symbol"]).lower(), str(row["name"]).lower()}]
    spelled = get_close_matches(text, [row["asset_id"] for row in rows], MOST_NAMED)
    found = list(dict.fromkeys([*sorted(same, key=len), *spelled]))[:MOST_NAMED]
    return f" (did you mean {', '.join(found)}?)" if found else ""
