"""The trigger form in a real browser: filled as a person would, and the run green.

With ``AIRFLOW_SCREENSHOT=docs/airflow_ui.png`` it also writes the pictures of the README.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psutil
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from local.airflow import airflow_environment
from runs.airflow import MARTS_DAG, SNAPSHOT_DAG, command

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = [
    pytest.mark.airflow,
    pytest.mark.cloud,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium"),
    pytest.mark.timeout(600),
]


@pytest.fixture
def airflow_url(pipeline: Any) -> Iterator[str]:
    """``coinbeam ui``: web server, scheduler, triggerer and DAG processor, stopped at the end."""
    url = f"http://127.0.0.1:{pipeline.settings.local.ports.airflow}"
    variables = {
        "COINBEAM_MARKET__SOURCE": "simulator",
        "COINBEAM_MARKET__MAX_DETAILS": "2",
        # unpausing would also start the scheduled run of today, and that one first
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__CORE__PARALLELISM": "2",
    }
    log = (pipeline.folder / "standalone.log").open("w")
    process = subprocess.Popen(
        command("local.standalone"),
        env=os.environ | airflow_environment(pipeline.settings) | variables,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        wait_until(lambda: is_up(f"{url}/api/v2/monitor/health"), 150, "Airflow's web server did not come up")
        assert listening_on(process.pid) == {"127.0.0.1"}, "SECURITY.md promises that nobody else is served"
        yield url
    finally:
        stop_group(process)
        log.close()


def listening_on(pid: int) -> set[str]:
    """The addresses on which a process and its descendants serve."""
    found = set()
    for one in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # Airflow reads each file of DAGs in a process of its own
            found |= {c.laddr.ip for c in one.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    return found


def is_up(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:
            return all(
                part["status"] == "healthy"
                for name, part in json.load(answer).items()
                if name in {"scheduler", "dag_processor"}
            )
    except (URLError, OSError):
        return False


def wait_until(done: Callable[[], Any], seconds: float, complaint: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, complaint
        time.sleep(1)


def stop_group(process: "subprocess.Popen[bytes]") -> None:
    """Stop Airflow and every process that it started, also those that ignore the first request."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, signal_number)
            process.wait(15)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def test_the_form_is_filled_in_a_browser_and_the_run_is_green(pipeline: Any, airflow_url: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1500, "height": 1100})
            wait_until(lambda: has_dag(page, airflow_url), 180, "the DAG never appeared")
            fill_and_trigger(page)
            expect(page.get_by_role("dialog")).to_be_hidden(timeout=60_000)
            page.goto(
                "about:blank"
            )  # a page that shows a running task redraws all the time, which costs half a processor
            wait_until(lambda: recorded(pipeline, "top-20"), 300, "no batch was recorded")
            batch = recorded(pipeline, "top-20")[0]
            assert (batch["status"], batch["rows_published"]) == ("published", 20), batch["error_message"]
            marts = page.request.get(f"{airflow_url}/api/v2/dags/{MARTS_DAG}").json()
            assert marts["is_paused"] is False, "a green run must reach the marts"
            page.goto(f"{airflow_url}/dags/{SNAPSHOT_DAG}")
            expect(page.get_by_text("record_batch").first).to_be_visible(timeout=30_000)
            wait_until(lambda: is_green(page), 60, "the run is not shown as a success")
            if target := os.environ.get("AIRFLOW_SCREENSHOT"):
                page.wait_for_timeout(3_000)
                page.screenshot(path=target)
                runs = page.request.get(f"{airflow_url}/api/v2/dags/{SNAPSHOT_DAG}/dagRuns").json()["dag_runs"]
                page.goto(f"{airflow_url}/dags/{SNAPSHOT_DAG}/runs/{runs[0]['dag_run_id']}/tasks/plan_batch")
                page.wait_for_timeout(4_000)
                page.screenshot(path=target.replace(".png", "_plan.png"))
        finally:
            browser.close()


def has_dag(page: Page, url: str) -> bool:
    """Whether the DAG is there as this environment has it: a test before may have left one that runs on Dataflow."""
    page.goto(f"{url}/dags/{SNAPSHOT_DAG}")
    page.wait_for_timeout(2_000)
    told = page.request.get(f"{url}/api/v2/dags/{SNAPSHOT_DAG}/tasks")
    runs_here = told.ok and "LocalJobOperator" in {task["operator_name"] for task in told.json()["tasks"]}
    return runs_here and page.get_by_role("button", name="Trigger").count() > 0


def fill_and_trigger(page: Page) -> None:
    """Choose the twenty largest assets, as a person would, and start the run."""
    page.get_by_role("button", name="Trigger").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Run Parameters")).to_be_visible()
    wait_until(lambda: parameters_are_open(page), 60, "the parameters of the form never opened")
    for label in ("Universe", "Asset ids", "Top N", "Quote currency", "Fetch again", "Replay date", "Dry run"):
        expect(dialog.get_by_text(re.compile(rf"^{label}")).first).to_be_visible()
    dialog.get_by_role("combobox").first.click()
    page.get_by_role("option", name="top", exact=True).click()
    top_n = dialog.locator("[name=element_top_n]")
    top_n.fill("20")
    top_n.press("Tab")
    if target := os.environ.get("AIRFLOW_SCREENSHOT"):
        page.screenshot(path=target.replace(".png", "_form.png"))
    trigger = dialog.get_by_role("button", name="Trigger")
    expect(trigger).to_be_enabled()
    trigger.click()


def parameters_are_open(page: Page) -> bool:
    """Whether the section stays open; one that is still opening by itself would be shut by a click made too early."""
    dialog = page.get_by_role("dialog")
    label = dialog.get_by_text(re.compile("^Universe")).first
    page.wait_for_timeout(1_500)
    if not label.is_visible():
        dialog.get_by_role("button", name="Run Parameters").click()
        page.wait_for_timeout(1_500)
    return label.is_visible()


def recorded(pipeline: Any, universe: str) -> list[dict[str, Any]]:
    if not pipeline.warehouse.exists(f"{pipeline.settings.warehouse.ops_dataset}.ingestion_batch"):
        return []
    return [batch for batch in pipeline.batches() if batch["universe"] == universe]


def is_green(page: Page) -> bool:
    page.wait_for_timeout(1_000)
    return (
        page.get_by_text("Success", exact=True).count() > 0
        or page.locator("[data-testid*=success], [aria-label*=success i]").count() > 0
    )
