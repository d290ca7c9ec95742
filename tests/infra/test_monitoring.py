"""Alerts, metrics, the dashboard and the check from outside: what Cloud Monitoring takes, what lines set off, and where each alert leads."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.cloud.monitoring_v3 import Aggregation
from starlette.testclient import TestClient

from coinbeam.ops.runbooks import OTHERS, RUNBOOKS
from coinbeam.settings import ROOT, Settings
from serving.api.app import create_app
from serving.api.gate import FREE
from tests.infra import lines
from tests.infra.costs import assumptions
from tests.infra.deployment import Deployment, Resource
from tests.infra.metrics import ALIGNERS, REDUCERS
from tests.infra.monitoring import DASHBOARD, METRIC, POLICY, UPTIME, faults
from tests.infra.queries import Entry, QueryError, extracted, finds, log_filter, metric_filter, promql
from tests.infra.test_policy import grants
from tests.temporary import temporary_settings

pytestmark = pytest.mark.xdist_group("terraform")

PRODUCTION = {
    "COINBEAM_ENV": "production",
    "COINBEAM_GOOGLE__PROJECT": "my-project",
    "COINBEAM_STORAGE__BUCKET": "my-project-coinbeam",
}

FOLDER = ROOT / "docs" / "runbooks"

PLANNED = {"first_deploy": "A person decides to begin; there is nothing yet that could be observed."}
"""Runbooks without an alert, each with its reason."""


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    """What is written into logs."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PRODUCTION.items():
            patch.setenv(name, value)
        return lines.written(Settings())


def policies(deployment: Deployment) -> dict[str, Mapping[str, Any]]:
    """The alerts by name."""
    return {re.split(r'"|[.]', one.address.removesuffix('"]'))[-1]: one.values for one in deployment.of(POLICY)}


Alerts = Mapping[str, Mapping[str, Any]]


@pytest.fixture
def alerts(deployment: Deployment, small: Deployment) -> Alerts:
    """The alerts of both profiles by name."""
    return policies(small) | policies(deployment)


def test_cloud_monitoring_takes_everything_and_every_line_is_written(
    deployment: Deployment, small: Deployment, entries: list[Entry]
) -> None:
    assert faults(deployment, entries) == []
    assert faults(small, entries) == []


Change = Callable[[dict[str, Any]], None]


def condition(kind: str, **changes: Any) -> Change:
    """A change of the condition of an alert."""

    def change(values: dict[str, Any]) -> None:
        values["conditions"][0][f"condition_{kind}"][0].update(changes)

    return change


def aggregation(**changes: Any) -> Change:
    """A change of how an alert aggregates."""

    def change(values: dict[str, Any]) -> None:
        values["conditions"][0]["condition_threshold"][0]["aggregations"][0].update(changes)

    return change


def text(old: str, new: str, *path: Any) -> Change:
    """A text of a resource replaced, everywhere below a path of its values."""

    def change(values: dict[str, Any]) -> None:
        *outer, last = path
        place: Any = values
        for step in outer:
            place = place[step]
        written = json.dumps(place[last])
        quoted_old, quoted_new = json.dumps(old)[1:-1], json.dumps(new)[1:-1]
        assert quoted_old in written, f"{old!r} is not in {written}"
        place[last] = json.loads(written.replace(quoted_old, quoted_new))

    return change


def chart(title: str, **changes: Any) -> Change:
    """A change of how a chart aggregates."""

    def change(values: dict[str, Any]) -> None:
        content = json.loads(values["dashboard_json"])
        [widget] = [tile["widget"] for tile in content["mosaicLayout"]["tiles"] if tile["widget"]["title"] == title]
        widget["xyChart"]["dataSets"][0]["timeSeriesQuery"]["timeSeriesFilter"]["aggregation"].update(changes)
        values["dashboard_json"] = json.dumps(content)

    return change


def whole(old: str, new: str) -> Change:
    """A text of the dashboard replaced."""

    def change(values: dict[str, Any]) -> None:
        content = values["dashboard_json"]
        assert old in content, f"{old!r} is not in the dashboard"
        values["dashboard_json"] = content.replace(old, new, 1)

    return change


BOARD = "module.dashboard.google_monitoring_dashboard.this"
ALERT = "module.alerts.google_monitoring_alert_policy"
NUMBER = "module.dashboard.google_logging_metric.number"
ROWS = "Rows published, by table"

MISTAKES: dict[str, tuple[str, Change, str]] = {
    "a misspelt metric of Google's": (
        f'{ALERT}.metric["dag_failed"]',
        text("workflow/run_count", "workflow/runs_count", "conditions"),
        "is no metric that we know",
    ),
    "a metric of another resource": (
        f'{ALERT}.metric["job_failed"]',
        text("dataflow_job", "dataflow_step", "conditions"),
        "is no metric of dataflow_step",
    ),
    "an alert without its resource": (
        f'{ALERT}.metric["job_failed"]',
        text('resource.type = "dataflow_job" AND ', "", "conditions"),
        "an alert names its resource.type",
    ),
    "a misspelt label": (
        f'{ALERT}.metric["dag_failed"]',
        text("labels.state", "labels.status", "conditions"),
        "has no label metric.status",
    ),
    "a rate of a gauge": (
        f'{ALERT}.metric["stream_lags"]',
        aggregation(per_series_aligner="ALIGN_RATE"),
        "ALIGN_RATE takes no GAUGE of INT64",
    ),
    "a percentile of a counter": (
        f'{ALERT}.metric["dag_failed"]',
        aggregation(per_series_aligner="ALIGN_PERCENTILE_95"),
        "ALIGN_PERCENTILE_95 takes no DELTA of INT64",
    ),
    "a limit of what is no number": (
        f'{ALERT}.metric["api_is_down"]',
        aggregation(cross_series_reducer=None),
        "the result is BOOL, and no number",
    ),
    "an aligner that does not exist": (
        f'{ALERT}.metric["dag_failed"]',
        aggregation(per_series_aligner="ALIGN_TOTAL"),
        "Invalid enum value ALIGN_TOTAL",
    ),
    "a period that no alert looks at": (
        f'{ALERT}.metric["scanned_much"]',
        aggregation(alignment_period="172800s"),
        "no alert looks at 172800 seconds",
    ),
    "a filter of metrics with a word too much": (
        f'{ALERT}.metric["job_failed"]',
        text(" AND metric", " AND NOT metric", "conditions"),
        "cannot be read",
    ),
    "a threshold on a metric that the same apply makes": (
        f'{ALERT}.metric["dag_failed"]',
        condition(
            "threshold",
            filter='resource.type = "cloud_run_job" AND metric.type = "logging.googleapis.com/user/coinbeam_batches"',
        ),
        "which was made a moment ago",
    ),
    "a count of which the API asks whether there is its metric": (
        f'{ALERT}.counted["refills_fail"]',
        condition("prometheus_query_language", disable_metric_validation=None),
        "which was made a moment ago",
    ),
    "a count of a metric that nobody makes": (
        f'{ALERT}.counted["refills_fail"]',
        text("coinbeam_failed_refills", "coinbeam_refills", "conditions"),
        "is no metric that we know",
    ),
    "a bracket too few in PromQL": (
        f'{ALERT}.counted["refills_fail"]',
        text("[10m]))", "[10m])", "conditions"),
        "cannot be read",
    ),
    "an alert on a line that nobody writes": (
        f'{ALERT}.entry["gap"]',
        text("status=gap", "status=missing", "conditions"),
        "nobody writes what",
    ),
    "an alert on a page that no failure names": (
        f'{ALERT}.entry["page_rotate_the_key"]',
        text("rotate_the_key", "rotate_key", "conditions"),
        "nobody writes what",
    ),
    "an alert on lines that tells without end": (
        f'{ALERT}.entry["gap"]',
        lambda values: values.update(alert_strategy=[]),
        "has to say how often it tells",
    ),
    "AND and OR side by side": (
        f'{ALERT}.entry["gap"]',
        text('"cloud_run_job")', '"cloud_run_job" AND severity >= INFO)', "conditions"),
        "cannot be read",
    ),
    "a severity that does not exist": (
        f'{ALERT}.entry["stale"]',
        text("ERROR", "FATAL", "conditions"),
        "FATAL is no severity",
    ),
    "a backslash in an expression": (
        f'{ALERT}.entry["gap"]',
        text("status=gap", r"status=\gap", "conditions"),
        "cannot be read",
    ),
    "an extractor of another name": (
        f'{NUMBER}["rows_published"]',
        lambda values: values.update(value_extractor=values["value_extractor"].replace("rows_published", "rows_new")),
        "nothing was taken out",
    ),
    "an extractor with two groups": (
        f'{NUMBER}["rows_published"]',
        lambda values: values.update(value_extractor=values["value_extractor"].replace(".*", "(.*)")),
        "has 2 groups",
    ),
    "an extractor of what is no number": (
        f'{NUMBER}["rows_published"]',
        lambda values: values.update(
            value_extractor='REGEXP_EXTRACT(textPayload, "Batch recorded: .* status=([a-z]+)")'
        ),
        "could not convert string to float",
    ),
    "a counted line that nobody writes": (
        "module.dashboard.google_logging_metric.batches",
        lambda values: values.update(filter=values["filter"].replace("Batch recorded", "Batch is recorded")),
        "nobody writes what",
    ),
    "a label that is taken out of nothing": (
        "module.dashboard.google_logging_metric.batches",
        lambda values: values.update(label_extractors={"table": values["label_extractors"]["table"]}),
        "its labels are not those",
    ),
    "an unknown field of the dashboard": (BOARD, whole('"plotType"', '"plotKind"'), 'no field named "plotKind"'),
    "an unknown value in the dashboard": (BOARD, whole('"STACKED_BAR"', '"BARS"'), "Invalid enum value BARS"),
    "tiles that lie on each other": (BOARD, whole('"xPos":16', '"xPos":15'), "lies on"),
    "a tile beside the dashboard": (BOARD, whole('"xPos":32', '"xPos":33'), "is wider than the dashboard"),
    "a misspelt metric of ours in a chart": (
        BOARD,
        whole("coinbeam_rows_published", "coinbeam_row_published"),
        "coinbeam_row_published is no metric that we know",
    ),
    "a chart of distributions": (
        BOARD,
        chart(ROWS, crossSeriesReducer="REDUCE_SUM"),
        f"{ROWS}: the result is DISTRIBUTION, and no number",
    ),
    "a chart of the wrong kind": (
        BOARD,
        chart(ROWS, perSeriesAligner="ALIGN_FRACTION_TRUE"),
        f"{ROWS}: ALIGN_FRACTION_TRUE takes no DELTA of DISTRIBUTION",
    ),
    "a chart by a label that there is not": (
        BOARD,
        chart(ROWS, groupByFields=["metric.label.tables"]),
        "has no label metric.tables",
    ),
    "a panel of lines that nobody writes": (
        BOARD,
        whole(r"\"Batch recorded: \" OR textPayload =~ \"Runbook: ", r"\"Batches: \" OR textPayload =~ \"Books: "),
        "nobody writes what",
    ),
    "a check of an unknown kind": (
        "module.uptime[0].google_monitoring_uptime_check_config.api",
        text("OIDC_TOKEN", "OIDC", "http_check"),
        "Invalid enum value OIDC",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_caught(mistake: tuple[str, Change, str], deployment: Deployment, entries: list[Entry]) -> None:
    address, change, words = mistake
    [right] = [one for one in deployment.resources if one.address == address]
    values = json.loads(json.dumps(right.values))
    change(values)
    wrong = Resource(right.address, right.type, values)
    counted = (one for one in deployment.of(METRIC) if one is not right)
    assert words in "\n".join(faults(Deployment((*counted, wrong), {}), entries))


def test_the_number_in_a_line_is_the_one_that_is_counted(deployment: Deployment, entries: list[Entry]) -> None:
    numbers = {one.values["name"].removeprefix("coinbeam_"): one.values for one in deployment.of(METRIC)}
    first = next(entry for entry in entries if "status=published" in entry.fields.get("textPayload", ""))
    taken = {name: extracted(one["value_extractor"], first) for name, one in numbers.items() if one["value_extractor"]}
    assert taken == {
        "rows_published": "17994",
        "rows_rejected": "6",
        "api_calls": "132",
        "calls_left": "488488",
        "quota_left_percent": "97",
        "age_seconds": "250",
    }
    labels = {name: extracted(one, first) for name, one in numbers["batches"]["label_extractors"].items()}
    assert labels == {"table": "crypto_market_snapshot_fact", "status": "published"}


def test_only_a_month_that_is_nearly_over_and_only_a_gap_are_told_of(
    deployment: Deployment, entries: list[Entry]
) -> None:
    asked = {name: filter_of(policies(deployment)[name]) for name in ("quota_is_low", "gap")}
    texts = [entry.fields["textPayload"] for entry in entries if finds(asked["quota_is_low"], entry)]
    assert texts
    assert all(" quota_left_percent=0 " in one for one in texts)
    gaps = [entry.fields["textPayload"] for entry in entries if finds(asked["gap"], entry)]
    assert gaps
    assert all(" status=gap " in one for one in gaps)


def filter_of(policy: Mapping[str, Any]) -> str:
    """The query of logs of an alert."""
    [condition] = policy["conditions"]
    return str(condition["condition_matched_log"][0]["filter"])


def test_a_failure_of_each_class_is_told_with_the_page_that_it_names(
    deployment: Deployment, entries: list[Entry]
) -> None:
    paged = {name: policy for name, policy in policies(deployment).items() if name.startswith("page_")}
    assert {name.removeprefix("page_") for name in paged} == {*RUNBOOKS.values(), OTHERS}
    for name, policy in paged.items():
        page = name.removeprefix("page_")
        found = [entry.fields["textPayload"] for entry in entries if finds(filter_of(policy), entry)]
        assert found
        assert all(f"Runbook: docs/runbooks/{page}.md" in one for one in found)


def test_every_alert_leads_to_a_page_that_is_there(alerts: Alerts) -> None:
    assert {name: pages(policy) for name, policy in alerts.items() if len(pages(policy)) != 1} == {}
    named = {page for policy in alerts.values() for page in pages(policy)}
    assert named <= {page.stem for page in FOLDER.glob("*.md")}


def pages(policy: Mapping[str, Any]) -> list[str]:
    """The pages that an alert names."""
    return re.findall(r"docs/runbooks/(\w+)\.md", policy["documentation"][0]["content"])


def test_every_runbook_has_an_alert_or_a_reason_for_none(alerts: Alerts) -> None:
    named = {page for policy in alerts.values() for page in pages(policy)}
    runbooks = {page.stem for page in FOLDER.glob("*.md")} - {"README"}
    assert sorted(runbooks - named) == sorted(PLANNED)


def test_the_index_of_the_runbooks_says_which_alerts_lead_to_each(alerts: Alerts) -> None:
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([^`]+)` \| \[(\w+)\]\(\w+\.md\) \|", index, re.MULTILINE))
    titles = {policy["display_name"].removeprefix("Coinbeam: "): pages(policy)[0] for policy in alerts.values()}
    assert rows == {title: page for title, page in titles.items() if page != OTHERS}
    assert [title for title, page in titles.items() if page == OTHERS and title not in " ".join(index.split())] == []


def test_as_many_conditions_return_points_as_the_costs_say(deployment: Deployment) -> None:
    of_others = {"serving", "stream"}
    watching = [
        policy
        for policy in policies(deployment).values()
        if not policy["conditions"][0]["condition_matched_log"] and not of_others.intersection(pages(policy))
    ]
    page = (ROOT / "docs" / "costs.md").read_text(encoding="utf-8")
    assert len(watching) == assumptions(page)["alert_conditions"]


def test_the_dashboard_answers_the_questions_of_somebody_on_call(deployment: Deployment) -> None:
    [board] = deployment.of(DASHBOARD)
    tiles = json.loads(board.values["dashboard_json"])["mosaicLayout"]["tiles"]
    titles = "\n".join(tile["widget"]["title"] for tile in tiles)
    asked = (
        "Freshness",
        "Rows published",
        "Records refused",
        "Quota",
        "Cost",
        "Lag",
        "Airflow",
        "Dataflow",
        "API",
        "Live",
    )
    assert [word for word in asked if word not in titles] == []


def test_a_page_without_a_key_answers_the_check_from_outside(deployment: Deployment, tmp_path: Path) -> None:
    [check] = deployment.of(UPTIME)
    [asked], [wanted] = check.values["http_check"], check.values["content_matchers"]
    answer = TestClient(create_app(temporary_settings(tmp_path), needs_key=True)).get(asked["path"])
    assert asked["path"] in FREE
    assert (answer.status_code // 100, wanted["content"] in answer.text) == (2, True)


def test_the_check_may_call_the_api_and_nothing_else(deployment: Deployment) -> None:
    agent = "serviceAccount:service-123456789012@gcp-sa-monitoring-notification.iam.gserviceaccount.com"
    assert grants(deployment, agent) == [("google_cloud_run_v2_service_iam_member", "roles/run.invoker")]
    grant = deployment.one("module.uptime[0].google_cloud_run_v2_service_iam_member.monitoring")
    assert (grant["name"], grant["member"]) == ("coinbeam-api", agent)


@pytest.mark.parametrize(
    "wrong",
    [
        'resource.type = "a"',
        'metric.type = "a" AND metric.type = "b"',
        'metric.type = "a" OR resource.type = "b"',
        "metric.type = a",
        'metric.labels.a = one_of("b")',
        'metric.type = "a" AND metric.labels.a = one_of()',
    ],
)
def test_what_is_no_filter_of_metrics_is_refused(wrong: str) -> None:
    with pytest.raises(QueryError):
        metric_filter(wrong)


@pytest.mark.parametrize(
    "wrong",
    ["", "textPayload", 'textPayload = "a"', 'textPayload =~ "("', 'textPayload =~ "(?i)a"', "severity = ERROR"],
)
def test_what_is_no_query_of_logs_is_refused(wrong: str) -> None:
    with pytest.raises(QueryError):
        log_filter(wrong)


def test_a_query_of_logs_judges_as_cloud_logging_does() -> None:
    entry = Entry({"resource.type": "build", "textPayload": "a line"}, "cloudbuild", "WARNING")
    judged = {
        'resource.type = "build"': True,
        'resource.type = "builds"': False,
        'textPayload =~ "li[a-z]e$"': True,
        'resource.type = "build" AND (textPayload =~ "no" OR log_id("cloudbuild"))': True,
        'resource.type = "build" AND textPayload =~ "no"': False,
        "severity >= WARNING": True,
        "severity >= ERROR": False,
        'resource.labels.config_id = "x"': False,
    }
    assert {query: finds(query, entry) for query in judged} == judged


def test_promql_is_read_as_it_counts() -> None:
    made = promql('sum(increase({"__name__"="a/b","monitored_resource"="c"}[10m])) > 20')
    assert (made.metric, made.resource, made.seconds, made.above) == ("a/b", "c", 600, 20)
    with pytest.raises(QueryError, match="one metric and one resource"):
        promql('sum(increase({"__name__"="a/b"}[10m])) > 20')


def test_aligners_and_reducers_are_those_of_the_api() -> None:
    assert set(ALIGNERS) <= set(Aggregation.Aligner.__members__)
    assert set(REDUCERS) <= set(Aggregation.Reducer.__members__)
