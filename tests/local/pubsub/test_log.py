"""The log on disk: what was taken is there after any end, and what is broken is said."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.pubsub import log as module
from local.pubsub.log import BLOCK_BYTES, Batch, DamagedLogError, TopicLog


def publish(log: TopicLog, *bodies: bytes, at: int = 0) -> Batch:
    """One publish, all three steps."""
    first, at = log.claim(len(bodies), at)
    batch = Batch(first, at, bodies)
    encoded = batch.encode()
    log.write(encoded)
    log.commit(batch, len(encoded))
    return batch


def everything(log: TopicLog) -> list[bytes]:
    """All messages, in order."""
    return [log.message(number) for number in range(log.first, log.end)]


def test_messages_are_read_by_number_and_found_by_time_across_segments_and_starts(tmp_path: Path) -> None:
    log = TopicLog(tmp_path, segment_bytes=200)
    for number in range(20):
        publish(log, b"body %d" % number, at=number * 10)
    assert len(list(tmp_path.glob("*.log"))) > 3
    for each in (log, TopicLog(tmp_path, segment_bytes=200)):
        assert everything(each) == [b"body %d" % number for number in range(20)]
        assert [each.number_at(at) for at in (-5, 0, 45, 190, 191)] == [0, 0, 5, 19, 20]


def test_messages_of_many_blocks_are_read_from_disk_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHE_BYTES", 2 * BLOCK_BYTES)
    log = TopicLog(tmp_path)
    bodies = [bytes([number]) * (BLOCK_BYTES // 3) for number in range(40)]
    for number, body in enumerate(bodies):
        publish(log, body, b"small", at=number)
    assert [log.message(2 * number) for number in range(40)] == bodies
    assert log.message(3) == b"small"
    assert log._cached <= 2 * BLOCK_BYTES + 2 * BLOCK_BYTES
    assert [log.number_at(at) for at in (0, 17, 39, 40)] == [0, 34, 78, 80]


def test_publishes_of_one_instant_stay_together(tmp_path: Path) -> None:
    log = TopicLog(tmp_path)
    publish(log, b"a", at=5)
    publish(log, b"b", at=5)
    assert publish(log, b"c", at=3).at == 5, "a clock that is set back does not bring times out of order"
    assert publish(TopicLog(tmp_path), b"d", at=4).at == 5
    assert log.number_at(5) == 0
    assert log.number_at(6) == 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(cut=st.integers(1, 150), noise=st.binary(max_size=30))
def test_a_torn_end_costs_only_what_was_not_whole(
    tmp_path_factory: pytest.TempPathFactory, cut: int, noise: bytes
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = TopicLog(folder)
    for number in range(5):
        publish(log, b"message %d" % number, b"and one more")
    before = everything(log)
    [path] = folder.glob("*.log")
    data = path.read_bytes()
    path.write_bytes(data[: max(0, len(data) - cut)] + noise)
    again = TopicLog(folder)
    left = everything(again)
    assert left == before[: len(left)]
    assert len(left) % 2 == 0, "a publish is whole or gone"
    publish(again, b"next")
    assert everything(TopicLog(folder)) == [*left, b"next"]


def test_what_is_cut_off_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    publish(TopicLog(tmp_path), b"whole")
    [path] = tmp_path.glob("*.log")
    path.write_bytes(path.read_bytes() * 2)
    assert everything(TopicLog(tmp_path)) == [b"whole"], "the second batch has the number of the first"
    assert f"{path}: a torn batch of {path.stat().st_size} bytes, which was never answered, is cut off." in caplog.text


def test_a_write_that_fails_half_way_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = TopicLog(tmp_path)
    publish(log, b"before")
    write = os.pwrite

    def half(file: int, data: bytes, at: int) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, bytes(data)[: len(data) // 2], at)

    for truncates in (True, False):
        with monkeypatch.context() as full:
            full.setattr(os, "pwrite", half)
            if not truncates:
                full.setattr(
                    os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error"))
                )
            first, at = log.claim(1, 0)
            with pytest.raises(OSError, match="No space left"):
                log.write(Batch(first, at, [b"lost" * 100]).encode())
            log.give_up()
        publish(log, b"after")
    assert everything(log) == everything(TopicLog(tmp_path)) == [b"before", b"after", b"after"]


def test_what_could_not_be_synced_does_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    log = TopicLog(tmp_path)
    publish(log, b"before")
    with monkeypatch.context() as disk:
        disk.setattr(os, "fdatasync", broken)
        with pytest.raises(OSError, match="Input/output error"):
            publish(log, b"refused")
    assert everything(TopicLog(tmp_path)) == [b"before"]


def test_segments_are_deleted_when_nobody_needs_them_and_numbers_go_on(tmp_path: Path) -> None:
    log = TopicLog(tmp_path, segment_bytes=100)
    for number in range(20):
        publish(log, b"body %d" % number)
    assert log.forget(10) > 0
    assert 0 < log.first <= 10
    assert log.message(10) == b"body 10"
    for gone in (0, 20):
        with pytest.raises(LookupError):
            log.message(gone)
    log.forget(log.end)
    again = TopicLog(tmp_path, segment_bytes=100)
    assert publish(again, b"next").first == 20


@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_broken_segment_within_the_log_ends_the_start(tmp_path: Path, harm: str) -> None:
    log = TopicLog(tmp_path, segment_bytes=100)
    for number in range(20):
        publish(log, b"body %d" % number)
    path = sorted(tmp_path.glob("*.log"))[1]
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    with pytest.raises(DamagedLogError, match="Restore the file"):
        TopicLog(tmp_path, segment_bytes=100)


def test_a_changed_byte_is_not_delivered(tmp_path: Path) -> None:
    log = TopicLog(tmp_path, segment_bytes=100)
    for number in range(20):
        publish(log, b"body %d" % number)
    path = min(tmp_path.glob("*.log"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    again = TopicLog(tmp_path, segment_bytes=100)
    with pytest.raises(DamagedLogError, match="is damaged"):
        again.message(0)
    assert again.message(19) == b"body 19"
