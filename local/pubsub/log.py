"""The messages of a topic on disk: segments that are only appended to, and synced before a publish is answered.

A segment holds batches, a batch the messages of one publish: a header and, for each message, its length and its bytes.
Every message has a sequence number, which is never used again.

Memory does not grow with the messages. The index knows where each block of some batches begins; the block that a
message is in is read as a whole, and the last few that were read or written stay in memory.
"""

import logging
import mmap
import os
import struct
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from coinbeam.errors import TerminalError

log = logging.getLogger(__name__)

SEGMENT_BYTES = 32 << 20
"""Size from which the next segment begins. A segment is deleted as a whole, when nobody needs a message of it."""

BLOCK_BYTES = 64 << 10
"""Size from which the next block begins."""

CACHE_BYTES = 8 << 20
"""Size of the blocks that stay in memory, for each topic."""

_HEADER = struct.Struct("<IIQqI")  # size and CRC-32 of what follows; first number, publish time, count of messages
_CHECKED = struct.Struct("<QqI")
_LENGTH = struct.Struct("<I")


class DamagedLogError(TerminalError):
    """A batch that was synced is not what was written."""


@dataclass(frozen=True)
class Batch:
    """Messages that are written together.

    Attributes:
        first: sequence number of the first one.
        at: publish time of all, in microseconds since 1970.
        bodies: the serialised messages.
    """

    first: int
    at: int
    bodies: Sequence[bytes]

    @property
    def end(self) -> int:
        """Sequence number behind the last one."""
        return self.first + len(self.bodies)

    def encode(self) -> bytes:
        """The batch as it is on disk."""
        content = b"".join(piece for body in self.bodies for piece in (_LENGTH.pack(len(body)), body))
        return self._header(content) + content

    def _header(self, content: bytes) -> bytes:
        return _HEADER.pack(len(content), self.checksum(content), self.first, self.at, len(self.bodies))

    def checksum(self, content: bytes) -> int:
        """CRC-32 of numbers, time and content."""
        return zlib.crc32(content, zlib.crc32(_CHECKED.pack(self.first, self.at, len(self.bodies))))


@dataclass(frozen=True)
class _Extent:
    """Where a batch lies in its file, without its messages."""

    start: int
    size: int
    first: int
    at: int
    count: int


def _extents(data: bytes | mmap.mmap, length: int, *, checked: bool) -> Iterator[_Extent]:
    """The whole batches of a file, from its start up to the first that is not whole.

    Args:
        checked: also compare the checksums, which reads everything.
    """
    start = 0
    while start + _HEADER.size <= length:
        size, checksum, first, at, count = _HEADER.unpack_from(data, start)
        content = start + _HEADER.size
        if count == 0 or content + size > length:
            return
        if (
            checked
            and zlib.crc32(data[content : content + size], zlib.crc32(_CHECKED.pack(first, at, count))) != checksum
        ):
            return
        yield _Extent(start, _HEADER.size + size, first, at, count)
        start = content + size


@dataclass
class Segment:
    """One file and its index: the first number, the publish time and the place of each block.

    Attributes:
        first: number of its first message.
        end: number behind its last one.
        size: bytes of it that are synced.
    """

    path: Path
    first: int
    end: int = 0
    size: int = 0
    numbers: "array[int]" = field(default_factory=lambda: array("Q"))
    times: "array[int]" = field(default_factory=lambda: array("q"))
    starts: "array[int]" = field(default_factory=lambda: array("Q"))

    def __post_init__(self) -> None:
        self.end = self.first

    @classmethod
    def open(cls, path: Path, *, is_last: bool) -> "Segment":
        """The segment of a file; of the last one, what a kill cut short is cut off.

        Raises:
            DamagedLogError: an earlier one is not whole.
        """
        segment, length = cls(path, int(path.stem)), path.stat().st_size
        if length:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                for extent in _extents(data, length, checked=is_last):
                    if extent.first != segment.end:
                        break
                    segment.note(extent.first, extent.at, extent.count, extent.size)
        if segment.size < length:
            if not is_last:
                raise DamagedLogError(
                    f"{path} is damaged at byte {segment.size}, within messages that were taken.",
                    "Restore the file, or delete the data of the broker.",
                )
            log.warning(
                "%s: a torn batch of %d bytes, which was never answered, is cut off.", path, length - segment.size
            )
            os.truncate(path, segment.size)
        return segment

    def note(self, first: int, at: int, count: int, size: int) -> bool:
        """Take a batch that is on disk into the index; whether it begins a block."""
        is_new = not self.starts or self.size - self.starts[-1] >= BLOCK_BYTES
        if is_new:
            self.numbers.append(first)
            self.times.append(at)
            self.starts.append(self.size)
        self.size += size
        self.end = first + count
        return is_new

    def read_block(self, position: int) -> list[Batch]:
        """The batches of a block.

        Raises:
            DamagedLogError: they are not what was written.
        """
        start = self.starts[position]
        end = self.starts[position + 1] if position + 1 < len(self.starts) else self.size
        with self.path.open("rb") as file:
            data = os.pread(file.fileno(), end - start, start)
        extents = list(_extents(data, len(data), checked=True))
        if sum(extent.size for extent in extents) != end - start:
            raise DamagedLogError(f"{self.path} is damaged behind byte {start}.", "Delete the data of the broker.")
        return [Batch(extent.first, extent.at, _bodies(data, extent)) for extent in extents]


def _bodies(data: bytes, extent: _Extent) -> list[bytes]:
    bodies, position = [], extent.start + _HEADER.size
    for _ in range(extent.count):
        [length] = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        bodies.append(data[position : position + length])
        position += length
    return bodies


class Block:
    """Batches that are read as a whole; the last one of a log grows."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.first = batches[0].first
        self.bodies: list[bytes] = []
        self.size = 0
        self._batches: list[tuple[int, int]] = []
        for batch in batches:
            self.add(batch)

    def add(self, batch: Batch) -> int:
        """Take in the next batch; its size."""
        self._batches.append((batch.at, batch.first))
        self.bodies += batch.bodies
        size = sum(map(len, batch.bodies))
        self.size += size
        return size

    def number_at(self, at: int) -> int:
        """The first message that was published at an instant or later, or the number behind the last one."""
        found = bisect_left(self._batches, (at, -1))
        return self._batches[found][1] if found < len(self._batches) else self.first + len(self.bodies)


class TopicLog:
    """All segments of a topic.

    One publish after the other goes three steps: :meth:`claim` gives it numbers, :meth:`write` brings it to disk,
    :meth:`commit` makes it readable. Only :meth:`write` may run in another thread, one call at a time.

    Raises:
        DamagedLogError: messages that were taken cannot be read any more.
    """

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._segment_bytes = folder, segment_bytes
        self._cache: OrderedDict[int, Block] = OrderedDict()
        self._cached = 0
        paths = sorted(folder.glob("*.log"))
        self._segments = [Segment.open(path, is_last=path == paths[-1]) for path in paths] or [self._new_segment(0)]
        self._check_order()
        self._next, self._last_at = self.end, self._time_of_last()
        self._recent: Block | None = None
        self._file = os.open(self._segments[-1].path, os.O_WRONLY)

    def _check_order(self) -> None:
        for earlier, later in zip(self._segments, self._segments[1:], strict=False):
            if earlier.end != later.first:
                raise DamagedLogError(
                    f"{later.path} does not follow {earlier.path}, which ends before message {earlier.end}.",
                    "Restore the files, or delete the data of the broker.",
                )

    def _time_of_last(self) -> int:
        return max((segment.times[-1] for segment in self._segments if segment.times), default=0)

    def _new_segment(self, first: int) -> Segment:
        path = self._folder / f"{first:020d}.log"
        path.touch()
        sync_folder(self._folder)
        return Segment(path, first)

    @property
    def first(self) -> int:
        """Smallest number that is still there."""
        return self._segments[0].first

    @property
    def end(self) -> int:
        """Number behind the last message that can be read."""
        return self._segments[-1].end

    def claim(self, count: int, now: int) -> tuple[int, int]:
        """Numbers for so many messages: the first of them, and their publish time in microseconds.

        A clock that is set back does not bring times out of order.
        """
        first, self._next = self._next, self._next + count
        self._last_at = max(self._last_at, now)
        return first, self._last_at

    def write(self, data: bytes) -> None:
        """Append encoded batches, and return when they survive a power cut.

        Raises:
            OSError: they could not be written; the file is as it was.
        """
        if self._segments[-1].size >= self._segment_bytes:
            self._roll()
        size = at = self._segments[-1].size
        rest = memoryview(data)
        try:
            while rest:
                written = os.pwrite(self._file, rest, at)
                at, rest = at + written, rest[written:]
            os.fdatasync(self._file)
        except OSError:
            with suppress(OSError):  # the next write begins at the same place in any case
                os.ftruncate(self._file, size)
            raise

    def _roll(self) -> None:
        """Begin the next segment; what a failed write left of this one is no longer the end of the log."""
        os.ftruncate(self._file, self._segments[-1].size)
        os.fsync(self._file)
        segment = self._new_segment(self.end)
        file = os.open(segment.path, os.O_WRONLY)
        os.close(self._file)
        self._file = file
        self._segments.append(segment)

    def commit(self, batch: Batch, size: int) -> None:
        """Make a batch readable that was written, in the order of the numbers."""
        segment = self._segments[-1]
        if segment.note(batch.first, batch.at, len(batch.bodies), size):
            self._keep(Block([batch]))
        elif block := self._cache.get(segment.numbers[-1]):
            self._cached += block.add(batch)

    def give_up(self) -> None:
        """Take back all numbers whose messages were not written."""
        self._next = self.end

    def message(self, number: int) -> bytes:
        """A message.

        Raises:
            LookupError: it was deleted, or is not there yet.
            DamagedLogError: it is not what was written.
        """
        recent = self._recent
        if recent is None or not 0 <= number - recent.first < len(recent.bodies):
            recent = self._recent = self._block(number)
        return recent.bodies[number - recent.first]

    def _block(self, number: int) -> Block:
        if not self.first <= number < self.end:
            raise LookupError(f"There is no message {number}.")
        segment = self._segments[bisect_right(self._segments, number, key=lambda one: one.first) - 1]
        return self._block_at(segment, bisect_right(segment.numbers, number) - 1)

    def _block_at(self, segment: Segment, position: int) -> Block:
        first = segment.numbers[position]
        if first in self._cache:
            self._cache.move_to_end(first)
            return self._cache[first]
        return self._keep(Block(segment.read_block(position)))

    def _keep(self, block: Block) -> Block:
        self._cache[block.first] = block
        self._cached += block.size
        while self._cached > CACHE_BYTES and len(self._cache) > 1:
            self._cached -= self._cache.popitem(last=False)[1].size
        return block

    def number_at(self, at: int) -> int:
        """The first message that was published at an instant, in microseconds, or later; the end when there is none."""
        for segment in reversed(self._segments):
            position = bisect_left(segment.times, at) - 1
            if position >= 0:
                return self._block_at(segment, position).number_at(at)
        return self.first

    def forget(self, number: int) -> int:
        """Delete the segments that end before a number; how many they were."""
        gone = 0
        while len(self._segments) > 1 and self._segments[0].end <= number:
            self._segments.pop(0).path.unlink(missing_ok=True)
            gone += 1
        return gone

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def sync_folder(folder: Path) -> None:
    """Have the names of new files, too, survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
