"""The jobs on Dataflow: what is submitted, parsed strictly; and the submitted graph, run by an environment that holds only what the image holds."""

import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.cloud import dataflow_v1beta3 as api
from google.cloud import storage

from coinbeam.settings import load_settings
from local.temporary import LocalCloud, fresh_resources
from tests.beam_pipelines import image
from tests.dataflow import Dataflow, Endpoint, Job, serve, strictly

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(500)]

AT = "2026-01-02T00:00:00Z"
IMAGE = "us-central1-docker.pkg.dev/acme/coinbeam/pipelines:abc1234"
ACCOUNT = "coinbeam-dataflow@acme.iam.gserviceaccount.com"
JOBS: dict[str, tuple[str, ...]] = {
    "fetch_crypto_data": ("--source=simulator", f"--snapshot_at={AT}"),
    "populate_crypto_asset_dim": ("--source=simulator", f"--snapshot_at={AT}", "--max_details=2"),
    "populate_date_dim": (f"--snapshot_at={AT}",),
    "fetch_market_history": ("--source=simulator", "--assets=bitcoin,tether", "--from_date=2025-11-01", "--to_date=2025-12-31"),
    "fetch_fear_greed": ("--source=simulator", f"--snapshot_at={AT}"),
}
every_job = pytest.mark.parametrize("job", JOBS)


@pytest.fixture(scope="module")
def cloud(local_cloud: LocalCloud) -> Iterator[LocalCloud]:
    """A bucket for this module, and the environment that leads to it."""
    fresh = fresh_resources(local_cloud)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in fresh.env.items():
            patch.setenv(name, value)
        load_settings.cache_clear()
        yield fresh
    load_settings.cache_clear()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    """The service that jobs are submitted to."""
    with serve(Dataflow(lambda _: {}, lambda *_: [], {})) as running:
        yield running


@pytest.fixture(scope="module")
def submitted(cloud: LocalCloud, endpoint: Endpoint) -> dict[str, Job]:
    """Every job as Beam's own runner submits it."""
    root = cloud.settings.bucket_uri
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
        report = import_module(f"beam_pipelines.{job}").run([*argv, *options, f"--output={root}/dataflow/{job}", f"--landing={root}/{job}"])
        assert report["state"] == "submitted"
    return {job.name.replace("-", "_"): job for job in endpoint.service.jobs}


@every_job
def test_a_submitted_job_asks_for_what_it_was_told(submitted: dict[str, Job], job: str) -> None:
    asked = strictly(api.Job, submitted[job].body)
    [pool] = [pool for pool in asked.environment.worker_pools if pool.kind == "harness"]
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
def run_graph(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Job, image.Image], None]:
    """Runs a submitted graph with workers of an image."""
    client = storage.Client(project="local")

    def run(job: Job, built: image.Image) -> None:
        options = job.body["environment"]["sdkPipelineOptions"]["options"]
        graph = beam_runner_api_pb2.Pipeline.FromString(storage.Blob.from_uri(options["pipelineUrl"], client).download_as_bytes())
        command = built.command("-m", "apache_beam.runners.worker.sdk_worker_main")
        for environment in graph.components.environments.values():
            environment.urn, environment.payload = python_urns.SUBPROCESS_SDK, command.encode()
            del environment.dependencies[:]
        FnApiRunner().run_via_runner_api(graph, import_options(job)).wait_until_finish()

    return run


def import_options(job: Job) -> Any:
    """Options of a local run of a submitted graph: none of Dataflow's."""
    from apache_beam.options.pipeline_options import PipelineOptions

    return PipelineOptions([])


@pytest.fixture(scope="module")
def built(cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> image.Image:
    """The image, for a local environment instead of production."""
    made = image.build(tmp_path_factory.mktemp("image"))
    return image.Image(made.python, made.tree, made.variables | {"COINBEAM_ENV": "local"})


@every_job
def test_the_submitted_graph_writes_the_bytes_of_the_direct_runner(
    submitted: dict[str, Job], run_graph: Any, built: image.Image, cloud: LocalCloud, job: str
) -> None:
    root = cloud.settings.bucket_uri
    run_graph(submitted[job], built)
    argv = ["--runner=DirectRunner", f"--output={root}/direct/{job}", f"--snapshot_at={AT}"]
    replay = [] if job == "populate_date_dim" else [f"--source={root}/{job}/landing/*/*/*"]
    import_module(f"beam_pipelines.{job}").run([*argv, *replay])
    dataflow, direct = (files(cloud, f"{runner}/{job}/") for runner in ("dataflow", "direct"))
    assert dataflow
    assert dataflow == direct


def files(cloud: LocalCloud, prefix: str) -> dict[str, bytes]:
    """The CSV files below a prefix of the bucket."""
    bucket = storage.Client(project="local").bucket(cloud.settings.storage.bucket)
    blobs = [blob for blob in bucket.client.list_blobs(bucket, prefix=prefix) if blob.name.endswith(".csv")]
    return {blob.name.removeprefix(prefix): blob.download_as_bytes(raw_download=True) for blob in blobs}
