"""The Fear & Greed index, once a day: asked for as a whole, audited, published where it is new."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, TriggerRule, chain, get_current_context, task

from coinbeam.batch.kinds import SENTIMENT
from coinbeam.batch.tables import FEAR_GREED_FACT, REJECTS
from coinbeam.feeds.forms import IndexForm
from coinbeam.settings import load_settings
from dags.batch_tasks import ANY_SUCCESS, dag_arguments, fact_asset, load_task, script_task
from dags.beam_jobs import beam_job
from dags.calendar import calendar_script, calendar_tasks
from dags.forms import form_params
from dags.operations import resolve_incidents

DOC = """
### What this does
Brings the **Fear & Greed index** of alternative.me into `crypto_data.fear_greed_fact`: one row for each day since
2018-02-01. One call brings all of it; only days that are new or were revised change, and only those are recomputed in
the marts.

### It failed. What now?
- **fetch_fear_greed**: the log ends with the cause and the remedy. The next run brings what this one missed: the
  index always comes whole.
- **audit**: nothing was published; its log names each rule with its number.
"""

settings = load_settings()
PLAN = "ti.xcom_pull(task_ids='plan_index')"


def _steps() -> Any:
    """Everything heavy is imported when a task runs, never when the file is parsed."""
    from coinbeam.feeds.sentiment import FearGreedSteps

    return FearGreedSteps(load_settings())


def _plan(plan: dict[str, Any] | None = None) -> Any:
    """The plan of this run, given or pulled."""
    from coinbeam.feeds.sentiment import IndexPlan

    return IndexPlan.from_dict(plan or get_current_context()["ti"].xcom_pull(task_ids="plan_index"))


@task(doc_md="Decides whom the run asks.")
def plan_index() -> dict[str, Any]:
    """The batch of the run."""
    from coinbeam.feeds.ending import run_identity

    context = get_current_context()
    run, params = context["dag_run"], context["params"]
    at = run.logical_date or run.run_after
    identity = run_identity(run.run_type, run.logical_date, run.run_id)
    plan = _steps().plan(at, identity, params["runner"], params["source"] or "")
    print(plan.banner or f"{plan.batch_id}: the index is read from {plan.options['source']}")
    return dict(plan.to_dict())


@task(doc_md="Creates missing tables and lays out empty staging tables of the batch.")
def ensure_schema(plan: dict[str, Any]) -> list[str]:
    """Migrate additively and lay out staging."""
    return list(_steps().lay_out(_plan(plan).batch))


@task(trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS, doc_md="Runs every rule of the contract on staging.")
def audit() -> dict[str, int]:
    """Check the staged batch."""
    from coinbeam.feeds.ending import count_by_status

    return count_by_status(_steps().audit(_plan().batch))


@task(doc_md="Finds every value of the batch in the published index.")
def verify() -> dict[str, int]:
    """Look at what readers see."""
    from coinbeam.feeds.ending import count_by_status

    return count_by_status(_steps().verify(_plan().batch))


@task(
    trigger_rule=TriggerRule.ALL_DONE, doc_md="Records what came of the batch.", on_success_callback=resolve_incidents
)
def record_batch() -> str:
    """Write the row of ``ingestion_batch``, whatever happened before."""
    from coinbeam.feeds.ending import Ended, batch_ending, failures

    instance: Any = get_current_context()["ti"]
    values = instance.xcom_pull(task_ids="plan_index")
    if values is None:
        return "nothing planned, nothing to record"
    plan, steps = _plan(values), _steps()
    tasks = [Ended(**crumb) for crumb in instance.get_task_breadcrumbs(instance.dag_id, instance.run_id)]
    ending = batch_ending(tasks, failures(tasks, steps, plan.batch, instance))
    steps.record(plan, ending)
    return ending.status


def publish_script(plan: dict[str, Any]) -> str:
    """The publish transaction, for templates."""
    return str(_steps().publish_script(_plan(plan).batch))


def rejects_script(plan: dict[str, Any]) -> str:
    """The transaction that records the rejects, for templates."""
    return str(_steps().rejects_script(_plan(plan).batch))


def whole_index(plan: Mapping[str, Any]) -> tuple[Any, Any]:
    """The steps, and the days of the index."""
    return _steps(), _plan(dict(plan)).batch


with DAG(
    dag_id="fear_greed_dag",
    description="The Fear & Greed index, audited and published.",
    schedule="20 0 * * *",
    start_date=datetime(2018, 2, 1, tzinfo=UTC),
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=2),
    doc_md=DOC,
    params=form_params(IndexForm, settings),
    tags=["coinbeam", "sentiment", settings.environment.value],
    **dag_arguments(
        {
            "publish_script": publish_script,
            "rejects_script": rejects_script,
            "calendar_script": calendar_script(whole_index),
        }
    ),
) as dag:
    plan: Any = plan_index()
    schema = ensure_schema(plan)
    fetch = beam_job(
        SENTIMENT.job, options=plan["options"], execution_timeout=timedelta(minutes=30), trigger_rule=ANY_SUCCESS
    )
    calendar = calendar_tasks(whole_index, "plan_index", "batch_id", then=SENTIMENT.job.name)
    facts = load_task(SENTIMENT.job, FEAR_GREED_FACT, f"{PLAN}.batch_id")
    rejects = load_task(SENTIMENT.job, REJECTS, f"{PLAN}.batch_id")
    record_rejects = script_task("record_rejects", f"{{{{ rejects_script({PLAN}) }}}}")
    publish = script_task("publish", f"{{{{ publish_script({PLAN}) }}}}", [fact_asset(FEAR_GREED_FACT)])

    chain(plan, schema, calendar.choice, calendar.made, fetch, [facts, rejects])
    chain(calendar.choice, fetch)
    chain(rejects, record_rejects)
    chain([facts, record_rejects], audit(), publish, verify(), record_batch().as_teardown())
