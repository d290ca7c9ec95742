"""The daily or hourly snapshot: CoinGecko to a published batch of the star schema."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator
from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator
from airflow.providers.google.cloud.transfers.gcs_to_bigquery import GCSToBigQueryOperator
from airflow.sdk import DAG, Param, TriggerRule, chain, get_current_context, task

from coinbeam.contracts import load_contract
from coinbeam.contracts.bigquery import staging_schema
from coinbeam.settings import MarketSettings, Period, Runner, Settings, load_settings
from dags.operations import RetryTransientErrors, alert, alert_failure

DOC = """
### What this does
Takes one **snapshot** of the crypto market and publishes it as one **batch** of `crypto_data.crypto_market_snapshot_fact`. Readers see the
whole batch or none of it.

1. `plan_batch` decides: **fetch** (the interval is the present one), **replay** (it is past, and its pages were landed), or **gap** (it is
   past and nothing was landed; today's prices are never stamped on an old date). `dry_run` stops here.
2. `ensure_schema` creates what is missing and adds new nullable columns. Nothing else is ever changed automatically.
3. The Beam jobs land the exact bytes of the API and write batch files. A retry reuses what was landed and spends no call twice.
4. The files are loaded into staging tables of this batch; rejects are recorded; `audit` runs every rule of the contracts.
5. `publish` is one transaction. `verify` looks at what readers see. `record_batch` writes a row of `crypto_ops.ingestion_batch`, always.

### It failed. What now?
- **audit**: nothing was published. Its log names each rule with its number; `coinbeam rejects` shows the refused rows. Mend the
  cause, then clear the task.
- **fetch_crypto_data**: the log ends with the cause and the remedy. Clearing it continues where it stopped.
- **ensure_schema**: a table differs from its contract in a way that needs a person; the message names the column.
- Clearing any task, or the whole run, is always safe: the same batch gives the same tables.
"""

settings = load_settings()
SCHEDULES = {Period.DAILY: "0 0 * * *", Period.HOURLY: "0 * * * *"}
JOB_TIMEOUT = {Period.DAILY: timedelta(hours=3), Period.HOURLY: timedelta(minutes=50)}
BEAM_RUNNERS = {"local": "FnApiRunner", "dataflow": "DataflowRunner"}
FIRST_INSTANT = datetime(2013, 1, 1, tzinfo=UTC)
"""Airflow runs no task of an older instant; a replay may reach back to the first day of the calendar."""

PLAN = "ti.xcom_pull(task_ids='plan_batch')"


def dag_params(settings: Settings) -> dict[str, Param]:
    """The trigger form: what is asked for, then how it is run."""
    return selection_params(settings.market) | run_params(settings.runner)


def selection_params(market: MarketSettings) -> dict[str, Param]:
    """The fields that select assets and their currency."""
    return {
        "universe": Param(
            market.universe.value,
            title="Universe",
            description="Which assets: the whole market, the top N, ids, or a category.",
            enum=["all", "top", "ids", "category"],
        ),
        "ids": Param(
            ",".join(market.ids) or None,
            type=["null", "string"],
            title="Asset ids",
            description="CoinGecko ids, separated by commas. Only for the universe 'ids'.",
        ),
        "top_n": Param(
            market.top_n,
            type="integer",
            title="Top N",
            description="How many assets by market cap. Only for the universe 'top'.",
            minimum=1,
            maximum=50_000,
        ),
        "category": Param(
            market.category,
            type=["null", "string"],
            title="Category",
            description="CoinGecko category id. Only for the universe 'category'.",
        ),
        "quote_currency": Param(
            market.quote_currency,
            type="string",
            title="Quote currency",
            description="Currency of all prices, a lower-case code.",
            enum=sorted({market.quote_currency, "usd", "eur", "gbp", "jpy", "btc", "eth"}),
        ),
    }


def run_params(runner: Runner) -> dict[str, Param]:
    """The fields that say when, where and from what the run is made."""
    return {
        "runner": Param(
            runner.value,
            title="Beam runner",
            description="local: in a process of the worker. dataflow: on Google Cloud.",
            enum=["local", "dataflow"],
        ),
        "replay_date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Replay date",
            description="A past day whose landed pages are read again. Empty: the present interval.",
        ),
        "snapshot_at": Param(
            None,
            type=["null", "string"],
            title="Snapshot instant",
            description="ISO 8601 instant, e.g. 2026-01-02T03:00:00Z, when a date is not enough. Empty: from the schedule.",
        ),
        "source": Param(
            None,
            type=["null", "string"],
            title="Files to replay",
            description="A glob of API bodies to read instead of the API. Only into a local warehouse.",
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run",
            description="Show the plan (calls, minutes, rows, dollars) and stop. Nothing is changed.",
        ),
    }


def _ingestion() -> Any:
    """Everything heavy is imported when a task runs, never when the file is parsed."""
    from coinbeam.ingestion import Ingestion

    return Ingestion(load_settings())


def _batch(plan: dict[str, Any] | None = None) -> Any:
    """The plan of this run, given or pulled."""
    from coinbeam.ingestion import BatchPlan

    return BatchPlan.from_dict(plan or get_current_context()["ti"].xcom_pull(task_ids="plan_batch"))


def build_plan_batch_task() -> Any:
    """Decide what the run does."""

    @task(doc_md="Decides between fetch, replay and gap, and shows what the run will cost.")
    def plan_batch() -> dict[str, Any]:
        from airflow.sdk.exceptions import AirflowSkipException

        from coinbeam.runs import describe, request_from, run_identity

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
        jobs = {"gap": [], "replay": ["fetch_crypto_data"], "fetch": ["fetch_crypto_data", "populate_crypto_asset_dim"]}[batch.mode]
        calendar = ["populate_date_dim"] if jobs and _ingestion().needs_calendar(batch) else []
        return jobs + calendar

    return choose_jobs(plan)


def build_beam_task(job: str, options: Any, timeout: timedelta) -> BeamRunPythonPipelineOperator:
    """Start one Beam job as ``python -m beam_pipelines.<job>``, on the runner that the form names."""
    return BeamRunPythonPipelineOperator(
        task_id=job,
        py_file=f"beam_pipelines.{job}",
        py_options=["-m"],
        py_interpreter=sys.executable,
        runner="{{ beam_runner(params.runner) }}",
        default_pipeline_options=dataflow_options(settings),
        pipeline_options=options,
        execution_timeout=timeout,
    )


def dataflow_options(settings: Settings) -> dict[str, Any]:
    """What Dataflow needs beside the job's own options; nothing for a local environment."""
    if settings.is_local:
        return {}
    flow, google = settings.dataflow, settings.google
    options = {
        "project": google.project,
        "region": google.region,
        "temp_location": f"{settings.bucket_uri}/dataflow/temp",
        "staging_location": f"{settings.bucket_uri}/dataflow/staging",
        "machine_type": flow.machine_type,
        "max_num_workers": str(flow.max_workers),
        "no_use_public_ips": not flow.use_public_ips,
        "subnetwork": flow.subnetwork,
        "service_account_email": google.dataflow_service_account,
    }
    return {name: value for name, value in options.items() if value not in {None, ""}}


def build_load_task(table: str, pattern: str, source_format: str = "CSV") -> GCSToBigQueryOperator:
    """Load batch files into the staging table of this batch."""
    return GCSToBigQueryOperator(
        task_id=f"load_{table}",
        bucket=settings.storage.bucket,
        source_objects=[f"batches/{{{{ {PLAN}.batch_id }}}}/{pattern}"],
        destination_project_dataset_table=f"{settings.google.project}.{{{{ staging_table({PLAN}, '{table}') }}}}",
        schema_fields=[field.to_api_repr() for field in staging_schema(load_contract(table).file_columns)],
        source_format=source_format,
        skip_leading_rows=1 if source_format == "CSV" else None,
        allow_quoted_newlines=source_format == "CSV",
        field_delimiter=",",
        quote_character='"',  # never guessed: a name with commas and an apostrophe misleads a sniffing reader
        write_disposition="WRITE_TRUNCATE",
        create_disposition="CREATE_IF_NEEDED",
        autodetect=False,
        project_id=settings.google.project,
        location=settings.google.location,
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
    )


def build_script_task(task_id: str, script: str) -> BigQueryInsertJobOperator:
    """Run one transaction; the SQL is rendered when the task runs and can be read in the UI."""
    return BigQueryInsertJobOperator(
        task_id=task_id,
        configuration={"query": {"query": script, "useLegacySql": False}},
        project_id=settings.google.project,
        location=settings.google.location,
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
    )


def build_audit_task() -> Any:
    """Check the staged batch.

    It pulls the plan instead of taking it as an argument: an argument would make ``plan_batch`` a direct upstream task, whose success would
    start the audit of a gap.
    """

    @task(
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        doc_md="Runs every rule of the contracts on staging; a broken one of severity error stops the publish.",
    )
    def audit() -> dict[str, int]:
        from coinbeam.runs import count_by_status

        return count_by_status(_ingestion().audit(_batch()))

    return audit()


def build_verify_task() -> Any:
    """Look at what readers see."""

    @task(doc_md="Counts the published rows and finds every key in its dimension.")
    def verify() -> dict[str, int]:
        from coinbeam.runs import count_by_status

        return count_by_status(_ingestion().verify(_batch()))

    return verify()


def build_record_task() -> Any:
    """Write the row of ``ingestion_batch``, whatever happened before."""

    @task(
        trigger_rule=TriggerRule.ALL_DONE,
        doc_md="Records what went in, what came out, what it cost and how it ended; also for a failed run and a gap.",
    )
    def record_batch() -> str:
        from coinbeam.runs import Ended, outcome

        instance: Any = get_current_context()["ti"]  # the protocol leaves get_task_breadcrumbs out
        plan = instance.xcom_pull(task_ids="plan_batch")
        tasks = [Ended(**crumb) for crumb in instance.get_task_breadcrumbs(instance.dag_id, instance.run_id)]
        if plan is None:
            return "nothing planned, nothing to record"
        batch, steps = _batch(plan), _ingestion()
        failed = [task.task_id for task in tasks if task.state == "failed"]
        errors = {name: steps.failure(batch, name) or instance.xcom_pull(task_ids=name, key="error") for name in failed}
        ended = outcome(batch, tasks, errors)
        steps.record(batch, ended.status, ended.seconds, ended.error, ended.succeeded)
        if ended.status == "gap":
            alert(f"Coinbeam: gap at {batch.snapshot_at}", batch.reason)
        return ended.status

    return record_batch().as_teardown()


def beam_runner(name: str) -> str:
    """Beam's name of a runner of the form."""
    return BEAM_RUNNERS[name]


def staging_table(plan: dict[str, Any], table: str) -> str:
    """``dataset.table`` of a staging table, for templates."""
    from coinbeam.warehouse import StagingTables

    return StagingTables(load_settings(), plan["batch_id"]).name(load_contract(table))


def publish_script(plan: dict[str, Any]) -> str:
    """The publish transaction, for templates."""
    return _ingestion().publish_script(_batch(plan))


def rejects_script(plan: dict[str, Any]) -> str:
    """The transaction that records the rejects, for templates."""
    return _ingestion().rejects_script(_batch(plan))


with DAG(
    dag_id="crypto_etl_dag",
    description="One snapshot of the crypto market, landed, audited and published as a whole.",
    schedule=SCHEDULES[settings.market.period],
    start_date=FIRST_INSTANT,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=JOB_TIMEOUT[settings.market.period] + timedelta(minutes=30),
    doc_md=DOC,
    params=dag_params(settings),
    tags=["coinbeam", "market", settings.environment.value],
    user_defined_macros={
        "beam_runner": beam_runner,
        "staging_table": staging_table,
        "publish_script": publish_script,
        "rejects_script": rejects_script,
    },
    default_args={
        "owner": "data-platform",
        "retries": settings.retry.retries,
        "retry_delay": timedelta(seconds=settings.retry.delay_seconds),
        "retry_exponential_backoff": True,
        "retry_policy": RetryTransientErrors(),
        "execution_timeout": timedelta(minutes=15),
        "on_failure_callback": alert_failure,
    },
) as dag:
    plan = build_plan_batch_task()
    schema = build_ensure_schema_task(plan)
    jobs = build_choose_jobs_task(plan)
    timeout = JOB_TIMEOUT[settings.market.period]
    fetch = build_beam_task("fetch_crypto_data", plan["fetch_options"], timeout)
    assets = build_beam_task("populate_crypto_asset_dim", plan["assets_options"], timeout)
    dates = build_beam_task("populate_date_dim", {"output": f"{{{{ {PLAN}.output }}}}"}, timedelta(minutes=30))
    loads = [
        build_load_task("crypto_market_snapshot_fact", f"crypto_{{{{ {PLAN}.stamp }}}}.csv"),
        build_load_task("crypto_asset_dim", "asset_dim.csv"),
        build_load_task("date_dim", "date_dim.csv"),
        build_load_task("rejected_record", "rejected_*.ndjson", "NEWLINE_DELIMITED_JSON"),
    ]
    record_rejects = build_script_task("record_rejects", f"{{{{ rejects_script({PLAN}) }}}}")
    audit = build_audit_task()
    publish = build_script_task("publish", f"{{{{ publish_script({PLAN}) }}}}")
    verify = build_verify_task()

    chain(plan, schema, jobs, [fetch, assets, dates])
    chain([fetch, assets, dates], loads[:3])
    [fetch, assets] >> loads[3]
    chain(loads[3], record_rejects)
    chain([*loads[:3], record_rejects], audit, publish, verify, build_record_task())
