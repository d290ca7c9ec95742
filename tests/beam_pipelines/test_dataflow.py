"""The jobs on Dataflow: what is submitted, parsed strictly; and the submitted graph, run by workers that hold only what
the image holds.
"""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.cloud import dataflow_v1beta3 as api
from google.cloud import storage

from coinbeam.clock import utc_now
from tests.beam_pipelines import image
from tests.dataflow import Dataflow, Endpoint, Job, serve, strictly
from tests.temporary import LocalCloud

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(500)]

AT = "2026-01-02T00:00:00Z"
FIRST, LAST = (f"{utc_now() - timedelta(days):%Y-%m-%d}" for days in (60, 3))
"""Days that every plan reaches."""
IMAGE = "us-central1-docker.pkg.dev/acme/coinbeam/pipelines:abc1234"
ACCOUNT = "coinbeam-dataflow@acme.iam.gserviceaccount.com"
JOBS: dict[str, tuple[str, ...]] = {
    "fetch_crypto_data": ("--source=simulator", f"--snapshot_at={AT}"),
    "populate_crypto_asset_dim": ("--source=simulator", f"--snapshot_at={AT}", "--max_details=2"),
    "populate_date_dim": (f"--snapshot_at={AT}",),
    "fetch_market_history": (
        "--source=simulator",
        "--assets=bitcoin,tether",
        f"--from_date={FIRST}",
        f"--to_date={LAST}",
    ),
    "fetch_fear_greed": ("--source=simulator", f"--snapshot_at={AT}"),
}
EXECUTED = ("fetch_crypto_data", "populate_crypto_asset_dim", "populate_date_dim", "fetch_market_history")
"""Jobs whose graph is also run; that of the index has the steps of the history's."""

LANDED = {"fetch_market_history": "landing/*/*/*/*"}
"""What a job landed, where that lies deeper than one folder for each batch."""

every_job = pytest.mark.parametrize("job", JOBS)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    """The service that jobs are submitted to."""
    with serve(Dataflow(lambda _: {}, lambda *_: [], {})) as running:
        yield running


@pytest.fixture(scope="module")
def submitted(module_cloud: LocalCloud, endpoint: Endpoint) -> dict[str, Job]:
    """Every job as Beam's own runner submits it."""
    root = module_cloud.settings.bucket_uri
    for job, options in JOBS.items():
        argv = [
            "--runner=DataflowRunner",
            "--no_wait_until_finish",
            f"--dataflow_endpoint={endpoint.rest}",
            f"--job_name={job.replace('_', '-')}",
            "--project=acme",
            "--region=us-central1",
            f"--temp_location={root}/temp",
            f"--staging_location={root}/staging",
            f"--service_account_email={ACCOUNT}",
            "--no_use_public_ips",
            "--machine_type=n1-standard-2",
            "--max_num_workers=4",
            "--labels=app=coinbeam",
            "--sdk_location=container",
            f"--sdk_container_image={IMAGE}",
        ]
        report = import_module(f"beam_pipelines.{job}").run(
            [*argv, *options, f"--output={root}/dataflow/{job}", f"--landing={root}/{job}"]
        )
        assert report["state"] == "submitted"
    return {job.name.replace("-", "_"): job for job in endpoint.service.jobs}


@every_job
def test_a_submitted_job_asks_for_what_it_was_told(submitted: dict[str, Job], job: str) -> None:
    asked = strictly(api.Job, submitted[job].body)
    [pool] = asked.environment.worker_pools
    assert asked.type_ is api.JobType.JOB_TYPE_BATCH
    assert asked.environment.service_account_email == ACCOUNT
    assert pool.ip_configuration is api.WorkerIPAddressConfiguration.WORKER_IP_PRIVATE
    assert pool.machine_type == "n1-standard-2"
    assert pool.autoscaling_settings.max_num_workers == 4
    assert dict(asked.labels) == {"app": "coinbeam"}
    assert {one.container_image for one in pool.sdk_harness_container_images} == {IMAGE}


@pytest.mark.parametrize("wrong", [{"service_acount": "x"}, {"type": "JOB_TYPE_SOMETIMES"}, {"labels": ["x"]}], ids=str)
def test_a_job_of_another_form_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="Invalid JSON payload"):
        strictly(api.Job, {"name": "x"} | wrong)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> image.Image:
    """The image, for a local environment instead of production."""
    made = image.build(tmp_path_factory.mktemp("image"))
    return image.Image(made.python, made.tree, made.variables | {"COINBEAM_ENV": "local"})


def run_graph(job: Job, workers: image.Image) -> None:
    """Run a submitted graph as Dataflow would: from its bytes alone, with workers of the image."""
    uri = job.body["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
    graph = beam_runner_api_pb2.Pipeline.FromString(
        storage.Blob.from_uri(uri, storage.Client(project="local")).download_as_bytes()
    )
    command = workers.command("-m", "apache_beam.runners.worker.sdk_worker_main")
    for environment in graph.components.environments.values():
        environment.urn, environment.payload = python_urns.SUBPROCESS_SDK, command.encode()
        del environment.dependencies[:]
    FnApiRunner().run_via_runner_api(graph, PipelineOptions([])).wait_until_finish()


@pytest.fixture(scope="module")
def direct(
    submitted: dict[str, Job], built: image.Image, module_cloud: LocalCloud
) -> dict[str, tuple[dict[str, bytes], dict[str, bytes]]]:
    """For each job the CSV files of its submitted graph, and those of the direct runner over what that landed."""
    root, found = module_cloud.settings.bucket_uri, {}
    for job in EXECUTED:
        run_graph(submitted[job], built)
        replay = [] if job == "populate_date_dim" else [f"--source={root}/{job}/{LANDED.get(job, 'landing/*/*/*')}"]
        argv = ["--runner=DirectRunner", f"--output={root}/direct/{job}", f"--snapshot_at={AT}", *replay]
        import_module(f"beam_pipelines.{job}").run(argv)
        found[job] = (files(module_cloud, f"dataflow/{job}/"), files(module_cloud, f"direct/{job}/"))
    return found


@pytest.mark.parametrize("job", EXECUTED)
def test_the_submitted_graph_writes_the_bytes_of_the_direct_runner(direct: Any, job: str) -> None:
    dataflow, replayed = direct[job]
    assert dataflow
    assert dataflow == replayed


def test_a_package_that_the_image_lacks_is_found_out(
    submitted: dict[str, Job], built: image.Image, tmp_path: Path
) -> None:
    shutil.copytree(built.tree, tmp_path / "app", ignore=shutil.ignore_patterns("calendar"))
    variables = {name: value.replace(str(built.tree), str(tmp_path / "app")) for name, value in built.variables.items()}
    with pytest.raises(Exception, match=r"No module named 'beam_pipelines.calendar'"):
        run_graph(submitted["populate_date_dim"], image.Image(built.python, tmp_path / "app", variables))


def files(cloud: LocalCloud, prefix: str) -> dict[str, bytes]:
    """The CSV files below a prefix of the bucket."""
    bucket = storage.Client(project="local").bucket(cloud.settings.storage.bucket)
    blobs = [blob for blob in bucket.client.list_blobs(bucket, prefix=prefix) if blob.name.endswith(".csv")]
    return {blob.name.removeprefix(prefix): blob.download_as_bytes(raw_download=True) for blob in blobs}
