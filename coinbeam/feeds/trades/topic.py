"""The topic of live trades and its subscriptions: how they are reached, and on one machine how they are made."""

import os
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
from google.api_core.exceptions import AlreadyExists, GoogleAPICallError
from google.pubsub_v1 import PublisherAsyncClient, PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport, PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import CloudStorageConfig, Subscription, Topic

from coinbeam.errors import SettingsError, TransientError
from coinbeam.feeds.trades.message import ALLOWED_LATENESS, FEED, PRICE_COLON, PRICES
from coinbeam.settings import Settings

LOCAL_PROJECT = "coinbeam-local"
"""Project of the local Pub/Sub: Beam refuses an id of fewer than six characters, such as ``local``."""

LANDING_SUBSCRIPTION = "trades-landing"
"""The subscription that writes the messages of symbols into the bucket."""

LANDING_FOLDER, LANDING_SUFFIX = "landing/trades/", ".ndjson"
LANDING_FORMAT = "YYYY/MM/DD/hh_mm_ssZ"
"""A folder for each UTC day on which messages were written, in the words of Pub/Sub; letters of its own follow."""

_RETENTION = ALLOWED_LATENESS + timedelta(hours=1)
_TIMEOUT_SECONDS = 20.0
_CHANNEL = (("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 2_000))


def project_of(settings: Settings) -> str:
    """The project of the topic."""
    return LOCAL_PROJECT if settings.is_local else settings.google.project


def topic_path(settings: Settings) -> str:
    """The full name of the topic."""
    return f"projects/{project_of(settings)}/topics/{settings.stream.topic}"


def subscription_path(settings: Settings, name: str) -> str:
    """The full name of a subscription."""
    return f"projects/{project_of(settings)}/subscriptions/{name}"


def windows_subscription(settings: Settings, symbols: Iterable[str]) -> str:
    """The subscription of a local stream of these symbols, which are trades or polled prices."""
    is_polled = all(PRICE_COLON in symbol for symbol in symbols)
    return settings.stream.price_subscription if is_polled else settings.stream.subscription


def emulator_host(settings: Settings) -> str | None:
    """Where the local Pub/Sub answers; None outside the local environment."""
    return f"127.0.0.1:{settings.local.ports.pubsub}" if settings.is_local else None


def use_emulator(settings: Settings, environment: MutableMapping[str, str] = os.environ) -> None:
    """Have the clients of this process and its children ask the local Pub/Sub, by the variable that they all read."""
    if host := emulator_host(settings):
        environment["PUBSUB_EMULATOR_HOST"] = host


def async_publisher(settings: Settings) -> PublisherAsyncClient:
    """A client that publishes; made within the loop that uses it."""
    host = emulator_host(settings)
    if host is None:
        return PublisherAsyncClient()
    channel = grpc.aio.insecure_channel(host, options=_CHANNEL)
    return PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel))


@contextmanager
def subscriber(settings: Settings) -> Iterator[SubscriberClient]:
    """A client that asks for subscriptions and snapshots, as long as a block runs."""
    host = emulator_host(settings)
    if host is None:
        with SubscriberClient() as client:
            yield client
        return
    with grpc.insecure_channel(host, options=_CHANNEL) as channel:
        yield SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))


def ensure_topic(settings: Settings) -> None:
    """Make the topic and its subscriptions where they are missing; on one machine only, elsewhere Terraform does.

    Raises:
        SettingsError: the environment is not local.
        TransientError: Pub/Sub does not answer.
    """
    host = emulator_host(settings)
    if host is None:
        raise SettingsError(
            f"Topics are not made by hand in environment {settings.environment}.", "Terraform makes them: see infra/."
        )
    options: dict[str, Any] = {"retry": None, "timeout": _TIMEOUT_SECONDS}
    with grpc.insecure_channel(host, options=_CHANNEL) as channel, subscriber(settings) as client:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        try:
            with suppress(AlreadyExists):
                publisher.create_topic(request=Topic(name=topic_path(settings)), **options)
            for subscription in subscriptions(settings):
                with suppress(AlreadyExists):
                    client.create_subscription(request=subscription, **options)
        except GoogleAPICallError as error:
            raise TransientError(
                f"Pub/Sub does not answer at {host}: {error}.", "Start the local cloud with `coinbeam local up`."
            ) from error


def subscriptions(settings: Settings) -> list[Subscription]:
    """The subscriptions of the topic: of the pipeline, and of the landing of everything that has a symbol.

    On one machine a stream follows trades or prices, and does not have to read what the other one left when it begins
    again: each has a subscription of its own. Elsewhere one job may follow both.
    """
    names = {settings.stream.subscription: ""}
    if settings.is_local:
        names[settings.stream.subscription] = f"NOT attributes:{FEED}"
        names[settings.stream.price_subscription] = f'attributes.{FEED} = "{PRICES}"'
    windows = [
        Subscription(
            name=subscription_path(settings, name),
            topic=topic_path(settings),
            ack_deadline_seconds=60,
            retain_acked_messages=True,
            message_retention_duration=_RETENTION,
            filter=chosen,
        )
        for name, chosen in names.items()
    ]
    landing = Subscription(
        name=subscription_path(settings, LANDING_SUBSCRIPTION),
        topic=topic_path(settings),
        ack_deadline_seconds=60,
        message_retention_duration=_RETENTION,
        filter="attributes:symbol",
        cloud_storage_config=CloudStorageConfig(
            bucket=settings.storage.bucket,
            filename_prefix=LANDING_FOLDER,
            filename_suffix=LANDING_SUFFIX,
            filename_datetime_format=LANDING_FORMAT,
            text_config=CloudStorageConfig.TextConfig(),
            max_duration=timedelta(minutes=1),
        ),
    )
    return [*windows, landing]
