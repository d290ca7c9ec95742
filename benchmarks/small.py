"""The small profile at full size: one execution of its job, from an empty warehouse to published marts.

``python -m benchmarks.small [--coins 18000]``

An environment holds only what the image holds, and runs the very command of the image on the emulators. Memory is that of
the whole process tree, each process with all that it has in memory, and of the files that it writes, since the file system
of a container on Cloud Run is made of memory. Processor seconds are those of the container alone, without the emulators.
"""

import argparse
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryDirectory
from threading import Event, Thread

import psutil

from coinbeam.batch.tables import SNAPSHOT_FACT
from coinbeam.contracts import load_contract
from coinbeam.settings import GoogleSettings, Settings
from coinbeam.warehouse.client import Warehouse
from tests.build import batch
from tests.temporary import LocalCloud, fresh_resources, memory, temporary_cloud

COINS = 18_000
POLL_SECONDS = 0.1


@dataclass
class Peak:
    """The most memory that was seen at once, in bytes.

    Attributes:
        processes: of all processes of the tree.
        files: below the folder that they write.
        total: the most of both together.
    """

    processes: int = 0
    files: int = 0
    total: int = 0

    def look(self, processes: int, files: int) -> None:
        """Take one look."""
        self.processes, self.files = max(self.processes, processes), max(self.files, files)
        self.total = max(self.total, processes + files)


@contextmanager
def watched(process: "Popen[str]", folder: Path) -> Iterator[Peak]:
    """Watch a process and all that it starts, for as long as the block lasts."""
    peak, ended = Peak(), Event()

    def poll() -> None:
        while not ended.wait(POLL_SECONDS):
            peak.look(sum(resident(one) for one in tree(process.pid)), size_of(folder))

    thread = Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def tree(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def resident(process: psutil.Process) -> int:
    """What a process has in memory; pages that it shares with others count for each of them."""
    with suppress(psutil.NoSuchProcess):
        return int(process.memory_info().rss)
    return 0


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; those that go away meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += 0 if path.is_dir() else path.stat().st_size
    return total


def execute(job: batch.Job, *arguments: str) -> tuple[int, float, float, Peak]:
    """One execution: its exit code, seconds, seconds of a processor, and memory; the log goes to stderr."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = job.start(*arguments)
    with watched(process, job.state) as peak:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stderr.write(line)
        code = process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return code, time.monotonic() - started, processor, peak


def measure(cloud: LocalCloud, folder: Path) -> None:
    """Make the image, run its job twice, and print what it took."""
    image, state = batch.build(folder / "image"), folder / "state"
    state.mkdir()
    given = {"COINBEAM_GOOGLE__PROJECT": "acme"}
    with batch.deployed(image, cloud, state, given) as job:
        for prepared in (("job", "prepare"), ("contracts", "apply")):
            code, said = job.run(*prepared)
            assert code == 0, said
        settings = cloud.settings.model_copy(update={"google": GoogleSettings(project="acme")})
        for name in ("a day from an empty warehouse", "the same day again"):
            code, seconds, processor, peak = execute(job, "job", "due")
            mib = 2**20
            print(
                f"{name}: exit {code}, {seconds:.0f} s, {processor:.0f} s of a processor, peak {peak.total / mib:.0f} MiB "
                f"(processes {peak.processes / mib:.0f}, files {peak.files / mib:.0f})",
                flush=True,
            )
        print(f"{published(settings):,} rows of the snapshot are published")


def published(settings: Settings) -> int:
    """Rows that readers see."""
    warehouse = Warehouse(settings)
    table = warehouse.table(load_contract(SNAPSHOT_FACT))
    [row] = warehouse.rows(f"SELECT COUNT(*) AS n FROM `{table}` WHERE snapshot_date >= '2000-01-01'")
    return int(row["n"])


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--coins", type=int, default=COINS)
    given = parser.parse_args()
    with TemporaryDirectory(dir=memory()) as folder, temporary_cloud(Path(folder) / "cloud", given.coins) as running:
        measure(fresh_resources(running), Path(folder))


if __name__ == "__main__":
    main()
