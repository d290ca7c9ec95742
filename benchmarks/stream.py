"""Ten thousand trades a second through the local stream: ``python -m benchmarks.stream`` (six minutes and a half).

Broker and pipeline are started as `coinbeam stream up` starts them, with a local cloud of their own on free ports; the
pipeline has one core, everything else the others. The trades are made here and published as the publisher does it
(:mod:`benchmarks.stream_feed`). For every window that closes it is measured when its row is seen in
``trade_window_fact``, by asking ten times a second, and when the row says it was made; further the memory of the pipeline
and its share of the core. All trades that were published must be in the fact before a figure is shown.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from threading import Event, Thread

import psutil
from rich.console import Console

from benchmarks.columnar import Target
from benchmarks.stream_feed import WINDOW_MS, Feed, Key
from benchmarks.trade_lines import SYMBOLS
from benchmarks.trades import pinned
from coinbeam.batch.tables import TRADE_WINDOW_FACT, TRADE_WINDOW_PANE
from coinbeam.contracts.bigquery import literal
from coinbeam.errors import TransientError
from coinbeam.feeds.trades.topic import ensure_topic
from coinbeam.settings import ROOT, Settings
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from local.environment import cloud_dir, environment
from local.stream.__main__ import members
from tests.temporary import temporary_cloud

MOST_SECONDS, MOST_GROWTH, LEAST_OF_RATE = 1.0, 1.1, 0.99

_START_SECONDS = 60.0
_POLL_SECONDS = 0.1
_QUIET_SECONDS = 5.0
"""A window whose rows did not change for so long is not asked for any more."""

_END_SECONDS = 20.0
"""How long after its close a window is asked for at most."""

_MB = 1e6


@dataclass(frozen=True)
class Sample:
    """The pipeline at one moment: seconds since the begin, resident bytes, and CPU seconds so far."""

    at: float
    rss: int
    cpu: float


@dataclass
class Seen:
    """The row of a window as it was first seen, and as it was when all trades were in it.

    Attributes:
        counts: trades in the row, by the seconds after the close at which it was seen so.
        made: seconds after the close at which the first row says that it was made.
    """

    counts: dict[float, int] = field(default_factory=dict)
    made: float | None = None

    def first(self) -> float:
        """Seconds from the close to the first row."""
        return min(self.counts)

    def whole(self, trades: int) -> float | None:
        """Seconds from the close until so many trades were in the row; None when they never were."""
        return next((at for at, count in sorted(self.counts.items()) if count == trades), None)


@dataclass(frozen=True)
class Outcome:
    """What a run came to; times are seconds, by window and symbol.

    Attributes:
        published: trades a second.
        late: the most by which publishing was behind the clock.
        windows: that closed while trades were published, of all symbols.
        missing: those of them that lack trades in the end, or have too many.
        first: from the close of a window until its row was seen; ``made`` until it was made, and ``whole`` until all
            its trades were seen in it.
        memory: resident MB by minute, means.
        share: of the core, by minute.
        panes: rows of the table of panes.
    """

    published: float
    late: float
    windows: int
    missing: list[str]
    first: list[float]
    made: list[float]
    whole: list[float]
    memory: list[float]
    share: list[float]
    panes: int


def main(argv: list[str] | None = None) -> int:
    """Run, measure, print; 0 when all trades arrived, whatever the figures."""
    arguments = _arguments(argv)
    console = Console(stderr=arguments.json)
    console.print(f"{arguments.rate:,} trades a second of {len(SYMBOLS)} symbols for {arguments.seconds:g} s ...")
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(arguments.keep or Path(folder), arguments.rate, arguments.seconds, arguments.core)
    targets = judge(outcome, arguments.rate)
    if arguments.json:
        print(json.dumps({**asdict(outcome), "targets": [asdict(t) | {"met": t.met} for t in targets]}, indent=2))
    else:
        _print(console, outcome, targets)
    return 1 if outcome.missing or not outcome.windows else 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=360.0, help="how long trades are published; default: 360")
    parser.add_argument("--rate", type=int, default=10_000, help="trades a second; default: 10000")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core of the pipeline")
    parser.add_argument("--keep", type=Path, help="folder for state and logs, which is not deleted")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the figures")
    return parser.parse_args(argv)


def run(folder: Path, rate: int, seconds: float, core: int) -> Outcome:
    """Start everything, publish, and watch.

    Raises:
        RuntimeError: the pipeline did not start, or ended.
    """
    others = os.sched_getaffinity(0) - {core} or {core}
    with pinned(*others), temporary_cloud(folder.resolve(), coins=1) as cloud:
        settings = cloud.settings
        ensure_schema(Warehouse(settings))
        with pipeline(settings, core) as process:
            feed = Feed(settings, rate, seconds)
            begin = time.time()
            with sampled(process, begin) as samples:
                publishing = Thread(target=feed.run)
                publishing.start()
                seen = watch(settings, begin, seconds)
                publishing.join()
            if not process.is_running():
                raise RuntimeError(f"The pipeline ended; {_last_words(settings)}")
            return outcome_of(feed, seen, samples, _made(settings, seen))


@contextmanager
def pipeline(settings: Settings, core: int) -> Iterator[psutil.Process]:
    """Broker and pipeline as the keeper of a stream starts them; the process of the pipeline, once it reads."""
    own = os.environ | environment(settings)
    commands = {member.name: member.command for member in members(settings, ",".join(SYMBOLS), "simulator")}
    logs = cloud_dir(settings) / "logs"

    def start(name: str) -> psutil.Popen:
        with (logs / f"{name}.log").open("wb") as log:
            return psutil.Popen(commands[name], cwd=ROOT, env=own, stdout=log, stderr=subprocess.STDOUT)

    broker = start("broker")
    try:
        _wait(lambda: _answers(settings), settings)
        with pinned(core):
            windows = start("windows")
        try:
            _wait(lambda: _reads(windows, settings.local.ports.pubsub), settings)
            yield windows
        finally:
            windows.kill()
            windows.wait()
    finally:
        broker.terminate()
        broker.wait()


def _wait(is_so: Callable[[], bool], settings: Settings) -> None:
    ends = time.monotonic() + _START_SECONDS
    while not is_so():
        if time.monotonic() > ends:
            raise RuntimeError(f"The stream did not start within {_START_SECONDS:g} s; {_last_words(settings)}")
        time.sleep(_POLL_SECONDS)


def _answers(settings: Settings) -> bool:
    try:
        ensure_topic(settings)
    except TransientError:
        return False
    return True


def _reads(process: psutil.Process, port: int) -> bool:
    """Whether the job itself, not what seeks before it, is connected to the broker."""
    is_job = any("trade_windows" in word for word in process.cmdline())
    return is_job and any(one.raddr and one.raddr.port == port for one in process.net_connections("tcp"))


def _last_words(settings: Settings) -> str:
    log = cloud_dir(settings) / "logs" / "windows.log"
    return f"its last words: {log.read_text()[-500:]}" if log.exists() else "it said nothing."


@contextmanager
def sampled(process: psutil.Process, begin: float) -> Iterator[list[Sample]]:
    """Look at a process once a second while a block runs."""
    samples, stop = list[Sample](), Event()

    def look() -> None:
        while not stop.wait(1.0):
            with process.oneshot():
                times = process.cpu_times()
                samples.append(Sample(time.time() - begin, process.memory_info().rss, times.user + times.system))

    looking = Thread(target=look, daemon=True)
    looking.start()
    try:
        yield samples
    finally:
        stop.set()
        looking.join()


def watch(settings: Settings, begin: float, seconds: float) -> dict[Key, Seen]:
    """What is seen of each window that closes from the begin on for so many seconds."""
    seen: dict[Key, Seen] = {}
    warehouse, end_ms = Warehouse(settings), (begin + seconds) * 1_000
    close = _floor(begin * 1_000) + WINDOW_MS
    while close <= end_ms:
        time.sleep(max(0.0, close / 1_000 - time.time()))
        seen |= _watch_close(warehouse, close)
        close += WINDOW_MS
    time.sleep(max(0.0, begin + seconds - time.time()))
    return seen


def _floor(moment_ms: float) -> int:
    return int(moment_ms) // WINDOW_MS * WINDOW_MS


def _watch_close(warehouse: Warehouse, close: int) -> dict[Key, Seen]:
    """Ask for the rows of a window until they change no more."""
    start = datetime.fromtimestamp((close - WINDOW_MS) / 1_000, UTC)
    query = (
        f"SELECT symbol, agg_trade_count FROM {warehouse.names()[TRADE_WINDOW_FACT]} "
        f"WHERE window_date = {literal(start.date())} AND window_start = {literal(start)}"
    )
    seen, last = dict[Key, Seen](), dict[str, int]()
    changed = after = 0.0
    while after < _END_SECONDS and (len(last) < len(SYMBOLS) or after - changed < _QUIET_SECONDS):
        asked = time.time()
        found = {row["symbol"]: row["agg_trade_count"] for row in warehouse.rows(query)}
        after = time.time() - close / 1_000
        for symbol, count in found.items():
            if last.get(symbol) != count:
                seen.setdefault((symbol, close - WINDOW_MS), Seen()).counts[after] = count
                changed = after
        last = found
        time.sleep(max(0.0, asked + _POLL_SECONDS - time.time()))
    return seen


def _made(settings: Settings, seen: Mapping[Key, Seen]) -> int:
    """Fill in when the first pane of each window was made; how many panes there are."""
    warehouse = Warehouse(settings)
    rows = warehouse.rows(
        f"SELECT symbol, window_start, MIN(written_at) AS made, COUNT(*) AS panes "
        f"FROM {warehouse.names()[TRADE_WINDOW_PANE]} GROUP BY symbol, window_start"
    )
    for row in rows:
        start = row["window_start"].timestamp()
        if found := seen.get((row["symbol"], round(start * 1_000))):
            found.made = row["made"].timestamp() - start - WINDOW_MS / 1_000
    return sum(row["panes"] for row in rows)


def outcome_of(feed: Feed, seen: Mapping[Key, Seen], samples: Sequence[Sample], panes: int) -> Outcome:
    """The figures of a run; every window that closed must have the trades that were published."""
    closed = {key: trades for key, trades in feed.sent.items() if key[1] + WINDOW_MS <= feed.end_ms}
    whole = {key: seen[key].whole(trades) if key in seen else None for key, trades in closed.items()}
    minutes = range(max(1, round(feed.seconds / 60)))
    return Outcome(
        published=sum(feed.sent.values()) / feed.seconds,
        late=max(feed.lags, default=0.0),
        windows=len(closed),
        missing=sorted(f"{symbol} {start}" for (symbol, start), at in whole.items() if at is None),
        first=sorted(one.first() for one in seen.values()),
        made=sorted(one.made for one in seen.values() if one.made is not None),
        whole=sorted(at for at in whole.values() if at is not None),
        memory=[mean(one.rss for one in _of_minute(samples, minute)) / _MB for minute in minutes],
        share=[_share(_of_minute(samples, minute)) for minute in minutes],
        panes=panes,
    )


def _of_minute(samples: Sequence[Sample], minute: int) -> list[Sample]:
    return [one for one in samples if minute * 60 <= one.at < minute * 60 + 60]


def _share(samples: Sequence[Sample]) -> float:
    first, last = samples[0], samples[-1]
    return (last.cpu - first.cpu) / (last.at - first.at)


def quantile(values: Sequence[float], share: float) -> float:
    """The least of sorted values that so large a share of them does not exceed."""
    return values[max(0, -int(-share * len(values) // 1) - 1)]


def judge(outcome: Outcome, rate: int) -> list[Target]:
    """The targets of a stream; none when no window closed."""
    if not outcome.first:
        return []
    share = 1 - len(outcome.missing) / outcome.windows
    warm = outcome.memory[1:] or outcome.memory  # in its first minute a process has closed no window yet
    return [
        Target("trades published a second", outcome.published, LEAST_OF_RATE * rate, at_most=False),
        Target("share of the windows that have all their trades", share, 1.0, at_most=False),
        Target("first row after the close, p95 in s", quantile(outcome.first, 0.95), MOST_SECONDS, at_most=True),
        Target("memory, last minute over second", outcome.memory[-1] / warm[0], MOST_GROWTH, at_most=True),
    ]


def _print(console: Console, outcome: Outcome, targets: Sequence[Target]) -> None:
    said = f"{outcome.windows} windows closed, {outcome.panes} panes; publishing was at most {outcome.late:.2f} s late."
    console.print(said)
    for text, values in (("made", outcome.made), ("seen", outcome.first), ("seen whole", outcome.whole)):
        if values:
            p50, p95 = quantile(values, 0.5), quantile(values, 0.95)
            console.print(f"{text:<10} after the close: p50 {p50:.2f} s, p95 {p95:.2f} s, most {values[-1]:.2f} s")
    console.print("memory by minute, MB:    " + "  ".join(f"{each:.0f}" for each in outcome.memory))
    console.print("share of the core:       " + "  ".join(f"{each:.0%}" for each in outcome.share))
    for target in targets:
        sign = "at most" if target.at_most else "at least"
        console.print(
            f"{'met    ' if target.met else 'NOT MET'} {target.text}: {target.value:,.2f} ({sign} {target.bound:,})"
        )
    for each in outcome.missing:
        console.print(f"MISSING: trades of {each}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
