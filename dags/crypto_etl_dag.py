"""The daily or hourly snapshot: CoinGecko to a published batch of the star schema."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, TriggerRule, chain, get_current_context, task

from coinbeam.batch.jobs import FETCH_CRYPTO_DATA, POPULATE_CRYPTO_ASSET_DIM, POPULATE_DATE_DIM
from coinbeam.batch.tables import ASSETS, DATES, REJECTS, SNAPSHOT_FACT
from coinbeam.feeds.forms import SnapshotForm
from coinbeam.settings import Period, load_settings
from dags.batch_tasks import dag_arguments, fact_asset, load_task, script_task
from dags.beam_jobs import beam_job
from dags.forms import form_params
from dags.operations import alert_gap, resolve_incidents

DOC = """
### What this does
Takes one **snapshot** of the crypto market and publishes it as one **batch** of
`crypto_data.crypto_market_snapshot_fact`. Readers see the whole batch or none of it.

1. `plan_batch` decides: **fetch** (the interval is the present one), **replay** (it is past, and its pages were
   landed), or **gap** (it is past and nothing was landed; today's prices are never stamped on an old date). `dry_run`
   stops here.
2. `ensure_schema` creates what is missing and adds new nullable columns. Nothing else is ever changed automatically.
3. The Beam jobs land the exact bytes of the API and write batch files. A retry reuses what was landed and spends no
   call twice.
4. The files are loaded into staging tables of this batch; rejects are recorded; `audit` runs every rule of the
   contracts.
5. `publish` is one transaction. `verify` looks at what readers see. `record_batch` writes a row of
   `crypto_ops.ingestion_batch`, always.

### It failed. What now?
- **audit**: nothing was published. Its log names each rule with its number; `coinbeam rejects` shows the refused
  rows. Mend the cause, then clear the task.
- **fetch_crypto_data**: the log ends with the cause and the remedy. Clearing it continues where it stopped.
- **ensure_schema**: a table differs from its contract in a way that needs a person; the message names the column.
- Clearing any task, or the whole run, is always safe: the same batch gives the same tables.
"""

settings = load_settings()
SCHEDULES = {Period.DAILY: "0 0 * * *", Period.HOURLY: "0 * * * *"}
JOB_TIMEOUT = {Period.DAILY: timedelta(hours=3), Period.HOURLY: timedelta(minutes=50)}
CALENDAR_TIMEOUT = timedelta(minutes=30)
FIRST_INSTANT = datetime(2013, 1, 1, tzinfo=UTC)
"""Airflow runs no task of an older instant; a replay may reach back to the first day of the calendar."""

PLAN = "ti.xcom_pull(task_ids='plan_batch')"


def _ingestion() -> Any:
    """Everything heavy is imported when a task runs, never when the file is parsed."""
    from coinbeam.feeds.snapshot.steps import Ingestion

    return Ingestion(load_settings())


def _batch(plan: dict[str, Any] | None = None) -> Any:
    """The plan of this run, given or pulled."""
    from coinbeam.feeds.snapshot.steps import BatchPlan

    return BatchPlan.from_dict(plan or get_current_context()["ti"].xcom_pull(task_ids="plan_batch"))


def build_plan_batch_task() -> Any:
    """Decide what the run does."""

    @task(doc_md="Decides between fetch, replay and gap, and shows what the run will cost.")
    def plan_batch() -> dict[str, Any]:
        from airflow.sdk.exceptions import AirflowSkipException

        from coinbeam.feeds.ending import describe, request_from, run_identity

        context = get_current_context()
        run = context["dag_run"]
        request = request_from(context["params"], run.logical_date or run.run_after, load_settings())
        identity = run_identity(run.run_type, run.logical_date, run.run_id)
        plan = _ingestion().plan(request, identity, context["params"]["runner"])
        print(describe(plan))
        if context["params"]["dry_run"]:
            raise AirflowSkipException("Dry run: the plan is shown above, nothing was changed.")
        return plan.to_dict()

    return plan_batch()


def build_ensure_schema_task(plan: Any) -> Any:
    """Migrate additively and lay out staging."""

    @task(doc_md="Creates missing tables and adds new nullable columns; lays out empty staging tables of the batch.")
    def ensure_schema(plan: dict[str, Any]) -> list[str]:
        return _ingestion().prepare(_batch(plan))

    return ensure_schema(plan)


def build_choose_jobs_task(plan: Any) -> Any:
    """Choose the Beam jobs that this batch needs."""

    @task.branch(doc_md="A gap needs no job, a replay no coin list, and the calendar only sometimes needs more days.")
    def choose_jobs(plan: dict[str, Any]) -> list[str]:
        batch = _batch(plan)
        jobs = {
            "gap": [],
            "replay": [FETCH_CRYPTO_DATA.name],
            "fetch": [FETCH_CRYPTO_DATA.name, POPULATE_CRYPTO_ASSET_DIM.name],
        }[batch.mode]
        calendar = [POPULATE_DATE_DIM.name] if jobs and _ingestion().needs_calendar(batch.batch) else []
        return jobs + calendar

    return choose_jobs(plan)


def build_audit_task() -> Any:
    """Check the staged batch.

    It pulls the plan instead of taking it as an argument: an argument would make ``plan_batch`` a direct upstream task,
    whose success would start the audit of a gap.
    """

    @task(
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        doc_md="Runs every rule of the contracts on staging; a broken one of severity error stops the publish.",
    )
    def audit() -> dict[str, int]:
        from coinbeam.feeds.ending import count_by_status

        return count_by_status(_ingestion().audit(_batch().batch))

    return audit()


def build_verify_task() -> Any:
    """Look at what readers see."""

    @task(doc_md="Counts the published rows and finds every key in its dimension.")
    def verify() -> dict[str, int]:
        from coinbeam.feeds.ending import count_by_status

        return count_by_status(_ingestion().verify(_batch().batch))

    return verify()


def build_record_task() -> Any:
    """Write the row of ``ingestion_batch``, whatever happened before."""

    @task(
        trigger_rule=TriggerRule.ALL_DONE,
        on_success_callback=resolve_incidents,
        doc_md="Records what went in, what came out, what it cost and how it ended; also for a failed run and a gap.",
    )
    def record_batch() -> str:
        from coinbeam.feeds.ending import Ended, outcome
        from coinbeam.feeds.steps import Ending

        instance: Any = get_current_context()["ti"]  # the protocol leaves get_task_breadcrumbs out
        plan = instance.xcom_pull(task_ids="plan_batch")
        tasks = [Ended(**crumb) for crumb in instance.get_task_breadcrumbs(instance.dag_id, instance.run_id)]
        if plan is None:
            return "nothing planned, nothing to record"
        batch, steps = _batch(plan), _ingestion()
        failed = [task.task_id for task in tasks if task.state == "failed"]
        errors = {
            name: steps.failure(batch.batch, name) or instance.xcom_pull(task_ids=name, key="error") for name in failed
        }
        ended = outcome(batch, tasks, errors)
        steps.record(batch, Ending(ended.status, ended.error, ended.seconds), ended.succeeded)
        if ended.status == "gap":
            alert_gap(instance, f"Coinbeam: gap at {batch.snapshot_at}", batch.reason)
        return ended.status

    return record_batch().as_teardown()


def publish_script(plan: dict[str, Any]) -> str:
    """The publish transaction, for templates."""
    return _ingestion().publish_script(_batch(plan).batch)


def rejects_script(plan: dict[str, Any]) -> str:
    """The transaction that records the rejects, for templates."""
    return _ingestion().rejects_script(_batch(plan).batch)


with DAG(
    dag_id="crypto_etl_dag",
    description="One snapshot of the crypto market, landed, audited and published as a whole.",
    schedule=SCHEDULES[settings.market.period],
    start_date=FIRST_INSTANT,
    max_active_runs=1,
    dagrun_timeout=JOB_TIMEOUT[settings.market.period] + timedelta(minutes=30),
    doc_md=DOC,
    params=form_params(SnapshotForm, settings),
    tags=["coinbeam", "market", settings.environment.value],
    **dag_arguments({"publish_script": publish_script, "rejects_script": rejects_script}),
) as dag:
    plan = build_plan_batch_task()
    schema = build_ensure_schema_task(plan)
    jobs = build_choose_jobs_task(plan)
    timeout = JOB_TIMEOUT[settings.market.period]
    fetch = beam_job(FETCH_CRYPTO_DATA, options=plan["fetch_options"], execution_timeout=timeout)
    assets = beam_job(POPULATE_CRYPTO_ASSET_DIM, options=plan["assets_options"], execution_timeout=timeout)
    dates = beam_job(
        POPULATE_DATE_DIM, options={"output": f"{{{{ {PLAN}.output }}}}"}, execution_timeout=timedelta(minutes=30)
    )
    loads = [
        load_task(FETCH_CRYPTO_DATA, SNAPSHOT_FACT, f"{PLAN}.batch_id", f"{{{{ {PLAN}.stamp }}}}"),
        load_task(POPULATE_CRYPTO_ASSET_DIM, ASSETS, f"{PLAN}.batch_id"),
        load_task(POPULATE_DATE_DIM, DATES, f"{PLAN}.batch_id"),
        load_task(FETCH_CRYPTO_DATA, REJECTS, f"{PLAN}.batch_id"),
    ]
    record_rejects = script_task("record_rejects", f"{{{{ rejects_script({PLAN}) }}}}")
    audit = build_audit_task()
    publish = script_task("publish", f"{{{{ publish_script({PLAN}) }}}}", [fact_asset(SNAPSHOT_FACT)])
    verify = build_verify_task()

    chain(plan, schema, jobs, [fetch, assets, dates])
    chain([fetch, assets, dates], loads[:3])
    [fetch, assets] >> loads[3]
    chain(loads[3], record_rejects)
    chain([*loads[:3], record_rejects], audit, publish, verify, build_record_task())
