"""Subscriptions that write messages into Cloud Storage. Source: https://cloud.google.com/pubsub/docs/cloudstorage."""

import asyncio
import logging
import uuid
from contextlib import suppress
from datetime import UTC, datetime

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from local.pubsub.broker import Broker, MessagePb

log = logging.getLogger(__name__)

_MOST = 1_000
_DEFAULT_FORMAT = "YYYY-MM-DDThh_mm_ssZ"
_PARTS = {"YYYY": "%Y", "MM": "%m", "DD": "%d", "hh": "%H", "mm": "%M", "ss": "%S"}


class FileWriter:
    """Gathers the messages of one subscription, and writes an object when they are old or large enough.

    They are acknowledged when the object is there, so that after a kill some may come twice and none is lost.
    """

    def __init__(self, broker: Broker, name: str, client: storage.Client) -> None:
        self._broker, self._name, self._client = broker, name, client
        self._config = broker.subscription(name).config.cloud_storage_config
        self._seconds = self._config.max_duration.ToMilliseconds() / 1_000 or 300.0
        self._bytes = self._config.max_bytes or 100_000_000

    async def run(self) -> None:
        """Write until the subscription is gone, or the task is cancelled: then once more what was gathered."""
        ack_ids, bodies, size, began = list[str](), list[bytes](), 0, 0.0
        clock = asyncio.get_running_loop().time
        try:
            while self._name in self._broker.subscriptions:
                for ack_id, record, _ in self._broker.take(self._name, _MOST, 600):
                    body = MessagePb.FromString(record).data
                    began = began if ack_ids else clock()
                    ack_ids.append(ack_id)
                    bodies.append(body)
                    size += len(body)
                if ack_ids and (clock() - began >= self._seconds or size >= self._bytes):
                    await self._write(ack_ids, bodies)
                    ack_ids, bodies, size = [], [], 0
                wait = min(1.0, self._seconds - (clock() - began)) if ack_ids else 1.0
                held = self._broker.subscriptions.get(self._name)
                if held is not None and not held.deliveries.has_some(self._end()):
                    with suppress(TimeoutError):
                        await asyncio.wait_for(held.news.wait(), max(0.01, wait))
                else:
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            if ack_ids:
                await self._write(ack_ids, bodies)
            raise

    def _end(self) -> int:
        topic = self._broker.topics.get(self._broker.subscription(self._name).config.topic)
        return topic.log.end if topic else 0

    async def _write(self, ack_ids: list[str], bodies: list[bytes]) -> None:
        name, content = self._object(), b"".join(body + b"\n" for body in bodies)
        try:
            await asyncio.to_thread(self._upload, name, content)
        except Exception as error:  # whatever the storage says, the messages stay, and come again
            log.warning("%s: %s could not be written, and is tried again: %s", self._name, name, error)
            self._broker.modify(self._name, ack_ids, 0)
            await asyncio.sleep(1)
            return
        self._broker.acknowledge(self._name, ack_ids)

    def _object(self) -> str:
        form = self._config.filename_datetime_format or _DEFAULT_FORMAT
        for token, directive in _PARTS.items():
            form = form.replace(token, directive)
        stamp = datetime.now(UTC).strftime(form)
        return f"{self._config.filename_prefix}{stamp}_{uuid.uuid4().hex[:6]}{self._config.filename_suffix}"

    def _upload(self, name: str, content: bytes) -> None:
        self._client.bucket(self._config.bucket).blob(name).upload_from_string(
            content, content_type="application/octet-stream", timeout=20, retry=None
        )


def connect(storage_url: str) -> storage.Client:
    """A client of the storage emulator."""
    return storage.Client("local", AnonymousCredentials(), client_options={"api_endpoint": storage_url})  # type: ignore[no-untyped-call]
