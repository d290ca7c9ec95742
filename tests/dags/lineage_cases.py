"""Lineage of jobs and scripts as Airflow would ask for it, as JSON: run in an interpreter of its own."""

import json
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

from airflow.providers.openlineage.extractors.base import DefaultExtractor

from coinbeam.batch.jobs import FETCH_CRYPTO_DATA
from coinbeam.marts.plan import Latest, MartPlan, Publication, Touched
from coinbeam.marts.refresh import Marts
from coinbeam.settings import load_settings
from coinbeam.warehouse.client import Warehouse
from dags.batch_tasks import script_task
from dags.beam_jobs import beam_job
from dags.lineage import job_lineage, script_lineage
from tests.dags.description import MARK

BATCH = {"output": "gs://bucket/batches/b", "landing": "gs://bucket"}
SCRIPT = """
DECLARE first DATE DEFAULT DATE '2026-01-01';
CREATE TEMP TABLE picked AS SELECT id FROM `crypto_data.list`;
BEGIN TRANSACTION;
MERGE `crypto_data.fact` AS t
USING (
  WITH chosen AS (SELECT * FROM `crypto_staging.fact__b` JOIN `other.crypto_data.dim` USING (id))
  SELECT * FROM chosen JOIN picked USING (id)
) AS s
ON t.id = s.id WHEN MATCHED THEN UPDATE SET price = s.price;
DELETE FROM `crypto_ops.queue` WHERE batch_id = 'b';
COMMIT TRANSACTION;
"""


def main() -> None:
    """Print the inputs and outputs of every case."""
    settings = load_settings()

    def job(name: str, files: tuple[str, ...] = (), **options: str) -> dict[str, Any]:
        return _shown(job_lineage(name, BATCH | options, files, settings))

    cases = {
        "live": job("fetch_crypto_data", ("batches/b/crypto_1.csv", "batches/b/rejected_*.ndjson"), source="live"),
        "simulator": job("populate_crypto_asset_dim", source="simulator"),
        "auto": job("fetch_market_history", source="auto"),
        "index": job("fetch_fear_greed", source="live"),
        "replay": job("fetch_crypto_data", source="gs://bucket/landing/markets/20260101-usd-all/page-*"),
        "exports": job("fetch_market_history", source="/data/exports/*.csv", output="/data/out"),
        "calendar": job("populate_date_dim"),
        "script": _tables(script_lineage(SCRIPT, "acme")),
        "no_sql": _tables(script_lineage("(( this is no SQL", "acme")),
        "marts": _tables(script_lineage(_refresh(), "acme")),
        "told_by_emulator": _shown(_of_script({})),
        "told_by_bigquery": _shown(_of_script(_statistics("told_input", "told_output"))),
        "broken": _broken(),
    }
    print(MARK + json.dumps(cases))


def _refresh() -> str:
    """The script of the marts for one touched day, and one day of trades."""
    day, at = date(2026, 1, 1), datetime(2026, 1, 2, tzinfo=UTC)
    waiting = Publication(
        batch_id="b", table_name="crypto_market_daily_fact", first_date=day, last_date=day, published_at=at
    )
    touched = Touched(assets=1, first_date=day, last_date=day, last_changed=day, look_back_from=day)
    plan = MartPlan(
        publications=(waiting,),
        market=((day, day),),
        sentiment=((day, day),),
        trades=((day, day),),
        touched=touched,
        latest=Latest(first=day, last=day, lost=0),
        refreshed_at=at,
    )
    settings = load_settings()
    return Marts(Warehouse(settings), settings).script(plan)


def _of_script(statistics: dict[str, Any]) -> Any:
    """What the task of a script says after a job with these statistics."""
    properties = {
        "status": {"state": "DONE"},
        "configuration": {"jobType": "QUERY", "query": {"query": SCRIPT, **statistics.pop("configuration", {})}},
        "statistics": statistics,
    }
    operator = script_task("publish", SCRIPT)
    operator.job_id = "a-job"
    client = SimpleNamespace(get_job=lambda **_: SimpleNamespace(_properties=properties))
    operator.hook = SimpleNamespace(project_id="acme", get_client=lambda **_: client)
    return operator.get_openlineage_facets_on_complete(None)


def _statistics(read: str, written: str) -> dict[str, Any]:
    """The statistics of a query job as BigQuery gives them."""
    place = {"projectId": "acme", "datasetId": "crypto_data"}
    return {
        "configuration": {"destinationTable": place | {"tableId": written}},
        "query": {"referencedTables": [place | {"tableId": read}]},
    }


def _broken() -> str:
    """What the provider makes of a job whose lineage cannot be told."""
    operator = beam_job(FETCH_CRYPTO_DATA, {"source": "live"})
    return repr(DefaultExtractor(operator).extract_on_complete(None))


def _shown(lineage: Any) -> list[list[str]]:
    return _tables((lineage.inputs, lineage.outputs))


def _tables(sides: tuple[Any, Any]) -> list[list[str]]:
    return [[f"{dataset.namespace} {dataset.name}" for dataset in side] for side in sides]
