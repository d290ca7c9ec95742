"""Starting, stopping and inspecting a stream on one machine."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import psutil

from coinbeam.clock import parse_instant
from coinbeam.feeds.trades.store import store_of
from coinbeam.settings import ROOT, Settings
from local.cloud import LocalCloudError, end
from local.environment import HOST, environment
from local.ports import refuse_taken
from local.state import ProcessRecord
from local.stream.__main__ import logs_folder, stream_file
from local.stream.keeper import STEADY_SECONDS

Say = Callable[[str], None]

START_SECONDS = 60.0
STOP_SECONDS = 45.0
"""How long the processes may take to end: the publisher awaits what it sent."""

MANY_RESTARTS = 3
"""A process that ended so often, the last time a moment ago, does not come up by itself."""

_POLL_SECONDS = 0.1


def running(settings: Settings) -> dict[str, Any] | None:
    """The record of the stream, if its owner is alive."""
    path = stream_file(settings)
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        alive = psutil.Process(record["pid"]).create_time() <= record["since"] + 1
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None
    return record if alive else None


def up(settings: Settings, symbols: str, source_id: str, say: Say) -> None:
    """Start the stream unless it runs, and wait until trades or prices are published.

    Raises:
        LocalCloudError: it runs with other symbols, its port is taken, or a process of it does not start.
    """
    if record := running(settings):
        if (record["symbols"], record["source_id"]) != (symbols, source_id):
            raise LocalCloudError(
                f"A stream of {record['symbols']} from {record['source_id']} runs already.",
                "Stop it with `coinbeam stream down` first.",
            )
        say("The stream runs already.")
        return
    end_orphans(settings)
    refuse_taken("Pub/Sub", "pubsub", settings.local.ports.pubsub)
    logs_folder(settings).mkdir(parents=True, exist_ok=True)
    with (logs_folder(settings) / "keeper.log").open("ab") as log:
        owner = subprocess.Popen(
            [sys.executable, "-m", "local.stream", f"--symbols={symbols}", f"--source-id={source_id}"],
            cwd=ROOT,
            env=os.environ | environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    began, ends = time.time(), time.monotonic() + START_SECONDS
    while not _publishes(settings, source_id, began):
        if owner.poll() is not None or time.monotonic() > ends:
            owner.terminate()
            raise LocalCloudError(
                f"The stream did not start within {START_SECONDS:g} s. {last_words(settings, 'publisher')}",
                f"All logs are in {logs_folder(settings)}.",
            )
        time.sleep(_POLL_SECONDS)
    say(
        f"{symbols} of {source_id} flow through Pub/Sub at {HOST}:{settings.local.ports.pubsub} into trade_window_fact."
    )


def last_words(settings: Settings, member: str) -> str:
    """The last line of the log of a process, in a sentence."""
    path = logs_folder(settings) / f"{member}.log"
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), None)
    return f"The {member} said last: {last[:300]}" if last else f"The {member} said nothing."


def failing(record: Mapping[str, Any]) -> list[str]:
    """The processes of a stream that end again and again."""
    soon = time.time() - STEADY_SECONDS
    return [name for name, one in record["members"].items() if one["restarts"] >= MANY_RESTARTS and one["since"] > soon]


def end_orphans(settings: Settings) -> bool:
    """End the processes of a stream whose owner was killed; whether there were any."""
    path = stream_file(settings)
    if running(settings) is not None or not path.exists():
        return False
    members = json.loads(path.read_text())["members"].values()
    found = [process for one in members if (process := ProcessRecord(one["pid"], one["since"]).find())]
    end(found, STOP_SECONDS)
    path.unlink(missing_ok=True)
    return bool(found)


def _publishes(settings: Settings, source_id: str, since: float) -> bool:
    status = published(settings, source_id)
    if status is None or status["state"] != "running" or _time(status) < since:
        return False
    is_heard: bool = status["connections" if "connections" in status else "polls"] > 0
    return is_heard


def published(settings: Settings, source_id: str) -> dict[str, Any] | None:
    """What the publisher of a source said of itself last, or None when it never did."""
    text = store_of(settings, source_id, "status").read()
    return json.loads(text) if text else None


def _time(status: dict[str, Any]) -> float:
    return parse_instant(status["written_at"]).timestamp()


def down(settings: Settings, say: Say, *, only_told: bool = False) -> None:
    """End the stream: the publisher sends what it has, and the next start reads from the oldest open window on.

    Args:
        only_told: say nothing where there is no stream.

    Raises:
        LocalCloudError: it did not end in time.
    """
    record = running(settings)
    if record is None:
        left_over = end_orphans(settings)
        if left_over or not only_told:
            say("What a killed stream left over is ended." if left_over else "No stream was running.")
        return
    owner = psutil.Process(record["pid"])
    owner.terminate()
    try:
        owner.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        for process in [*owner.children(recursive=True), owner]:
            process.kill()
        raise LocalCloudError(
            f"The stream did not end within {STOP_SECONDS:g} s and was killed.",
            "Nothing is lost: the next start continues where it was.",
        ) from None
    say("The stream is stopped.")
