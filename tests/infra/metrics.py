"""The metrics and resources that we ask for, as Google describes them, and what may be done with each.

Sources: https://cloud.google.com/monitoring/api/metrics_gcp, https://cloud.google.com/monitoring/api/resources, and for
aligners and reducers the comments of ``google.monitoring.v3.Aggregation``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.infra.deployment import Deployment
from tests.infra.queries import MetricFilter, QueryError

USER = "logging.googleapis.com/user/"
"""How the metrics begin that are counted off logs."""


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        kind: GAUGE, DELTA or CUMULATIVE.
        value: BOOL, INT64, DOUBLE or DISTRIBUTION.
        resources: types of resources that have it; empty for any, which those counted off logs are.
        labels: its own ones, as far as we use them.
    """

    kind: str
    value: str
    resources: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()


def _of(resource: str, kind: str, value: str, *labels: str) -> Metric:
    return Metric(kind, value, frozenset({resource}), frozenset(labels))


RESOURCES: Mapping[str, frozenset[str]] = {
    name: frozenset(labels.split())
    for name, labels in {
        "bigquery_dts_config": "project_id location config_id",
        "build": "project_id build_id build_trigger_id",
        "cloud_composer_environment": "project_id location environment_name",
        "cloud_composer_workflow": "project_id location environment_name workflow_name",
        "cloud_run_job": "project_id location job_name",
        "cloud_run_revision": "project_id location service_name revision_name configuration_name",
        "cloud_run_worker_pool": "project_id location worker_pool_name",
        "dataflow_job": "project_id region job_name",
        "dataflow_step": "project_id region job_id job_name step_id",
        "gcs_bucket": "project_id location bucket_name",
        "global": "project_id",
        "pubsub_subscription": "project_id subscription_id",
        "pubsub_topic": "project_id topic_id",
        "uptime_url": "project_id host",
    }.items()
}

METRICS: Mapping[str, Metric] = {
    "bigquery.googleapis.com/query/scanned_bytes_billed": _of("global", "DELTA", "INT64"),
    "bigquerydatatransfer.googleapis.com/transfer_config/completed_runs": _of(
        "bigquery_dts_config", "DELTA", "INT64", "completion_state", "run_cause"
    ),
    "composer.googleapis.com/environment/dag_processing/parse_error_count": _of(
        "cloud_composer_environment", "DELTA", "INT64"
    ),
    "composer.googleapis.com/environment/healthy": _of("cloud_composer_environment", "GAUGE", "BOOL"),
    "composer.googleapis.com/environment/unfinished_task_instances": _of(
        "cloud_composer_environment", "GAUGE", "INT64", "state"
    ),
    "composer.googleapis.com/workflow/run_count": _of("cloud_composer_workflow", "DELTA", "INT64", "state"),
    "dataflow.googleapis.com/job/data_watermark_age": _of("dataflow_job", "GAUGE", "INT64", "job_id"),
    "dataflow.googleapis.com/job/is_failed": _of("dataflow_job", "GAUGE", "INT64", "job_id"),
    "dataflow.googleapis.com/job/system_lag": _of("dataflow_job", "GAUGE", "INT64", "job_id"),
    "dataflow.googleapis.com/job/total_vcpu_time": _of("dataflow_job", "GAUGE", "DOUBLE", "job_id"),
    "logging.googleapis.com/billing/monthly_bytes_ingested": _of("global", "GAUGE", "INT64", "resource_type"),
    "monitoring.googleapis.com/uptime_check/check_passed": _of(
        "uptime_url", "GAUGE", "BOOL", "check_id", "checker_location", "checked_resource_id"
    ),
    "pubsub.googleapis.com/subscription/oldest_unacked_message_age": _of("pubsub_subscription", "GAUGE", "INT64"),
    "pubsub.googleapis.com/subscription/push_request_count": _of("pubsub_subscription", "DELTA", "INT64"),
    "pubsub.googleapis.com/topic/send_request_count": _of("pubsub_topic", "DELTA", "INT64"),
    "run.googleapis.com/container/billable_instance_time": _of("cloud_run_revision", "DELTA", "DOUBLE"),
    "run.googleapis.com/job/completed_execution_count": _of("cloud_run_job", "DELTA", "INT64", "result"),
    "run.googleapis.com/request_count": _of(
        "cloud_run_revision", "DELTA", "INT64", "response_code", "response_code_class"
    ),
    "run.googleapis.com/request_latencies": _of(
        "cloud_run_revision", "DELTA", "DISTRIBUTION", "response_code", "response_code_class"
    ),
    "storage.googleapis.com/storage/total_bytes": _of("gcs_bucket", "GAUGE", "DOUBLE", "storage_class"),
}

_NUMBERS = frozenset({"INT64", "DOUBLE"})
_COUNTED = _NUMBERS | {"DISTRIBUTION"}
_BOTH = frozenset({"GAUGE", "DELTA"})
_CHANGES = frozenset({"DELTA", "CUMULATIVE"})
_SAME = ""

ALIGNERS: Mapping[str, tuple[frozenset[str], frozenset[str], str]] = {
    "ALIGN_DELTA": (_CHANGES, _COUNTED, _SAME),
    "ALIGN_RATE": (_CHANGES, _NUMBERS, "DOUBLE"),
    "ALIGN_NEXT_OLDER": (frozenset({"GAUGE"}), _COUNTED | {"BOOL"}, _SAME),
    "ALIGN_MIN": (_BOTH, _NUMBERS, _SAME),
    "ALIGN_MAX": (_BOTH, _NUMBERS, _SAME),
    "ALIGN_MEAN": (_BOTH, _NUMBERS, "DOUBLE"),
    "ALIGN_COUNT": (_BOTH, _NUMBERS | {"BOOL"}, "INT64"),
    "ALIGN_SUM": (_BOTH, _COUNTED, _SAME),
    "ALIGN_COUNT_TRUE": (frozenset({"GAUGE"}), frozenset({"BOOL"}), "INT64"),
    "ALIGN_COUNT_FALSE": (frozenset({"GAUGE"}), frozenset({"BOOL"}), "INT64"),
    "ALIGN_FRACTION_TRUE": (frozenset({"GAUGE"}), frozenset({"BOOL"}), "DOUBLE"),
    **{
        f"ALIGN_PERCENTILE_{share}": (_BOTH, frozenset({"DISTRIBUTION"}), "DOUBLE")
        for share in ("05", "50", "95", "99")
    },
}
"""By aligner: kinds and values of metrics that it takes, and what comes out."""

REDUCERS: Mapping[str, tuple[frozenset[str], str]] = {
    "REDUCE_MEAN": (_COUNTED, "DOUBLE"),
    "REDUCE_SUM": (_COUNTED, _SAME),
    "REDUCE_MIN": (_NUMBERS, _SAME),
    "REDUCE_MAX": (_NUMBERS, _SAME),
    "REDUCE_COUNT_TRUE": (frozenset({"BOOL"}), "INT64"),
    "REDUCE_COUNT_FALSE": (frozenset({"BOOL"}), "INT64"),
}
"""By reducer: values that it takes, and what comes out."""

SHORTEST_SECONDS, LONGEST_SECONDS = 60, 90_000
"""Of the period of alignment in an alert; charts may look back further."""


def known(deployment: Deployment) -> dict[str, Metric]:
    """Google's metrics, and those that the deployment itself counts off logs."""
    own = {}
    for one in deployment.of("google_logging_metric"):
        (described,) = one.values["metric_descriptor"]
        labels = frozenset(label["key"] for label in described["labels"])
        own[USER + one.values["name"]] = Metric(described["metric_kind"], described["value_type"], labels=labels)
    return {**METRICS, **own}


def chosen(asked: MetricFilter, metrics: Mapping[str, Metric]) -> Metric:
    """The metric that a filter chooses.

    Raises:
        QueryError: there is no such metric, it is of another resource, or has no such label.
    """
    metric = metrics.get(asked.metric)
    if metric is None:
        raise QueryError(f"{asked.metric} is no metric that we know")
    if asked.resource and asked.resource not in RESOURCES:
        raise QueryError(f"{asked.resource} is no resource that we know")
    if metric.resources and asked.resource not in metric.resources:
        raise QueryError(f"{asked.metric} is no metric of {asked.resource or 'no resource'}")
    for kind, name in asked.labels:
        check_label(kind, name, asked, metric)
    return metric


def check_label(kind: str, name: str, asked: MetricFilter, metric: Metric) -> None:
    """Refuse a label that neither the metric nor the resource has."""
    labels = metric.labels if kind == "metric" else RESOURCES.get(asked.resource, frozenset())
    if name not in labels:
        raise QueryError(f"{asked.metric} of {asked.resource or 'any resource'} has no label {kind}.{name}")


def aggregated(metric: Metric, aligner: str, reducer: str | None) -> str:
    """The type of the values that an aggregation makes.

    Raises:
        QueryError: the aligner takes no such metric, or the reducer no such values.
    """
    if aligner not in ALIGNERS:
        raise QueryError(f"{aligner} is no aligner that we know")
    kinds, values, made = ALIGNERS[aligner]
    if metric.kind not in kinds or metric.value not in values:
        raise QueryError(f"{aligner} takes no {metric.kind} of {metric.value}")
    value = made or metric.value
    if reducer is None:
        return value
    if reducer not in REDUCERS:
        raise QueryError(f"{reducer} is no reducer that we know")
    taken, reduced = REDUCERS[reducer]
    if value not in taken:
        raise QueryError(f"{reducer} takes no {value}, which {aligner} makes")
    return reduced or value


def drawn(value: str) -> None:
    """Refuse what is no number: neither a line nor a limit can be made of it."""
    if value not in _NUMBERS:
        raise QueryError(f"the result is {value}, and no number")


def grouped(fields: Iterable[str], asked: MetricFilter, metric: Metric) -> None:
    """Refuse a grouping by what the series do not have."""
    for text in fields:
        kind, _, name = text.partition(".label.")
        if kind not in {"metric", "resource"} or not name:
            raise QueryError(f"{text} is no field to group by")
        check_label(kind, name, asked, metric)
