"""The local Pub/Sub under load: ``python -m benchmarks.broker``.

One broker process, and this one as its client: messages are published by 16 calls at a time, then
pulled in thousands by 4 and acknowledged. Every published message was synced to disk when it was answered. In between
stands what the broker holds in memory with all of them unread. The messages are small ones in hundreds; those of 500
trades are ``--messages 10000 --bytes 80000 --together 1``.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from google.pubsub_v1 import types

from tests.temporary import free_ports

TARGETS = {"publish": 70_000, "pull": 80_000}
"""Small messages a second, in hundreds and in thousands."""

MOST_MB = 120

_TOPIC, _SUBSCRIPTION = "projects/coinbeam-local/topics/load", "projects/coinbeam-local/subscriptions/load"
_THOUSAND, _PUBLISHERS, _PULLERS = 1_000, 16, 4


@dataclass(frozen=True)
class Report:
    """What was measured.

    Attributes:
        publish: messages a second, ``pull`` pulled and acknowledged.
        p95_ms: of a hundred calls five took longer.
        megabytes: resident, with everything unread; ``largest`` at any time.
    """

    messages: int
    publish: float
    p95_ms: float
    pull: float
    megabytes: float
    largest: float


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 0 when every message came back once, whatever the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--bytes", type=int, default=200, help="of each message")
    parser.add_argument("--together", type=int, default=100, help="messages of one publish")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, _broker(Path(folder)) as (address, process):
        report = asyncio.run(_measure(address, process, arguments.messages, arguments.bytes, arguments.together))
    print(json.dumps(asdict(report)) if arguments.json else _told(report))
    return 0


def _told(report: Report) -> str:
    return (
        f"{report.messages:,} messages: {report.publish:,.0f}/s published (target {TARGETS['publish']:,}; p95 of a "
        f"call {report.p95_ms:.0f} ms), {report.pull:,.0f}/s pulled and acknowledged (target {TARGETS['pull']:,}), "
        f"{report.megabytes:.0f} MB resident with all unread, {report.largest:.0f} MB at most (target {MOST_MB})."
    )


@contextmanager
def _broker(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"
    command = [sys.executable, "-m", "local.pubsub", "--port", str(port), "--data-dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(timeout=30)
            yield address, psutil.Process(process.pid)
        finally:
            process.terminate()


class _Client:
    """Calls by their bytes: the client is on the same two cores, and must cost little."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def call(self, method: str, request: Any, answer: Any = None) -> Any:
        """One call of a service; the bytes of its answer when no type is given."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        got = await self._channel.unary_unary(f"/google.pubsub.v1.{method}")(data)
        return answer.FromString(got) if answer else got


async def _measure(address: str, process: psutil.Process, messages: int, size: int, together: int) -> Report:
    options = (("grpc.max_receive_message_length", -1),)
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        client = _Client(channel)
        await client.call("Publisher/CreateTopic", types.Topic.pb()(name=_TOPIC))
        subscription = types.Subscription.pb()(name=_SUBSCRIPTION, topic=_TOPIC, ack_deadline_seconds=600)
        await client.call("Subscriber/CreateSubscription", subscription)
        publish, waits = await _published(client, messages, size, together)
        unread = process.memory_info().rss
        pull, largest = await _pulled(client, messages, process)
    return Report(
        messages, publish, 1_000 * sorted(waits)[int(0.95 * len(waits))], pull, unread / 2**20, largest / 2**20
    )


async def _published(client: _Client, messages: int, size: int, together: int) -> tuple[float, list[float]]:
    one = types.PubsubMessage.pb()(data=b"x" * size, attributes={"symbol": "BTCUSDT", "event_time": "1780000000000"})
    request = types.PublishRequest.pb()(topic=_TOPIC, messages=[one] * together).SerializeToString()
    waits: list[float] = []
    rest = iter(range(messages // together))

    async def publish() -> None:
        for _ in rest:
            began = time.perf_counter()
            await client.call("Publisher/Publish", request)
            waits.append(time.perf_counter() - began)

    return messages / await _seconds(publish, _PUBLISHERS), waits


async def _pulled(client: _Client, messages: int, process: psutil.Process) -> tuple[float, int]:
    request = types.PullRequest.pb()(subscription=_SUBSCRIPTION, max_messages=_THOUSAND).SerializeToString()
    seen: set[str] = set()
    largest = 0

    async def pull() -> None:
        nonlocal largest
        while len(seen) < messages:
            got = await client.call("Subscriber/Pull", request, types.PullResponse.pb())
            ack_ids = [one.ack_id for one in got.received_messages]
            acknowledge = types.AcknowledgeRequest.pb()(subscription=_SUBSCRIPTION, ack_ids=ack_ids)
            await client.call("Subscriber/Acknowledge", acknowledge)
            assert seen.isdisjoint(ack_ids), "a message came twice"
            seen.update(ack_ids)
            largest = max(largest, process.memory_info().rss)

    return messages / await _seconds(pull, _PULLERS), largest


async def _seconds(work: Callable[[], Awaitable[None]], count: int) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(count)))
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
