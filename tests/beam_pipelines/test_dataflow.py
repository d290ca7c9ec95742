"""The jobs on Dataflow: what is submitted, parsed strictly; and the submitted graph, run by workers that hold only what
the image holds.
"""

import base64
import bz2
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
def submitted(module_cloud: LocalCloud, endpoint: Endpoint, built: image.Image) -> dict[str, Job]:
    """Every batch job and the stream, as the launcher of their Flex Template submits them: from the file of the job, in
    an environment that holds only what the image holds.
    """
    root = module_cloud.settings.bucket_uri
    with ThreadPoolExecutor(2) as launchers:
        ended = launchers.map(lambda job: submit(job, endpoint, root, built), [*JOBS, STREAM])
        assert dict(zip([*JOBS, STREAM], ended, strict=True)) == dict.fromkeys([*JOBS, STREAM], "")
    return {job.name.replace("-", "_"): job for job in endpoint.service.jobs}


def submit(job: str, endpoint: Endpoint, root: str, launcher: image.Image, name: str = "") -> str:
    """Run the file of a job as the launcher does; what it said, where it failed.

    Args:
        root: where its files go.
        launcher: the image.
        name: of the job on Dataflow; that of the job when left out.
    """
    options = STREAMED if job == STREAM else (*JOBS[job], f"--landing={root}/{job}")
    command = launcher.command(
        f"{launcher.tree}/beam_pipelines/{job}.py",
        *asking(endpoint, root, name or job),
        *options,
        f"--output={root}/dataflow/{job}",
    )
    ended = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=200, check=False)
    return ended.stderr if ended.returncode else ""


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


def pickled(graph: Any) -> dict[str, bytes]:
    """What the graph holds of Python, by the step: Beam writes it compressed, in base64."""
    found = {}
    for step in graph.components.transforms.values():
        if step.spec.urn == common_urns.primitives.PAR_DO.urn:
            function = beam_runner_api_pb2.ParDoPayload.FromString(step.spec.payload).do_fn
            if function.urn == python_urns.PICKLED_DOFN_INFO:
                found[step.unique_name] = bz2.decompress(base64.b64decode(function.payload))
    return found


@every_job
def test_nothing_that_a_worker_runs_lives_in_the_file_of_a_job(submitted: dict[str, Job], job: str) -> None:
    """The launcher runs that file as ``__main__``, which on a worker is another program."""
    steps = pickled(graph_of(submitted[job]))
    assert any(b"beam_pipelines." in step for step in steps.values())
    assert [name for name, step in steps.items() if b"__main__" in step] == []


PLANTS = {
    "the class of an element": (
        "from beam_pipelines.landing.folder import FetchStats\n\n\nclass Planted(FetchStats):\n    pass\n",
        "Given([dates])",
        "Given([dates], Planted())",
    ),
    "a function of a step": (
        "def planted(dates, contract, uri):\n    return write_dates(dates, contract, uri)\n",
        "beam.Map(write_dates,",
        "beam.Map(planted,",
    ),
}
"""What is written into the file of a job, and what it replaces there."""


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_what_is_planted_in_the_file_of_a_job_is_found_in_its_graph(
    endpoint: Endpoint, module_cloud: LocalCloud, built: image.Image, tmp_path: Path, plant: tuple[str, str, str]
) -> None:
    planted, old, new = plant
    spoilt = copied(built, tmp_path)
    path = spoilt.tree / "beam_pipelines" / "populate_date_dim.py"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new).replace("def run(", f"{planted}\n\ndef run("), encoding="utf-8")
    assert (
        submit(
            "populate_date_dim",
            endpoint,
            module_cloud.settings.bucket_uri,
            spoilt,
            name=f"planted-{len(endpoint.service.jobs)}",
        )
        == ""
    )
    steps = pickled(graph_of(endpoint.service.jobs[-1]))
    assert [name for name, step in steps.items() if b"__main__" in step]


def copied(made: image.Image, folder: Path, *left_out: str) -> image.Image:
    """The image with a tree of its own, without some of its modules."""
    shutil.copytree(made.tree, folder / "app", ignore=shutil.ignore_patterns(*left_out, "__pycache__"))
    variables = {name: value.replace(str(made.tree), str(folder / "app")) for name, value in made.variables.items()}
    return image.Image(made.python, folder / "app", variables)


KEY = "CG-sentinelSENTINEL1234567890"
SPOKEN = f"""
    import logging, os, sys
    key = os.environ["COINGECKO_API_KEY"]
    assert key == "{KEY}"
    print("said", key)
    logging.warning("logged %s", key)
    sys.stdout.write(key[:9])
    sys.stdout.flush()
    sys.stdout.write(key[9:])
    sys.stdout.buffer.write(key.encode())
    sys.stdout.flush()
    raise ValueError(f"raised {{key}}")
"""


def test_a_worker_shows_nothing_of_the_key_whatever_it_does_with_it(
    submitted: dict[str, Job], built: image.Image, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The worker is a process of the image, and ends with an error that Dataflow would show."""
    spoilt = copied(built, tmp_path)
    path = spoilt.tree / "beam_pipelines" / "calendar" / "write.py"
    text = path.read_text(encoding="utf-8")
    head, docstring, rest = text.partition('ISO 8601."""\n')
    assert docstring
    path.write_text(head + docstring + SPOKEN + rest, encoding="utf-8")
    workers = image.Image(spoilt.python, spoilt.tree, spoilt.variables | {"COINGECKO_API_KEY": KEY})
    with pytest.raises(Exception, match=r"raised \*\*\*") as raised:
        run_graph(submitted["populate_date_dim"], workers)
    shown = "".join([*capfd.readouterr(), str(raised.value)])
    assert "said ***" in shown
    assert KEY[3:12] not in shown


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
    for job in JOBS:
        run_graph(submitted[job], built)
        replay = [] if job == "populate_date_dim" else [f"--source={root}/{job}/{LANDED.get(job, 'landing/*/*/*')}"]
        argv = ["--runner=DirectRunner", f"--output={root}/direct/{job}", f"--snapshot_at={AT}", *replay]
        import_module(f"beam_pipelines.{job}").run(argv)
        found[job] = (files(module_cloud, f"dataflow/{job}/"), files(module_cloud, f"direct/{job}/"))
    return found


@pytest.mark.parametrize("job", JOBS)
def test_the_submitted_graph_writes_the_bytes_of_the_direct_runner(direct: Any, job: str) -> None:
    dataflow, replayed = direct[job]
    assert dataflow
    assert dataflow == replayed


def test_a_package_that_the_image_lacks_is_found_out(
    submitted: dict[str, Job], built: image.Image, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match=r"No module named 'beam_pipelines.calendar'"):
        run_graph(submitted["populate_date_dim"], copied(built, tmp_path, "calendar"))


def files(cloud: LocalCloud, prefix: str) -> dict[str, bytes]:
    """The CSV files below a prefix of the bucket."""
    bucket = storage.Client(project="local").bucket(cloud.settings.storage.bucket)
    blobs = [blob for blob in bucket.client.list_blobs(bucket, prefix=prefix) if blob.name.endswith(".csv")]
    return {blob.name.removeprefix(prefix): blob.download_as_bytes(raw_download=True) for blob in blobs}
