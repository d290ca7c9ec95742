"""A subscription that writes files into Cloud Storage.

Source: https://cloud.google.com/pubsub/docs/create-cloudstorage-subscription.
"""

import asyncio
import logging
import time
from contextlib import suppress
from datetime import datetime
from math import inf
from os import SEEK_END
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO
from uuid import uuid4

from google.api_core.exceptions import Forbidden, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from google.pubsub_v1 import types

from coinbeam.clock import Clock, utc_now
from local.pubsub.backlog import Holder, MonotonicClock
from local.pubsub.broker import Broker, Subscription

log = logging.getLogger(__name__)

DEFAULT_FORMAT = "YYYY-MM-DDThh:mm:ss+00:00"
"""How a name gives the time when nothing else is asked for. Source: CloudStorageConfig.filename_datetime_format."""

_PARTS = {"YYYY": "%Y", "YY": "%y", "MM": "%m", "DD": "%d", "hh": "%H", "mm": "%M", "ss": "%S"}
_MESSAGES, _BYTES = 1_000, 4 << 20
_IN_MEMORY = 1 << 20
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_TIMEOUT_SECONDS = 20.0

_MessagePb = types.PubsubMessage.pb()
_State, _FileState = types.Subscription.State, types.CloudStorageConfig.State


class FileWriter:
    """Gathers the messages of one subscription, and writes an object when they are old or large enough.

    They are acknowledged, and that is saved, when the object is there: after a kill some may come twice, none is lost.

    Args:
        folder: where messages that are gathered lie while they are too large for memory.
    """

    def __init__(
        self,
        broker: Broker,
        held: Subscription,
        client: Client,
        folder: Path,
        clock: Clock = utc_now,
        monotonic: MonotonicClock = time.monotonic,
    ) -> None:
        self._broker, self._held, self._client = broker, held, client
        self._folder, self._clock, self._monotonic = folder, clock, monotonic
        self._holder, self._stop = Holder(), asyncio.Event()
        self._begin()

    def _begin(self) -> None:
        self._file: IO[bytes] = SpooledTemporaryFile(_IN_MEMORY, dir=str(self._folder))  # noqa: SIM115 - closed when written
        self._numbers: list[int] = []
        self._epoch, self._began, self._name = self._held.backlog.epoch, 0.0, ""

    async def run(self) -> None:
        """Write until the subscription is gone or :meth:`end` is called; then once more what was gathered."""
        while not (self._held.is_deleted or self._stop.is_set()):
            await self._step()
        if self._numbers and not self._held.is_deleted:
            await self.upload()
        self._file.close()

    def end(self) -> None:
        """Have :meth:`run` come to its end."""
        self._stop.set()
        self._held.wake()

    async def _step(self) -> None:
        try:
            self.gather()
        except OSError as error:
            log.warning("%s: messages could not be gathered, and come again: %s", self._held.config.name, error)
            self._give_back()
            await self._pause(_LONGEST_PAUSE)
        if self.is_due():
            await self._write()
        elif self._held.backlog.has_more:
            await asyncio.sleep(0)
        else:
            await self._held.wait(self._seconds_left())

    def _give_back(self) -> None:
        self._held.backlog.modify(self._numbers, 0)
        self._file.close()
        self._begin()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    def gather(self) -> None:
        """Take what there is, up to the size of a file; begin anew when the subscription was sought meanwhile."""
        if self._epoch != self._held.backlog.epoch:
            self._give_back()
        config = self._held.config.cloud_storage_config
        room = min(config.max_messages - len(self._numbers), _MESSAGES) if config.max_messages else _MESSAGES
        size = min(config.max_bytes - self._file.tell(), _BYTES) if config.max_bytes else _BYTES
        taken = self._held.backlog.take(room, inf, size, self._holder) if size > 0 else []
        self._began = self._began if self._numbers else self._monotonic()
        self._numbers += [number for number, _ in taken]
        for _, body in taken:
            self._file.write(_MessagePb.FromString(body).data + b"\n")

    def is_due(self) -> bool:
        """Whether the file is old or large enough, or nothing more is delivered before it is written."""
        if not self._numbers:
            return False
        config = self._held.config.cloud_storage_config
        is_large = bool(config.max_bytes) and self._file.tell() >= config.max_bytes
        is_long = bool(config.max_messages) and len(self._numbers) >= config.max_messages
        return is_large or is_long or self._seconds_left() <= 0 or self._held.backlog.is_full

    def _seconds_left(self) -> float:
        if not self._numbers:
            return 60.0
        longest: float = self._held.config.cloud_storage_config.max_duration.ToMilliseconds() / 1_000
        return self._began + longest - self._monotonic()

    async def _write(self) -> None:
        """Write the file, however often that takes."""
        pause = _FIRST_PAUSE
        while not await self.upload() and not (self._held.is_deleted or self._stop.is_set()):
            await self._pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def upload(self) -> bool:
        """Try once to write the file, acknowledge its messages, and begin the next one; whether it is there.

        A second try has the same name, so that an upload whose answer was lost leaves one object.
        """
        self._name = self._name or object_name(self._held.config.cloud_storage_config, self._clock())
        try:
            await asyncio.to_thread(self._send)
        except Exception as error:  # whatever the storage says, the messages stay, and are tried again
            log.warning(
                "%s: %s could not be written, and is tried again: %s", self._held.config.name, self._name, error
            )
            self._tell(_failure(error))
            return False
        self._tell(_FileState.ACTIVE)
        if self._epoch == self._held.backlog.epoch:
            self._held.backlog.acknowledge(self._numbers)
        self._file.close()
        self._begin()
        with suppress(OSError):  # the broker goes on trying
            await self._broker.save()
        return True

    def _send(self) -> None:
        size = self._file.seek(0, SEEK_END)
        bucket = self._client.bucket(self._held.config.cloud_storage_config.bucket)
        bucket.blob(self._name).upload_from_file(
            self._file, rewind=True, size=size, content_type="text/plain", timeout=_TIMEOUT_SECONDS, retry=None
        )

    def _tell(self, state: int) -> None:
        """Have the subscription say how it is."""
        self._held.config.cloud_storage_config.state = state
        self._held.config.state = _State.ACTIVE if state == _FileState.ACTIVE else _State.RESOURCE_ERROR


def _failure(error: Exception) -> int:
    if isinstance(error, NotFound):
        return _FileState.NOT_FOUND
    return _FileState.PERMISSION_DENIED if isinstance(error, Forbidden) else _FileState.STATE_UNSPECIFIED


def object_name(config: types.CloudStorageConfig, now: datetime) -> str:
    """A new name by the prefix, format and suffix of a subscription."""
    form = (config.filename_datetime_format or DEFAULT_FORMAT).replace("%", "%%")
    for part, directive in _PARTS.items():
        form = form.replace(part, directive)
    return f"{config.filename_prefix}{now.strftime(form)}_{uuid4().hex}{config.filename_suffix}"


def connect(storage_url: str) -> Client:
    """A client of the storage emulator."""
    return Client("local", AnonymousCredentials(), client_options={"api_endpoint": storage_url})  # type: ignore[no-untyped-call]
