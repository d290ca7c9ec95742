"""The tasks that our DAGs share: those of every batch, from its plan to its record, and what they are made of."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Generic

from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator
from airflow.providers.google.cloud.transfers.gcs_to_bigquery import GCSToBigQueryOperator
from airflow.sdk import Asset, CronTriggerTimetable, TriggerRule, chain, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from coinbeam.batch.jobs import JobSpec
from coinbeam.batch.kinds import Batch
from coinbeam.contracts import load_contract
from coinbeam.contracts.bigquery import staging_schema
from coinbeam.errors import SettingsError
from coinbeam.feeds.ending import count_by_status, outcome, tasks_of_batch
from coinbeam.feeds.plan import Mode, run_identity
from coinbeam.feeds.steps import BatchSteps, PlanT
from coinbeam.settings import load_settings
from coinbeam.warehouse.staging import StagingTables
from dags.lineage import script_lineage
from dags.operations import RetryTransientErrors, alert_failure, alert_gap, alert_standing_fault, resolve_incidents

settings = load_settings()
logger = logging.getLogger("coinbeam.dags")

ANY_SUCCESS = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS


def fact_asset(table: str) -> Asset:
    """The Airflow asset of a table: publish tasks update it, the marts wait for it.

    Its address is the logical one: Airflow lets a name have one address, and a deployment names its datasets.
    """
    return Asset(name=table, uri=f"bigquery://{settings.google.project}/{load_contract(table).dataset}/{table}")


def dag_arguments(tag: str, macros: Mapping[str, Any]) -> dict[str, Any]:
    """What every DAG has besides its own name, schedule, form, tag and macros: one run at a time, bounded tasks whose
    retries follow the class of the error, and an alert of a failure.
    """
    return {
        "catchup": False,
        "max_active_runs": 1,
        "tags": ["coinbeam", tag, settings.environment.value],
        "user_defined_macros": dict(macros),
        "default_args": {
            "owner": "data-platform",
            "retries": settings.retry.retries,
            "retry_delay": timedelta(seconds=settings.retry.delay_seconds),
            "retry_exponential_backoff": True,
            "retry_policy": RetryTransientErrors(),
            "execution_timeout": timedelta(minutes=15),
            "on_failure_callback": alert_failure,
        },
    }


def at(expression: str) -> CronTriggerTimetable:
    """The schedule of a DAG: cron, in UTC. A run is filed under the instant at which it is due, that of its batch.

    A plain text would leave it to an option of the deployment, by which a run may be filed under the one before.
    """
    return CronTriggerTimetable(expression, timezone="UTC")


def this_run() -> str:
    """How the records name the run of the present task."""
    run = get_current_context()["dag_run"]
    return run_identity(run.run_type, run.logical_date, run.run_id)


def show_plan(words: str, dry_run: bool) -> None:
    """Log a plan, as one entry that the web interface cannot fold or tear apart; a dry run ends with it.

    Raises:
        AirflowSkipException: it is a dry run.
    """
    logger.info("\n%s\n", words)
    if dry_run:
        raise AirflowSkipException("Dry run: the plan is shown above, nothing was changed.")


@dataclass(frozen=True)
class BatchTasks(Generic[PlanT]):
    """The tasks of a batch that are the same for every feed.

    Attributes:
        steps_type: the steps of the feed.
        plan_type: their plan.
        plan_task: the task that returns the plan.
        is_mapped: whether the run has several batches, each with its map index.
    """

    steps_type: type[BatchSteps[PlanT]]
    plan_type: type[PlanT]
    plan_task: str
    is_mapped: bool = False

    @property
    def template(self) -> str:
        """The expression of templates, without braces, that gives the plan."""
        return f"ti.xcom_pull(task_ids='{self.plan_task}'{', map_indexes=ti.map_index' if self.is_mapped else ''})"

    @property
    def macros(self) -> dict[str, Callable[..., str]]:
        """The transactions and the staging tables of the batch for templates, which give the plan."""
        return {
            "publish_script": lambda plan: self.steps().publish_script(self.plan_type.from_dict(plan).batch),
            "rejects_script": lambda plan: self.steps().rejects_script(self.plan_type.from_dict(plan).batch),
            "staging_table": lambda plan, table: staging_table(self.plan_type.from_dict(plan).batch, table),
        }

    def steps(self) -> BatchSteps[PlanT]:
        """The steps, in the environment of the present task."""
        return self.steps_type(load_settings())

    def plan(self) -> PlanT | None:
        """The plan, in a task that pulls it; None when the run ended before it was made.

        The audit pulls it: an argument would make the task of the plan a direct upstream one, whose success would start
        the audit of a gap.
        """
        instance = get_current_context()["ti"]
        values = instance.xcom_pull(task_ids=self.plan_task, map_indexes=instance.map_index)
        return self.plan_type.from_dict(values) if values else None

    def ensure_schema(self, plan: Any) -> Any:
        """Migrate additively and prepare the batch."""

        @task(
            doc_md="Creates missing tables, adds new nullable columns, lays out the empty staging tables of this run."
        )
        def ensure_schema(plan: dict[str, Any]) -> list[str]:
            return self.steps().prepare(self.plan_type.from_dict(plan))

        return ensure_schema(plan)

    def load(self, job: JobSpec, table: str, part: str = "*") -> GCSToBigQueryOperator:
        """Load the files of a job into a staging table of the batch, see `load_task`."""
        return load_task(job, table, f"{self.template}.batch_id", f"staging_table({self.template}, '{table}')", part)

    def finish(self, loads: Sequence[Any], rejects: Any) -> None:
        """The tasks from the loaded files to the record, in their order.

        Args:
            loads: the loads of what is published.
            rejects: the load of what was refused. It is recorded before the audit.
        """

        @task(
            trigger_rule=ANY_SUCCESS,
            doc_md="Runs every rule of the contracts on staging; a broken one of severity error stops the publish.",
        )
        def audit() -> dict[str, int]:
            return count_by_status(self.steps().audit(self._planned().batch))

        @task(doc_md="Looks at what readers see: the rows of the batch, and every key in its dimension.")
        def verify() -> dict[str, int]:
            return count_by_status(self.steps().verify(self._planned().batch))

        @task(
            trigger_rule=TriggerRule.ALL_DONE,
            on_success_callback=resolve_incidents,
            doc_md="Records what went in, what came out, what it cost and how it ended; also for a failed run and a "
            "gap.",
        )
        def record_batch() -> str:
            return self._record()

        facts = [fact_asset(self.plan_type.feed.fact)]
        record_rejects = script_task("record_rejects", f"{{{{ rejects_script({self.template}) }}}}")
        publish = script_task("publish", f"{{{{ publish_script({self.template}) }}}}", facts)
        chain(rejects, record_rejects)
        chain([*loads, record_rejects], audit(), publish, verify(), record_batch().as_teardown())

    def _planned(self) -> PlanT:
        plan = self.plan()
        if plan is None:
            raise SettingsError(f"Task {self.plan_task} left no plan.", "Clear the whole run.")
        return plan

    def _record(self) -> str:
        """Write the row of ``ingestion_batch``, also of a run that failed."""
        instance: Any = get_current_context()["ti"]  # the protocol leaves get_task_breadcrumbs out
        plan, steps = self.plan(), self.steps()
        if plan is None:
            return "nothing planned, nothing to record"
        group, index = instance.task_id.removesuffix("record_batch"), instance.map_index
        crumbs = instance.get_task_breadcrumbs(instance.dag_id, instance.run_id)
        ended = tasks_of_batch(crumbs, instance.task_id, index)
        errors = {
            one.name: steps.failure(plan.batch, one.name)
            or instance.xcom_pull(task_ids=f"{group}{one.name}", key="error", map_indexes=index)
            for one in ended
            if one.state == "failed"
        }
        ending = outcome(plan, ended, errors)
        steps.record(plan, ending)
        if ending.status == Mode.GAP:
            alert_gap(instance, f"Coinbeam: gap at {plan.snapshot_at}", plan.reason)
        if ending.status == "published":
            alert_standing_fault(instance, partial(steps.standing_fault, plan))
        return ending.status


class ScriptOperator(BigQueryInsertJobOperator):
    """The stock operator, with the lineage of a script where BigQuery (the emulator) does not tell it."""

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """What the job says of itself, or what its SQL says."""
        lineage = super().get_openlineage_facets_on_complete(task_instance)
        if not (lineage.inputs or lineage.outputs):
            script = self.configuration["query"]["query"]
            lineage.inputs, lineage.outputs = script_lineage(script, settings.google.project)
        return lineage


def load_task(
    job: JobSpec, table: str, batch_id: str, staging: str, part: str = "*", *, appends: bool = False
) -> GCSToBigQueryOperator:
    """Load the files of a job into a staging table of the batch.

    Args:
        job: what wrote them.
        table: contract name.
        batch_id: a template expression, without braces, that gives the batch id.
        staging: one that gives the staging table.
        part: stamp in the name of the file, by default any; may be a template.
        appends: keep the rows that the table has.
    """
    pattern = job.file(table, part)
    is_csv = not pattern.endswith(".ndjson")
    return GCSToBigQueryOperator(
        task_id=f"load_{table}",
        bucket=settings.storage.bucket,
        source_objects=[f"batches/{{{{ {batch_id} }}}}/{pattern}"],
        destination_project_dataset_table=f"{settings.google.project}.{{{{ {staging} }}}}",
        schema_fields=[field.to_api_repr() for field in staging_schema(load_contract(table).file_columns)],
        source_format="CSV" if is_csv else "NEWLINE_DELIMITED_JSON",
        skip_leading_rows=1 if is_csv else None,
        allow_quoted_newlines=is_csv,
        field_delimiter=",",
        quote_character='"',  # never guessed: a name with commas and an apostrophe misleads a sniffing reader
        write_disposition="WRITE_APPEND" if appends else "WRITE_TRUNCATE",
        create_disposition="CREATE_IF_NEEDED",
        autodetect=False,
        project_id=settings.google.project,
        location=settings.google.location,
        trigger_rule=ANY_SUCCESS,
    )


def staging_table(batch: Batch, table: str) -> str:
    """``dataset.table`` of a staging table of a run, for templates."""
    return StagingTables(load_settings(), batch).name(load_contract(table))


def script_task(task_id: str, script: str, outlets: list[Asset] | None = None) -> ScriptOperator:
    """Run one transaction; the SQL is rendered when the task runs and can be read in the UI."""
    limit = str(settings.warehouse.maximum_bytes_billed)  # of each statement; an INT64 of the API is text in JSON
    return ScriptOperator(
        task_id=task_id,
        configuration={"query": {"query": script, "useLegacySql": False, "maximumBytesBilled": limit}},
        project_id=settings.google.project,
        location=settings.google.location,
        trigger_rule=ANY_SUCCESS,
        outlets=outlets or [],
    )
