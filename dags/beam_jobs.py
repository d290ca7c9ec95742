"""A Beam job as a task: launched on Dataflow as a Flex Template, or run in a process of the worker. The setting
``runner`` decides.

In production nothing of Beam is installed beside Airflow. The task launches the template of its release, defers until
the job has ended, and says in our own words why it failed. A job is named after its batch, so that a retried task finds
the job that is still running and waits for that one; a task that is killed cancels its job.
"""

import hashlib
import logging
import re
import sys
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property, partial
from typing import Any, NoReturn

from airflow.providers.apache.beam.hooks import beam as beam_hook
from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator
from airflow.providers.google.cloud.hooks.dataflow import DataflowHook
from airflow.providers.google.cloud.operators.dataflow import DataflowStartFlexTemplateOperator
from airflow.providers.google.cloud.transfers.gcs_to_bigquery import GCSToBigQueryOperator
from googleapiclient.errors import HttpError

from coinbeam.batch.jobs import JOBS, LOCAL_RUNNER, JobSpec
from coinbeam.errors import CoinbeamError, raised_in
from coinbeam.settings import Runner, Settings, load_settings
from dags.lineage import job_lineage

settings = load_settings()

logger = logging.getLogger("coinbeam.dags")

_BEAM_VERSION = "from importlib.metadata import version; print(version('apache-beam'))"
_LONGEST_NAME = 63
_CONFLICT = 409


def beam_job(job: JobSpec, options: Any, task_id: str = "", **kwargs: Any) -> "LocalJobOperator | DataflowJobOperator":
    """The task of a job, by default named after it; the options may be what gives them when the task runs."""
    operator = DataflowJobOperator if settings.runner is Runner.DATAFLOW else LocalJobOperator
    return operator(job=job.name, options=options, task_id=task_id or job.name, **kwargs)


class JobLineage:
    """What a job read and wrote, for the lineage event of its task."""

    beam_job: str
    pipeline_options: Any

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Inputs and outputs, told by the options of the job and the tasks after it."""
        task: Any = self
        loads = [after for after in task.downstream_list if isinstance(after, GCSToBigQueryOperator)]
        patterns = [pattern for load in loads for pattern in load.source_objects]
        # The files of the job, named as the next lineage event names them.
        files = task.render_template(patterns, task_instance.get_template_context(), task.get_template_env())
        return job_lineage(self.beam_job, dict(self.pipeline_options or {}), files, settings)


class LocalJobOperator(JobLineage, BeamRunPythonPipelineOperator):
    """The stock operator for ``python -m beam_pipelines.<job>``."""

    def __init__(self, *, job: str, options: Any, **kwargs: Any) -> None:
        super().__init__(
            py_file=f"beam_pipelines.{job}",
            py_options=["-m"],
            py_interpreter=sys.executable,
            runner=LOCAL_RUNNER,
            pipeline_options=options,
            **kwargs,
        )
        self.beam_job = job

    def execute(self, context: Any) -> Any:
        """Run the job to its end; the hook learns Beam's version from its metadata, as importing Beam costs seconds."""
        known = beam_hook._APACHE_BEAM_VERSION_SCRIPT
        beam_hook._APACHE_BEAM_VERSION_SCRIPT = _BEAM_VERSION
        try:
            return super().execute(context)
        finally:
            beam_hook._APACHE_BEAM_VERSION_SCRIPT = known


class DataflowJobOperator(JobLineage, DataflowStartFlexTemplateOperator):
    """The stock operator for the Flex Template of a job, deferrable, with a job name that a retry finds again."""

    template_fields = ("pipeline_options", *DataflowStartFlexTemplateOperator.template_fields)

    def __init__(self, *, job: str, options: Any, execution_timeout: timedelta, **kwargs: Any) -> None:
        super().__init__(
            body={},
            location=settings.google.region,
            project_id=settings.google.project,
            deferrable=True,
            append_job_name=False,
            poll_sleep=settings.dataflow.poll_seconds,
            execution_timeout=execution_timeout,
            **kwargs,
        )
        self.beam_job = job
        self.pipeline_options = options

    @cached_property
    def hook(self) -> "ReattachingHook":
        """The stock hook, which launches a job or finds it running."""
        return ReattachingHook(
            gcp_conn_id=self.gcp_conn_id, poll_sleep=self.poll_sleep, cancel_timeout=self.cancel_timeout
        )

    def execute(self, context: Any) -> Any:
        """Launch the job, or find the one that an earlier attempt launched, and wait for its end in the triggerer."""
        self.body = launch_request(self.beam_job, self.pipeline_options, settings)
        return super().execute(context)

    def defer(self, **kwargs: Any) -> NoReturn:
        """Wait no longer than the task may run: the stock trigger waits for ever for a cancelled job."""
        super().defer(**{"timeout": self.execution_timeout, **kwargs})

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Take the end of the job; a failed one raises the error that the job itself raised.

        Raises:
            CoinbeamError: what the job raised, so that the retry policy knows whether a retry can help.
        """
        name = job_name(self.beam_job, self.pipeline_options)
        if event["status"] == "error" and (error := self.hook.error_of(name, self.project_id, self.location)):
            raise error
        job = super().execute_complete(context, event)
        settle_calls(self.beam_job, self.pipeline_options)
        return job


class ReattachingHook(DataflowHook):
    """The stock hook, for jobs whose name says what they do: at most one of a name runs at a time."""

    def launch_job_with_flex_template(self, *, body: dict[str, Any], location: str, project_id: str) -> dict[str, Any]:
        """Launch a job, unless one of its name is running; then that one.

        Dataflow itself refuses a second job of a name that runs, so two attempts at the same moment cannot both launch.
        """
        name = body["launchParameter"]["jobName"]
        find_running = partial(self.jobs_named, name, project_id, location, "ACTIVE")
        running = find_running()
        if not running:
            try:
                return dict(super().launch_job_with_flex_template(body=body, location=location, project_id=project_id))
            except HttpError as error:
                running = find_running() if error.status_code == _CONFLICT else []
                if not running:
                    raise
        self.log.info("Job %s (%s) is running already: this attempt waits for it.", name, running[0]["id"])
        return running[0]

    def jobs_named(self, name: str, project_id: str, location: str, state: str = "ALL") -> list[dict[str, Any]]:
        """Jobs of exactly this name, the newest first; the state is ACTIVE, TERMINATED or ALL."""
        request = self._jobs().list(projectId=project_id, location=location, name=name, filter=state)
        jobs = request.execute(num_retries=self.num_retries).get("jobs", [])
        named = [job for job in jobs if job["name"] == name]
        return sorted(named, key=lambda job: str(job.get("createTime", "")), reverse=True)

    def error_of(self, name: str, project_id: str, location: str) -> CoinbeamError | None:
        """The error that the newest job of a name raised on a worker, or None when it was none of ours."""
        jobs = self.jobs_named(name, project_id, location)
        if not jobs:
            return None
        job = {"projectId": project_id, "location": location, "jobId": jobs[0]["id"]}
        request = self._jobs().messages().list(**job, minimumImportance="JOB_MESSAGE_ERROR")
        messages = request.execute(num_retries=self.num_retries).get("jobMessages", [])
        return next(filter(None, (raised_in(message.get("messageText", "")) for message in messages)), None)

    def state_of(self, job_id: str, project_id: str, location: str) -> str:
        """The state of a job, as Dataflow names it."""
        return str(self._job(job_id, project_id, location)["currentState"])

    def labels_of(self, job_id: str, project_id: str, location: str) -> dict[str, str]:
        """The labels of a job."""
        return dict(self._job(job_id, project_id, location, view="JOB_VIEW_DESCRIPTION").get("labels", {}))

    def drain(self, job_id: str, project_id: str, location: str) -> None:
        """Ask a streaming job to end with what it has in hand."""
        where = {"projectId": project_id, "location": location, "jobId": job_id}
        request = self._jobs().update(**where, body={"requestedState": "JOB_STATE_DRAINED"})
        request.execute(num_retries=self.num_retries)

    def _job(self, job_id: str, project_id: str, location: str, **asked: str) -> dict[str, Any]:
        request = self._jobs().get(projectId=project_id, location=location, jobId=job_id, **asked)
        return dict(request.execute(num_retries=self.num_retries))

    def _jobs(self) -> Any:
        return self.get_conn().projects().locations().jobs()


def settle_calls(job: str, options: Mapping[str, Any]) -> None:
    """Settle the calls that a finished job reserved; a ledger out of reach must not fail a job that did its work."""
    from coinbeam.landing.bucket import Bucket
    from coinbeam.ops.call_ledger import CallLedger
    from coinbeam.warehouse.client import Warehouse

    try:
        bucket = Bucket(settings)
        folder = str(options["output"]).removeprefix(bucket.uri("")).rstrip("/")
        report = bucket.read_json(JOBS[job].report_path(folder))
        CallLedger(Warehouse(settings), settings).settle_report(report)
    except CoinbeamError as error:
        logger.warning("The calls of %s stay reserved and count in full: %s", job, error)


def launch_request(job: str, options: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The body of ``projects.locations.flexTemplates.launch`` for a job; options without a value are left out.

    Source: https://cloud.google.com/dataflow/docs/reference/rest/v1b3/projects.locations.flexTemplates/launch
    """
    parameters = {name: str(value) for name, value in options.items() if value is not None}
    return launch_body(job, job_name(job, parameters), parameters, launch_environment(job, settings), settings)


def launch_body(
    job: str, name: str, parameters: Mapping[str, str], environment: Mapping[str, Any], settings: Settings
) -> dict[str, Any]:
    """The body of a launch of the template of a job, under a name."""
    return {
        "launchParameter": {
            "jobName": name,
            "containerSpecGcsPath": f"{settings.template_folder}/{job}.json",
            "parameters": dict(parameters),
            "environment": dict(environment),
        }
    }


def launch_environment(job: str, settings: Settings) -> dict[str, Any]:
    """Machines, network, account and labels of a job; what is not set is left to the project's defaults."""
    flow, google = settings.dataflow, settings.google
    environment = {
        "machineType": flow.machine_type,
        "maxWorkers": flow.max_workers,
        "ipConfiguration": "WORKER_IP_PUBLIC" if flow.use_public_ips else "WORKER_IP_PRIVATE",
        "subnetwork": flow.subnetwork,
        "serviceAccountEmail": google.dataflow_service_account,
        "sdkContainerImage": flow.image,
        "tempLocation": f"{settings.bucket_uri}/dataflow/temp",
        "stagingLocation": f"{settings.bucket_uri}/dataflow/staging",
        "additionalUserLabels": {**flow.labels, "job": job.replace("_", "-"), "release": settings.release},
    }
    return {name: value for name, value in environment.items() if value is not None}


def job_name(job: str, options: Mapping[str, Any]) -> str:
    """The name of the job of a batch: the same for every attempt, and another one for another batch.

    It is made of the job, the folder of the batch, and a digest of both: Dataflow allows lower-case letters, digits and
    hyphens.
    """
    output = str(options["output"]).rstrip("/")
    digest = hashlib.sha256(f"{job} {output}".encode()).hexdigest()[:8]
    words = re.sub(r"[^a-z0-9]+", "-", f"{job}-{output.rpartition('/')[2]}".lower()).strip("-")
    return f"{words[: _LONGEST_NAME - len(digest) - 1].rstrip('-')}-{digest}"
