"""The tasks that our DAGs share: a load into staging, a transaction, and what every task has in common."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator
from airflow.providers.google.cloud.transfers.gcs_to_bigquery import GCSToBigQueryOperator
from airflow.sdk import Asset, TriggerRule

from coinbeam.batch.jobs import JobSpec
from coinbeam.contracts import load_contract
from coinbeam.contracts.bigquery import staging_schema
from coinbeam.settings import load_settings
from dags.lineage import script_lineage
from dags.operations import RetryTransientErrors, alert_failure

settings = load_settings()

ANY_SUCCESS = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS


def fact_asset(table: str) -> Asset:
    """The Airflow asset of a table: publish tasks update it, the marts wait for it.

    Its address is the logical one: Airflow lets a name have one address, whatever a deployment calls its datasets.
    """
    return Asset(name=table, uri=f"bigquery://{settings.google.project}/{load_contract(table).dataset}/{table}")


def dag_arguments(macros: Mapping[str, Any]) -> dict[str, Any]:
    """What every DAG has besides its own name, schedule and form: tasks are bounded, retried by the class of the error,
    told to a person.

    Args:
        macros: what the templates of this DAG use.
    """
    return {
        "catchup": False,
        "user_defined_macros": {"staging_table": staging_table, **macros},
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


class ScriptOperator(BigQueryInsertJobOperator):
    """The stock operator, with the lineage of a script where BigQuery does not tell it: the emulator keeps no
    statistics of statements.
    """

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """What the job says of itself, or what its SQL says."""
        lineage = super().get_openlineage_facets_on_complete(task_instance)
        if not (lineage.inputs or lineage.outputs):
            lineage.inputs, lineage.outputs = script_lineage(
                self.configuration["query"]["query"], settings.google.project
            )
        return lineage


def load_task(
    job: JobSpec, table: str, batch_id: str, part: str = "*", trigger_rule: TriggerRule = ANY_SUCCESS
) -> GCSToBigQueryOperator:
    """Load the files of a job into a staging table of the batch.

    Args:
        job: what wrote them.
        table: contract name.
        batch_id: a template expression, without braces, that gives the batch id.
        part: stamp in the name of the file, by default any; may be a template.
        trigger_rule: when it runs.
    """
    pattern = job.file(table, part)
    is_csv = not pattern.endswith(".ndjson")
    return GCSToBigQueryOperator(
        task_id=f"load_{table}",
        bucket=settings.storage.bucket,
        source_objects=[f"batches/{{{{ {batch_id} }}}}/{pattern}"],
        destination_project_dataset_table=f"{settings.google.project}.{{{{ staging_table({batch_id}, '{table}') }}}}",
        schema_fields=[field.to_api_repr() for field in staging_schema(load_contract(table).file_columns)],
        source_format="CSV" if is_csv else "NEWLINE_DELIMITED_JSON",
        skip_leading_rows=1 if is_csv else None,
        allow_quoted_newlines=is_csv,
        field_delimiter=",",
        quote_character='"',  # never guessed: a name with commas and an apostrophe misleads a sniffing reader
        write_disposition="WRITE_TRUNCATE",
        create_disposition="CREATE_IF_NEEDED",
        autodetect=False,
        project_id=settings.google.project,
        location=settings.google.location,
        trigger_rule=trigger_rule,
    )


def staging_table(batch_id: str, table: str) -> str:
    """``dataset.table`` of a staging table, for templates."""
    from coinbeam.warehouse.client import StagingTables

    return StagingTables(load_settings(), batch_id).name(load_contract(table))


def script_task(task_id: str, script: str, outlets: list[Asset] | None = None) -> ScriptOperator:
    """Run one transaction; the SQL is rendered when the task runs and can be read in the UI.

    Args:
        task_id: name of the task.
        script: a template.
        outlets: assets that the transaction updates.
    """
    limit = str(settings.warehouse.maximum_bytes_billed)  # of each statement; an INT64 of the API is text in JSON
    return ScriptOperator(
        task_id=task_id,
        configuration={"query": {"query": script, "useLegacySql": False, "maximumBytesBilled": limit}},
        project_id=settings.google.project,
        location=settings.google.location,
        trigger_rule=ANY_SUCCESS,
        outlets=outlets or [],
    )
