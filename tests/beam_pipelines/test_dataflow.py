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
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_runner_api_pb2, standard_window_fns_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.cloud import dataflow_v1beta3 as api
from google.cloud import storage

from beam_pipelines import trade_windows
from coinbeam.clock import utc_now
from coinbeam.feeds.trades.message import ALLOWED_LATENESS, WINDOW
from tests.beam_pipelines import image
from tests.dataflow import Dataflow, Endpoint, Job, serve, strictly
from tests.temporary import LocalCloud

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(500)]

AT = "2026-01-02T00:00:00Z"
FIRST, LAST = (f"{utc_now() - timedelta(days):%Y-%m-%d}" for days in (60, 3))
"""Days that every plan reaches."""
PROJECT = "acme-market"
"""Pub/Sub takes no shorter one."""
IMAGE = "us-central1-docker.pkg.dev/acme-market/coinbeam/pipelines:abc1234"
ACCOUNT = "coinbeam-dataflow@acme-market.iam.gserviceaccount.com"
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

STREAM = "trade_windows"
SUBSCRIPTION = f"projects/{PROJECT}/subscriptions/trade-windows"
STREAMED = ("--source=live", f"--subscription={SUBSCRIPTION}")
GROUP_BY_KEY = common_urns.primitives.GROUP_BY_KEY.urn
PUBSUB_READ = common_urns.composites.PUBSUB_READ.urn
OTHER_READS = {common_urns.deprecated_primitives.READ.urn, common_urns.primitives.IMPULSE.urn}
"""What would be read by workers, or once."""

every_job = pytest.mark.parametrize("job", [*JOBS, STREAM])


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    """The service that jobs are submitted to."""
    with serve(Dataflow(lambda _: {}, lambda *_: [], {})) as running:
        yield running


def asking(endpoint: Endpoint, root: str, job: str) -> list[str]:
    """The options of Beam with which a job is submitted, files below a root."""
    return [
        "--runner=DataflowRunner",
        "--no_wait_until_finish",
        f"--dataflow_endpoint={endpoint.rest}",
        f"--job_name={job.replace('_', '-')}",
        f"--project={PROJECT}",
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


@pytest.fixture(scope="module")
def submitted(module_cloud: LocalCloud, endpoint: Endpoint) -> dict[str, Job]:
    """Every batch job as Beam's own runner submits it, and the stream."""
    root = module_cloud.settings.bucket_uri
    for job, options in JOBS.items():
        report = import_module(f"beam_pipelines.{job}").run(
            [*asking(endpoint, root, job), *options, f"--output={root}/dataflow/{job}", f"--landing={root}/{job}"]
        )
        assert report["state"] == "submitted"
    report = trade_windows.run([*asking(endpoint, root, STREAM), *STREAMED, f"--output={root}/dataflow/{STREAM}"])
    assert report["mode"] == "stream"
    return {job.name.replace("-", "_"): job for job in endpoint.service.jobs}


@every_job
def test_a_submitted_job_asks_for_what_it_was_told(submitted: dict[str, Job], job: str) -> None:
    asked = strictly(api.Job, submitted[job].body)
    [pool] = asked.environment.worker_pools
    assert asked.type_ is (api.JobType.JOB_TYPE_STREAMING if job == STREAM else api.JobType.JOB_TYPE_BATCH)
    assert asked.environment.service_account_email == ACCOUNT
    assert pool.ip_configuration is api.WorkerIPAddressConfiguration.WORKER_IP_PRIVATE
    assert pool.machine_type == "n1-standard-2"
    assert pool.autoscaling_settings.max_num_workers == 4
    assert dict(asked.labels) == {"app": "coinbeam"}
    assert {one.container_image for one in pool.sdk_harness_container_images} == {IMAGE}


def graph_of(job: Job) -> Any:
    """The graph that a job submitted: Dataflow reads it where the job says."""
    uri = job.body["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"]
    written = storage.Blob.from_uri(uri, storage.Client(project="local")).download_as_bytes()
    return beam_runner_api_pb2.Pipeline.FromString(written)


def test_the_stream_runs_on_the_streaming_engine(submitted: dict[str, Job]) -> None:
    experiments = set(strictly(api.Job, submitted[STREAM].body).environment.experiments)
    assert {"enable_streaming_engine", "enable_windmill_service", "use_runner_v2"} <= experiments
    options = submitted[STREAM].body["environment"]["sdkPipelineOptions"]["options"]
    assert (options["streaming"], options["enable_streaming_engine"], options["update"]) == (True, True, False)


def test_dataflow_itself_reads_the_subscription_and_takes_the_time_of_the_trades(submitted: dict[str, Job]) -> None:
    transforms = graph_of(submitted[STREAM]).components.transforms.values()
    [payload] = [one.spec.payload for one in transforms if one.spec.urn == PUBSUB_READ]
    read = beam_runner_api_pb2.PubSubReadPayload.FromString(payload)
    assert (read.subscription, read.topic) == (SUBSCRIPTION, "")
    assert (read.timestamp_attribute, read.id_attribute, read.with_attributes) == ("event_time", "", True)
    assert not [one.unique_name for one in transforms if one.spec.urn in OTHER_READS]


def test_the_submitted_windows_take_trades_for_a_day_and_keep_what_they_have(submitted: dict[str, Job]) -> None:
    components = graph_of(submitted[STREAM]).components
    [grouped] = [one for one in components.transforms.values() if one.spec.urn == GROUP_BY_KEY]
    [taken] = grouped.inputs.values()
    strategy = components.windowing_strategies[components.pcollections[taken].windowing_strategy_id]
    fixed = standard_window_fns_pb2.FixedWindowsPayload.FromString(strategy.window_fn.payload)
    assert fixed.size.ToTimedelta() == WINDOW
    assert strategy.allowed_lateness == ALLOWED_LATENESS / timedelta(milliseconds=1)
    assert strategy.accumulation_mode == beam_runner_api_pb2.AccumulationMode.ACCUMULATING


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
    graph = graph_of(job)
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
