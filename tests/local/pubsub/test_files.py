"""Subscriptions that write into Cloud Storage, against its emulator."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core import exceptions
from google.pubsub_v1 import types

from local.pubsub.broker import Broker, Subscription
from local.pubsub.files import FileWriter, connect, object_name
from tests.deploy.emulator import Emulator, running
from tests.local.pubsub.conftest import PROJECT, Server, our_broker, until
from tests.local.pubsub.test_contract import make_bench

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore:The return_immediately flag")]

TOPIC, NAME = f"{PROJECT}/topics/trades", f"{PROJECT}/subscriptions/landing"
NOW = datetime(2026, 11, 28, 9, 5, 7, tzinfo=UTC)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """Cloud Storage in this process."""
    with running() as started:
        yield started


class Desk:
    """A writer, its subscription, and the time that both see."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self.now, self.bucket, self.emulator = 0.0, f"bucket-{folder.name.replace('_', '-').lower()}", emulator
        self.folder = folder
        self.client = connect(f"http://127.0.0.1:{emulator.port}")
        self.broker = Broker(folder, monotonic=lambda: self.now)

    async def open(self, **files: Any) -> FileWriter:
        """Make topic and subscription, and a writer for them."""
        await self.broker.create_topic(types.Topic.pb()(name=TOPIC))
        config = {"bucket": self.bucket, "filename_prefix": "landing/", "filename_suffix": ".ndjson"} | files
        await self.broker.create_subscription(
            types.Subscription.pb()(name=NAME, topic=TOPIC, filter="attributes:symbol", cloud_storage_config=config)
        )
        return FileWriter(
            self.broker, self.held, self.client, self.folder, clock=lambda: NOW, monotonic=lambda: self.now
        )

    @property
    def held(self) -> Subscription:
        """The subscription."""
        return self.broker.subscription(NAME)

    async def publish(self, *bodies: bytes, **attributes: str) -> None:
        """Publish messages, with a symbol unless other attributes are given."""
        attributes = attributes or {"symbol": "BTCUSDT"}
        message = types.PubsubMessage.pb()
        await self.broker.publish(TOPIC, [message(data=body, attributes=attributes) for body in bodies])

    def contents(self) -> list[bytes]:
        """What lies in the objects."""
        return sorted(self.emulator.content(self.bucket, name) for name in self.emulator.names(self.bucket))


def test_a_file_is_written_when_it_is_old_enough(tmp_path: Path, emulator: Emulator) -> None:
    async def write() -> None:
        desk = Desk(tmp_path, emulator)
        emulator.create_bucket(desk.bucket)
        writer = await desk.open(max_duration={"seconds": 60})
        await desk.publish(b'{"a":1}\n', b'{"a":2}')
        await desk.publish(b"x", kind="heartbeat")
        writer.gather()
        desk.now = 59.9
        assert not writer.is_due()
        desk.now = 60.0
        assert writer.is_due()
        assert await writer.upload()
        assert not writer.is_due()
        assert desk.held.backlog.acked.ranges() == [[0, 3]]
        await desk.broker.close()
        assert [line for line in desk.contents()[0].splitlines() if line] == [b'{"a":1}', b'{"a":2}']

    asyncio.run(write())


@pytest.mark.parametrize("bound", ["max_bytes", "max_messages"])
def test_a_file_is_written_when_it_is_large_enough(tmp_path: Path, emulator: Emulator, bound: str) -> None:
    async def write() -> None:
        desk = Desk(tmp_path, emulator)
        emulator.create_bucket(desk.bucket)
        writer = await desk.open(**{bound: 1_000})
        await desk.publish(*(b"x" for _ in range(499)))
        await desk.publish(*(b"y" for _ in range(502)))
        looks = 0
        while not writer.is_due():
            writer.gather()
            looks += 1
            assert looks < 100
        assert await writer.upload()
        await desk.broker.close()
        [content] = desk.contents()
        assert len(content) in {"max_bytes": range(1_000, 1_040), "max_messages": [2_000]}[bound]

    asyncio.run(write())


def test_a_bucket_that_is_missing_is_said_and_awaited(tmp_path: Path, emulator: Emulator) -> None:
    async def write() -> None:
        desk = Desk(tmp_path, emulator)
        writer = await desk.open()
        await desk.publish(b"a")
        writer.gather()
        assert not await writer.upload()
        assert desk.held.config.state == types.Subscription.State.RESOURCE_ERROR
        assert desk.held.config.cloud_storage_config.state == types.CloudStorageConfig.State.NOT_FOUND
        assert desk.held.backlog.acked.ranges() == []
        emulator.create_bucket(desk.bucket)
        assert await writer.upload()
        assert desk.held.config.state == types.Subscription.State.ACTIVE
        await desk.broker.close()
        assert desk.contents() == [b"a\n"]

    asyncio.run(write())


def test_an_upload_whose_answer_was_lost_leaves_one_object(tmp_path: Path, emulator: Emulator) -> None:
    async def write() -> None:
        desk = Desk(tmp_path, emulator)
        emulator.create_bucket(desk.bucket)
        writer = await desk.open()
        await desk.publish(b"a")
        writer.gather()
        send = writer._send

        def lose() -> None:
            send()
            raise ConnectionResetError("Connection reset by peer")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writer, "_send", lose)
            assert not await writer.upload()
        await desk.publish(b"later")
        assert await writer.upload()
        assert desk.held.backlog.acked.ranges() == [[0, 1]]
        await desk.broker.close()
        assert desk.contents() == [b"a\n"]

    asyncio.run(write())


def test_what_was_gathered_before_a_seek_is_left_out(tmp_path: Path, emulator: Emulator) -> None:
    async def write() -> None:
        desk = Desk(tmp_path, emulator)
        emulator.create_bucket(desk.bucket)
        writer = await desk.open()
        await desk.publish(b"skipped")
        writer.gather()
        await desk.broker.seek_time(NAME, round(time.time() * 1_000_000) + 3_600_000_000)
        await desk.publish(b"kept")
        writer.gather()
        assert await writer.upload()
        await desk.broker.close()
        assert desk.contents() == [b"kept\n"]

    asyncio.run(write())


def test_a_seek_while_a_file_is_written_is_not_undone_by_it(tmp_path: Path, emulator: Emulator) -> None:
    async def write() -> None:
        desk = Desk(tmp_path, emulator)
        emulator.create_bucket(desk.bucket)
        writer = await desk.open()
        await desk.publish(b"a")
        writer.gather()
        await desk.broker.seek_time(NAME, 0)
        assert await writer.upload()
        assert desk.held.backlog.acked.ranges() == []
        writer.gather()
        assert await writer.upload()
        await desk.broker.close()
        assert desk.contents() == [b"a\n", b"a\n"]

    asyncio.run(write())


def test_messages_wait_while_the_disk_is_full(tmp_path: Path, emulator: Emulator) -> None:
    async def write() -> None:
        desk = Desk(tmp_path, emulator)
        emulator.create_bucket(desk.bucket)
        writer = await desk.open(max_bytes=1_000)
        await desk.publish(b"x" * 2_000)
        full = SimpleNamespace(write=_full, tell=lambda: 0, close=lambda: None)
        working = writer._file
        writer._file = full  # type: ignore[assignment]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("local.pubsub.files._LONGEST_PAUSE", 0.0)
            await writer._step()
        working.close()
        await writer._step()
        await desk.broker.close()
        assert desk.contents() == [b"x" * 2_000 + b"\n"]

    asyncio.run(write())


def _full(_: bytes) -> None:
    raise OSError(28, "No space left on device")


def test_the_process_writes_files_by_itself_and_the_rest_when_it_ends(tmp_path: Path, emulator: Emulator) -> None:
    emulator.create_bucket("process")
    written: list[str] = []
    emulator.watchers.append(written.append)
    server = our_broker(tmp_path, "--storage-url", f"http://127.0.0.1:{emulator.port}")
    try:
        bench = make_bench(server, cloud_storage_config={"bucket": "process", "max_bytes": 1_000})
        with pytest.raises(exceptions.FailedPrecondition, match="cannot be pulled"):
            bench.pull()
        bench.publish(b"a" * 1_000)
        for _ in until(20):
            if written:
                break
        bench.publish(b"b")
        time.sleep(0.3)  # the acknowledgement of the first is saved, and the second gathered
        server.begin_again()
        time.sleep(0.2)
        assert server.end() == 0
        contents = [emulator.content("process", name) for name in emulator.names("process")]
        assert sorted(contents) == [b"a" * 1_000 + b"\n", b"b\n"], (
            "what is written comes no more, what was gathered is not lost"
        )
    finally:
        emulator.watchers.remove(written.append)
        server.kill()


def test_without_a_storage_url_a_subscription_waits_and_that_is_said(shared: Server) -> None:
    bench = make_bench(shared, cloud_storage_config={"bucket": "nowhere"})
    bench.publish(b"a")
    assert f"{bench.subscription} waits: the broker was started without --storage-url." in shared.said


@pytest.mark.parametrize(
    ("form", "stamp"),
    [
        ("", "2026-11-28T09:05:07+00:00"),
        ("YYYY/MM/DD/hh_mm_ssZ", "2026/11/28/09_05_07Z"),
        ("YY%MM", "26%11"),
    ],
)
def test_names_have_prefix_time_and_suffix(form: str, stamp: str) -> None:
    config = types.CloudStorageConfig(filename_prefix="a/", filename_suffix=".txt", filename_datetime_format=form)
    names = {object_name(config, NOW) for _ in range(2)}
    assert len(names) == 2
    assert all(name.startswith(f"a/{stamp}_") and name.endswith(".txt") for name in names)
