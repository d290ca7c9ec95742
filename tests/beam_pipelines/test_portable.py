"""The jobs on the portable runner: a job service and two worker processes outside of it write the bytes of the direct
runner.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import psutil
import pytest

from coinbeam.settings import ROOT
from tests.beam_pipelines.job_service import WORKERS
from tests.temporary import LocalCloud, free_ports

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(200)]

AT = "2026-01-02T00:00:00Z"
JOBS: dict[str, tuple[str, ...]] = {
    "fetch_crypto_data": ("--source=simulator", "--fetch_shards=2"),
    "populate_crypto_asset_dim": ("--source=simulator", "--max_details=2"),
    "populate_date_dim": (),
}


@dataclass(frozen=True)
class Runner:
    """A portable runner that waits for jobs.

    Attributes:
        options: what leads a job to it.
        pool: starts a process for each worker.
    """

    options: tuple[str, ...]
    pool: psutil.Process


@contextmanager
def running(module: str, *arguments: str) -> Iterator[int]:
    """A server as long as the block lasts, with everything that it started."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # the pool starts a bare `python`
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], env=environment, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    try:
        yield process.pid
    finally:
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            each.kill()
        process.wait(10)


def wait_for(ports: Sequence[int]) -> None:
    """Wait until somebody listens on each port."""
    deadline = time.monotonic() + 60
    while not set(ports) <= {c.laddr.port for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN}:
        assert time.monotonic() < deadline, "the portable runner did not come up"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def runner(module_cloud: LocalCloud) -> Iterator[Runner]:
    """Job service and worker pool."""
    assert module_cloud.settings.is_local
    job_port, pool_port = free_ports(2)
    with ExitStack() as stack:
        pool = stack.enter_context(running("tests.beam_pipelines.job_service", "pool", f"--service_port={pool_port}"))
        stack.enter_context(running("tests.beam_pipelines.job_service", "jobs", f"--job_port={job_port}"))
        wait_for([job_port, pool_port])
        options = ("--runner=PortableRunner", f"--job_endpoint=localhost:{job_port}", "--environment_type=EXTERNAL")
        yield Runner((*options, f"--environment_config=localhost:{pool_port}"), psutil.Process(pool))


@contextmanager
def watched(pool: psutil.Process) -> Iterator[set[int]]:
    """The processes that a pool has at any moment of the block."""
    seen: set[int] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            seen.update(child.pid for child in pool.children())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


@pytest.mark.parametrize("job", JOBS)
def test_two_workers_write_the_bytes_of_the_direct_runner(runner: Runner, tmp_path: Path, job: str) -> None:
    run = import_module(f"beam_pipelines.{job}").run
    portable, direct = tmp_path / "portable", tmp_path / "direct"
    with watched(runner.pool) as workers:
        run([*runner.options, *JOBS[job], f"--snapshot_at={AT}", f"--output={portable}", f"--landing={tmp_path}"])
    replay = [f"--source={tmp_path}/landing/*/*/*"] if JOBS[job] else []
    run(["--runner=DirectRunner", f"--snapshot_at={AT}", f"--output={direct}", *replay])
    assert len(workers) >= WORKERS
    written = {path.name: path.read_bytes() for path in portable.glob("*.csv")}
    assert written
    assert written == {path.name: path.read_bytes() for path in direct.glob("*.csv")}
