"""What Cloud Monitoring would refuse of our alerts, metrics and dashboard, or never find: one line for each fault."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from google.cloud.monitoring_dashboard_v1 import Dashboard
from google.cloud.monitoring_v3 import AlertPolicy, UptimeCheckConfig
from google.protobuf import json_format

from tests.infra import metrics
from tests.infra.deployment import Deployment, Resource
from tests.infra.metrics import Metric
from tests.infra.queries import Entry, Increase, MetricFilter, QueryError, extracted, finds, metric_filter, promql

POLICY, DASHBOARD, METRIC, UPTIME = (
    f"google_{name}"
    for name in ("monitoring_alert_policy", "monitoring_dashboard", "logging_metric", "monitoring_uptime_check_config")
)

Metrics = Mapping[str, Metric]


def faults(deployment: Deployment, entries: Iterable[Entry]) -> list[str]:
    """One line for each fault.

    Args:
        entries: what is really written into logs.
    """
    known, written = metrics.known(deployment), list(entries)
    checks: dict[str, Callable[[Resource], Iterator[str]]] = {
        POLICY: lambda one: policy_faults(one, known, written),
        DASHBOARD: lambda one: dashboard_faults(one, known, written),
        METRIC: lambda one: counting_faults(one, written),
        UPTIME: uptime_faults,
    }
    return [
        f"{one.address}: {fault}"
        for kind, check in checks.items()
        for one in deployment.of(kind)
        for fault in check(one)
    ]


def policy_faults(policy: Resource, known: Metrics, entries: list[Entry]) -> Iterator[str]:
    """An alert that the API refuses, or that nothing can set off."""
    yield from _refused(AlertPolicy, api_form(policy.values, "conditions", "aggregations", "denominator_aggregations"))
    for condition in policy.values["conditions"]:
        for one in (*condition["condition_threshold"], *condition["condition_absent"]):
            yield from _said(_threshold, one, known)
        for one in condition["condition_prometheus_query_language"]:
            yield from _said(_counted, one, known)
        for one in condition["condition_matched_log"]:
            yield from _said(_found, one["filter"], entries)
            if not policy.values["alert_strategy"]:
                yield "an alert on lines has to say how often it tells"


def _threshold(condition: Mapping[str, Any], known: Metrics) -> None:
    sides = [(condition["filter"], condition["aggregations"])]
    if condition.get("denominator_filter"):
        sides.append((condition["denominator_filter"], condition["denominator_aggregations"]))
    for text, (aggregation,) in sides:
        asked = metric_filter(text)
        if not asked.resource:
            raise QueryError(f"an alert names its resource.type: {text!r}")
        if asked.metric.startswith(metrics.USER):
            raise QueryError(f"the API refuses a threshold on {asked.metric}, which was made a moment ago: use PromQL")
        _draw(asked, aggregation, known)
        seconds = int(aggregation["alignment_period"].removesuffix("s"))
        if not metrics.SHORTEST_SECONDS <= seconds <= metrics.LONGEST_SECONDS:
            raise QueryError(f"no alert looks at {seconds} seconds")


def _counted(condition: Mapping[str, Any], known: Metrics) -> None:
    asked: Increase = promql(condition["query"])
    metric = metrics.chosen(MetricFilter(asked.metric, asked.resource), known)
    if (metric.kind, metric.value) != ("DELTA", "INT64"):
        raise QueryError(f"{asked.metric} is no counter")
    if asked.metric.startswith(metrics.USER) and not condition["disable_metric_validation"]:
        raise QueryError(f"the API looks for {asked.metric}, which was made a moment ago")


def _draw(asked: MetricFilter, aggregation: Mapping[str, Any], known: Metrics) -> None:
    metric = metrics.chosen(asked, known)
    value = metrics.aggregated(metric, aggregation["per_series_aligner"], aggregation["cross_series_reducer"])
    metrics.drawn(value)
    metrics.grouped(aggregation["group_by_fields"] or (), asked, metric)


def _found(text: str, entries: list[Entry]) -> None:
    if not any(finds(text, entry) for entry in entries):
        raise QueryError(f"nobody writes what {text!r} looks for")


def dashboard_faults(dashboard: Resource, known: Metrics, entries: list[Entry]) -> Iterator[str]:
    """A dashboard that the API refuses, or whose charts stay empty."""
    content = json.loads(dashboard.values["dashboard_json"])
    yield from _refused(Dashboard, content)
    tiles = content["mosaicLayout"]["tiles"]
    yield from tile_faults(tiles, content["mosaicLayout"]["columns"])
    for tile in tiles:
        widget = tile["widget"]
        for data in widget.get("xyChart", {}).get("dataSets", ()):
            asked = data["timeSeriesQuery"]["timeSeriesFilter"]
            yield from (f"{widget['title']}: {fault}" for fault in _said(_chart, asked, known))
        if "logsPanel" in widget:
            yield from _said(_found, widget["logsPanel"]["filter"], entries)


def _chart(asked: Mapping[str, Any], known: Metrics) -> None:
    names = {"perSeriesAligner": "per_series_aligner", "crossSeriesReducer": "cross_series_reducer"}
    names |= {"groupByFields": "group_by_fields"}
    aggregation = {name: asked["aggregation"].get(key) for key, name in names.items()}
    _draw(metric_filter(asked["filter"]), aggregation, known)


def tile_faults(tiles: Iterable[Mapping[str, Any]], columns: int) -> Iterator[str]:
    """Tiles that lie on each other, or beside the dashboard."""
    taken: dict[tuple[int, int], str] = {}
    for tile in tiles:
        title, left, top = tile["widget"]["title"], tile.get("xPos", 0), tile.get("yPos", 0)
        if left + tile["width"] > columns:
            yield f"{title} is wider than the dashboard"
        cells = {(x, y) for x in range(left, left + tile["width"]) for y in range(top, top + tile["height"])}
        if under := {taken[cell] for cell in cells if cell in taken}:
            yield f"{title} lies on {', '.join(sorted(under))}"
        taken |= dict.fromkeys(cells, title)


def counting_faults(metric: Resource, entries: list[Entry]) -> Iterator[str]:
    """A metric that counts lines that nobody writes, or takes nothing out of those that it counts."""
    yield from _said(_extractors, metric.values, entries)


def _extractors(values: Mapping[str, Any], entries: list[Entry]) -> None:
    _found(values["filter"], entries)
    (described,) = values["metric_descriptor"]
    extractors = dict(values["label_extractors"] or {})
    if set(extractors) != {label["key"] for label in described["labels"]}:
        raise QueryError("its labels are not those that it takes out of lines")
    is_number = described["value_type"] == "DISTRIBUTION"
    if is_number != bool(values["value_extractor"]):
        raise QueryError("a distribution takes a value out of lines, and a counter none")
    for entry in (entry for entry in entries if finds(values["filter"], entry)):
        for name, extractor in extractors.items():
            if not extracted(extractor, entry):
                raise QueryError(f"{name} is not in {entry.fields['textPayload']!r}")
        if is_number:
            float(extracted(values["value_extractor"], entry) or "nothing was taken out")


def uptime_faults(check: Resource) -> Iterator[str]:
    """A check that the API refuses."""
    values = {name: value for name, value in check.values.items() if name != "uptime_check_id"}
    yield from _refused(UptimeCheckConfig, api_form(values, "content_matchers", "accepted_response_status_codes"))


def api_form(values: Mapping[str, Any], *repeated: str) -> dict[str, Any]:
    """Values of Terraform as the API takes them: of a block that may be there once Terraform makes a list.

    Args:
        repeated: blocks of which the API takes several.
    """
    own = {"id", "project", "timeouts", "creation_record", "name"}
    return {name: _api_value(name, value, repeated) for name, value in values.items() if value and name not in own}


def _api_value(name: str, value: Any, repeated: tuple[str, ...]) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        blocks = [api_form(one, *repeated) for one in value]
        return blocks if name in repeated else blocks[0]
    return value


def _refused(message: Any, content: Mapping[str, Any]) -> Iterator[str]:
    """What the message of the API does not have: each field and each name of a value is looked up."""
    try:
        json_format.ParseDict(content, message.pb(message()))
    except json_format.ParseError as error:
        yield str(error)


def _said(check: Callable[..., None], *arguments: Any) -> Iterator[str]:
    try:
        check(*arguments)
    except (QueryError, ValueError) as error:
        yield str(error)
