"""From simulated to real prices on one machine: what was simulated is put aside, what was really answered is kept."""

import json
from collections.abc import Callable
from operator import methodcaller
from pathlib import Path
from typing import Any

from coinbeam.clock import Clock, utc_now
from coinbeam.contracts import Contract, load_contract
from coinbeam.feeds.market import sources_held
from coinbeam.landing.bucket import Bucket
from coinbeam.landing.layout import without_simulator
from coinbeam.ops.status import BEGINNING
from coinbeam.settings import MarketSource, Settings
from coinbeam.sources.choose import choose_source, probe_live
from coinbeam.sources.registry import SIMULATED
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from coinbeam.warehouse.staging import merge_rows
from local import cloud
from local.emulators.storage import OBJECTS_FOLDER
from local.services import data_dirs, stream_dirs


def go_live(settings: Settings, say: Callable[[str], None], clock: Clock = utc_now) -> None:
    """Put the data aside and start with nothing but what real sources answered, and the calls that they were asked.

    Nothing is deleted: the old data lie below ``archive/`` of the state folder.

    Raises:
        LocalCloudError: the live API is not usable; nothing was changed.
    """
    if reason := probe_live(settings, choose_source(settings, MarketSource.LIVE)):
        raise cloud.LocalCloudError(
            f"The live API is not usable, so nothing was changed: {reason}",
            "Check COINGECKO_API_KEY and COINBEAM_COINGECKO__PLAN too, and try again.",
        )
    cloud.up(settings, lambda _: None)
    warehouse, ledger = Warehouse(settings), load_contract("api_call_budget")
    if not sources_held(warehouse) & SIMULATED:
        say("This warehouse holds no simulated values, so nothing was changed. `coinbeam run --source live` goes on.")
        return
    spent = _real_calls(warehouse, ledger)
    aside = settings.local.state_dir.resolve() / "archive" / f"{clock():%Y%m%dT%H%M%SZ}"
    cloud.down(settings, say)
    for place in filter(Path.exists, (*data_dirs(settings), *stream_dirs(settings))):
        aside.mkdir(parents=True, exist_ok=True)
        place.rename(aside / place.name)
        say(f"Put aside: {aside / place.name}")
    cloud.up(settings, say)
    kept = _keep_real_landing(settings, aside / "storage" / OBJECTS_FOLDER / settings.storage.bucket)
    ensure_schema(warehouse)
    merge_rows(warehouse, ledger, spent)
    say(f"{kept} landed real answers were kept: they cost no call again. The warehouse is empty.")
    say("`coinbeam run --source live` brings real prices; from then on `auto` never falls back to the simulator here.")


def _real_calls(warehouse: Warehouse, ledger: Contract) -> list[dict[str, Any]]:
    """The calls that real sources were asked, as rows of JSON: no plan is spent anew because a warehouse is empty."""
    table = warehouse.table(ledger)
    if not warehouse.exists(table):
        return []
    simulated = ", ".join(map(repr, sorted(SIMULATED)))
    sql = f"SELECT * FROM `{table}` WHERE budget_month >= '{BEGINNING}' AND source_id NOT IN ({simulated})"
    rows: list[dict[str, Any]] = json.loads(json.dumps(warehouse.rows(sql), default=methodcaller("isoformat")))
    return rows


def _keep_real_landing(settings: Settings, old: Path) -> int:
    """Write what a real source answered, from the folder of the old bucket, into the new one; returns how many."""
    bucket = Bucket(settings)
    folders = [place for place in old.glob("landing/*/*") if without_simulator(place.name) == place.name]
    files = [file for place in folders for file in place.rglob("*") if file.is_file()]
    for file in files:
        bucket.write_bytes(str(file.relative_to(old)), file.read_bytes())
    return len(files)
