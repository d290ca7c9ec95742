"""Which market a feed asks, given what the warehouse holds: real and simulated values never mix unnoticed."""

from dataclasses import replace

from coinbeam.batch.tables import TRADE_WINDOW_FACT
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError
from coinbeam.ops.status import BEGINNING
from coinbeam.settings import Settings
from coinbeam.sources.choose import RuntimeSource, banner, choose_source
from coinbeam.sources.registry import FILES, SIMULATED
from coinbeam.warehouse.client import Warehouse


def choose_market(settings: Settings, warehouse: Warehouse) -> RuntimeSource:
    """Decide where values come from, as `choose_source`, with a banner where the warehouse holds others.

    Raises:
        SettingsError: ``auto`` would fall back to the simulator in a warehouse of real values; or as `choose_source`.
    """
    chosen = choose_source(settings)
    is_simulated = chosen.kind == "simulator"
    if not any((one in SIMULATED) != is_simulated for one in sources_held(warehouse)):
        return chosen
    if chosen.reason:
        raise SettingsError(
            f"The live API is not usable ({chosen.reason}), and this warehouse holds real values, which simulated ones "
            "must not join.",
            "Run again when it answers. For a simulated market of its own set COINBEAM_LOCAL__STATE_DIR to another "
            "folder.",
        )
    if is_simulated:
        mixed = banner(
            "SIMULATED PRICES join real ones in this warehouse, as market.source is simulator.",
            "For a simulated market of its own set COINBEAM_LOCAL__STATE_DIR to another folder.",
        )
    else:
        mixed = banner(
            "This warehouse also holds SIMULATED rows: figures over several days mix them with real ones.",
            "`coinbeam local live` puts them aside and begins an empty warehouse of real values.",
        )
    return replace(chosen, banner=mixed)


def counting_for(source_id: str | None) -> str:
    """A condition in SQL on the column ``source_id``: rows that say something of what a source has. Simulated rows say
    nothing of a real source; real ones do for a simulator, and files may hold either.
    """
    if source_id in SIMULATED or source_id == FILES.id:
        return "TRUE"
    return f"source_id NOT IN ({', '.join(map(repr, sorted(SIMULATED)))})"


def sources_held(warehouse: Warehouse) -> set[str]:
    """The sources of all batches that were ever published, by the record of batches, and of all windows of trades; none
    while there are no such tables.
    """
    asked = {
        "ingestion_batch": f"snapshot_date >= '{BEGINNING}' AND status = 'published' AND source_id IS NOT NULL",
        TRADE_WINDOW_FACT: f"window_date >= '{BEGINNING}'",
    }
    tables = {warehouse.table(load_contract(name)): where for name, where in asked.items()}
    queries = [
        f"SELECT source_id FROM `{table}` WHERE {where}" for table, where in tables.items() if warehouse.exists(table)
    ]
    return {row["source_id"] for row in warehouse.rows(" UNION DISTINCT ".join(queries))} if queries else set()
