"""Commands that only read the warehouse."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.cloud import bigquery

from coinbeam.cli.output import Format, heading, show
from coinbeam.clock import utc_now
from coinbeam.contracts import load_all, load_contract
from coinbeam.ingestion import Ingestion
from coinbeam.settings import load_settings
from coinbeam.warehouse import Warehouse


def run_query(sql: str, form: Format) -> None:
    """Run any query and show its rows."""
    warehouse = Warehouse(load_settings())
    rows = warehouse.query(sql)
    show([field.name for field in rows.schema or []], _streamed(warehouse, rows), form)


def _streamed(warehouse: Warehouse, rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Rows one by one; a page that cannot be read is an error of the warehouse like any other."""
    with warehouse.answering():
        for row in rows:
            yield dict(row.items())


def show_rejects(batch: str | None, reason: str | None, limit: int, form: Format) -> None:
    """Show refused records, newest first."""
    warehouse = Warehouse(load_settings())
    columns = ["batch_id", "level", "asset_id", "reason", "column_name", "value", "page_uri", "row_number"]
    sql = (
        f"SELECT {', '.join(columns)} FROM `{warehouse.table(load_contract('rejected_record'))}` "
        "WHERE snapshot_date >= '2010-01-01' AND (@batch IS NULL OR batch_id = @batch) AND (@reason IS NULL OR reason = @reason) "
        f"ORDER BY rejected_at DESC, page_uri, row_number LIMIT {limit}"
    )
    parameters = [bigquery.ScalarQueryParameter("batch", "STRING", batch), bigquery.ScalarQueryParameter("reason", "STRING", reason)]
    show(columns, warehouse.rows(sql, parameters), form)


def show_status(form: Format) -> None:
    """Show freshness, batches, rejects and quota."""
    settings = load_settings()
    warehouse = Warehouse(settings)
    blocks = {
        "Freshness": (["table", "newest", "age_hours", "stale_after_hours", "state"], freshness(warehouse)),
        "Last batches": (
            ["batch_id", "status", "mode", "rows_published", "rows_rejected", "api_calls", "finished_at", "error_message"],
            last_batches(warehouse),
        ),
        "Rejects by reason": (["batch_id", "reason", "records"], rejects_by_reason(warehouse)),
        "API quota": (["plan", "calls_per_month", "used_this_month", "left"], [quota(Ingestion(settings, warehouse))]),
    }
    if form is not Format.TABLE:
        show(["block", *sorted({c for columns, _ in blocks.values() for c in columns})], _flat(blocks), form)
        return
    for title, (columns, rows) in blocks.items():
        heading(title)
        show(columns, rows)


def _flat(blocks: Mapping[str, tuple[list[str], list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    names = sorted({column for columns, _ in blocks.values() for column in columns})
    return [{"block": title} | {name: row.get(name) for name in names} for title, (_, rows) in blocks.items() for row in rows]


def freshness(warehouse: Warehouse) -> list[dict[str, Any]]:
    """The newest partition instant of each table that promises freshness."""
    rows = []
    for contract in load_all().values():
        if contract.freshness_hours is None:
            continue
        newest = warehouse.rows(
            f"SELECT MAX(snapshot_at) AS newest FROM `{warehouse.table(contract)}` WHERE snapshot_date >= '2010-01-01'"
        )[0]["newest"]
        age = (utc_now() - newest).total_seconds() / 3600 if newest else None
        state = "empty" if age is None else "stale" if age > contract.freshness_hours else "fresh"
        rows.append(
            {
                "table": contract.name,
                "newest": newest,
                "age_hours": None if age is None else round(age, 1),
                "stale_after_hours": contract.freshness_hours,
                "state": state,
            }
        )
    return rows


def last_batches(warehouse: Warehouse, limit: int = 5) -> list[dict[str, Any]]:
    """The runs that ended last."""
    table = warehouse.table(load_contract("ingestion_batch"))
    return warehouse.rows(f"SELECT * FROM `{table}` WHERE snapshot_date >= '2010-01-01' ORDER BY finished_at DESC LIMIT {limit}")


def rejects_by_reason(warehouse: Warehouse, limit: int = 20) -> list[dict[str, Any]]:
    """How many records each batch refused, by reason."""
    table = warehouse.table(load_contract("rejected_record"))
    return warehouse.rows(
        f"SELECT batch_id, reason, COUNT(*) AS records FROM `{table}` WHERE snapshot_date >= '2010-01-01' "
        f"GROUP BY batch_id, reason ORDER BY batch_id DESC, records DESC LIMIT {limit}"
    )


def quota(ingestion: Ingestion) -> dict[str, Any]:
    """Calls of the configured plan, used and left this month."""
    coingecko, used = ingestion.settings.coingecko, ingestion.calls_this_month()
    total = coingecko.limits.calls_per_month
    return {"plan": coingecko.plan, "calls_per_month": total, "used_this_month": used, "left": total - used}
