"""The steps of a batch on the emulator: a fixed clock, rows loaded as the DAG loads them, and reports written as the
jobs write them.
"""

import csv
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coinbeam.batch.identity import parse_batch_id
from coinbeam.batch.jobs import FETCH_CRYPTO_DATA, POPULATE_CRYPTO_ASSET_DIM
from coinbeam.batch.kinds import SNAPSHOTS
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.tables import ASSETS, DATES, REJECTS
from coinbeam.batch.tables import SNAPSHOT_FACT as FACT
from coinbeam.batch.universe import UniverseSpec
from coinbeam.clock import format_instant
from coinbeam.contracts import Severity, load_all, load_contract
from coinbeam.contracts.arrow import csv_header
from coinbeam.errors import PublishBlockedError, SettingsError, TerminalError
from coinbeam.feeds.ending import Ending
from coinbeam.feeds.plan import Mode
from coinbeam.feeds.snapshot.plan import SnapshotPlan
from coinbeam.feeds.snapshot.request import SnapshotRequest
from coinbeam.feeds.snapshot.steps import SnapshotSteps, selection
from coinbeam.landing.layout import folder
from coinbeam.ops.call_ledger import CallLedger
from coinbeam.quality import Status
from coinbeam.settings import Environment, MarketSource, Settings, Universe
from coinbeam.warehouse.staging import StagingTables
from tests.coinbeam.conftest import DAY, Stage, asset_row, date_row, fact_row, reject_row, snapshot_batch
from tests.temporary import LocalCloud, temporary_settings

NOW = DAY + timedelta(hours=1)
BATCH = "20260102T0000Z-usd-all"
RUN = "manual__2026-01-02T00:00:00Z"
FETCH_JOB = frozenset({FETCH_CRYPTO_DATA.name})
BOTH_JOBS = FETCH_JOB | {POPULATE_CRYPTO_ASSET_DIM.name}
REPORT: dict[str, Any] = {
    "pages_read": 2,
    "pages_rejected": 1,
    "rows_read": 8,
    "rows_unpriced": 1,
    "rows_duplicate": 1,
    "rows_surplus": 3,
    "rows_rejected": 1,
    "rows_valid": 2,
    "api_calls": 4,
    "api_retries": 1,
    "api_throttled": 1,
    "bytes_landed": 1_000,
    "unknown_fields": ["new_field"],
    "source_id": "coingecko_simulator",
}
ASSETS_REPORT = {
    "assets_listed": 2,
    "details_fetched": 1,
    "details_waiting": 7,
    "api_calls": 2,
    "bytes_landed": 10,
    "rows_read": 2,
}


def request(at: datetime = DAY, universe: UniverseSpec | None = None, files: str = "") -> SnapshotRequest:
    """A request for the whole market."""
    return SnapshotRequest(at, universe or UniverseSpec(), "usd", files)


def ingestion(stage: Stage, now: datetime = NOW, **changes: Any) -> SnapshotSteps:
    """The steps with a clock that stands still."""
    return SnapshotSteps(stage.warehouse.settings.model_copy(update=changes), stage.warehouse, clock=lambda: now)


def landed(
    steps: SnapshotSteps, at: datetime = DAY, source_id: str = "coingecko_simulator", whole: bool = True
) -> None:
    """A landing folder as the fetch job begins it, and as it leaves it when it ends."""
    batch = request(at).batch_id
    manifest = BatchManifest(batch, "markets", source_id, at, "usd", 250, "all")
    place = folder("", "markets", batch, source_id).lstrip("/")
    steps.bucket.write_text(f"{place}/_manifest.json", json.dumps(manifest.to_dict()))
    if whole:
        steps.bucket.write_text(f"{place}/_complete.json", "{}")


def staged(
    stage: Stage, steps: SnapshotSteps, report: Mapping[str, Any] | None = REPORT, **tables: Any
) -> SnapshotPlan:
    """A planned batch of two assets in staging, with its report in the bucket."""
    plan = steps.plan(request(), RUN, "local")
    rows = {
        FACT: [fact_row("a", batch=BATCH), fact_row("b", batch=BATCH)],
        ASSETS: [asset_row("a", BATCH), asset_row("b", BATCH)],
        DATES: [date_row(DAY)],
        REJECTS: [],
    }
    stage.fill(plan.batch, **(rows | tables))
    if report:
        steps.bucket.write_text(f"{plan.batch.folder}/report_fetch_crypto_data.json", json.dumps(report))
    steps.bucket.write_text(f"{plan.batch.folder}/report_populate_crypto_asset_dim.json", json.dumps(ASSETS_REPORT))
    return plan


def published(stage: Stage, steps: SnapshotSteps, **tables: Any) -> SnapshotPlan:
    """A batch taken through its steps as the DAG does."""
    plan = staged(stage, steps, **tables)
    stage.warehouse.query(steps.rejects_script(plan.batch))
    steps.audit(plan.batch)
    stage.warehouse.query(steps.publish_script(plan.batch))
    return plan


def runs(stage: Stage) -> list[dict[str, Any]]:
    """The records of all runs."""
    return stage.contents("ingestion_batch")


@pytest.mark.cloud
def test_the_present_interval_is_fetched_and_the_jobs_are_told_all(stage: Stage) -> None:
    plan = ingestion(stage).plan(request(), RUN, "local")
    bucket = stage.warehouse.settings.bucket_uri
    assert (plan.batch_id, plan.mode, plan.stamp, plan.source_id) == (
        BATCH,
        Mode.FETCH,
        "2026-01-02",
        "coingecko_simulator",
    )
    assert plan.output == f"{bucket}/batches/{BATCH}"
    assert plan.started_at == "2026-01-02T01:00:00Z"
    told = {
        "source": "simulator",
        "snapshot_at": "2026-01-02T00:00:00Z",
        "batch_id": BATCH,
        "output": plan.output,
        "landing": bucket,
    }
    assert told.items() <= plan.fetch_options.items()
    assert told.items() <= plan.assets_options.items()
    assert plan.fetch_options["universe"] == "all"
    assert plan.assets_options["known_assets"] == f"{plan.output}/known_assets.csv"


@pytest.mark.cloud
def test_a_plan_changes_nothing_and_passes_through_json(stage: Stage) -> None:
    steps = ingestion(stage)
    plan = steps.plan(request(), RUN, "local")
    assert steps.bucket.names("") == []
    assert SnapshotPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


@pytest.mark.cloud
def test_a_past_interval_replays_its_landing(stage: Stage) -> None:
    steps = ingestion(stage, NOW + timedelta(days=3))
    landed(steps)
    plan = steps.plan(request(), RUN, "local")
    assert (plan.mode, plan.source_id) == (Mode.REPLAY, None)
    assert (
        plan.fetch_options["source"]
        == f"{stage.warehouse.settings.bucket_uri}/landing/markets/{BATCH}-coingecko_simulator/*"
    )
    assert plan.estimate["calls"] == 0


@pytest.mark.cloud
def test_a_past_interval_without_a_landing_is_a_gap_that_says_why(stage: Stage) -> None:
    plan = ingestion(stage, NOW + timedelta(days=3)).plan(request(), RUN, "local")
    assert (plan.mode, plan.source_id, plan.fetch_options["source"]) == (Mode.GAP, None, "")
    assert "today's prices are never stamped on an old date" in plan.reason


@pytest.mark.cloud
def test_files_of_a_user_are_a_batch_of_their_own(stage: Stage) -> None:
    plan = ingestion(stage).plan(request(files="captures/*.json"), RUN, "local")
    assert (plan.mode, plan.source_id, plan.fetch_options["source"]) == (Mode.REPLAY, "file", "captures/*.json")
    assert plan.batch_id.startswith(f"{BATCH}-files-")


@pytest.mark.cloud
def test_the_future_is_refused(stage: Stage) -> None:
    with pytest.raises(SettingsError, match="lies in the future"):
        ingestion(stage).plan(request(DAY + timedelta(days=1)), RUN, "local")


@pytest.mark.cloud
@pytest.mark.parametrize(("source_id", "allowed"), [("coingecko", True), ("coingecko_simulator", False)])
def test_a_simulated_landing_never_reaches_production(source_id: str, allowed: bool, stage: Stage) -> None:
    local_steps = ingestion(stage, NOW + timedelta(days=3))
    landed(local_steps, source_id=source_id)
    market = stage.warehouse.settings.market.model_copy(update={"source": MarketSource.LIVE})
    settings: Settings = stage.warehouse.settings.model_copy(
        update={"environment": Environment.PRODUCTION, "market": market}
    )
    steps = SnapshotSteps(settings, stage.warehouse, local_steps.bucket, clock=lambda: NOW + timedelta(days=3))
    if allowed:
        assert steps.plan(request(), RUN, "dataflow").mode == Mode.REPLAY
        return
    with pytest.raises(SettingsError, match="coingecko_simulator may only reach a local warehouse"):
        steps.plan(request(), RUN, "dataflow")


@pytest.mark.cloud
def test_a_landing_that_was_cut_short_never_stands_for_the_whole_market(stage: Stage) -> None:
    steps = ingestion(stage, NOW + timedelta(days=3))
    landed(steps, whole=False)
    plan = steps.plan(request(), RUN, "local")
    assert plan.mode == Mode.GAP
    assert "only a part of it was landed" in plan.reason


@pytest.mark.cloud
def test_a_damaged_manifest_stops_the_plan(stage: Stage) -> None:
    steps = ingestion(stage, NOW + timedelta(days=3))
    landed(steps)
    steps.bucket.write_text(f"landing/markets/{BATCH}/_manifest.json", "{")
    with pytest.raises(TerminalError, match="manifest is damaged"):
        steps.plan(request(), RUN, "local")


@pytest.mark.cloud
def test_a_live_run_that_the_month_cannot_pay_is_refused_and_a_simulated_one_is_not(stage: Stage) -> None:
    spend(stage, 9_999, DAY)
    ingestion(stage).plan(request(), RUN, "local")
    market = stage.warehouse.settings.market.model_copy(update={"source": MarketSource.LIVE})
    with pytest.raises(TerminalError, match="only 1 of 10000 are left"):
        ingestion(stage, market=market).plan(request(), RUN, "local")


@pytest.mark.parametrize(
    ("universe", "options"),
    [
        pytest.param(UniverseSpec(), {"universe": "all"}, id="the whole market"),
        pytest.param(UniverseSpec(Universe.TOP, top_n=5), {"universe": "top", "top_n": "5"}, id="the largest"),
        pytest.param(UniverseSpec(Universe.IDS, ids=("a", "b")), {"universe": "ids", "ids": "a,b"}, id="ids"),
        pytest.param(
            UniverseSpec(Universe.CATEGORY, category="c"), {"universe": "category", "category": "c"}, id="a category"
        ),
    ],
)
def test_a_selection_becomes_options_of_the_job(universe: UniverseSpec, options: dict[str, str]) -> None:
    assert selection(request(universe=universe)) == options


def spend(stage: Stage, calls: int, at: datetime, source_id: str = "coingecko") -> None:
    """Calls of a job that settled, as it reserved them."""
    book = CallLedger(stage.warehouse, stage.warehouse.settings, lambda: at)
    book.settle(book.reserve("fetch_crypto_data", "batch", calls + 1, source_id), calls)


@pytest.mark.cloud
def test_only_live_calls_of_this_month_count(stage: Stage) -> None:
    steps = ingestion(stage, datetime.fromisoformat("2026-01-31T23:59:59+00:00"))
    assert steps.calls_this_month() == 0
    spend(stage, 70, DAY)
    spend(stage, 7, DAY)
    spend(stage, 500, DAY + timedelta(days=1), "coingecko_simulator")
    spend(stage, 900, DAY - timedelta(days=2))
    assert steps.calls_this_month() == 77
    assert ingestion(stage, datetime.fromisoformat("2026-02-01T00:00:00+00:00")).calls_this_month() == 0


@pytest.mark.cloud
def test_before_the_first_run_no_call_was_made(fresh_cloud: LocalCloud) -> None:
    assert SnapshotSteps(fresh_cloud.settings, clock=lambda: NOW).calls_this_month() == 0


@pytest.mark.cloud
def test_preparing_makes_tables_staging_and_the_list_of_known_assets(fresh_cloud: LocalCloud) -> None:
    steps = SnapshotSteps(fresh_cloud.settings, clock=lambda: NOW)
    plan = steps.plan(request(), RUN, "local")
    assert len([line for line in steps.prepare(plan) if line.startswith(("created table", "created view"))]) == len(
        load_all()
    )
    staging = StagingTables(fresh_cloud.settings, plan.batch)
    for name in SNAPSHOTS.staged:
        table = steps.warehouse.client.get_table(f"local.{staging.name(load_contract(name))}", retry=None)
        assert csv_header(load_contract(name).file_columns).decode().strip() == ",".join(
            f'"{field.name}"' for field in table.schema
        )
    assert steps.bucket.read_text(f"{plan.batch.folder}/known_assets.csv") == '"asset_id","details_at"\n'
    assert steps.prepare(plan) == [], "again changes nothing"


@pytest.mark.cloud
def test_files_of_another_period_are_gone_before_an_attempt_is_loaded(stage: Stage) -> None:
    steps = ingestion(stage)
    plan = steps.plan(request(), RUN, "local")
    ours = (
        "crypto_2026-01-02.csv",
        "exchange_rates_2026-01-02.csv",
        "rejected_2026-01-02.ndjson",
        "rejected_rates_2026-01-02.ndjson",
        "rejected_assets.ndjson",
        "asset_dim.csv",
        "report_x.json",
    )
    others = (
        "crypto_2026-01-02T0000.csv",
        "exchange_rates_2026-01-02T0000.csv",
        "rejected_2026-01-02T0000.ndjson",
        "rejected_rates_2026-01-02T0000.ndjson",
    )
    for name in (*ours, *others):
        steps.bucket.write_text(f"{plan.batch.folder}/{name}", "x")
    steps.prepare(plan)
    left = {path.rpartition("/")[2] for path in steps.bucket.names(f"{plan.batch.folder}/")}
    assert left == {*ours, "known_assets.csv"}


@pytest.mark.cloud
def test_the_list_of_known_assets_names_those_with_details(stage: Stage) -> None:
    rows = [
        asset_row("b", details_at="2026-01-01T05:00:00Z"),
        asset_row("a", details_at="2025-12-31T00:00:00Z"),
        asset_row('c,"d"', details_at="2025-12-31T00:00:00Z"),
        asset_row("without"),
    ]
    stage.publish("batch", **{ASSETS: rows})
    steps = ingestion(stage)
    plan = steps.plan(request(), RUN, "local")
    steps.prepare(plan)
    known = steps.bucket.read_text(f"{plan.batch.folder}/known_assets.csv")
    assert list(csv.reader(io.StringIO(known))) == [
        ["asset_id", "details_at"],
        ["a", "2025-12-31T00:00:00Z"],
        ["b", "2026-01-01T05:00:00Z"],
        ['c,"d"', "2025-12-31T00:00:00Z"],
    ]


@pytest.mark.cloud
@pytest.mark.parametrize("mode", [Mode.REPLAY, Mode.GAP])
def test_without_a_fetch_no_list_of_known_assets_is_written(mode: str, stage: Stage) -> None:
    steps = ingestion(stage, NOW + timedelta(days=3))
    if mode == Mode.REPLAY:
        landed(steps)
    steps.prepare(steps.plan(request(), RUN, "local"))
    assert steps.bucket.names("batches/") == []


@pytest.mark.cloud
@pytest.mark.parametrize(
    ("first", "last", "needed"),
    [
        pytest.param(None, None, True, id="an empty calendar"),
        pytest.param(-10, 365, True, id="a calendar that ends within a year"),
        pytest.param(-10, 366, False, id="a calendar of a year and a day ahead"),
        pytest.param(1, 900, True, id="a calendar that begins after the batch"),
        pytest.param(0, 900, False, id="a calendar that begins with the batch"),
    ],
)
def test_the_calendar_is_extended_only_when_its_end_is_near(
    first: int | None, last: int | None, needed: bool, stage: Stage
) -> None:
    if first is not None and last is not None:
        stage.publish("batch", **{DATES: [date_row(DAY + timedelta(days=day)) for day in (first, last)]})
    assert ingestion(stage).needs_calendar(ingestion(stage).plan(request(), RUN, "local").batch) is needed


@pytest.mark.cloud
def test_a_good_batch_is_audited_published_verified_and_recorded(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    steps = ingestion(stage)
    plan = published(stage, steps, **{REJECTS: []})
    results = steps.verify(plan.batch)
    assert {result.status for result in results} == {Status.PASSED}
    assert {result.rule.name for result in results} >= {
        "row_count",
        "asset_id_foreign_key",
        "snapshot_date_foreign_key",
    }
    with caplog.at_level(logging.INFO, "coinbeam.ops.batch_line"):
        row = steps.record(plan, Ending("published", None, {"audit": 1.5}, BOTH_JOBS))
    assert caplog.messages[-1] == (
        f"Batch recorded: table_name={FACT} status=published mode=fetch rows_published=2 rows_rejected=1 api_calls=6 "
        f"age_seconds=3600 calls_left=100000000 quota_left_percent=100 batch_id={BATCH}"
    )
    (recorded,) = runs(stage)
    assert {name: recorded[name] for name in row if name.startswith(("rows_", "pages_"))} == {
        **{name: value for name, value in REPORT.items() if name.startswith(("rows_", "pages_"))},
        "rows_staged": 2,
        "rows_published": 2,
    }
    assert (recorded["api_calls"], recorded["bytes_landed"]) == (6, 1_010), "both jobs"
    assert (recorded["assets_listed"], recorded["details_waiting"]) == (2, 7)
    assert (recorded["status"], recorded["mode"], recorded["source_id"]) == (
        "published",
        "fetch",
        "coingecko_simulator",
    )
    assert json.loads(recorded["unknown_fields"]) == ["new_field"]
    assert json.loads(recorded["task_seconds"]) == {"audit": 1.5}
    assert recorded["error_message"] is None
    assert not any(
        stage.warehouse.exists(StagingTables(steps.settings, plan.batch).name(load_contract(name)))
        for name in SNAPSHOTS.staged
    )


@pytest.mark.cloud
def test_rates_that_are_missing_are_a_recorded_warning_that_names_the_batch(stage: Stage) -> None:
    steps = ingestion(stage)
    plan = staged(stage, steps, REPORT | {"rates_asked": True, "rates_valid": 0})
    found = {result.rule.name: result for result in steps.audit(plan.batch)}["rates_answered"]
    assert (found.status, found.message) == (
        Status.WARNING,
        "The exchange rates of 20260102T0000Z-usd-all were answered and could be read.",
    )
    assert [row["status"] for row in stage.contents("quality_result") if row["rule"] == "rates_answered"] == ["warning"]


@pytest.mark.parametrize(
    "report",
    [{}, {"rates_asked": False, "rates_valid": 0}, {"rates_asked": True, "rates_valid": 60}],
    ids=["a replay", "not wanted", "there"],
)
def test_rates_that_are_there_or_were_not_asked_for_are_no_warning(report: dict[str, Any], stage: Stage) -> None:
    assert ingestion(stage).walk_rules(snapshot_batch("20260102T0000Z-usd-all"), report) == []


@pytest.mark.cloud
def test_ids_that_were_not_answered_are_a_recorded_warning_that_names_them(stage: Stage) -> None:
    steps = ingestion(stage)
    plan = staged(stage, steps, REPORT | {"ids_missing": ["it's", "typo"]})
    found = {result.rule.name: result for result in steps.audit(plan.batch)}["ids_answered"]
    assert (found.status, found.value, found.sample) == (Status.WARNING, 2, ("it's", "typo"))
    recorded = [row for row in stage.contents("quality_result") if row["rule"] == "ids_answered"]
    assert [(row["status"], json.loads(row["failing_sample"])) for row in recorded] == [("warning", ["it's", "typo"])]


@pytest.mark.cloud
def test_configured_ids_that_three_batches_lack_are_a_standing_fault(stage: Stage) -> None:
    market = stage.warehouse.settings.market.model_copy(update={"universe": Universe.IDS, "ids": ("bitcoin", "typo")})
    settings = stage.warehouse.settings.model_copy(update={"market": market})

    universe = UniverseSpec(Universe.IDS, ids=market.ids)

    def day(number: int, missing: list[str]) -> str | None:
        now, at = NOW + timedelta(days=number), DAY + timedelta(days=number)
        steps = SnapshotSteps(settings, stage.warehouse, clock=lambda: now)
        plan = steps.plan(request(at, universe), RUN, "local")
        steps.prepare(plan)
        steps.bucket.write_text(
            f"{plan.batch.folder}/report_fetch_crypto_data.json", json.dumps(REPORT | {"ids_missing": missing})
        )
        staging = StagingTables(settings, plan.batch).name(load_contract(FACT))
        rows = [fact_row(asset, at, plan.batch_id, ingested_at=at.isoformat()) for asset in ("bitcoin", "b")]
        stage.warehouse.append(staging, "\n".join(map(json.dumps, rows)).encode())
        steps.audit(plan.batch)
        steps.record(plan, Ending("published", None, {}, FETCH_JOB))
        return steps.standing_fault(plan)

    assert day(0, ["typo", "other"]) == ""
    assert day(1, ["typo"]) == ""
    assert "typo in the newest 3 batches. Correct market.ids" in (day(2, ["typo"]) or "")
    assert "typo" in (day(3, ["typo"]) or "")
    assert day(4, []) == ""
    other = SnapshotSteps(stage.warehouse.settings, stage.warehouse, clock=lambda: NOW)
    assert other.standing_fault(other.plan(request(), RUN, "local")) is None, "nothing is configured"


@pytest.mark.parametrize(("setting", "severity"), [("warning", Severity.WARNING), ("error", Severity.ERROR)])
def test_a_top_n_with_fewer_assets_is_what_the_setting_says(
    setting: str, severity: Severity, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = temporary_settings(tmp_path_factory.mktemp("state"))
    quality = settings.quality.model_copy(update={"incomplete": setting})
    steps = SnapshotSteps(settings.model_copy(update={"quality": quality}), clock=lambda: NOW)
    [rule] = steps.walk_rules(
        snapshot_batch("20260102T0000Z-usd-top-250"), {"rows_unpriced": 3, "rows_rejected": 1, "ids_missing": []}
    )
    assert (rule.name, rule.operator, rule.threshold, rule.severity) == ("top_filled", ">=", 246, severity)
    assert steps.walk_rules(snapshot_batch("20260102T0000Z-usd-all"), {}) == []


@pytest.mark.cloud
def test_recording_a_run_again_replaces_its_row(stage: Stage) -> None:
    steps = ingestion(stage)
    plan = staged(stage, steps)
    steps.record(plan, Ending("failed", 'audit: it\'s "bad"', {}, FETCH_JOB))
    (failed,) = runs(stage)
    assert (failed["status"], failed["error_message"], failed["rows_staged"], failed["rows_published"]) == (
        "failed",
        'audit: it\'s "bad"',
        2,
        0,
    )
    assert failed["assets_listed"] == 0, "the coin list was not read in this run"
    steps.audit(plan.batch)
    stage.warehouse.query(steps.publish_script(plan.batch))
    steps.record(plan, Ending("published", None, {}, BOTH_JOBS))
    assert [row["status"] for row in runs(stage)] == ["published"]


@pytest.mark.cloud
def test_staging_of_a_failed_run_stays_for_the_person_who_looks(stage: Stage) -> None:
    steps = ingestion(stage)
    plan = staged(stage, steps)
    steps.record(plan, Ending("failed", "x", {}, FETCH_JOB))
    assert stage.warehouse.exists(StagingTables(steps.settings, plan.batch).name(load_contract(FACT)))


@pytest.mark.cloud
def test_a_gap_is_recorded_with_zeros(stage: Stage) -> None:
    steps = ingestion(stage, NOW + timedelta(days=3))
    plan = steps.plan(request(), RUN, "local")
    steps.record(plan, Ending("gap", plan.reason, {}, FETCH_JOB))
    (row,) = runs(stage)
    assert (row["status"], row["source_id"], row["rows_valid"], row["api_calls"]) == ("gap", None, 0, 0)
    assert row["error_message"] == plan.reason


@pytest.mark.cloud
def test_a_run_that_failed_before_any_report_is_recorded_too(stage: Stage) -> None:
    steps = ingestion(stage)
    steps.record(
        steps.plan(request(), RUN, "local"),
        Ending("failed", "fetch_crypto_data: no", {}, FETCH_JOB),
    )
    assert [(row["status"], row["rows_staged"]) for row in runs(stage)] == [("failed", 0)]


@pytest.mark.cloud
@pytest.mark.parametrize(
    ("tables", "report", "rule"),
    [
        pytest.param(
            {FACT: [fact_row("a", batch=BATCH, current_price=-1.0), fact_row("b", batch=BATCH)]},
            {},
            "current_price_in_range",
            id="a bad price",
        ),
        pytest.param({FACT: [fact_row("a", batch=BATCH)]}, {}, "row_count", id="a row that was lost"),
        pytest.param({FACT: [fact_row("a", batch=BATCH)] * 2}, {}, "unique_key", id="a row twice"),
        pytest.param({}, {"rows_read": 9}, "batch_complete", id="a row that nobody accounts for"),
        pytest.param({FACT: []}, {"rows_valid": 0}, "rows_present", id="an empty batch"),
        pytest.param({REJECTS: [reject_row(1, BATCH)]}, {}, "reject_share", id="a third of the rows refused"),
        pytest.param(
            {ASSETS: [asset_row("a", BATCH), asset_row("a", BATCH)]}, {}, "unique_key", id="an asset twice in the list"
        ),
        pytest.param(
            {DATES: [date_row(DAY), date_row(DAY + timedelta(days=2))]},
            {},
            "no_date_missing",
            id="a hole in the calendar",
        ),
    ],
)
def test_a_bad_batch_is_refused_and_its_results_are_kept(
    tables: dict[str, Any], report: dict[str, Any], rule: str, stage: Stage
) -> None:
    steps = ingestion(stage)
    plan = staged(stage, steps, REPORT | report, **tables)
    with pytest.raises(PublishBlockedError, match=rule):
        steps.audit(plan.batch)
    sql = f"SELECT rule FROM `{stage.warehouse.table(load_contract('quality_result'))}` WHERE status = 'failed' AND batch_id = '{BATCH}'"
    assert rule in {row["rule"] for row in stage.warehouse.rows(sql)}
    assert stage.contents(FACT) == []


@pytest.mark.cloud
def test_an_audit_skips_the_dimensions_that_a_batch_did_not_load(stage: Stage) -> None:
    steps = ingestion(stage)
    plan = staged(stage, steps, **{ASSETS: [], DATES: []})
    assert {result.table for result in steps.audit(plan.batch)} == {FACT}


@pytest.mark.cloud
def test_an_audit_without_the_report_of_the_job_is_refused(stage: Stage) -> None:
    steps = ingestion(stage)
    with pytest.raises(SettingsError, match=r"report_fetch_crypto_data\.json is missing"):
        steps.audit(staged(stage, steps, report=None).batch)


@pytest.mark.cloud
@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        pytest.param(
            "DELETE FROM `{fact}` WHERE snapshot_date = '2026-01-02' AND asset_id = 'a'",
            "row_count",
            id="a row is missing",
        ),
        pytest.param("DELETE FROM `{dates}` WHERE TRUE", "snapshot_date_foreign_key", id="a date is missing"),
        pytest.param(
            "UPDATE `{assets}` SET is_current = FALSE WHERE asset_id = 'b'",
            "asset_id_foreign_key",
            id="an asset has no version",
        ),
    ],
)
def test_verification_looks_at_what_readers_see(damage: str, rule: str, stage: Stage) -> None:
    steps = ingestion(stage)
    plan = published(stage, steps)
    names = {"fact": FACT, "dates": DATES, "assets": ASSETS}
    stage.warehouse.query(
        damage.format(**{key: stage.warehouse.table(load_contract(name)) for key, name in names.items()})
    )
    with pytest.raises(PublishBlockedError, match=rule):
        steps.verify(plan.batch)


@pytest.mark.cloud
def test_the_whole_way_twice_gives_the_same_tables(stage: Stage) -> None:
    steps = ingestion(stage)
    seen = []
    for _ in range(2):
        plan = published(stage, steps)
        steps.verify(plan.batch)
        steps.record(plan, Ending("published", None, {}, BOTH_JOBS))
        seen.append({**stage.everything(), "runs": runs(stage), "results": stage.contents("quality_result")})
    assert seen[0] == seen[1]


@pytest.mark.cloud
@pytest.mark.parametrize("whole", [True, False])
def test_a_batch_of_ids_is_replayed_by_its_name_even_in_its_own_interval(stage: Stage, whole: bool) -> None:
    steps, name = ingestion(stage), "20260102T0000Z-eur-ids-1a2b3c4d"
    manifest = BatchManifest(name, "markets", "coingecko_simulator", DAY, "eur", 250, "ids-1a2b3c4d")
    place = f"landing/markets/{name}-coingecko_simulator"
    steps.bucket.write_text(f"{place}/_manifest.json", json.dumps(manifest.to_dict()))
    asked = SnapshotRequest(DAY, UniverseSpec(), "eur", landed=parse_batch_id(name))
    if not whole:
        with pytest.raises(SettingsError, match="not landed as a whole"):
            steps.plan(asked, RUN, "local")
        return
    steps.bucket.write_text(f"{place}/_complete.json", "{}")
    plan = steps.plan(asked, RUN, "local")
    assert (plan.mode, plan.batch_id, plan.universe, plan.quote_currency) == ("replay", name, "ids-1a2b3c4d", "eur")
    assert plan.fetch_options["source"].endswith(f"/{place}/*")
    assert not {"universe", "ids", "calls_per_minute"} & set(plan.fetch_options)
    assert plan.estimate["calls"] == 0


@pytest.mark.cloud
def test_a_healed_source_is_asked_again_and_what_it_had_said_is_put_aside(stage: Stage) -> None:
    now = datetime.now(UTC) + timedelta(seconds=5)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    steps = ingestion(stage, now)
    landed(steps, day)
    plan = steps.plan(replace(request(day), refetch=True), RUN, "local")
    assert (plan.mode, plan.refetch) == (Mode.FETCH, True)
    assert "once more" in plan.reason
    assert any("2 landed objects were put aside" in line for line in steps.prepare(plan))
    assert steps.bucket.names("landing/") == []
    assert len(steps.bucket.names("archive/")) == 2
    landed(ingestion(stage, now), day)  # what this run lands itself, seconds later by the clock of the bucket
    earlier = replace(plan, started_at=format_instant(day))
    assert any("0 landed objects" in line for line in steps.prepare(earlier)), "a cleared task asks for nothing again"


@pytest.mark.cloud
def test_a_past_interval_cannot_be_fetched_again(stage: Stage) -> None:
    with pytest.raises(SettingsError, match="nothing can be fetched again") as refused:
        ingestion(stage, DAY + timedelta(days=3)).plan(replace(request(), refetch=True), RUN, "local")
    assert "coinbeam replay" in str(refused.value)


@pytest.mark.cloud
def test_a_replay_of_what_was_never_landed_names_what_was(stage: Stage) -> None:
    steps = ingestion(stage)
    asked = SnapshotRequest(DAY, UniverseSpec(), "usd", landed=parse_batch_id("20251231T0000Z-usd-all"))
    with pytest.raises(SettingsError, match="Nothing was: `coinbeam run`"):
        steps.plan(asked, RUN, "local")
    landed(steps)
    with pytest.raises(SettingsError, match=f"the newest first: {BATCH}"):
        steps.plan(asked, RUN, "local")


@pytest.mark.cloud
def test_both_jobs_of_a_fetch_reserve_their_calls(stage: Stage) -> None:
    plan = ingestion(stage).plan(request(), RUN, "local")
    assert plan.fetch_options["call_ledger"] == plan.assets_options["call_ledger"] == "on"
