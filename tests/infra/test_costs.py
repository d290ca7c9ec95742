"""The estimate of the costs says what its formulas give, from the numbers that the plan of a run uses."""

import re

import pytest

from coinbeam.batch.universe import UniverseSpec
from coinbeam.feeds.plan import DATAFLOW_MINUTES, dataflow_dollars
from coinbeam.feeds.snapshot.plan import Estimate, estimate
from coinbeam.settings import ROOT, Settings
from tests.infra.configuration import modules
from tests.infra.costs import assumptions, components, differences, prices, value

PAGE = (ROOT / "docs" / "costs.md").read_text(encoding="utf-8")
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
    assert (len(components(PAGE)), len(prices(PAGE))) == (8, 6)
    assert list(differences(PAGE)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("| `composer_dcu` | 9 |", "| `composer_dcu` | 6 |"),
        ("| 1.27 | 20.67 |", "| 1.27 | 2.67 |"),
        ("+ 2 * nearline", "+ 20 * nearline"),
        ("| `call_seconds` | 0.1 |", "| `call_seconds` | 0.2 |"),
    ],
    ids=[
        "an assumption that was changed",
        "a sum that was changed",
        "a formula that was changed",
        "an assumption of serving that was changed",
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
    build = (ROOT / "cloudbuild.yaml").read_text(encoding="utf-8")
    assert "ENVIRONMENT_SIZE_SMALL" in main
    assert "machineType: E2_HIGHCPU_8" in build


def test_the_services_that_are_priced_are_those_that_are_made() -> None:
    [variable] = [body for labels, body in modules()["."].blocks("variable") if labels == ("serving",)]
    defaults = dict(re.findall(r'(\w+) = optional\(\w+, "?(\w+)', str(variable["type"])))
    known = assumptions(PAGE)
    assert defaults["memory"] == f"{known['service_gib']:g}Gi"
    hours = known["hours"] * value("3600 * (run_cpu + service_gib * run_memory)", known)
    assert re.findall(r"a forgotten tab costs (\d+) dollars", PAGE) == [f"{hours:.0f}"]
    said = re.findall(r"with (\d) instances each are (\d+) dollars", PAGE.replace("\n", " "))
    assert said == [(defaults["max_instances"], f"{2 * int(defaults['max_instances']) * hours:.0f}")]
