"""The daily or hourly snapshot: CoinGecko to a published batch of the star schema."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, chain, get_current_context, task

from coinbeam.batch.jobs import FETCH_CRYPTO_DATA, POPULATE_CRYPTO_ASSET_DIM, POPULATE_DATE_DIM
from coinbeam.batch.tables import ASSETS, DATES, RATES_FACT, REJECTS, SNAPSHOT_FACT
from coinbeam.feeds.forms import SnapshotForm
from coinbeam.feeds.plan import Mode
from coinbeam.feeds.snapshot.plan import SnapshotPlan, describe
from coinbeam.feeds.snapshot.request import request_from
from coinbeam.feeds.snapshot.steps import SnapshotSteps
from coinbeam.settings import Period, load_settings
from dags.batch_tasks import BatchTasks, at, dag_arguments, show_plan, this_run
from dags.beam_jobs import beam_job
from dags.forms import form_params

DOC = """
### What this does
Takes one **snapshot** of the crypto market and publishes it as one **batch** of
`crypto_data.crypto_market_snapshot_fact`. Readers see the whole batch or none of it. Its exchange rates come by one
call more, into `crypto_data.exchange_rate_fact`; prices do not wait for them.

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


BATCH = BatchTasks(SnapshotSteps, SnapshotPlan, plan_task="plan_batch")


@task(doc_md="Decides between fetch, replay and gap, and shows what the run will cost.")
def plan_batch() -> dict[str, Any]:
    """Decide what the run does."""
    context, steps = get_current_context(), SnapshotSteps(load_settings())
    run, params = context["dag_run"], context["params"]
    request = request_from(params, run.logical_date or run.run_after, steps.settings)
    plan = steps.plan(request, this_run(), steps.settings.runner.value)
    show_plan(describe(plan), params["dry_run"])
    return plan.to_dict()


@task.branch(doc_md="A gap needs no job, a replay no coin list, and the calendar only sometimes needs more days.")
def choose_jobs(plan: dict[str, Any]) -> list[str]:
    """Choose the Beam jobs that this batch needs."""
    if plan["mode"] == Mode.GAP:
        return []
    batch = SnapshotPlan.from_dict(plan).batch
    assets = [POPULATE_CRYPTO_ASSET_DIM.name] if plan["mode"] == Mode.FETCH else []
    dates = [POPULATE_DATE_DIM.name] if BATCH.steps().needs_calendar(batch) else []
    return [FETCH_CRYPTO_DATA.name, *assets, *dates]


with DAG(
    dag_id="crypto_etl_dag",
    description="One snapshot of the crypto market, landed, audited and published as a whole.",
    schedule=at(SCHEDULES[settings.market.period]),
    start_date=FIRST_INSTANT,
    dagrun_timeout=JOB_TIMEOUT[settings.market.period] + timedelta(minutes=30),
    doc_md=DOC,
    params=form_params(SnapshotForm, settings),
    **dag_arguments("market", BATCH.macros),
) as dag:
    plan: Any = plan_batch()
    timeout = JOB_TIMEOUT[settings.market.period]
    fetch = beam_job(FETCH_CRYPTO_DATA, options=plan["fetch_options"], execution_timeout=timeout)
    assets = beam_job(POPULATE_CRYPTO_ASSET_DIM, options=plan["assets_options"], execution_timeout=timeout)
    dates = beam_job(
        POPULATE_DATE_DIM, options={"output": f"{{{{ {BATCH.template}.output }}}}"}, execution_timeout=CALENDAR_TIMEOUT
    )
    load_facts = BATCH.load(FETCH_CRYPTO_DATA, SNAPSHOT_FACT, f"{{{{ {BATCH.template}.stamp }}}}")
    load_rates = BATCH.load(FETCH_CRYPTO_DATA, RATES_FACT, f"{{{{ {BATCH.template}.stamp }}}}")
    load_assets = BATCH.load(POPULATE_CRYPTO_ASSET_DIM, ASSETS)
    load_dates = BATCH.load(POPULATE_DATE_DIM, DATES)
    load_rejects = BATCH.load(FETCH_CRYPTO_DATA, REJECTS)

    chain(plan, BATCH.ensure_schema(plan), choose_jobs(plan), [fetch, assets, dates])
    chain([fetch, assets, dates], [load_facts, load_assets, load_dates])
    chain(fetch, load_rates)
    chain([fetch, assets], load_rejects)
    BATCH.finish([load_facts, load_rates, load_assets, load_dates], load_rejects)
