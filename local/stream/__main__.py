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
from coinbeam.sources.registry import COINGECKO, SIMULATED
from local.environment import cloud_dir, storage_url
from local.stream.keeper import Keeper, Member, MemberState


def stream_file(settings: Settings) -> Path:
    """The record of the stream: who owns it, what it follows, and its processes."""
    return cloud_dir(settings) / "stream.json"


def logs_folder(settings: Settings) -> Path:
    """The logs of its processes."""
    return cloud_dir(settings) / "logs" / "stream"


def members(settings: Settings, symbols: str, source_id: str) -> tuple[Member, ...]:
    """Broker, pipeline and publisher, in the order in which they start."""
    folder, python = cloud_dir(settings), (sys.executable, "-m")
    where = ("--data-dir", str(folder / "pubsub"), "--storage-url", storage_url(settings))
    chosen, kind = f"--symbols={symbols}", kind_of(source_id)
    source = "coingecko" if is_polled(source_id) else kind
    return (
        Member("broker", (*python, "local.pubsub", "--port", str(settings.local.ports.pubsub), *where)),
        Member(
            "windows",
            (*python, "local.stream.windows", chosen, f"--source={kind}", f"--output={folder / 'stream'}"),
            patience=3.0,
        ),
        Member("publisher", (*python, "console", "stream", "publish", chosen, f"--source={source}"), patience=20.0),
    )


def is_polled(source_id: str) -> bool:
    """Whether a source is asked for prices, and does not tell of trades."""
    return source_id in (COINGECKO.id, COINGECKO.twin)


def kind_of(source_id: str) -> str:
    """Whether a source is real, in the words of the setting ``market.source``."""
    return "simulator" if source_id in SIMULATED else "live"


async def keep(settings: Settings, symbols: str, source_id: str) -> None:
    """Keep the processes alive until SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    head = {"pid": os.getpid(), "since": time.time(), "symbols": symbols, "source_id": source_id}

    def tell(states: Mapping[str, MemberState]) -> None:
        path = stream_file(settings)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(head | {"members": {name: vars(state) for name, state in states.items()}}))
        draft.replace(path)

    tell({})
    # What was chosen at the start stays chosen, whatever answers later.
    decided = {"COINBEAM_MARKET__SOURCE": kind_of(source_id)} if is_polled(source_id) else {}
    keeper = Keeper(members(settings, symbols, source_id), os.environ | decided, logs_folder(settings), tell)
    try:
        await keeper.run(stop)
    finally:
        stream_file(settings).unlink(missing_ok=True)


def main() -> None:
    """Keep the stream of the settings in the environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", required=True)
    parser.add_argument("--source-id", required=True)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(keep(load_settings(), given.symbols, given.source_id))


if __name__ == "__main__":
    main()
