"""Publishes that come together share a write, which never holds up the loop."""

import asyncio
import errno
import threading
from pathlib import Path

import pytest

from local.pubsub import commit as module
from local.pubsub.commit import GroupCommit
from local.pubsub.log import TopicLog
from local.pubsub.refusal import RefusedError


class SlowLog(TopicLog):
    """A log whose disk answers when it is let, or says that it is full."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.go, self.is_full, self.writes = threading.Event(), False, 0

    def write(self, data: bytes) -> None:
        """Write when it is let."""
        assert self.go.wait(10)
        self.writes += 1
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(data)


async def add(commit: GroupCommit, *bodies: bytes) -> int:
    """Publish; the number of the first message."""
    first, at = commit.log.claim(len(bodies), 0)
    await commit.add(first, at, bodies)
    return first


def test_publishes_wait_for_the_disk_and_not_the_loop_for_them(tmp_path: Path) -> None:
    log = SlowLog(tmp_path)
    news: list[int] = []

    async def publish() -> None:
        commit = GroupCommit(log, lambda: news.append(log.end))
        calls = [asyncio.create_task(add(commit, b"%d" % number)) for number in range(50)]
        await asyncio.sleep(0.01)
        assert not any(call.done() for call in calls), "the loop ran, and nothing was answered"
        assert log.end == 0, "what is not synced is not delivered"
        log.go.set()
        assert await asyncio.gather(*calls) == list(range(50))
        await commit.close()

    asyncio.run(publish())
    assert (log.writes, news) == (1, [50])
    assert [log.message(number) for number in range(50)] == [b"%d" % number for number in range(50)]


def test_a_full_disk_refuses_what_waits_and_takes_the_next(tmp_path: Path) -> None:
    log = SlowLog(tmp_path)

    async def publish() -> None:
        commit = GroupCommit(log, lambda: None)
        log.is_full = True
        calls = [asyncio.create_task(add(commit, b"x"))]
        await asyncio.sleep(0.01)
        calls += [asyncio.create_task(add(commit, b"behind it")) for _ in range(4)]
        await asyncio.sleep(0)
        log.go.set()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(one, RefusedError) and "No space left" in str(one) for one in answers)
        log.is_full = False
        assert await add(commit, b"again") == 0
        await commit.close()

    asyncio.run(publish())
    assert TopicLog(tmp_path).message(0) == b"again"


def test_too_much_that_waits_is_refused_for_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING_BYTES", 100)
    log = SlowLog(tmp_path)

    async def publish() -> None:
        commit = GroupCommit(log, lambda: None)
        calls = [asyncio.create_task(add(commit, b"x" * 60)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(RefusedError, match="wait for the disk"):
            commit.check_room()
        log.go.set()
        await asyncio.gather(*calls)
        commit.check_room()
        await commit.close()

    asyncio.run(publish())
