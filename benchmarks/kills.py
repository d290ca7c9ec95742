"""A stream whose processes are killed at random, held to the truth: ``python -m benchmarks.kills --windows 15 --kills 20``.

The stream is that of `coinbeam stream up`, on free ports, with the simulated venue, which loses, doubles and delays
trades on the way. While it runs, pipeline, broker, publisher and warehouse get SIGKILL, in an order and at moments that
follow from the seed; the local cloud, which ends with its warehouse, is started again as a user would.

At the end every window between the first and the last whole minute is computed from the simulator's tape in integers,
and compared with ``trade_window_fact`` bit for bit. Then the bounded job reads what was landed, and its rows are
compared with those of the stream, row for row. Both must be equal; a window that is marked as incomplete says so, and
is counted.
"""

import argparse
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import requests
from rich.console import Console
from rich.table import Table

from coinbeam.batch.tables import REJECTS, TRADE_WINDOW_FACT, TRADE_WINDOW_PANE
from coinbeam.clock import parse_instant, utc_now
from coinbeam.contracts import load_contract
from coinbeam.feeds.trades.message import WINDOW
from coinbeam.feeds.trades.settle import NOT_COMPARED
from coinbeam.settings import ROOT, Settings
from coinbeam.warehouse.client import Warehouse
from local import cloud
from local.environment import cloud_dir, environment
from local.simulator.binance.listing import UNIT
from local.simulator.binance.truth import Truth
from local.stream import control
from tests.temporary import temporary_settings

log = logging.getLogger(__name__)

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT")

FAULTS = {"drop": 0.01, "run": 3, "duplicate": 0.02, "reorder": 0.02}
"""What the websocket does to trades; REST knows all."""

VICTIMS = ("windows", "broker", "publisher", "warehouse")

WARM_SECONDS, QUIET_SECONDS = 20.0, 100.0
"""No kill in the first seconds, nor after the last whole window, so that what can be repaired is."""

FIND_SECONDS = 30.0
"""How long a victim of an earlier kill may need to be there again."""


@dataclass(frozen=True)
class Kill:
    """Who was killed, and when."""

    victim: str
    at: datetime


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        windows: whole windows of all symbols.
        equal: those whose row is the truth, bit for bit.
        marked: those that say themselves that trades are missing.
        wrong: those that are complete by their own words and differ, or have no row although there were trades.
        cold: the windows in which symbols were first seen, and whether they are marked.
        again: rows that the bounded job computes from landed trades, by whether they equal the stream's.
    """

    kills: tuple[Kill, ...]
    windows: int
    equal: int
    marked: int
    wrong: tuple[str, ...]
    cold: Mapping[str, bool]
    again: Mapping[str, int]
    panes: int
    rejects: int

    @property
    def is_right(self) -> bool:
        """Whether nothing was lost without a mark, or counted twice."""
        return not self.wrong and all(self.cold.values()) and set(self.again) == {"equal"}


def expected(found: Truth) -> dict[str, Any]:
    """The columns of a complete window, from exact integers."""
    return {
        "open_price": found.open / UNIT,
        "high_price": found.high / UNIT,
        "low_price": found.low / UNIT,
        "close_price": found.close / UNIT,
        "average_price": found.price_sum / (found.count * UNIT),
        "volume_weighted_average_price": found.quote_sum / (found.quantity_sum * UNIT),
        "base_volume": found.quantity_sum / UNIT,
        "quote_volume": found.quote_sum / UNIT**2,
        "taker_buy_base_volume": found.taker_buy_quantity_sum / UNIT,
        "taker_buy_quote_volume": found.taker_buy_quote_sum / UNIT**2,
        "agg_trade_count": found.count,
        "trade_count": found.trade_count,
        "first_agg_trade_id": found.first_id,
        "last_agg_trade_id": found.last_id,
        "first_trade_at": _instant(found.first_ms),
        "last_trade_at": _instant(found.last_ms),
        "missing_trade_count": 0,
        "is_complete": True,
    }


def _instant(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


class Run:
    """One stream on one machine, and what is done to it."""

    def __init__(self, settings: Settings, symbols: Sequence[str] = SYMBOLS) -> None:
        self.settings = settings
        self.symbols = symbols
        self.environment = os.environ | environment(settings)
        self.venue = f"http://127.0.0.1:{settings.local.ports.simulator}/_control/binance"

    @contextmanager
    def stream(self) -> Iterator[None]:
        """The stream, as the command starts and stops it."""
        self._command("stream", "up", f"--symbols={','.join(self.symbols)}", "--source=simulator")
        try:
            self.order_faults()
            yield
        finally:
            self._command("stream", "down")

    def order_faults(self) -> None:
        """Have the websocket lose, double and delay trades."""
        requests.post(f"{self.venue}/faults", json=FAULTS, timeout=10).raise_for_status()

    def kill(self, victim: str) -> Kill:
        """Kill a process that runs, and start the local cloud again where it was the warehouse."""
        process = self._find(victim)
        process.send_signal(signal.SIGKILL)
        killed = Kill(victim, utc_now())
        if victim == "warehouse":
            psutil.wait_procs([process], timeout=10)
            self._revive()
        return killed

    def truth(self, symbol: str, start: datetime) -> Truth | None:
        """The figures of a window, from the venue's tape."""
        begin = int(start.timestamp() * 1_000)
        asked: dict[str, str | int] = {"symbol": symbol, "from_ms": begin, "to_ms": begin + 60_000}
        answer = requests.get(f"{self.venue}/truth", params=asked, timeout=60)
        answer.raise_for_status()
        found = answer.json()
        return Truth(**found) if found else None

    def batch(self, output: Path) -> list[dict[str, Any]]:
        """The rows that the bounded job computes from all that was landed."""
        landed = f"gs://{self.settings.storage.bucket}/landing/trades/*/*/*/*"
        job = [sys.executable, "-m", "beam_pipelines.trade_windows", "--runner=DirectRunner", "--venue=simulator"]
        where = [f"--source={landed}", f"--output={output}"]
        subprocess.run([*job, *where], cwd=ROOT, env=self.environment, check=True, timeout=600)
        files = sorted(output.glob("trade_windows_*.ndjson"))
        return [json.loads(line) for path in files for line in path.read_text().splitlines()]

    def _find(self, victim: str) -> psutil.Process:
        ends = time.monotonic() + FIND_SECONDS
        while time.monotonic() < ends:
            for process in psutil.process_iter(["cmdline"]):
                if self._is(victim, process.info["cmdline"] or []):
                    return process
            time.sleep(0.2)
        raise RuntimeError(f"{victim} did not come back within {FIND_SECONDS:g} s")

    def _is(self, victim: str, command: list[str]) -> bool:
        ports = self.settings.local.ports
        mine = str(cloud_dir(self.settings))
        if victim == "warehouse":
            return "local.emulators.bigquery" in command and str(ports.bigquery) in command
        if victim == "broker":
            return "local.pubsub" in command and str(ports.pubsub) in command
        if victim == "windows":
            return any(mine in word for word in command) and any("trade_windows" in word for word in command)
        record = control.running(self.settings) or {"members": {}}
        found = record["members"].get("publisher", {}).get("pid")
        return "publish" in command and found is not None and psutil.Process(found).cmdline() == command

    def _revive(self) -> None:
        ends = time.monotonic() + FIND_SECONDS
        while any(one.condition != "down" for one in cloud.status(self.settings)) and time.monotonic() < ends:
            time.sleep(0.2)
        cloud.up(self.settings, log.info)
        self.order_faults()

    def _command(self, *words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "console", *words], cwd=ROOT, env=self.environment, check=True, timeout=180
        )


def play(run: Run, windows: int, kills: int, seed: int) -> tuple[list[Kill], datetime, datetime]:
    """Run the stream over so many whole windows, and kill; the kills, and the begins of the first and last window."""
    chance = random.Random(seed)
    with run.stream():
        begin = utc_now()
        first = _minute(begin) + WINDOW
        last = first + (windows - 1) * WINDOW
        span = (last + WINDOW - begin).total_seconds()
        victims = [VICTIMS[number % len(VICTIMS)] for number in range(kills)]
        chance.shuffle(victims)
        moments = sorted(chance.uniform(WARM_SECONDS, span) for _ in victims)
        done = []
        for moment, victim in zip(moments, victims, strict=True):
            time.sleep(max(0.0, (begin - utc_now()).total_seconds() + moment))
            done.append(run.kill(victim))
            log.info("%s killed, %d of %d", victim, len(done), kills)
        time.sleep(max(0.0, (last + WINDOW - utc_now()).total_seconds()) + QUIET_SECONDS)
    return done, first, last


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def judge(run: Run, kills: Iterable[Kill], first: datetime, last: datetime, output: Path) -> Outcome:
    """Compare the rows of the stream with the truth, and with those of a batch."""
    warehouse = Warehouse(run.settings)
    names = warehouse.names()
    days = f"window_date BETWEEN '{first:%Y-%m-%d}' AND '{last:%Y-%m-%d}'"
    stored = warehouse.rows(f"SELECT * FROM {names[TRADE_WINDOW_FACT]} WHERE {days}")
    rows = {(row["symbol"], row["window_start"]): row for row in stored}
    wrong, equal, marked, count = list[str](), 0, 0, 0
    start = first
    while start <= last:
        for symbol in run.symbols:
            found, row = run.truth(symbol, start), rows.get((symbol, start))
            if found is None and row is None:
                continue
            count += 1
            want = expected(found) if found else {}
            if row and want and all(row[name] == value for name, value in want.items()):
                equal += 1
            elif row and not row["is_complete"]:
                marked += 1
            else:
                known = row and {name: row[name] for name, value in want.items() if row[name] != value}
                wrong.append(f"{symbol} {start:%H:%M}: {known}")
        start += WINDOW
    colds = {symbol: min((at for name, at in rows if name == symbol), default=None) for symbol in run.symbols}
    [panes] = warehouse.rows(f"SELECT COUNT(*) AS n FROM {names[TRADE_WINDOW_PANE]} WHERE {days}")
    [rejects] = warehouse.rows(
        f"SELECT COUNT(*) AS n FROM {names[REJECTS]} WHERE snapshot_date BETWEEN '{first:%Y-%m-%d}' AND '{last:%Y-%m-%d}'"
    )
    return Outcome(
        kills=tuple(kills),
        windows=count,
        equal=equal,
        marked=marked,
        wrong=tuple(wrong),
        cold={s: at is not None and not rows[s, at]["is_complete"] for s, at in colds.items()},
        again=against_batch(rows, run.batch(output), last),
        panes=panes["n"],
        rejects=rejects["n"],
    )


def against_batch(
    rows: Mapping[tuple[str, datetime], Mapping[str, Any]], again: Iterable[Mapping[str, Any]], last: datetime
) -> dict[str, int]:
    """How the stream's rows up to a window compare with those of a batch: equal, differing, or in one of them only."""
    compared = [column for column in load_contract(TRADE_WINDOW_FACT).columns if column.name not in NOT_COMPARED]
    batch = {(row["symbol"], parse_instant(row["window_start"])): row for row in again}
    said = Counter[str]()
    for key in sorted({key for key in {*rows, *batch} if key[1] <= last}):
        if key not in batch or key not in rows:
            said["only in " + ("stream" if key in rows else "batch")] += 1
            continue
        of_stream, of_batch = rows[key], batch[key]
        same = all(
            _plain(of_stream[column.name], column.type) == _plain(of_batch.get(column.name), column.type)
            for column in compared
            if column.name in of_batch
        )
        said["equal" if same else "differing"] += 1
    return dict(said)


def _plain(value: Any, kind: str) -> Any:
    if value is None or not isinstance(value, str):
        return str(value) if kind == "DATE" else value
    return parse_instant(value) if kind == "TIMESTAMP" else value


def table(outcome: Outcome) -> Table:
    """The outcome for people."""
    shown = Table(title="A stream under kills")
    shown.add_column("")
    shown.add_column("", justify="right")
    by_victim = Counter(kill.victim for kill in outcome.kills)
    shown.add_row("kills", f"{len(outcome.kills)} ({', '.join(f'{n} {who}' for who, n in sorted(by_victim.items()))})")
    shown.add_row("whole windows", str(outcome.windows))
    shown.add_row("equal to the truth, bit for bit", str(outcome.equal))
    shown.add_row("marked as incomplete", str(outcome.marked))
    shown.add_row("wrong", str(len(outcome.wrong)))
    shown.add_row("cold-start windows marked", f"{sum(outcome.cold.values())} of {len(outcome.cold)}")
    shown.add_row("rows of a batch of the landed trades", ", ".join(f"{n} {how}" for how, n in outcome.again.items()))
    shown.add_row("panes", str(outcome.panes))
    shown.add_row("refused lines", str(outcome.rejects))
    return shown


def main() -> int:
    """Run, judge and say; 1 when a window is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=15)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for state and logs, which is not deleted")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    with tempfile.TemporaryDirectory() as folder:
        state = given.keep or Path(folder)
        run = Run(temporary_settings(state))
        try:
            kills, first, last = play(run, given.windows, given.kills, given.seed)
            outcome = judge(run, kills, first, last, state / "again")
        finally:
            cloud.down(run.settings, log.info)
    console = Console()
    console.print(table(outcome))
    for line in outcome.wrong:
        console.print(line)
    return 0 if outcome.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
