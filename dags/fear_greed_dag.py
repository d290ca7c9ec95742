"""The Fear & Greed index, once a day: asked for as a whole, audited, published where it is new."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, chain, get_current_context, task

from coinbeam.batch.kinds import SENTIMENT
from coinbeam.batch.tables import FEAR_GREED_FACT, REJECTS
from coinbeam.feeds.forms import IndexForm
from coinbeam.feeds.sentiment import SentimentPlan, SentimentSteps
from coinbeam.settings import load_settings
from dags.batch_tasks import ANY_SUCCESS, BatchTasks, at, dag_arguments, show_plan, this_run
from dags.beam_jobs import beam_job
from dags.calendar import Calendar
from dags.forms import form_params

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
JOB_TIMEOUT = timedelta(minutes=30)

BATCH = BatchTasks(SentimentSteps, SentimentPlan, plan_task="plan_index")
DAYS = Calendar(SentimentSteps, SentimentPlan, plan_task="plan_index", name="batch_id")


@task(doc_md="Decides which source the run asks.")
def plan_index() -> dict[str, Any]:
    """The batch of the run."""
    context = get_current_context()
    run, params = context["dag_run"], context["params"]
    steps = SentimentSteps(load_settings())
    asked = {"files": params["source"] or "", "refetch": params["refetch"]}
    plan = steps.plan(run.logical_date or run.run_after, this_run(), steps.settings.runner.value, **asked)
    show_plan(plan.banner or f"{plan.batch_id}: the index is read from {plan.options['source']}", dry_run=False)
    return plan.to_dict()


with DAG(
    dag_id="fear_greed_dag",
    description="The Fear & Greed index, audited and published.",
    schedule=at("20 0 * * *"),
    start_date=datetime(2018, 2, 1, tzinfo=UTC),
    dagrun_timeout=timedelta(hours=2),
    doc_md=DOC,
    params=form_params(IndexForm, settings),
    **dag_arguments("sentiment", BATCH.macros | DAYS.macros),
) as dag:
    plan: Any = plan_index()
    fetch = beam_job(SENTIMENT.job, options=plan["options"], execution_timeout=JOB_TIMEOUT, trigger_rule=ANY_SUCCESS)
    load_facts = BATCH.load(SENTIMENT.job, FEAR_GREED_FACT)
    load_rejects = BATCH.load(SENTIMENT.job, REJECTS)

    DAYS.extend([plan, BATCH.ensure_schema(plan)], fetch)
    chain(fetch, [load_facts, load_rejects])
    BATCH.finish([load_facts], load_rejects)
