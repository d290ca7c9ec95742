"""The process that owns a stream: ``python -m local.stream``, started detached by `coinbeam stream up`."""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from coinbeam.settings import Settings, load_settings
from local.environment import cloud_dir, storage_url
from local.stream.keeper import Keeper, Member, MemberState


def stream_file(settings: Settings) -> Path:
    """The record of the stream: who owns it, what it follows, and its processes."""
    return cloud_dir(settings) / "stream.json"


def logs_folder(settings: Settings) -> Path:
    """The logs of its processes."""
    return cloud_dir(settings) / "logs" / "stream"


def members(settings: Settings, symbols: str, source: str) -> tuple[Member, ...]:
    """Broker, publisher and pipeline, in the order in which they start."""
    folder, python = cloud_dir(settings), (sys.executable, "-m")
    where = ("--data-dir", str(folder / "pubsub"), "--storage-url", storage_url(settings))
    chosen = (f"--symbols={symbols}", f"--source={source}")
    return (
        Member("broker", (*python, "local.pubsub", "--port", str(settings.local.ports.pubsub), *where)),
        Member("windows", (*python, "local.stream.windows", *chosen, f"--output={folder / 'stream'}"), patience=3.0),
        Member("publisher", (*python, "console", "stream", "publish", *chosen), patience=20.0),
    )


async def keep(settings: Settings, symbols: str, source: str) -> None:
    """Keep the processes alive until SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    head = {"pid": os.getpid(), "since": time.time(), "symbols": symbols, "source": source}

    def tell(states: Mapping[str, MemberState]) -> None:
        path = stream_file(settings)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(head | {"members": {name: vars(state) for name, state in states.items()}}))
        draft.replace(path)

    tell({})
    keeper = Keeper(members(settings, symbols, source), dict(os.environ), logs_folder(settings), tell)
    try:
        await keeper.run(stop)
    finally:
        stream_file(settings).unlink(missing_ok=True)


def main() -> None:
    """Keep the stream of the settings in the environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", required=True)
    parser.add_argument("--source", required=True)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(keep(load_settings(), given.symbols, given.source))


if __name__ == "__main__":
    main()
