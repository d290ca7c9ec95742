"""Live trades, once a day: the streaming job looked after, and yesterday settled from what was landed."""

from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, TriggerRule, chain, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from coinbeam.batch.jobs import TRADE_WINDOWS
from coinbeam.batch.tables import TRADE_WINDOW_FACT, TRADE_WINDOW_PANE
from coinbeam.contracts import load_contract
from coinbeam.feeds.ending import count_by_status
from coinbeam.feeds.forms import StreamAction, StreamForm
from coinbeam.feeds.trades.settle import Settlement, Settler
from coinbeam.feeds.trades.stale import check_stream, refuse_if_stale
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import load_settings
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from dags.batch_tasks import at, dag_arguments, fact_asset, load_task, this_run
from dags.beam_jobs import beam_job
from dags.forms import form_params
from dags.operations import resolve_incidents

DOC = """
### What this does
1. `operate_stream` starts the streaming job on **Dataflow** where none runs; with the action `update` it replaces it
   by the one of this release (snapshot, drain, seek, start), with `stop` it drains it. It is skipped where no stream
   is deployed, and on one machine, where the supervisor keeps the job.
2. `plan_settlement` looks for the trades that were **landed** on the day before; without any the rest is skipped.
3. `trade_windows` computes the windows of that day again, in batch.
4. `publish` merges what the batch knows more into `crypto_data.trade_window_fact`, and queues the day for the marts.
5. `verify` runs the rules of the table. Windows in which the stream knows more than what was landed, or other figures,
   are an incident.

### It failed. What now?
- **operate_stream**: the log says which step failed; the next attempt goes on from there. See
  docs/runbooks/stream.md.
- **plan_settlement**: the stream has windows of a day of which nothing was landed; see the runbook.
- **trade_windows**: nothing changed; clear the task.
- **publish**: it changes the same rows as the stream, and is tried again.
- **verify**: the log names the windows; see the runbook's section 'Batch and stream differ'. Nothing was overwritten.
"""

settings = load_settings()
JOB_TIMEOUT = timedelta(hours=1)
PLAN = "ti.xcom_pull(task_ids='plan_settlement')"


def settler() -> Settler:
    """What settles days, in the environment of the present task."""
    current = load_settings()
    return Settler(Warehouse(current), Bucket(current))


def planned() -> Settlement:
    """The plan of this run."""
    return Settlement.from_dict(get_current_context()["ti"].xcom_pull(task_ids="plan_settlement"))


@task(
    doc_md="Starts, replaces or drains the streaming job on Dataflow.",
    execution_timeout=timedelta(minutes=50),
)
def operate_stream() -> str:
    """What was done, in words."""
    current = load_settings()
    if not current.google.stream_service_account:  # a deployment without a stream names an empty one
        raise AirflowSkipException("No stream is deployed here: google.stream_service_account is not set.")
    from dags.stream_job import StreamJob

    warehouse = Warehouse(current)
    done = StreamJob(current, warehouse).operate(StreamAction(get_current_context()["params"]["action"]))
    print(done.words)
    if done.ran and not done.steps:
        refuse_if_stale(check_stream(warehouse, this_run()))
    return done.words


@task(doc_md="Finds what was landed of the day.")
def plan_settlement() -> dict[str, Any]:
    """What the job reads."""
    context = get_current_context()
    run, params = context["dag_run"], context["params"]
    if params["action"] != StreamAction.CHECK:
        raise AirflowSkipException(f"This run is for the streaming job only: {params['action']}.")
    given = params["date"]
    day = date.fromisoformat(given) if given else run.run_after.astimezone(UTC).date() - timedelta(days=1)
    ensure_schema(Warehouse(load_settings()))
    plan = settler().plan(day)
    if plan is None:
        raise AirflowSkipException(f"No trade was landed on {day}, and there is no window: nobody followed a symbol.")
    return plan.to_dict()


@task(
    doc_md="Merges what the batch knows more, and queues the day for the marts.",
    outlets=[fact_asset(TRADE_WINDOW_FACT)],
)
def publish() -> dict[str, Any]:
    """How the windows of batch and stream compare."""
    found = asdict(settler().publish(planned()))
    print(", ".join(f"{count} {verdict}" for verdict, count in found.items() if isinstance(count, int)))
    return found | {"day": str(found["day"])}


@task(doc_md="Looks at what readers see, and at what batch and stream do not agree on.")
def verify() -> dict[str, int]:
    """How many rules held."""
    return count_by_status(settler().verify(planned(), this_run()))


@task(
    trigger_rule=TriggerRule.ALL_DONE,
    on_success_callback=resolve_incidents,
    doc_md="Closes the incidents of what went well, also in a run in which something else failed.",
)
def end_run() -> None:
    """Nothing; its end is what counts."""


with DAG(
    dag_id="crypto_stream_dag",
    description="Live trades: the streaming job looked after, and yesterday settled from what was landed.",
    schedule=at("30 1 * * *"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    dagrun_timeout=timedelta(hours=4),
    doc_md=DOC,
    params=form_params(StreamForm, settings),
    **dag_arguments("stream", {}),
) as dag:
    plan: Any = plan_settlement()
    windows = beam_job(TRADE_WINDOWS, options=plan["options"], execution_timeout=JOB_TIMEOUT)
    panes = load_contract(TRADE_WINDOW_PANE)
    # A retry appends the panes once more, which changes nothing: each window takes the one that knows most.
    load = load_task(
        TRADE_WINDOWS,
        TRADE_WINDOW_PANE,
        f"{PLAN}.run_id",
        f"'{settings.warehouse.ops_dataset}.{panes.name}'",
        appends=True,
    )
    verified = verify()
    chain(plan, windows, load, publish(), verified)
    chain([verified, operate_stream()], end_run().as_teardown())
