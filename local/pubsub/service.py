"""The gRPC face: ``google.pubsub.v1.Publisher`` and ``Subscriber``, with the generated messages of Google's client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

from local.pubsub.broker import Broker, RefusedError, SnapshotPb

Call = Callable[[Any, Any], Awaitable[Any]]

PULL_SECONDS = 1.0
"""How long a pull waits for a first message. The real service does so as well, and says no number."""

_STREAM_MOST = 500
_CODES = {code.name: code for code in grpc.StatusCode}


def raw(kind: Any) -> Any:
    """The protobuf class below a proto-plus one: wrapping each message would cost more than all else."""
    return type(kind.pb(kind()))


_Received, _Pulled, _Streamed = raw(types.ReceivedMessage), raw(types.PullResponse), raw(types.StreamingPullResponse)


class PublisherService:
    """Calls on topics."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Methods by name."""
        return {
            "CreateTopic": _unary(self._create, types.Topic),
            "GetTopic": _unary(self._get, types.GetTopicRequest),
            "ListTopics": _unary(self._list, types.ListTopicsRequest),
            "DeleteTopic": _unary(self._delete, types.DeleteTopicRequest),
            "ListTopicSubscriptions": _unary(self._subscriptions, types.ListTopicSubscriptionsRequest),
            "Publish": _unary(self._publish, types.PublishRequest),
        }

    async def _create(self, request: Any) -> Any:
        return self._broker.create_topic(request)

    async def _get(self, request: Any) -> Any:
        return self._broker.topic(request.topic).config

    async def _list(self, request: Any) -> Any:
        found = [one.config for name, one in self._broker.topics.items() if name.startswith(f"{request.project}/")]
        return raw(types.ListTopicsResponse)(topics=found)

    async def _delete(self, request: Any) -> Any:
        self._broker.delete_topic(request.topic)
        return Empty()

    async def _subscriptions(self, request: Any) -> Any:
        self._broker.topic(request.topic)
        named = [name for name, one in self._broker.subscriptions.items() if one.config.topic == request.topic]
        return raw(types.ListTopicSubscriptionsResponse)(subscriptions=named)

    async def _publish(self, request: Any) -> Any:
        ids = await self._broker.publish(request.topic, request.messages)
        return raw(types.PublishResponse)(message_ids=ids)


class SubscriberService:
    """Calls on subscriptions and snapshots.

    Args:
        began: is told of each subscription that is made, to begin what it does by itself.
    """

    def __init__(self, broker: Broker, began: Callable[[str], None]) -> None:
        self._broker, self._began = broker, began

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Methods by name."""
        request = raw(types.StreamingPullRequest)
        return {
            "CreateSubscription": _unary(self._create, types.Subscription),
            "GetSubscription": _unary(self._get, types.GetSubscriptionRequest),
            "ListSubscriptions": _unary(self._list, types.ListSubscriptionsRequest),
            "UpdateSubscription": _unary(self._update, types.UpdateSubscriptionRequest),
            "DeleteSubscription": _unary(self._delete, types.DeleteSubscriptionRequest),
            "Pull": _unary(self._pull, types.PullRequest),
            "Acknowledge": _unary(self._acknowledge, types.AcknowledgeRequest),
            "ModifyAckDeadline": _unary(self._modify, types.ModifyAckDeadlineRequest),
            "Seek": _unary(self._seek, types.SeekRequest),
            "CreateSnapshot": _unary(self._create_snapshot, types.CreateSnapshotRequest),
            "GetSnapshot": _unary(self._get_snapshot, types.GetSnapshotRequest),
            "ListSnapshots": _unary(self._list_snapshots, types.ListSnapshotsRequest),
            "DeleteSnapshot": _unary(self._delete_snapshot, types.DeleteSnapshotRequest),
            "StreamingPull": grpc.stream_stream_rpc_method_handler(
                self._stream, request_deserializer=request.FromString, response_serializer=_serialize
            ),
        }

    async def _create(self, request: Any) -> Any:
        made = self._broker.create_subscription(request)
        self._began(made.name)
        return made

    async def _get(self, request: Any) -> Any:
        return self._broker.subscription(request.subscription).config

    async def _list(self, request: Any) -> Any:
        held = self._broker.subscriptions.items()
        found = [one.config for name, one in held if name.startswith(f"{request.project}/")]
        return raw(types.ListSubscriptionsResponse)(subscriptions=found)

    async def _update(self, request: Any) -> Any:
        return self._broker.update_subscription(request.subscription, request.update_mask.paths)

    async def _delete(self, request: Any) -> Any:
        self._broker.delete_subscription(request.subscription)
        return Empty()

    async def _pull(self, request: Any) -> Any:
        if request.max_messages < 1:
            raise RefusedError("INVALID_ARGUMENT", "max_messages is not positive.")
        name = request.subscription
        self._refuse_files(name)
        taken = self._broker.take(name, request.max_messages)
        if not taken and not request.return_immediately:
            await self._news(name, PULL_SECONDS)
            taken = self._broker.take(name, request.max_messages)
        return _Pulled(received_messages=[_received(*one) for one in taken])

    def _refuse_files(self, name: str) -> None:
        if self._broker.subscription(name).config.cloud_storage_config.bucket:
            raise RefusedError("FAILED_PRECONDITION", "This subscription writes to Cloud Storage and cannot be pulled.")

    async def _news(self, name: str, seconds: float) -> None:
        """Wait until something may be there, or a lease ends, at most so long."""
        held = self._broker.subscription(name)
        expiry = held.deliveries.next_expiry()
        wait = seconds if expiry is None else min(seconds, expiry + 0.001)
        with suppress(TimeoutError):
            await asyncio.wait_for(held.news.wait(), wait)

    async def _acknowledge(self, request: Any) -> Any:
        self._broker.acknowledge(request.subscription, request.ack_ids)
        return Empty()

    async def _modify(self, request: Any) -> Any:
        self._broker.modify(request.subscription, request.ack_ids, request.ack_deadline_seconds)
        return Empty()

    async def _seek(self, request: Any) -> Any:
        if request.WhichOneof("target") == "time":
            self._broker.seek_time(request.subscription, request.time.ToMicroseconds())
        elif request.WhichOneof("target") == "snapshot":
            self._broker.seek_snapshot(request.subscription, request.snapshot)
        else:
            raise RefusedError("INVALID_ARGUMENT", "A seek names neither a time nor a snapshot.")
        return raw(types.SeekResponse)()

    async def _create_snapshot(self, request: Any) -> Any:
        return self._broker.create_snapshot(request.name, request.subscription)

    async def _get_snapshot(self, request: Any) -> Any:
        if request.snapshot not in self._broker.snapshots:
            raise RefusedError("NOT_FOUND", f"Resource not found (resource={request.snapshot}).")
        return self._broker.snapshots[request.snapshot].config

    async def _list_snapshots(self, request: Any) -> Any:
        held = self._broker.snapshots.items()
        found = [one.config for name, one in held if name.startswith(f"{request.project}/")]
        return raw(types.ListSnapshotsResponse)(
            snapshots=[SnapshotPb.FromString(one.SerializeToString()) for one in found]
        )

    async def _delete_snapshot(self, request: Any) -> Any:
        self._broker.delete_snapshot(request.snapshot)
        return Empty()

    async def _stream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Streaming pull: messages go out while acknowledgements come in."""
        try:
            first = await anext(requests, None)
            if first is None:
                return
            self._refuse_files(first.subscription)
            name, state = first.subscription, _Stream(first)
            reader = asyncio.create_task(self._read(name, requests, state))
            try:
                while not reader.done() and name in self._broker.subscriptions:
                    free = state.most - state.outstanding() if state.most else _STREAM_MOST
                    taken = self._broker.take(name, min(_STREAM_MOST, free), state.seconds) if free > 0 else []
                    if taken:
                        state.sent.update(ack_id for ack_id, _, _ in taken)
                        yield _Streamed(received_messages=[_received(*one) for one in taken])
                    else:
                        await self._news(name, 0.1)
            finally:
                reader.cancel()
            if name not in self._broker.subscriptions:
                raise RefusedError("NOT_FOUND", f"Resource not found (resource={name}).")
        except RefusedError as error:
            await context.abort(_CODES[error.code], error.message)

    async def _read(self, name: str, requests: AsyncIterator[Any], state: "_Stream") -> None:
        async for request in requests:
            state.sent.difference_update(request.ack_ids)
            self._broker.acknowledge(name, request.ack_ids)
            for ack_id, seconds in zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True):
                self._broker.modify(name, [ack_id], seconds)
                if seconds == 0:
                    state.sent.discard(ack_id)
            if request.stream_ack_deadline_seconds:
                state.seconds = request.stream_ack_deadline_seconds


class _Stream:
    """What a streaming pull has asked for, and has not acknowledged."""

    def __init__(self, first: Any) -> None:
        self.seconds: float = first.stream_ack_deadline_seconds or 10
        self.most: int = first.max_outstanding_messages
        self.sent: set[str] = set()

    def outstanding(self) -> int:
        """Messages that were sent, and neither acknowledged nor given back."""
        return len(self.sent)


def _received(ack_id: str, record: bytes, attempt: int) -> Any:
    made = _Received(ack_id=ack_id, delivery_attempt=attempt)
    made.message.ParseFromString(record)
    return made


def _unary(call: Callable[[Any], Awaitable[Any]], request: Any) -> grpc.RpcMethodHandler:
    """A handler of one message for another, with our refusals as the codes of Google's."""

    async def handle(given: Any, context: Any) -> Any:
        try:
            return await call(given)
        except RefusedError as error:
            return await context.abort(_CODES[error.code], error.message)

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=raw(request).FromString, response_serializer=_serialize
    )


def _serialize(message: Any) -> bytes:
    content: bytes = message.SerializeToString()
    return content
