"""The gRPC face: ``google.pubsub.v1.Publisher`` and ``Subscriber``, with the generated messages of Google's client."""

import asyncio
import logging
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

from local.pubsub import rules
from local.pubsub.backlog import Holder
from local.pubsub.broker import Broker, Subscription
from local.pubsub.log import DamagedLogError
from local.pubsub.refusal import RefusedError, invalid, not_found, out_of_order

log = logging.getLogger(__name__)

PULL_SECONDS = 1.0
"""How long a pull waits for a first message. Google's service waits as well, and says no number."""

ANSWER_BYTES = 4_000_000
"""Size of the messages of one answer, unless a single one is larger: with their ids less than the 4 MiB that gRPC takes
when its client says nothing."""

_STREAM_MOST = 500
_PAGE = 1_000

# Below the classes of the client lie those of protobuf: wrapping each message would cost more than all else.
_Received = types.ReceivedMessage.pb()
_Pulled, _Streamed = types.PullResponse.pb(), types.StreamingPullResponse.pb()


def handlers(broker: Broker, created: Callable[[Subscription], None]) -> tuple[grpc.GenericRpcHandler, ...]:
    """Both services.

    Args:
        created: is told of each subscription that is made, to begin what it does by itself.
    """
    publisher, subscriber = PublisherService(broker).methods(), SubscriberService(broker, created).methods()
    return (
        grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", publisher),
        grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", subscriber),
    )


class PublisherService:
    """Calls on topics."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def methods(self) -> dict[str, grpc.RpcMethodHandler]:
        """Methods by name."""
        return {
            "CreateTopic": _unary(self._create, types.Topic),
            "UpdateTopic": _unary(self._update, types.UpdateTopicRequest),
            "GetTopic": _unary(self._get, types.GetTopicRequest),
            "ListTopics": _unary(self._list, types.ListTopicsRequest),
            "DeleteTopic": _unary(self._delete, types.DeleteTopicRequest),
            "ListTopicSubscriptions": _unary(self._subscriptions, types.ListTopicSubscriptionsRequest),
            "ListTopicSnapshots": _unary(self._snapshots, types.ListTopicSnapshotsRequest),
            "Publish": _unary(self._publish, types.PublishRequest),
        }

    async def _create(self, request: Any, _: Any) -> Any:
        return await self._broker.create_topic(request)

    async def _update(self, request: Any, _: Any) -> Any:
        return await self._broker.update_topic(request.topic, request.update_mask)

    async def _get(self, request: Any, _: Any) -> Any:
        return self._broker.topic(request.topic).config

    async def _list(self, request: Any, _: Any) -> Any:
        names, token = _page(request, _of_project(request, self._broker.topics))
        found = [self._broker.topics[name].config for name in names]
        return types.ListTopicsResponse.pb()(topics=found, next_page_token=token)

    async def _delete(self, request: Any, _: Any) -> Any:
        await self._broker.delete_topic(request.topic)
        return Empty()

    async def _subscriptions(self, request: Any, _: Any) -> Any:
        names, token = _page(request, self._of_topic(request.topic, self._broker.subscriptions.values()))
        return types.ListTopicSubscriptionsResponse.pb()(subscriptions=names, next_page_token=token)

    async def _snapshots(self, request: Any, _: Any) -> Any:
        names, token = _page(request, self._of_topic(request.topic, self._broker.snapshots.values()))
        return types.ListTopicSnapshotsResponse.pb()(snapshots=names, next_page_token=token)

    def _of_topic(self, topic: str, held: Iterable[Any]) -> list[str]:
        self._broker.topic(topic)
        return [one.config.name for one in held if one.config.topic == topic]

    async def _publish(self, request: Any, _: Any) -> Any:
        return types.PublishResponse.pb()(message_ids=await self._broker.publish(request.topic, request.messages))


class SubscriberService:
    """Calls on subscriptions and snapshots."""

    def __init__(self, broker: Broker, created: Callable[[Subscription], None]) -> None:
        self._broker, self._created = broker, created

    def methods(self) -> dict[str, grpc.RpcMethodHandler]:
        """Methods by name."""
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
                self._streaming_pull,
                request_deserializer=types.StreamingPullRequest.pb().FromString,
                response_serializer=_serialize,
            ),
        }

    async def _create(self, request: Any, _: Any) -> Any:
        config = await self._broker.create_subscription(request)
        self._created(self._broker.subscription(config.name))
        return config

    async def _get(self, request: Any, _: Any) -> Any:
        return self._broker.subscription(request.subscription).config

    async def _list(self, request: Any, _: Any) -> Any:
        names, token = _page(request, _of_project(request, self._broker.subscriptions))
        found = [self._broker.subscriptions[name].config for name in names]
        return types.ListSubscriptionsResponse.pb()(subscriptions=found, next_page_token=token)

    async def _update(self, request: Any, _: Any) -> Any:
        return await self._broker.update_subscription(request.subscription, request.update_mask)

    async def _delete(self, request: Any, _: Any) -> Any:
        await self._broker.delete_subscription(request.subscription)
        return Empty()

    async def _pull(self, request: Any, _: Any) -> Any:
        held = self._pullable(request.subscription)
        if request.max_messages < 1:
            raise invalid(f"max_messages is {request.max_messages}; ask for at least one.")
        most = min(request.max_messages, rules.MOST_PULLED)
        now = asyncio.get_running_loop().time
        ends = now() + (0.0 if request.return_immediately else PULL_SECONDS)
        while True:
            taken = held.backlog.take(most, held.config.ack_deadline_seconds, ANSWER_BYTES)
            if taken or (not held.backlog.has_more and now() >= ends):
                return _Pulled(received_messages=_received(held, taken))
            await _pause(held, ends - now())

    def _pullable(self, name: str) -> Subscription:
        held = self._broker.subscription(name)
        if held.config.HasField("cloud_storage_config"):
            raise out_of_order("The subscription writes into Cloud Storage and cannot be pulled. Make another one.")
        return held

    async def _acknowledge(self, request: Any, _: Any) -> Any:
        self._broker.acknowledge(self._pullable(request.subscription), request.ack_ids)
        return Empty()

    async def _modify(self, request: Any, _: Any) -> Any:
        held = self._pullable(request.subscription)
        self._broker.modify(held, request.ack_ids, request.ack_deadline_seconds)
        return Empty()

    async def _seek(self, request: Any, _: Any) -> Any:
        if request.WhichOneof("target") == "time":
            await self._broker.seek_time(request.subscription, request.time.ToMicroseconds())
        elif request.WhichOneof("target") == "snapshot":
            await self._broker.seek_snapshot(request.subscription, request.snapshot)
        else:
            raise invalid("The request names neither a time nor a snapshot.")
        return types.SeekResponse.pb()()

    async def _create_snapshot(self, request: Any, _: Any) -> Any:
        return await self._broker.create_snapshot(request)

    async def _get_snapshot(self, request: Any, _: Any) -> Any:
        return self._broker.snapshot(request.snapshot).config

    async def _list_snapshots(self, request: Any, _: Any) -> Any:
        names, token = _page(request, _of_project(request, self._broker.snapshots))
        found = [self._broker.snapshots[name].config for name in names]
        return types.ListSnapshotsResponse.pb()(snapshots=found, next_page_token=token)

    async def _delete_snapshot(self, request: Any, _: Any) -> Any:
        await self._broker.delete_snapshot(request.snapshot)
        return Empty()

    async def _streaming_pull(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        try:
            first = await anext(requests, None)
            if first is not None:
                stream = Stream(self._broker, self._pullable(first.subscription), first)
                async for answer in stream.answers(requests):
                    yield answer
        except RefusedError as error:
            await context.abort(error.code, error.message)


class Stream:
    """A streaming pull: messages go out while acknowledgements come in.

    Args:
        first: the request that began it; what it acknowledges counts as well.
    """

    def __init__(self, broker: Broker, held: Subscription, first: Any) -> None:
        rules.check_deadline(first.stream_ack_deadline_seconds, least=10)
        self._broker, self._held, self._holder = broker, held, Holder()
        self._seconds = first.stream_ack_deadline_seconds
        self._most, self._most_bytes = first.max_outstanding_messages, first.max_outstanding_bytes
        self._apply(first)

    async def answers(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """What is sent, until the client has said its last.

        Raises:
            RefusedError: it asked for something wrong, or its subscription was deleted.
        """
        reader = asyncio.create_task(self._read(requests))
        try:
            while not reader.done():
                if self._held.is_deleted:
                    raise not_found(self._held.config.name)
                taken = self._take()
                if taken:
                    yield _Streamed(received_messages=_received(self._held, taken))
                else:
                    await _pause(self._held, 60.0, is_held_up=self._free() <= (0, 0))
            reader.result()
        finally:
            reader.cancel()

    def _free(self) -> tuple[int, int]:
        """How many messages, and of how many bytes, the client takes now."""
        messages = self._most - self._holder.messages if self._most > 0 else _STREAM_MOST
        size = self._most_bytes - self._holder.bytes if self._most_bytes > 0 else ANSWER_BYTES
        return (min(messages, _STREAM_MOST), min(size, ANSWER_BYTES)) if messages > 0 and size > 0 else (0, 0)

    def _take(self) -> list[tuple[int, bytes]]:
        messages, size = self._free()  # without room, too: leases that have ended make some
        return self._held.backlog.take(messages, self._seconds, size, self._holder)

    async def _read(self, requests: AsyncIterator[Any]) -> None:
        try:
            async for request in requests:
                self._apply(request)
        finally:
            self._held.wake()

    def _apply(self, request: Any) -> None:
        deadlines = request.modify_deadline_seconds
        if len(deadlines) != len(request.modify_deadline_ack_ids):
            raise invalid("modify_deadline_seconds and modify_deadline_ack_ids are not of the same length.")
        if request.stream_ack_deadline_seconds:
            rules.check_deadline(request.stream_ack_deadline_seconds, least=10)
            self._seconds = request.stream_ack_deadline_seconds
        self._broker.acknowledge(self._held, request.ack_ids)
        for seconds in set(deadlines):
            ack_ids = [
                one for one, its in zip(request.modify_deadline_ack_ids, deadlines, strict=True) if its == seconds
            ]
            self._broker.modify(self._held, ack_ids, seconds)


async def _pause(held: Subscription, seconds: float, *, is_held_up: bool = False) -> None:
    """Wait for news of a subscription, or let others on when there is more to look at already."""
    if held.backlog.has_more and not is_held_up:
        await asyncio.sleep(0)
    else:
        await held.wait(seconds)


def _received(held: Subscription, taken: Sequence[tuple[int, bytes]]) -> list[Any]:
    answers = []
    for number, body in taken:
        answer = _Received(ack_id=held.backlog.ack_id(number))
        answer.message.ParseFromString(body)
        answers.append(answer)
    return answers


def _of_project(request: Any, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(f"{request.project}/")]


def _page(request: Any, names: Iterable[str]) -> tuple[list[str], str]:
    """The names of one page, and the token of the next one: the last name of this one."""
    if request.page_size < 0:
        raise invalid(f"page_size is {request.page_size}, less than 0.")
    rest = sorted(names)
    rest = rest[bisect_right(rest, request.page_token) :]
    size = min(request.page_size or _PAGE, _PAGE)
    return rest[:size], rest[size - 1] if len(rest) > size else ""


def _unary(call: Callable[[Any, Any], Awaitable[Any]], request: Any) -> grpc.RpcMethodHandler:
    """A handler of one message for another, with our refusals as the codes of Google's."""

    async def handle(given: Any, context: Any) -> Any:
        try:
            return await call(given, context)
        except RefusedError as error:
            return await context.abort(error.code, error.message)
        except DamagedLogError as error:
            log.error("%s", error)
            return await context.abort(grpc.StatusCode.DATA_LOSS, str(error))
        except OSError as error:
            return await context.abort(grpc.StatusCode.UNAVAILABLE, f"The broker's disk: {error}.")

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=request.pb().FromString, response_serializer=_serialize
    )


def _serialize(message: Any) -> bytes:
    content: bytes = message.SerializeToString()
    return content
