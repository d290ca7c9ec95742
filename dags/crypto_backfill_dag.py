"""Years of daily history: planned once, asked for in pieces within the budget, published batch by batch."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, chain, get_current_context, task, task_group

from coinbeam.batch.kinds import HISTORY
from coinbeam.batch.tables import DAILY_FACT, REJECTS
from coinbeam.feeds.forms import BackfillForm
from coinbeam.feeds.history.plan import BackfillPlan, HistoryPlan, describe
from coinbeam.feeds.history.request import BackfillRequest, request_from
from coinbeam.feeds.history.steps import HistorySteps
from coinbeam.settings import load_settings
from coinbeam.warehouse.schema import ensure_schema
from dags.batch_tasks import ANY_SUCCESS, BatchTasks, dag_arguments, show_plan, this_run
from dags.beam_jobs import beam_job
from dags.calendar import Calendar
from dags.forms import form_params

DOC = """
### What this does
Brings **daily history** into `crypto_data.crypto_market_daily_fact`: one row for each asset and closed UTC day.

1. `plan_backfill` cuts the request into **pieces** (an asset and the days of one call), gathers them in **batches**,
   and shows calls, days of quota, minutes, rows and dollars. **Dry run is the default: it stops here.** Take *Dry
   run* off to go on.
2. `write_plan` writes the plan down and enters each piece into the ledger `crypto_ops.history_piece`.
3. Each batch lands its pieces, stages them, passes the audit and is published as a whole, at most
   `history.max_parallel` batches at a time.

Only as many batches run as today's *calls per day* pay for. **Trigger it again with the same form** tomorrow, or
after any failure: it goes on where it stopped, and no landed piece is asked for again.

`Files to read` takes CSV exports of the CoinGecko website (`snapped_at,price,market_cap,total_volume`): years of
history that cost no call.

### It failed. What now?
- **plan_backfill**: the message names the field, or the plan that reaches further back. Nothing was changed.
- **audit**: the batch was not published; its log names each rule. The other batches go on.
- **fetch_market_history**: the log ends with the cause and the remedy. Trigger the same form again.
- `coinbeam gaps` shows what is still missing, and `coinbeam gaps --fill` asks for just that.
"""

settings = load_settings()
JOB_TIMEOUT = timedelta(hours=6)

BATCH = BatchTasks(HistorySteps, HistoryPlan, plan_task="history_batch.prepare", is_mapped=True)
DAYS = Calendar(HistorySteps, BackfillPlan, plan_task="plan_backfill", name="backfill_id")


def asked(steps: HistorySteps) -> BackfillRequest:
    """What the form of this run asks for."""
    return request_from(get_current_context()["params"], steps.clock(), steps.settings)


@task(doc_md="Cuts the request into pieces and batches, and shows what it will cost.")
def plan_backfill() -> dict[str, Any]:
    """Decide what the run does."""
    params, steps = get_current_context()["params"], HistorySteps(load_settings())
    plan = steps.planner.plan(asked(steps), this_run(), steps.settings.runner.value)
    show_plan(describe(plan), params["dry_run"])
    return plan.to_dict()


@task(doc_md="Creates what is missing, writes the plan down, and enters its pieces into the ledger.")
def write_plan() -> None:
    """Make the plan that of every later run."""
    steps = HistorySteps(load_settings())
    ensure_schema(steps.warehouse)
    steps.planner.write_plan(asked(steps))


@task(doc_md="Lays out empty staging tables of the batch and writes down its pieces.")
def prepare(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch, for the tasks that follow."""
    BATCH.steps().prepare(HistoryPlan.from_dict(batch))
    return batch


@task(trigger_rule=ANY_SUCCESS, doc_md="The batches of this run, for the mapped group.")
def batches() -> list[dict[str, dict[str, Any]]]:
    """What the group is mapped over."""
    return list(get_current_context()["ti"].xcom_pull(task_ids="plan_backfill")["batches"])


@task_group
def history_batch(batch: Any, options: Any) -> None:
    """One batch of a backfill, from its pieces to its record."""
    fetch = beam_job(
        HISTORY.job,
        options=options,
        execution_timeout=JOB_TIMEOUT,
        max_active_tis_per_dagrun=settings.history.max_parallel,
    )
    load_facts = BATCH.load(HISTORY.job, DAILY_FACT)
    load_rejects = BATCH.load(HISTORY.job, REJECTS)
    chain(prepare(batch), fetch, [load_facts, load_rejects])
    BATCH.finish([load_facts], load_rejects)


with DAG(
    dag_id="crypto_backfill_dag",
    description="Years of daily history in resumable pieces, within the API budget.",
    schedule=None,
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    dagrun_timeout=timedelta(hours=23),
    doc_md=DOC,
    params=form_params(BackfillForm, settings),
    **dag_arguments("history", BATCH.macros | DAYS.macros),
) as dag:
    found = batches()
    DAYS.extend([plan_backfill(), write_plan()], found)
    history_batch.expand_kwargs(found)
