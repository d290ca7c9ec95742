"""Run the broker: ``python -m local.pubsub --port 8085 --data-dir FOLDER``; SIGTERM ends it."""

import argparse
import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import grpc

from coinbeam.errors import CoinbeamError, SettingsError
from local.environment import HOST
from local.pubsub.broker import Broker, Subscription
from local.pubsub.files import FileWriter, connect
from local.pubsub.rules import MOST_BYTES
from local.pubsub.service import handlers

log = logging.getLogger("local.pubsub")

_OPTIONS = (
    ("grpc.max_receive_message_length", 2 * MOST_BYTES),  # what is too large by less is refused in Google's words
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # a second broker on the port fails
)
_GRACE_SECONDS = 1.0
_LAST_FILES_SECONDS = 5.0


class Writers:
    """The tasks of the subscriptions that write files."""

    def __init__(self, broker: Broker, folder: Path, storage_url: str | None) -> None:
        self._broker, self._folder = broker, folder
        self._client = connect(storage_url) if storage_url else None
        self._running: dict[asyncio.Task[None], FileWriter] = {}

    def begin(self, held: Subscription) -> None:
        """Begin to write the files of a subscription, if it writes any."""
        if not held.config.HasField("cloud_storage_config"):
            return
        if self._client is None:
            log.warning("%s waits: the broker was started without --storage-url.", held.config.name)
            return
        writer = FileWriter(self._broker, held, self._client, self._folder)
        task = asyncio.create_task(writer.run())
        self._running[task] = writer
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        del self._running[task]
        if not task.cancelled() and (error := task.exception()):
            log.error("A subscription writes no more files until the broker is started again.", exc_info=error)

    async def end(self) -> None:
        """Write what was gathered; what cannot be written soon comes again after the next start."""
        for writer in self._running.values():
            writer.end()
        if self._running:
            await asyncio.wait(list(self._running), timeout=_LAST_FILES_SECONDS)


async def serve(port: int, folder: Path, storage_url: str | None) -> None:
    """Answer calls until SIGTERM or SIGINT.

    Raises:
        SettingsError: the port is taken.
        TerminalError: the folder cannot be used.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = Broker(folder)
    writers = Writers(broker, folder, storage_url)
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers(handlers(broker, writers.begin))
    bound = _bind(server, port)
    for held in broker.subscriptions.values():
        writers.begin(held)
    keeper = asyncio.create_task(broker.keep())
    gc.freeze()
    await server.start()
    print(f"Pub/Sub: {HOST}:{bound}", flush=True)
    await stop.wait()
    await server.stop(_GRACE_SECONDS)
    await writers.end()
    keeper.cancel()
    with suppress(asyncio.CancelledError):
        await keeper
    await broker.close()


def _bind(server: grpc.aio.Server, port: int) -> int:
    try:
        return int(server.add_insecure_port(f"{HOST}:{port}"))
    except RuntimeError as error:
        remedy = "Stop the other process, or take another one with --port or local.ports.pubsub."
        raise SettingsError(f"Port {port} of {HOST} cannot be used.", remedy) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, and serve.

    Returns:
        0 after a stop, 2 for a port or a folder that cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -m local.pubsub", description="Pub/Sub that runs on this machine.")
    parser.add_argument("--port", type=int, required=True, help="loopback port; 0 takes a free one")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of messages and subscriptions")
    parser.add_argument("--storage-url", help="where Cloud Storage subscriptions write; without it they wait")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    gc.set_threshold(50_000, 50, 100)  # a call leaves few cycles and many objects
    try:
        asyncio.run(serve(arguments.port, arguments.data_dir, arguments.storage_url))
    except CoinbeamError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
