"""The topic and its subscriptions, made on a server of Google's own messages."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from coinbeam.errors import SettingsError, TransientError
from coinbeam.feeds.trades.topic import emulator_host, ensure_topic, topic_path, use_emulator
from coinbeam.settings import (
    Environment,
    GoogleSettings,
    LocalSettings,
    MarketSettings,
    MarketSource,
    PortSettings,
    Settings,
    StorageSettings,
)
from tests.coinbeam.feeds.trades.broker import StubBroker, stub_broker
from tests.temporary import free_ports


def made_settings(port: int, environment: Environment = Environment.LOCAL) -> Settings:
    return Settings(
        environment=environment,
        google=GoogleSettings(project="shop"),
        storage=StorageSettings(bucket="bucket"),
        market=MarketSettings(source=MarketSource.LIVE),
        local=LocalSettings(ports=PortSettings(pubsub=port)),
    )


def with_broker(script: Callable[[StubBroker], Any]) -> None:
    async def scene() -> None:
        async with stub_broker() as broker:
            await asyncio.to_thread(script, broker)

    asyncio.run(scene())


def test_what_is_missing_is_made_once() -> None:
    def script(broker: StubBroker) -> None:
        ensure_topic(made_settings(broker.port))
        made = dict(broker.made)
        ensure_topic(made_settings(broker.port))
        assert broker.made == made
        topic, windows, prices, landing = made.values()
        assert topic == {"name": "projects/coinbeam-local/topics/trades"}
        assert windows["name"] == "projects/coinbeam-local/subscriptions/trade-windows"
        assert windows["retainAckedMessages"] is True
        assert windows["messageRetentionDuration"] == "90000s"
        assert windows["filter"] == "NOT attributes:feed", "heartbeats have no symbol"
        named = {"name": "projects/coinbeam-local/subscriptions/price-windows", "filter": 'attributes.feed = "prices"'}
        assert prices == windows | named
        assert landing["name"] == "projects/coinbeam-local/subscriptions/trades-landing"
        assert landing["filter"] == "attributes:symbol"
        assert landing["cloudStorageConfig"] == {
            "bucket": "bucket",
            "filenamePrefix": "landing/trades/",
            "filenameSuffix": ".ndjson",
            "filenameDatetimeFormat": "YYYY/MM/DD/hh_mm_ssZ",
            "textConfig": {},
            "maxDuration": "60s",
        }

    with_broker(script)


def test_a_local_pubsub_that_is_not_there_is_said_to_be_so() -> None:
    [port] = free_ports(1)
    with pytest.raises(TransientError, match="coinbeam local up"):
        ensure_topic(made_settings(port))


def test_elsewhere_nothing_is_made_and_no_emulator_is_used() -> None:
    settings = made_settings(8085, Environment.PRODUCTION)
    with pytest.raises(SettingsError, match="Terraform makes them"):
        ensure_topic(settings)
    variables: dict[str, str] = {}
    use_emulator(settings, variables)
    assert variables == {}
    assert emulator_host(settings) is None
    assert topic_path(settings) == "projects/shop/topics/trades"


def test_on_one_machine_every_client_is_led_to_the_local_one() -> None:
    variables: dict[str, str] = {}
    use_emulator(made_settings(8_123), variables)
    assert variables == {"PUBSUB_EMULATOR_HOST": "127.0.0.1:8123"}
