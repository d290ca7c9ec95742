"""Publishes that come together share one write and one sync, made in a thread: the loop goes on meanwhile."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

from local.pubsub.log import Batch, TopicLog
from local.pubsub.refusal import RefusedError

MOST_WAITING_BYTES = 64 << 20
"""What may wait for the disk, for each topic; publishers that ask for more are told to try again, and do."""


@dataclass(frozen=True)
class _Waiting:
    batch: Batch
    encoded: bytes
    done: "asyncio.Future[None]"


class GroupCommit:
    """Brings batches to the log of one topic.

    Args:
        committed: is called whenever more can be read.
    """

    def __init__(self, log: TopicLog, committed: Callable[[], None]) -> None:
        self.log, self._committed = log, committed
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None

    async def add(self, first: int, at: int, bodies: Sequence[bytes]) -> None:
        """Return when the messages survive a power cut.

        Args:
            first: the number that :meth:`TopicLog.claim` gave, with ``at``; nothing may be awaited in between.

        Raises:
            RefusedError: they could not be written, or too much waits already.
        """
        batch = Batch(first, at, bodies)
        encoded = batch.encode()
        waiting = _Waiting(batch, encoded, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._bytes += len(encoded)
        if self._task is None:
            self._task = asyncio.create_task(self._write())
        await waiting.done

    def check_room(self) -> None:
        """Refuse a publish while too much waits for the disk.

        Raises:
            RefusedError: so it is.
        """
        if self._bytes > MOST_WAITING_BYTES:
            raise RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "Publishes wait for the disk. Try again.")

    async def _write(self) -> None:
        while self._waiting:
            taken, self._waiting, self._bytes = self._waiting, [], 0
            try:
                await asyncio.to_thread(self.log.write, b"".join(one.encoded for one in taken))
            except OSError as error:
                self._refuse([*taken, *self._waiting], error)
            else:
                self._answer(taken)
        self._task = None

    def _answer(self, taken: Sequence[_Waiting]) -> None:
        for one in taken:
            self.log.commit(one.batch, len(one.encoded))
            if not one.done.done():  # its caller may have gone
                one.done.set_result(None)
        self._committed()

    def _refuse(self, taken: Sequence[_Waiting], error: OSError) -> None:
        """The numbers behind those that failed were given as well: all begin anew."""
        self._waiting, self._bytes = [], 0
        self.log.give_up()
        for one in taken:
            if not one.done.done():
                message = f"The messages could not be written: {error}. Make room on the disk."
                one.done.set_exception(RefusedError(grpc.StatusCode.UNAVAILABLE, message))

    async def close(self) -> None:
        """Write what waits, and let go of the file."""
        if self._task:
            await self._task
        self.log.close()
