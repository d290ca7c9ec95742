"""The estimate of the costs says what its formulas give, from the numbers that the plan of a run uses."""

import re
from datetime import timedelta

import pytest

from coinbeam.batch.universe import UniverseSpec
from coinbeam.contracts import load_contract
from coinbeam.feeds.history import refreshes
from coinbeam.feeds.plan import DATAFLOW_MINUTES, dataflow_dollars
from coinbeam.feeds.snapshot.plan import Estimate, estimate
from coinbeam.feeds.trades.message import ALLOWED_LATENESS, bundle
from coinbeam.feeds.trades.publisher import POSITION_SECONDS, STATUS_SECONDS
from coinbeam.settings import ROOT, Settings
from tests.build.cloudbuild import FILE, SMALL, read, text
from tests.infra.configuration import modules
from tests.infra.costs import assumptions, components, differences, prices, value

PAGE = (ROOT / "docs" / "costs.md").read_text(encoding="utf-8")
TIMESTAMP_BYTES, MESSAGE_ID_BYTES = 20, 17
"""What Pub/Sub bills of every message beside body and attributes, ids as long as they are at present."""

COMPRESSION = 2.5
"""As in ``coinbeam.feeds.snapshot.plan``: landed pages are gzip."""


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of production with names of no project."""
    monkeypatch.setenv("COINBEAM_ENV", "production")
    monkeypatch.setenv("COINBEAM_GOOGLE__PROJECT", "my-project")
    monkeypatch.setenv("COINBEAM_STORAGE__BUCKET", "my-project-coinbeam")
    return Settings()


@pytest.fixture
def run(production: Settings) -> Estimate:
    """One snapshot of the whole market."""
    return estimate(production, UniverseSpec(), 0, fetches=True)


def test_every_sum_is_what_its_formula_gives() -> None:
    assert (len(components(PAGE)), len(prices(PAGE))) == (10, 34)
    assert list(differences(PAGE)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("| `composer_dcu` | 9 |", "| `composer_dcu` | 6 |"),
        ("| 1.27 | 20.67 |", "| 1.27 | 2.67 |"),
        ("+ 2 * nearline", "+ 20 * nearline"),
        ("| `call_seconds` | 0.1 |", "| `call_seconds` | 0.2 |"),
        ("| `request_bytes` | 1000 |", "| `request_bytes` | 100 |"),
        ("| `job_seconds` | 600 |", "| `job_seconds` | 6000 |"),
    ],
    ids=[
        "an assumption that was changed",
        "a sum that was changed",
        "a formula that was changed",
        "an assumption of serving that was changed",
        "an assumption of live trades that was changed",
        "an assumption of the small profile that was changed",
    ],
)
def test_a_page_that_drifted_is_seen(old: str, new: str) -> None:
    assert old in PAGE
    assert list(differences(PAGE.replace(old, new)))


def test_the_volumes_are_those_of_the_plan(production: Settings, run: Estimate) -> None:
    known = assumptions(PAGE)
    volumes = {
        "calls": run.calls,
        "landing_gib": run.landing_bytes / COMPRESSION / 2**30,
        "file_gib": run.file_bytes / 2**30,
        "dataflow_run": dataflow_dollars(production, 2 * DATAFLOW_MINUTES),
        "dataflow_day": dataflow_dollars(production, DATAFLOW_MINUTES),
    }
    assert {name: known[name] for name in volumes} == pytest.approx(volumes, rel=1e-3)


def test_a_backfill_costs_what_its_plan_says(production: Settings) -> None:
    known = assumptions(PAGE)
    said = {name: known[name] for name in ("mart_scans", "mart_row", "look_back", "queries")}
    row = refreshes.row_bytes(load_contract("market_daily"))
    assert said == {
        "mart_scans": refreshes.SCANS,
        "mart_row": row,
        "look_back": refreshes.DAYS_READ_BEFORE,
        "queries": refreshes.QUERIES,
    }
    assert known["backfilled"] / production.history.chunk_pieces == known["backfill_batches"]
    of_batch, whole = (
        value(formula, known)
        for name, formula, _ in prices(PAGE)
        if name.startswith(("Batch, the marts, where a", "A year"))
    )
    year = round(18_000 * (365 + known["look_back"]))
    assert of_batch == pytest.approx(refreshes.dollars(production, 1, year, 0), rel=1e-2)
    batches, rows = round(known["backfill_batches"]), round(known["backfilled"]) * 365
    jobs = dataflow_dollars(production, batches * DATAFLOW_MINUTES)
    assert whole == pytest.approx(jobs + refreshes.dollars(production, batches, 0, rows), rel=1e-2)


def test_the_api_is_asked_from_outside_as_often_as_terraform_says() -> None:
    [check] = [
        body
        for labels, body in modules()["modules/uptime"].blocks("resource")
        if labels[0].endswith("uptime_check_config")
    ]
    seconds, regions = (
        int(check["period"].strip('"').removesuffix("s")),
        [one.strip('"') for one in check["selected_regions"]],
    )
    places = {"USA": 3, "EUROPE": 1, "SOUTH_AMERICA": 1, "ASIA_PACIFIC": 1}
    assert sum(places[one] for one in regions) * 3600 / seconds == assumptions(PAGE)["checks_hour"]


def test_the_prices_are_those_of_the_settings(production: Settings) -> None:
    known = assumptions(PAGE)
    assert (known["standard"], known["bigquery_tib"]) == (
        production.prices.storage_gib_month,
        production.prices.bigquery_tib_scanned,
    )


def test_the_parts_of_a_run_add_up_to_what_the_plan_says_of_it(run: Estimate) -> None:
    formula = "dataflow_run + (landing_gib + file_gib) * standard + 3 * file_gib / 1024 * bigquery_tib"
    assert value(formula, assumptions(PAGE)) == pytest.approx(run.dollars, rel=1e-3)


def test_the_calls_of_a_month_and_what_they_fit_are_right(production: Settings, run: Estimate) -> None:
    known = assumptions(PAGE)
    daily, hourly = (
        int(text.replace(",", "")) for text in re.findall(r"([\d,]+) calls a month daily and ([\d,]+) hourly", PAGE)[0]
    )
    assert (daily, hourly) == (round(run.calls * known["days"]), round(run.calls * known["hours"]))
    assert daily < production.coingecko.plans["demo"].calls_per_month < hourly


def test_a_name_that_is_no_assumption_is_an_error() -> None:
    with pytest.raises(KeyError):
        value("runs * wishes", {"runs": 1.0})


def test_the_environment_that_is_priced_is_the_one_that_is_made() -> None:
    main = (ROOT / "infra" / "modules" / "composer" / "main.tf").read_text(encoding="utf-8")
    assert "ENVIRONMENT_SIZE_SMALL" in main
    assert {read(text(file))[1].options.machine_type.name for file in (FILE, SMALL)} == {"E2_HIGHCPU_8"}


def test_the_trades_that_are_priced_are_those_that_are_published(production: Settings) -> None:
    known, stream = assumptions(PAGE), production.stream
    assert (known["symbols"], known["bundle_trades"]) == (len(stream.symbols), stream.bundle_trades)
    assert (known["status_seconds"], known["position_seconds"]) == (STATUS_SECONDS, POSITION_SECONDS)
    assert known["kept_hours"] == (ALLOWED_LATENESS + timedelta(hours=1)) / timedelta(hours=1)
    made = bundle("BTCUSDT", [b"{}"], 3_000_000_001, 3_000_000_500, 1_790_000_000_000)
    attributes = sum(len(name) + len(text) for name, text in made.attributes.items())
    assert known["message_bytes"] == attributes + TIMESTAMP_BYTES + MESSAGE_ID_BYTES


def test_the_publisher_that_is_priced_is_the_one_that_is_made() -> None:
    main = (ROOT / "infra" / "modules" / "stream" / "main.tf").read_text(encoding="utf-8")
    assert re.findall(r'limits = \{ cpu = "(\d)", memory = "(\w+)" \}', main) == [
        ("1", f"{assumptions(PAGE)['publisher_gib']:g}Gi")
    ]


def test_the_small_profile_costs_what_the_page_says_and_is_the_one_that_is_made() -> None:
    dollars = {name: one for name, _, one in prices(PAGE) if name.split(",")[0] == "Job" and "worker" not in name}
    dollars.pop("Job, Streaming Engine")
    month = sum(dollars.values())
    assert re.findall(r"A month of daily snapshots is ([\d.]+) dollars", PAGE) == [f"{month:.2f}"]
    idle = month - dollars["Job, its releases"]
    assert re.findall(r"A month without one is ([\d.]+) dollars", PAGE) == [f"{idle:.2f}"]
    assert month < 5
    [scans] = [one for name, _, one in prices(PAGE) if name == "Image scans of the small profile"]
    assert re.findall(r"The month is then ([\d.]+) dollars", PAGE) == [f"{month + scans:.2f}"]
    [variable] = [body for labels, body in modules()["."].blocks("variable") if labels == ("small",)]
    assert f'memory = optional(string, "{assumptions(PAGE)["job_gib"]:g}Gi")' in str(variable["type"])


def test_what_the_page_says_of_live_trades_are_its_own_sums(production: Settings) -> None:
    dollars = {name: one for name, _, one in prices(PAGE)}
    names = list(dollars)
    month = names[names.index("Job, one worker") : names.index("Settlement of each day") + 1]
    assert re.findall(r"with one worker, is (\d+) dollars", PAGE) == [f"{sum(dollars[name] for name in month):.0f}"]
    full = dollars["In full messages, as after a pause"]
    single = [dollars[f"In single messages, {how} a request"] / full for how in ("many", "one")]
    said = re.findall(r"single trades cost ([\d.]+) times .* and ([\d.]+) times", PAGE)
    assert said == [tuple(f"{one:.1f}" for one in single)]
    assert production.dataflow.machine_type == "n1-standard-2"


def test_the_images_that_are_scanned_are_those_of_a_release() -> None:
    known = assumptions(PAGE)
    counted = [len(read(text(file))[1].images) for file in (FILE, SMALL)]
    assert [known["release_images"], known["small_images"]] == counted


def test_the_services_that_are_priced_are_those_that_are_made() -> None:
    [variable] = [body for labels, body in modules()["."].blocks("variable") if labels == ("serving",)]
    defaults = dict(re.findall(r'(\w+) = optional\(\w+, "?(\w+)', str(variable["type"])))
    known = assumptions(PAGE)
    assert defaults["memory"] == f"{known['service_gib']:g}Gi"
    hours = known["hours"] * value("3600 * (run_cpu + service_gib * run_memory)", known)
    assert re.findall(r"a forgotten tab costs (\d+) dollars", PAGE) == [f"{hours:.0f}"]
    said = re.findall(r"with (\d) instances each are (\d+) dollars", PAGE.replace("\n", " "))
    assert said == [(defaults["max_instances"], f"{2 * int(defaults['max_instances']) * hours:.0f}")]
