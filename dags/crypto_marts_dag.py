"""The marts, whenever a publish touched their facts: only the dates that it touched are recomputed."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any

from airflow.sdk import DAG, chain, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from coinbeam.batch.kinds import FEEDS
from coinbeam.batch.tables import TRADE_WINDOW_FACT
from coinbeam.bundle.builder import Builder
from coinbeam.feeds.ending import count_by_status
from coinbeam.landing.bucket import Bucket
from coinbeam.marts.plan import MartPlan
from coinbeam.marts.refresh import Marts
from coinbeam.marts.specs import MARTS
from coinbeam.settings import load_settings
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from dags.batch_tasks import dag_arguments, fact_asset, script_task, this_run
from dags.operations import resolve_incidents

DOC = """
### What this does
Recomputes `crypto_marts` for what publishes touched since the last time. It is started by the **assets** that the
publish tasks update.

1. `plan_refresh` reads the queue `crypto_ops.publication` and finds the touched assets and dates with their
   look-back; it ends when nothing waits.
2. `refresh` is one transaction: every mart, and the mark that its publications were seen. A failure leaves all as it
   was.
3. `verify` runs the rules of the marts' contracts on what was recomputed.
4. `build_bundle` writes what the API and the dashboard read: a version of its own, to which they switch.

### It failed. What now?
- **refresh**: nothing changed and the publications still wait; clear the task, or wait for the next publish.
- **verify**: the log names each rule with its number; `coinbeam quality` shows since when.
- **build_bundle**: readers keep the version of before. Clear the task, or run `coinbeam bundle`.
"""

settings = load_settings()

FACTS = (*(feed.fact for feed in FEEDS if feed.feeds_marts), TRADE_WINDOW_FACT)
"""What the marts are computed from."""


def marts() -> Marts:
    """The marts, in the environment of the present task."""
    return Marts(Warehouse(load_settings()), load_settings())


@task(doc_md="Finds what publishes touched since the last refresh, and shows it.")
def plan_refresh() -> dict[str, Any]:
    """What is recomputed."""
    ensure_schema(Warehouse(load_settings()))
    plan = marts().plan()
    if plan is None:
        raise AirflowSkipException("No publish waits: the marts are as new as the facts.")
    print(f"{len(plan.publications)} publications wait; recomputed: {plan.touched or 'no day of any asset'}")
    return plan.model_dump(mode="json")


@task(doc_md="Runs the rules of the marts' contracts on what was recomputed.")
def verify() -> dict[str, int]:
    """Look at what readers see."""
    plan = MartPlan.model_validate(get_current_context()["ti"].xcom_pull(task_ids="plan_refresh"))
    return count_by_status(marts().verify(plan, this_run()))


@task(
    doc_md="Writes the version of the serving bundle that belongs to this refresh, and switches to it.",
    on_success_callback=resolve_incidents,
)
def build_bundle() -> dict[str, Any]:
    """What was written; nothing where `coinbeam bundle` was faster."""
    settings = load_settings()
    built = Builder(Warehouse(settings), Bucket(settings)).build()
    return asdict(built) if built else {}


def refresh_script() -> str:
    """The refresh, for templates: planned in the task, so that a retry after another publish knows of it."""
    made = marts()
    plan = made.plan()
    return made.script(plan) if plan else "SELECT 'another refresh took everything that waited' AS mart;"


with DAG(
    dag_id="crypto_marts_dag",
    description="The marts, recomputed for the dates that publishes touched.",
    schedule=reduce(or_, map(fact_asset, FACTS)),
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    dagrun_timeout=timedelta(hours=3),
    doc_md=DOC,
    # On one machine a run that a person starts must reach the marts; a deployment unpauses its DAGs one by one.
    is_paused_upon_creation=False if settings.is_local else None,
    **dag_arguments("marts", {"refresh_script": refresh_script}),
) as dag:
    refresh = script_task("refresh", "{{ refresh_script() }}", [fact_asset(mart.name) for mart in MARTS])
    chain(plan_refresh(), refresh, verify(), build_bundle())
