"""Years of daily history: planned once, asked for in pieces within the budget, published batch by batch."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, TriggerRule, chain, get_current_context, task, task_group

from coinbeam.batch.kinds import HISTORY
from coinbeam.batch.tables import DAILY_FACT, REJECTS
from coinbeam.feeds.forms import BackfillForm
from coinbeam.settings import load_settings
from dags.batch_tasks import (
    ANY_SUCCESS,
    dag_arguments,
    fact_asset,
    load_task,
    script_task,
)
from dags.beam_jobs import beam_job
from dags.calendar import calendar_script, calendar_tasks
from dags.forms import form_params
from dags.operations import resolve_incidents

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
PLAN = "ti.xcom_pull(task_ids='plan_backfill')"
ONE = "ti.xcom_pull(task_ids='history_batch.prepare', map_indexes=ti.map_index)"


def _backfill() -> Any:
    """Everything heavy is imported when a task runs, never when the file is parsed."""
    from coinbeam.feeds.history import BackfillSteps

    return BackfillSteps(load_settings())


def _request(steps: Any) -> Any:
    from coinbeam.feeds.history import request_from

    return request_from(get_current_context()["params"], steps.clock(), steps.settings)


def _one(batch: dict[str, Any]) -> Any:
    from coinbeam.feeds.history import HistoryBatch

    return HistoryBatch(**batch)


def _this_batch() -> Any:
    instance: Any = get_current_context()["ti"]
    return _one(instance.xcom_pull(task_ids="history_batch.prepare", map_indexes=instance.map_index))


@task(doc_md="Cuts the request into pieces and batches, and shows what it will cost.")
def plan_backfill() -> dict[str, Any]:
    """Decide what the run does."""
    from airflow.sdk.exceptions import AirflowSkipException

    from coinbeam.feeds.ending import run_identity
    from coinbeam.feeds.history import describe

    context, steps = get_current_context(), _backfill()
    run = context["dag_run"]
    plan = steps.planner.plan(
        _request(steps), run_identity(run.run_type, run.logical_date, run.run_id), context["params"]["runner"]
    )
    print(describe(plan))
    if context["params"]["dry_run"]:
        raise AirflowSkipException("Dry run: the plan is shown above, nothing was changed.")
    return plan.to_dict()


@task(doc_md="Creates what is missing, writes the plan down, and enters its pieces into the ledger.")
def write_plan() -> None:
    """Make the plan that of every later run."""
    steps = _backfill()
    steps.warehouse.ensure_schema()
    steps.planner.write_plan(_request(steps))


@task(doc_md="Lays out empty staging tables of the batch and writes down its pieces.")
def prepare(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch, for the tasks that follow."""
    _backfill().prepare(_one(batch))
    return batch


@task(trigger_rule=ANY_SUCCESS, doc_md="The batches of this run, for the mapped group.")
def batches() -> list[dict[str, dict[str, Any]]]:
    """What the group is mapped over."""
    return list(get_current_context()["ti"].xcom_pull(task_ids="plan_backfill")["batches"])


@task(trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS, doc_md="Runs every rule of the contracts on staging.")
def audit() -> dict[str, int]:
    """Check the staged batch."""
    from coinbeam.feeds.ending import count_by_status

    return count_by_status(_backfill().audit(_this_batch().batch))


@task(doc_md="Counts the published rows and finds every key in its dimension.")
def verify() -> dict[str, int]:
    """Look at what readers see."""
    from coinbeam.feeds.ending import count_by_status

    return count_by_status(_backfill().verify(_this_batch().batch))


@task(
    trigger_rule=TriggerRule.ALL_DONE,
    doc_md="Records what became of the batch and of each of its pieces.",
    on_success_callback=resolve_incidents,
)
def record_batch() -> str:
    """Write the ledger and the row of ``ingestion_batch``, whatever happened before."""
    from coinbeam.feeds.ending import Ended, batch_ending, failures

    instance: Any = get_current_context()["ti"]
    batch = instance.xcom_pull(task_ids="history_batch.prepare", map_indexes=instance.map_index)
    if batch is None:
        return "nothing prepared, nothing to record"
    one, steps = _one(batch), _backfill()
    crumbs = [Ended(**crumb) for crumb in instance.get_task_breadcrumbs(instance.dag_id, instance.run_id)]
    mine = [crumb for crumb in crumbs if crumb.map_index == instance.map_index]
    ending = batch_ending(mine, failures(mine, steps, one.batch, instance))
    steps.record(one, ending)
    return ending.status


@task_group
def history_batch(batch: Any, options: Any) -> None:
    """One batch of a backfill, from its pieces to its record."""
    prepared = prepare(batch)
    fetch = beam_job(
        HISTORY.job,
        options=options,
        execution_timeout=JOB_TIMEOUT,
        max_active_tis_per_dagrun=settings.history.max_parallel,
    )
    load_facts = load_task(HISTORY.job, DAILY_FACT, f"{ONE}.batch_id")
    load_rejects = load_task(HISTORY.job, REJECTS, f"{ONE}.batch_id")
    record_rejects = script_task("record_rejects", f"{{{{ rejects_script({ONE}) }}}}")
    publish = script_task("publish", f"{{{{ publish_script({ONE}) }}}}", [fact_asset(DAILY_FACT)])
    chain(prepared, fetch, [load_facts, load_rejects])
    chain(load_rejects, record_rejects)
    chain([load_facts, record_rejects], audit(), publish, verify(), record_batch().as_teardown())


def publish_script(batch: dict[str, Any]) -> str:
    """The publish transaction of a batch, for templates."""
    return str(_backfill().publish_script(_one(batch).batch))


def rejects_script(batch: dict[str, Any]) -> str:
    """The transaction that records the rejects of a batch, for templates."""
    return str(_backfill().rejects_script(_one(batch).batch))


def whole_backfill(plan: Mapping[str, Any]) -> tuple[Any, Any]:
    """The steps, and all days of the plan."""
    steps = _backfill()
    return steps, steps.whole(plan)


with DAG(
    dag_id="crypto_backfill_dag",
    description="Years of daily history in resumable pieces, within the API budget.",
    schedule=None,
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=23),
    doc_md=DOC,
    params=form_params(BackfillForm, settings),
    tags=["coinbeam", "history", settings.environment.value],
    **dag_arguments(
        {
            "publish_script": publish_script,
            "rejects_script": rejects_script,
            "calendar_script": calendar_script(whole_backfill),
        }
    ),
) as dag:
    found = batches()
    calendar = calendar_tasks(whole_backfill, "plan_backfill", "backfill_id", then="batches")
    chain(plan_backfill(), write_plan(), calendar.choice, calendar.made, found)
    chain(calendar.choice, found)
    history_batch.expand_kwargs(found)
