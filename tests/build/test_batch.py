"""The image of the small profile holds what its job needs, and the job publishes a day, whatever becomes of its container."""

import json
import os
import re
import signal
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from coinbeam.batch.identity import interval_start
from coinbeam.clock import utc_now
from coinbeam.settings import ROOT, GoogleSettings, Period, Settings
from coinbeam.warehouse.client import Warehouse
from local.environment import HOST
from runs.airflow import airflow_home
from runs.due import INDEX_AFTER
from tests.build import batch, serving
from tests.build.batch import DOCKERFILE, REQUIREMENTS, Job
from tests.build.cloudbuild import SMALL, read, script, text
from tests.build.imports import imported
from tests.build.serving import Image, pins
from tests.build.test_serving import executed
from tests.docs.test_commands import fault_of_gcloud
from tests.temporary import LocalCloud

pytestmark = pytest.mark.xdist_group("build")
OWN = {"coinbeam", "beam_pipelines", "dags", "runs", "console", "serving", "local", "deploy"}
IMAGE = "us-central1-docker.pkg.dev/acme/coinbeam/batch:abc1234"


def test_every_import_of_ours_is_in_the_requirements_of_the_image() -> None:
    held = set(pins(REQUIREMENTS))
    found = {
        name: where
        for folder in ("coinbeam", "beam_pipelines", "dags", "runs")
        for name, where in imported(ROOT / folder, OWN).items()
        if name not in held
    }
    assert found == {}


def test_the_image_has_airflow_and_beam_as_the_environment_pins_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["airflow"], *extras["beam"]]
    held, everywhere = pins(REQUIREMENTS), pins(ROOT / "requirements.txt")
    assert {canonicalize_name(Requirement(one).name) for one in asked} <= set(held)
    assert {name: version for name, version in held.items() if everywhere.get(name) != version} == {}
    assert {"bqemulator", "duckdb", "streamlit", "pytest"} & set(held) == set()


def test_the_process_is_not_root_and_owns_its_state_alone() -> None:
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line and not line.startswith("#")]
    state = serving.variables(DOCKERFILE)["COINBEAM_LOCAL__STATE_DIR"]
    assert [line for line in lines if line.startswith("RUN useradd") and line.endswith(f"--owner coinbeam {state}")]
    assert lines[-3] == "USER 10001"
    assert lines[-2].endswith("python -m console job prepare"), "the database is made by the user that runs it"
    assert lines[-1] == 'ENTRYPOINT ["python", "-m", "console"]'


def test_a_release_of_the_small_profile_pushes_the_image_and_puts_it_into_the_job(tmp_path: Path) -> None:
    code, calls = executed("batch-image", tmp_path, SMALL)
    assert code == 0
    assert calls[:2] == [
        ["docker", "build", "--file", DOCKERFILE.name, "--tag", IMAGE, "."],
        ["docker", "push", IMAGE],
    ]
    digest = f"{IMAGE.rpartition(':')[0]}@sha256:{'1' * 64}"
    assert (tmp_path / "images" / "batch.digest").read_text() == f"{digest}\n"
    assert calls[-1] == ["docker", "run", "--rm", "--interactive", "--entrypoint", "python", IMAGE, "-", IMAGE]
    assert (tmp_path / "images" / "batch.cdx.json").exists(), "the image says itself what it holds"
    before = len(calls)
    code, calls = executed("batch-job", tmp_path, SMALL)
    assert code == 0
    [call] = calls[before:]
    assert call[:5] == ["gcloud", "run", "jobs", "update", "coinbeam-daily"]
    assert call[-2:] == ["--image", IMAGE]
    assert fault_of_gcloud(call[1:]) is None


def test_a_release_of_the_small_profile_leaves_composer_and_dataflow_alone() -> None:
    scripts = "\n".join(script(step) or "" for step in read(text(SMALL))[1].steps).lower()
    assert re.findall("composer|dataflow|airflow", scripts) == []


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image, with the packages that it installs and no other, and what a release says of itself."""
    return batch.build(tmp_path_factory.mktemp("batch"))


@pytest.fixture
def job(
    image: Image, fresh_cloud: LocalCloud, migrated_airflow: Callable[[Settings], None], tmp_path: Path
) -> Iterator[Job]:
    """The job on datasets of this test alone, with the tables that a release makes."""
    state = tmp_path / "state"
    settings = fresh_cloud.settings.model_copy(
        update={"local": fresh_cloud.settings.local.model_copy(update={"state_dir": state})}
    )
    migrated_airflow(settings)
    assert airflow_home(settings).is_dir()
    with batch.deployed(image, fresh_cloud, state, QUICK) as made:
        code, said = made.run("contracts", "apply")
        assert code == 0, said
        control(made, "faults", profile="none")
        yield made
        control(made, "faults", profile="none")


PROJECT = "acme"
QUICK = {"COINBEAM_GOOGLE__PROJECT": PROJECT, "COINBEAM_MARKET__MAX_DETAILS": "2", "COINBEAM_RETRY__DELAY_SECONDS": "0"}


def control(job: Job, name: str, **body: Any) -> None:
    """Order something of the simulator."""
    url = job.variables["COINBEAM_HISTORY__FEAR_GREED_URL"].replace("/fng/", f"/_control/{name}")
    with urlopen(Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}), timeout=10):
        pass


def calls(job: Job) -> int:
    """Calls that the simulator got so far."""
    url = job.variables["COINBEAM_HISTORY__FEAR_GREED_URL"].replace("/fng/", "/_control/stats")
    with urlopen(url, timeout=10) as answer:
        return sum(json.load(answer)["calls"].values())


def die(process: "subprocess.Popen[str]") -> None:
    """End a container without a chance to clean up: everything in it at once."""
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        with suppress(psutil.NoSuchProcess):
            one.kill()


def rows(cloud: LocalCloud, sql: str) -> list[dict[str, Any]]:
    settings = cloud.settings.model_copy(update={"google": GoogleSettings(project=PROJECT)})
    datasets = {kind: getattr(settings.warehouse, f"{kind}_dataset") for kind in ("data", "marts", "ops")}
    return Warehouse(settings).rows(sql.format(**datasets))


@pytest.mark.airflow
@pytest.mark.timeout(500)
def test_a_day_is_published_once_though_the_source_fails_and_the_container_dies(
    job: Job, fresh_cloud: LocalCloud
) -> None:
    began = utc_now()
    has_index = began >= interval_start(began, Period.DAILY) + INDEX_AFTER
    control(job, "faults", profile="server_error", limit=1)
    first = job.start("job", "due", COINBEAM_COINGECKO__MAX_ATTEMPTS="1")
    assert first.stdout is not None
    said = []
    for line in first.stdout:
        said.append(line)
        if "[DAG TEST] end task task_id=publish" in line:
            die(first)
    assert first.wait(20) == -signal.SIGKILL
    assert re.search(r"new_state=up_for_retry", "".join(said)), "the transient error was tried again by Airflow"

    code, log = job.run("job", "due", attempt=1)
    assert code == 0, log[-5000:]
    batches = rows(
        fresh_cloud, "SELECT batch_id, status FROM `{ops}.ingestion_batch` WHERE snapshot_date > '2000-01-01'"
    )
    published = sorted(one["batch_id"] for one in batches if one["status"] == "published")
    assert published == [f"{began:%Y%m%d}T0000Z-usd-all", *([f"fear-greed-{began:%Y%m%d}"] if has_index else [])]
    counted = rows(
        fresh_cloud,
        "SELECT COUNT(*) AS n, COUNT(DISTINCT asset_id) AS assets FROM `{data}.crypto_market_snapshot_fact` "
        "WHERE snapshot_date > '2000-01-01'",
    )
    assert counted[0]["n"] == counted[0]["assets"] > 500
    assert rows(fresh_cloud, "SELECT COUNT(*) AS n FROM `{marts}.latest_prices`")[0]["n"] > 500
    assert rows(fresh_cloud, "SELECT COUNT(*) AS n FROM `{ops}.quality_result` WHERE checked_date > '2000-01-01'")[0][
        "n"
    ]

    before = calls(job)
    code, log = job.run("job", "due")
    assert (code, log.strip(), calls(job)) == (0, "Everything that is due is published.", before)


@pytest.mark.airflow
@pytest.mark.timeout(400)
def test_a_terminal_failure_is_not_tried_again_by_airflow_or_by_cloud_run(job: Job) -> None:
    before = calls(job)
    code, log = job.run(
        "job", "run", "crypto_etl_dag", COINBEAM_COINGECKO__PLAN="demo", COINBEAM_COINGECKO__PLANS=PLANS
    )
    assert code == 1
    assert "crypto_etl_dag.plan_batch failed: SettingsError" in log
    assert "up_for_retry" not in log
    page = f"https://console.cloud.google.com/run/jobs/executions/details/us-central1/{job.executions[-1]}/tasks?project=acme"
    assert page in log, "the alert leads to the execution"
    code, log = job.run("job", "run", "crypto_etl_dag", attempt=1)
    assert code == 1
    assert log.startswith("Attempt 1 ends at once: crypto_etl_dag.plan_batch failed: SettingsError")
    assert "[DAG TEST]" not in log
    assert calls(job) == before


PLANS = json.dumps(
    {
        "demo": {
            "base_url": f"http://{HOST}:9/api/v3",
            "key_header": "x-key",
            "calls_per_minute": 1,
            "calls_per_month": 1,
            "history_days": 1,
        }
    }
)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "crypto_stream_dag"], "There is no DAG 'crypto_stream_dag' here"),
        (["run", "crypto_backfill_dag", "--set", "coins=bitcoin"], "has no coins"),
        (["run", "crypto_backfill_dag", "--set", "assets"], "is no name=value"),
        (["replay", "gs://elsewhere/landing/markets/20260102T0000Z-usd-all/page-00001.json.gz"], "lies neither below"),
        (["replay", "gs://acme-coinbeam/batches/x"], "lies neither below"),
    ],
    ids=[
        "a DAG of Dataflow",
        "a field that there is not",
        "a field without a value",
        "another bucket",
        "another folder",
    ],
)
@pytest.mark.slow
def test_a_wrong_word_is_refused_before_anything_is_asked(arguments: list[str], said: str, image: Image) -> None:
    own = {
        **serving.variables(DOCKERFILE),
        "PATH": os.defpath,
        "PYTHONPATH": str(image.tree),
        "COINBEAM_GOOGLE__PROJECT": "acme",
        "COINBEAM_STORAGE__BUCKET": "acme-coinbeam",
    }
    done = subprocess.run(
        [image.python, "-m", "console", "job", *arguments],
        cwd=image.tree,
        env=own,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
