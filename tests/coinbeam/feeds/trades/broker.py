"""Pub/Sub as far as a publisher sees it, on Google's own messages: a server on loopback for the real client."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.json_format import MessageToDict
from google.pubsub_v1.types import PublishRequest, PublishResponse, PubsubMessage, Subscription, Topic


@dataclass
class StubBroker:
    """What was published and made.

    Attributes:
        messages: in the order in which they came.
        refusals: how the next calls end, in their order.
        loses_acknowledgement: messages of a refused call are kept all the same.
        is_down: every call is refused for now.
    """

    messages: list[PubsubMessage] = field(default_factory=list)
    refusals: list[grpc.StatusCode] = field(default_factory=list)
    loses_acknowledgement: bool = False
    is_down: bool = False
    calls: int = 0
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    port: int = 0

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The readable lines of the messages that have a symbol."""
        with_symbol = [message for message in self.messages if "symbol" in message.attributes]
        return [json.loads(line) for message in with_symbol for line in message.data.splitlines()]

    def ids(self, symbol: str = "BTCUSDT") -> list[int]:
        """The trades of a symbol, in the order in which they came."""
        return [line["a"] for line in self.lines if line["e"] == "aggTrade" and line["s"] == symbol]

    def marks(self, symbol: str = "BTCUSDT") -> list[tuple[Any, ...]]:
        """The marks of a symbol, in the order in which they came."""
        marks = [line for line in self.lines if line["e"] != "aggTrade" and line["s"] == symbol]
        return [(mark["e"], mark["f"], mark.get("l")) for mark in marks]

    def dead_letters(self) -> list[bytes]:
        """What the pipeline will refuse."""
        return [m.data for m in self.messages if m.attributes["kind"] == "unreadable"]

    def heartbeats(self) -> int:
        return sum(message.attributes["kind"] == "heartbeat" for message in self.messages)

    async def publish(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        self.calls += 1
        refusal = grpc.StatusCode.UNAVAILABLE if self.is_down else self.refusals.pop(0) if self.refusals else None
        found = PublishRequest.wrap(request)
        if refusal is None or self.loses_acknowledgement:
            self.messages += list(found.messages)
        if refusal:
            await context.abort(refusal, "as the test wants")
        return PublishResponse.pb(PublishResponse(message_ids=[str(i) for i in range(len(found.messages))]))

    async def create(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        if request.name in self.made:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, request.name)
        self.made[request.name] = MessageToDict(request)
        return request


def handlers(broker: StubBroker) -> Iterable[grpc.GenericRpcHandler]:
    """The methods of the two services that are called."""
    methods = {
        "Publisher": {
            "Publish": (broker.publish, PublishRequest, PublishResponse),
            "CreateTopic": (broker.create, Topic, Topic),
        },
        "Subscriber": {"CreateSubscription": (broker.create, Subscription, Subscription)},
    }
    for service, named in methods.items():
        served = {
            name: grpc.unary_unary_rpc_method_handler(
                serve, request_deserializer=asked.pb().FromString, response_serializer=given.pb().SerializeToString
            )
            for name, (serve, asked, given) in named.items()
        }
        yield grpc.method_handlers_generic_handler(f"google.pubsub.v1.{service}", served)


@asynccontextmanager
async def stub_broker() -> AsyncIterator[StubBroker]:
    """A broker that listens."""
    broker = StubBroker()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(tuple(handlers(broker)))
    broker.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield broker
    finally:
        await server.stop(0.1)
        await asyncio.sleep(0)
