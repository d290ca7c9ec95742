"""Where positions are kept between two runs of the publisher, and its status for others to read."""

import asyncio
import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import orjson

from coinbeam.errors import TerminalError, TransientError, disk_full
from coinbeam.feeds.trades.position import Position
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import Settings


class Store(Protocol):
    """One text that is replaced as a whole, so that a reader sees the old one or the new one."""

    def read(self) -> str | None:
        """The text, None when there is none."""
        ...

    def write(self, text: str) -> None:
        """Replace the text; it is safe when this returns.

        Raises:
            TransientError: it was not replaced.
        """
        ...


class FileStore:
    """A text in a file of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> str | None:
        """The text, None when there is none."""
        return self.path.read_text(encoding="utf-8") if self.path.exists() else None

    def write(self, text: str) -> None:
        """Write beside the file, bring that to the disk, and let it take the name.

        Raises:
            TransientError: the disk does not take it.
        """
        beside = self.path.with_name(f"{self.path.name}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
        except OSError as error:
            raise disk_full(error) or TransientError(
                f"{self.path} cannot be written: {error}.", "Check the folder and its disk."
            ) from error


class BucketStore:
    """A text in an object of the bucket."""

    def __init__(self, bucket: Bucket, path: str) -> None:
        self.bucket, self.path = bucket, path

    def read(self) -> str | None:
        """The text, None when there is none."""
        return self.bucket.read_text(self.path)

    def write(self, text: str) -> None:
        """Replace the object.

        Raises:
            TransientError: the bucket does not answer.
        """
        self.bucket.write_text(self.path, text)


def store_of(settings: Settings, source_id: str, name: str) -> Store:
    """Where a text of the publisher of one venue is kept: below ``local.state_dir``, or in the bucket."""
    path = f"stream/{source_id}/{name}.json"
    return FileStore(settings.local.state_dir / path) if settings.is_local else BucketStore(Bucket(settings), path)


@contextmanager
def only_one(settings: Settings, source_id: str) -> Iterator[None]:
    """Be the only publisher of a venue that keeps its positions on this machine, as long as the block lasts.

    A lock of the system: a process that is killed leaves none behind. Elsewhere there is none; what two publishers of
    one symbol do there, or on two machines, stands in ``docs/decisions/0019``: nothing that is wrong.

    Raises:
        TerminalError: another process is.
    """
    if not settings.is_local:
        yield
        return
    path = settings.local.state_dir / f"stream/{source_id}/publisher.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise TerminalError(
                f"Process {file.read().strip() or 'unknown'} publishes trades of {source_id} already, with positions "
                f"in {path.parent}.",
                "End it with `coinbeam stream down` or Ctrl-C, or give this one another local.state_dir.",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


class Positions:
    """The positions of all symbols in one store; those of symbols that are not followed now stay as they are."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = asyncio.Lock()
        self._text = store.read() or "{}"
        self._others = self._parsed()
        self._positions: dict[str, Position] = {}

    def load(self, symbols: Iterable[str]) -> list[Position]:
        """The positions of symbols, in their order; an empty one for a symbol that was never followed.

        Raises:
            TerminalError: what is in the store is no position.
        """
        for symbol in symbols:
            dumped = self._others.pop(symbol, None)
            try:
                position = Position(symbol) if dumped is None else Position.load(symbol, dumped)
            except (KeyError, TypeError, ValueError) as error:
                raise self._broken(f"{symbol}: {type(error).__name__}: {error}") from error
            self._positions[symbol] = position
        return list(self._positions.values())

    async def save(self) -> None:
        """Write the positions, if they changed; they are safe when this returns.

        Raises:
            TransientError: the store does not take them.
        """
        async with self._lock:
            dumped = {symbol: position.dump() for symbol, position in self._positions.items()}
            text = orjson.dumps({**self._others, **dumped}).decode()
            if text != self._text:
                await asyncio.to_thread(self._store.write, text)
                self._text = text

    def _parsed(self) -> dict[str, Mapping[str, Any]]:
        try:
            found = orjson.loads(self._text)
        except orjson.JSONDecodeError as error:
            raise self._broken(str(error)) from error
        if not isinstance(found, dict):
            raise self._broken(f"a {type(found).__name__}")
        return found

    def _broken(self, reason: str) -> TerminalError:
        return TerminalError(
            f"The positions of the publisher cannot be read ({reason}).",
            "Delete them to follow each symbol anew: the minute of the change is then marked as incomplete.",
        )
