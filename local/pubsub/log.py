"""The messages of a topic on disk: segments that are only appended to, and synced before a publish is answered.

A record is its length, its checksum, its time and the serialised message. What a kill cut off at the end of the last
segment was never acknowledged, and is cut away when the log is opened.
"""

import logging
import os
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)

_HEADER = struct.Struct("<IIq")  # length, CRC-32 of time and message, publish time in microseconds
_TIME = struct.Struct("<q")
SEGMENT_BYTES = 64 * 2**20
"""Size from which the next segment begins; a whole one is deleted when it is no longer kept."""


class Segment:
    """One file: messages from the sequence number ``first`` on."""

    def __init__(self, path: Path) -> None:
        self.path, self.first = path, int(path.stem)
        self.starts, self.times = array("Q"), array("q")
        self._file = path.open("a+b", buffering=0)
        self.size = self._scan()

    def _scan(self) -> int:
        """Read what is whole, cut off the rest; the size of what stays."""
        length, position = os.fstat(self._file.fileno()).st_size, 0
        with self.path.open("rb") as source:
            while header := source.read(_HEADER.size):
                if len(header) < _HEADER.size:
                    break
                size, checksum, at = _HEADER.unpack(header)
                body = source.read(size)
                if len(body) < size or zlib.crc32(body, zlib.crc32(_TIME.pack(at))) != checksum:
                    break
                self.starts.append(position)
                self.times.append(at)
                position += _HEADER.size + size
        if position < length:
            log.warning(
                "%s: %d bytes of a message that was never acknowledged are cut off", self.path, length - position
            )
            self._file.truncate(position)
        return position

    @property
    def end(self) -> int:
        """Sequence number after the last message."""
        return self.first + len(self.starts)

    def append(self, messages: Iterable[tuple[int, bytes]]) -> None:
        """Write messages with their times; nothing is synced yet."""
        pieces = []
        for at, body in messages:
            pieces += [_HEADER.pack(len(body), zlib.crc32(body, zlib.crc32(_TIME.pack(at))), at), body]
            self.starts.append(self.size)
            self.times.append(at)
            self.size += _HEADER.size + len(body)
        whole = memoryview(b"".join(pieces))
        while whole:
            whole = whole[self._file.write(whole) :]

    def sync(self) -> None:
        """Return when everything written so far survives a power cut."""
        os.fdatasync(self._file.fileno())

    def read(self, number: int) -> bytes:
        """The message of a sequence number."""
        start = self.starts[number - self.first]
        [size] = struct.unpack("<I", os.pread(self._file.fileno(), 4, start))
        return os.pread(self._file.fileno(), size, start + _HEADER.size)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class TopicLog:
    """All segments of a topic; sequence numbers begin at 0 and are never used again."""

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._segment_bytes = folder, segment_bytes
        self._segments = [Segment(path) for path in sorted(folder.glob("*.log"))] or [self._new(0)]

    def _new(self, first: int) -> Segment:
        segment = Segment(self._folder / f"{first:020d}.log")
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # the name of a new file, too, survives a power cut
        finally:
            os.close(descriptor)
        return segment

    @property
    def first(self) -> int:
        """Smallest sequence number that is still there."""
        return self._segments[0].first

    @property
    def end(self) -> int:
        """Sequence number of the next message."""
        return self._segments[-1].end

    def append(self, messages: list[tuple[int, bytes]]) -> None:
        """Write messages, each with its publish time in microseconds."""
        last = self._segments[-1]
        if last.size >= self._segment_bytes:
            last.sync()
            self._segments.append(last := self._new(last.end))
        last.append(messages)

    def sync(self) -> None:
        """Sync what was written; see :meth:`Segment.sync`."""
        self._segments[-1].sync()

    def read(self, number: int) -> bytes:
        """A message.

        Raises:
            LookupError: it was deleted, or never written.
        """
        segment = self._segment(number)
        if segment is None:
            raise LookupError(number)
        return segment.read(number)

    def _segment(self, number: int) -> Segment | None:
        if not self.first <= number < self.end:
            return None
        position = bisect_left(self._segments, number + 1, key=lambda segment: segment.first) - 1
        return self._segments[position]

    def time_of(self, number: int) -> int | None:
        """Publish time of a message in microseconds, or None when it is not there."""
        segment = self._segment(number)
        return segment.times[number - segment.first] if segment else None

    def number_at(self, at: int) -> int:
        """The first message that was published at an instant, in microseconds, or later."""
        for segment in self._segments:
            if segment.times and segment.times[-1] >= at:
                return segment.first + bisect_left(segment.times, at)
        return self.end

    def forget(self, number: int) -> int:
        """Delete the segments that end before a sequence number; how many they were."""
        gone = 0
        while len(self._segments) > 1 and self._segments[0].end <= number:
            segment = self._segments.pop(0)
            segment.close()
            segment.path.unlink()
            gone += 1
        return gone

    def close(self) -> None:
        """Let go of all files."""
        for segment in self._segments:
            segment.close()
