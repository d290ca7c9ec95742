"""Races and kills with a reader that looks all the time: ``python -m tests.faults.races --races 50 --kills 50``.

A race starts two runs of one instant, each in an Airflow of its own, on one warehouse. A kill ends the process tree of a
run, its Beam job or an emulator at a random moment; then the run is repeated, and its tables are held against those of
an undisturbed run. A reader looks every 10 ms at the rows of the instant. It may never see fewer rows than before, nor
rows of two versions of the market at once. One line tells of each round; the exit code is 1 if a reader saw anything
wrong or tables differ.
"""

import argparse
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import psutil

from coinbeam.clock import format_instant, utc_now
from coinbeam.settings import Settings
from coinbeam.warehouse.client import Warehouse
from local import cloud
from local.airflow import airflow_environment, migrate_database
from local.services import services
from runs.airflow import airflow_home
from tests.end_to_end.conftest import COSTS, Pipeline, Ran
from tests.end_to_end.warm import WarmAirflow
from tests.temporary import LocalCloud, fresh_resources, memory, temporary_cloud

POLL_SECONDS = 0.01
TOP = 20
"""Rows of a snapshot: enough to see some missing, few enough to be quick."""

QUICK = {
    "COINBEAM_MARKET__MAX_DETAILS": "0",
    "COINBEAM_RETRY__RETRIES": "0",
    "COINBEAM_WAREHOUSE__QUERY_TIMEOUT_SECONDS": "30",  # of a question that a killed emulator never answers
}
TOLD = COSTS | {"incident", "publish_lease"}
"""Tables that tell how runs went and what they cost, which differs where one was cut short."""

SAYS_WHY = ("PublishBlockedError", "another run of the batch", "another run audited the batch")
"""What the run says that came second."""

VICTIMS = ("tree", "job", "bigquery", "storage")


@dataclass(frozen=True)
class Seen:
    """What a reader sees: the rows of the fact, their assets, and the smallest and largest volume among them."""

    rows: int
    assets: int
    least: float | None
    most: float | None


@dataclass
class Reader:
    """Looks at the snapshot fact of a warehouse until it is told to stop.

    Attributes:
        polls: how often it got an answer.
        fewer: answers with fewer rows than the one before.
        seen: every different answer, with its number of times.
    """

    settings: Settings
    polls: int = 0
    fewer: int = 0
    seen: dict[Seen, int] = field(default_factory=dict)
    _rows: int = 0

    def look(self) -> Seen:
        """What there is now."""
        data = self.settings.warehouse.data_dataset
        [row] = Warehouse(self.settings).rows(
            "SELECT COUNT(*) AS found, COUNT(DISTINCT asset_id) AS assets, MIN(total_volume) AS least, "
            f"MAX(total_volume) AS most FROM `{data}.crypto_market_snapshot_fact` WHERE snapshot_date >= '2000-01-01'"
        )
        return Seen(row["found"], row["assets"], row["least"], row["most"])

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look all the time while the block runs; an emulator that does not answer shows nothing."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(POLL_SECONDS):
                with suppress(Exception):  # no table yet, or an emulator that was just killed
                    self._note(self.look())

        thread = threading.Thread(target=run, name="reader")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _note(self, found: Seen) -> None:
        self.polls += 1
        self.fewer += found.rows < self._rows
        self._rows = found.rows
        self.seen[found] = self.seen.get(found, 0) + 1

    def mixed(self, is_whole: Callable[[Seen], bool]) -> int:
        """Answers that are not a whole version of the market."""
        return sum(times for seen, times in self.seen.items() if not (seen.rows == seen.assets and is_whole(seen)))


@dataclass(frozen=True)
class Round:
    """What came of a round."""

    name: str
    polls: int
    fewer: int
    mixed: int
    unequal: tuple[str, ...] = ()
    words: str = ""

    @property
    def is_good(self) -> bool:
        """Whether no reader saw anything wrong and the tables are those of an undisturbed run."""
        return not (self.fewer or self.mixed or self.unequal)

    def __str__(self) -> str:
        unequal = ", ".join(self.unequal) or "none"
        return (
            f"{self.name}: {self.polls} looks, {self.fewer} with fewer rows, {self.mixed} with mixed rows, "
            f"unequal tables: {unequal}; {self.words}"
        )


def race_of_landed_pages(pair: tuple[Pipeline, Pipeline], rng: random.Random) -> Round:
    """Two reruns of an instant that is published: whatever they do, readers see the same rows throughout."""
    reader = Reader(pair[0].settings)
    before = reader.look()
    forms = ({"universe": "top", "top_n": TOP}, {"universe": "top", "top_n": TOP})
    codes = _race(pair, forms, reader, rng)
    after = reader.look()
    unequal = () if before == after else ("crypto_market_snapshot_fact",)
    return _ended("race of landed pages", reader, lambda seen: seen == before, codes, unequal)


def race_of_files(pair: tuple[Pipeline, Pipeline], rng: random.Random, folder: Path) -> Round:
    """Two runs of one instant from two files, each with one volume for all its assets: a look at two volumes is mixed."""
    reader = Reader(pair[0].settings)
    page = _page(pair[0])
    forms = []
    for _ in pair:
        path = folder / f"version-{rng.getrandbits(64):x}.json"
        volume = float(rng.randrange(1, 10**9))
        path.write_text(json.dumps([row | {"total_volume": volume} for row in page]), encoding="utf-8")
        forms.append({"source": str(path)})
    codes = _race(pair, (forms[0], forms[1]), reader, rng)
    last = reader.look()
    unequal = () if last.rows == len(page) and last.least == last.most else ("crypto_market_snapshot_fact",)
    return _ended("race of files", reader, lambda seen: seen.least == seen.most, codes, unequal)


def _race(
    pair: tuple[Pipeline, Pipeline],
    forms: tuple[Mapping[str, Any], Mapping[str, Any]],
    reader: Reader,
    rng: random.Random,
) -> list[Ran]:
    """Two runs at once, the second up to three seconds after the first."""
    delays = (0.0, rng.uniform(0, 3))

    def run(pipeline: Pipeline, form: Mapping[str, Any], delay: float) -> Ran:
        time.sleep(delay)
        return pipeline.run(variables=QUICK, **form)

    with reader.looking(), ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, pair, forms, delays))


def _ended(
    name: str, reader: Reader, is_whole: Callable[[Seen], bool], ran: list[Ran], unequal: tuple[str, ...]
) -> Round:
    """The round of a race; at least one of its runs has to publish, and one that does not has to say why."""
    codes = [one.code for one in ran]
    if 0 not in codes:
        unequal = (*unequal, "no run ended well")
    unequal += tuple(
        f"a run failed otherwise: {_why(one)}"
        for one in ran
        if one.code and not any(words in one.log for words in SAYS_WHY)
    )
    whole = reader.mixed(lambda seen: seen.rows == 0 or is_whole(seen))
    return Round(name, reader.polls, reader.fewer, whole, unequal, f"exit codes {codes}")


def _why(ran: Ran) -> str:
    """The errors in the log of a run, the last ones."""
    return " | ".join([line.strip()[:300] for line in ran.log.splitlines() if "Error" in line][-6:])


def _page(pipeline: Pipeline) -> list[dict[str, Any]]:
    """The priced rows of a page of the simulated market."""
    url = f"http://127.0.0.1:{pipeline.settings.local.ports.simulator}/api/v3/coins/markets"
    with urlopen(f"{url}?vs_currency=usd&order=market_cap_desc&per_page={TOP}&page=1", timeout=10) as answer:
        return [row for row in json.load(answer) if row["current_price"]]


def kill(pipeline: Pipeline, victim: str, seconds: float, expected: Mapping[str, list[str]]) -> Round:
    """Kill something during a run, repeat the run, and hold the tables against those of an undisturbed run."""
    reader, form = Reader(pipeline.settings), {"universe": "top", "top_n": TOP}
    with reader.looking():
        if victim == "tree":
            pipeline.kill(seconds, "crypto_etl_dag", QUICK, **_form(pipeline, form))
        else:
            with ThreadPoolExecutor(1) as pool:
                running = pool.submit(pipeline.run, QUICK, **form)
                hit = _kill_later(pipeline, victim, seconds, running.done)
                if victim in {"bigquery", "storage"}:
                    _bring_back(pipeline)  # while the run goes on: it waits for its services, but not for ever
                running.result()
        again = pipeline.run(QUICK, **form)
    found = pipeline.tables() if again.code == 0 else {}
    unequal = tuple(name for name in expected.keys() - TOLD if found.get(name) != expected[name])
    last = reader.look()
    mixed = reader.mixed(lambda seen: seen.rows == 0 or seen == last)
    words = f"after {seconds:.1f} s" + ("" if victim == "tree" or hit else ", the run had ended")
    return Round(f"kill of {victim}", reader.polls, reader.fewer, mixed, unequal, words)


def _form(pipeline: Pipeline, form: Mapping[str, Any]) -> dict[str, Any]:
    from tests.end_to_end.conftest import FORM

    return FORM | {"snapshot_at": pipeline.today} | dict(form)


def _kill_later(pipeline: Pipeline, victim: str, seconds: float, is_done: Callable[[], bool]) -> bool:
    """Wait, then kill a job as soon as one runs, or an emulator; whether the run still ran."""
    time.sleep(seconds)
    while not is_done():
        found = _jobs() if victim == "job" else _emulator(pipeline, victim)
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if found:
            return True
        time.sleep(POLL_SECONDS)
    return False


def _jobs() -> list[psutil.Process]:
    """Beam jobs that this process has started, through whatever lies between."""
    return [child for child in psutil.Process().children(recursive=True) if "beam_pipelines" in _command_line(child)]


def _emulator(pipeline: Pipeline, name: str) -> list[psutil.Process]:
    wanted = {str(port) for one in services(pipeline.settings) if one.name == name for port in one.ports.values()}
    module = f"local.emulators.{name}"
    return [
        process
        for process in psutil.process_iter()
        if module in (words := _command_line(process).split()) and wanted.intersection(words)
    ]


def _command_line(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _bring_back(pipeline: Pipeline) -> None:
    """Start the emulators again, as a person would, with the market at the instant at which it stood."""
    cloud.up(pipeline.settings, lambda _: None)
    pipeline.freeze(pipeline.today)
    pipeline.faults(profile="none")


def second_airflow(first: Settings, folder: Path) -> Settings:
    """The same cloud with another Airflow, whose database is a copy of the first one's."""
    local = first.local.model_copy(update={"state_dir": folder})
    second = first.model_copy(update={"local": local})
    copytree(airflow_home(first), airflow_home(second), ignore=ignore_patterns("*.cfg", "logs"))
    return second


def fresh(pipeline: Pipeline, folder: Path) -> Pipeline:
    """The same Airflow on an empty bucket and empty datasets, with the calendar filled."""
    folder.mkdir(parents=True)
    found = replace(pipeline, settings=fresh_resources(LocalCloud(pipeline.settings, {})).settings, folder=folder)
    found.fill_calendar()
    return found


def companion(first: Pipeline, second: Settings, airflow: WarmAirflow, folder: Path) -> Pipeline:
    """The second run's pipeline, on the warehouse of the first one's."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = first.settings.model_copy(update={"local": second.local})
    return Pipeline(settings, folder, airflow)


def run_races(first: Pipeline, second: Settings, other: WarmAirflow, count: int, rng: random.Random) -> Iterator[Round]:
    """Races, half of them of landed pages and half of files."""
    landed = fresh(first, first.folder / "landed")
    files = fresh(first, first.folder / "files")
    pairs = [(one, companion(one, second, other, one.folder / "other")) for one in (landed, files)]
    prepared = landed.run(variables=QUICK, universe="top", top_n=TOP)
    assert prepared.code == 0, prepared.log[-4000:]
    for number in range(count):
        if number % 2:
            yield race_of_files(pairs[1], rng, files.folder)
        else:
            yield race_of_landed_pages(pairs[0], rng)


def run_kills(
    base: Pipeline, count: int, rng: random.Random, victims: tuple[str, ...] = VICTIMS, longest: float = 8.0
) -> Iterator[Round]:
    """Kills, one victim after the other, each on a warehouse of its own."""
    base.freeze(base.today)
    undisturbed = fresh(base, base.folder / "undisturbed")
    ran = undisturbed.run(QUICK, universe="top", top_n=TOP)
    assert ran.code == 0, ran.log[-4000:]
    expected = undisturbed.tables()
    for number in range(count):
        own = fresh(base, base.folder / f"kill-{number}")
        yield kill(own, victims[number % len(victims)], rng.uniform(0.5, longest), expected)


@contextmanager
def airflows(base: LocalCloud, folder: Path) -> Iterator[tuple[Pipeline, Settings, WarmAirflow]]:
    """Two loaded Airflows on one cloud."""
    migrate_database(base.settings)
    second = second_airflow(base.settings, folder / "second")
    with ExitStack() as stack:
        loaded = []
        for number, settings in enumerate((base.settings, second)):
            airflow = WarmAirflow(airflow_environment(settings), folder / f"warm-{number}.log")
            stack.callback(airflow.close)
            loaded.append(airflow)
        yield Pipeline(base.settings, folder, loaded[0]), second, loaded[1]


def main(argv: list[str] | None = None) -> int:
    """Run races and kills, and tell of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--races", type=int, default=50)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None, help="repeats the random moments of an earlier call")
    given = parser.parse_args(argv)
    seed = random.randrange(2**32) if given.seed is None else given.seed
    print(f"seed {seed}, {format_instant(utc_now())}", flush=True)
    rng, rounds = random.Random(seed), list[Round]()
    with (
        TemporaryDirectory(prefix="coinbeam-races-", dir=memory(), ignore_cleanup_errors=True) as name,
        temporary_cloud(Path(name) / "cloud") as running,
        airflows(running, Path(name)) as (first, second, other),
    ):
        first.freeze(first.today)
        first.faults(profile="none")
        for one in run_races(first, second, other, given.races, rng) if given.races else ():
            rounds.append(one)
            print(len(rounds), one, flush=True)
        for one in run_kills(first, given.kills, rng) if given.kills else ():
            rounds.append(one)
            print(len(rounds), one, flush=True)
    print(summary(rounds))
    return 0 if all(one.is_good for one in rounds) else 1


def summary(rounds: list[Round]) -> str:
    """All rounds in one line."""
    return (
        f"{len(rounds)} rounds, {sum(one.polls for one in rounds)} looks: {sum(one.fewer for one in rounds)} with fewer "
        f"rows, {sum(one.mixed for one in rounds)} with mixed rows; {sum(bool(one.unequal) for one in rounds)} rounds "
        "with unequal tables"
    )


if __name__ == "__main__":
    sys.exit(main())
