"""Run the broker: ``python -m local.pubsub --port 8085 --data-dir FOLDER``; SIGTERM ends it."""

import argparse
import asyncio
import logging
import signal
from contextlib import suppress
from pathlib import Path

import grpc

from local.environment import HOST
from local.pubsub.broker import MOST_BYTES, Broker
from local.pubsub.files import FileWriter, connect
from local.pubsub.service import PublisherService, SubscriberService

_LIMIT = 2 * MOST_BYTES


async def serve(port: int, folder: Path, storage_url: str | None, stop: asyncio.Event) -> None:
    """Answer calls until told to stop.

    Raises:
        OSError: the port is taken.
    """
    broker = Broker(folder)
    writers: dict[str, asyncio.Task[None]] = {}

    def began(name: str) -> None:
        if storage_url and broker.subscriptions[name].config.cloud_storage_config.bucket:
            writers[name] = asyncio.create_task(FileWriter(broker, name, connect(storage_url)).run())

    options = [
        ("grpc.max_receive_message_length", _LIMIT),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.aio.server(options=options)
    publisher, subscriber = PublisherService(broker).handlers(), SubscriberService(broker, began).handlers()
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", publisher),
            grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", subscriber),
        )
    )
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    for name in broker.subscriptions:
        began(name)
    keeper = asyncio.create_task(broker.keep())
    logging.getLogger(__name__).info("Pub/Sub answers at %s:%d", HOST, port)
    await stop.wait()
    await server.stop(1)
    for task in (keeper, *writers.values()):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    broker.close()


async def _main(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(arguments.port, arguments.data_dir, arguments.storage_url, stop)


def main() -> None:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--storage-url", help="where Cloud Storage subscriptions write; without it they wait")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
