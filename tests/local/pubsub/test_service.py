"""Streaming pulls without gRPC; the time of leases is the test's."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from google.pubsub_v1 import types

from local.pubsub.service import Stream
from tests.local.pubsub.test_broker import NAME, Bench, held

_Request = types.StreamingPullRequest.pb()


async def _silent() -> AsyncIterator[Any]:
    """A client that says no more than its first request."""
    await asyncio.Event().wait()
    yield


@held
async def test_a_full_stream_sends_again_what_its_client_held_for_too_long(bench: Bench) -> None:
    subscription = await bench.subscribe()
    await bench.publish("a", "b")
    first = _Request(subscription=NAME, stream_ack_deadline_seconds=10, max_outstanding_messages=1)
    answers = Stream(bench.broker, subscription, first).answers(_silent())
    for _ in range(2):
        async with asyncio.timeout(5):
            [got] = (await anext(answers)).received_messages
        assert got.message.data == b"a"
        bench.later(seconds=11)
    await answers.aclose()
