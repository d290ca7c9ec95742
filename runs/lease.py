"""One execution at a time: an object in the bucket that its holder renews, and that is free when it no longer does."""

import json
import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from types import TracebackType

from coinbeam.clock import Clock, format_instant, parse_instant, utc_now
from coinbeam.errors import CoinbeamError, WriteConflictError
from coinbeam.landing.bucket import Bucket

RENEWED_SECONDS = 30.0
STALE = timedelta(minutes=3)
"""A holder that was killed leaves the lease behind; a living one renews it six times in this time."""

logger = logging.getLogger("coinbeam.runs")


class HeldError(CoinbeamError):
    """Another execution is at the same work."""


def end_this_process() -> None:
    """Ask this process to end, as Cloud Run does."""
    os.kill(os.getpid(), signal.SIGTERM)


class Lease:
    """The lease for the ``with`` block.

    Args:
        bucket: where it lies.
        path: the object.
        holder: this execution; a second attempt of it is the same holder, and the first one is dead.
        clock: the present instant.
        on_loss: called when another execution took it over, since it could not be renewed in time.

    Raises:
        HeldError: another execution holds it.
    """

    def __init__(
        self,
        bucket: Bucket,
        path: str,
        holder: str,
        clock: Clock = utc_now,
        on_loss: Callable[[], None] = end_this_process,
    ) -> None:
        self._bucket, self._path, self._holder, self._clock = bucket, path, holder, clock
        self._on_loss = on_loss
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> "Lease":
        text, generation = self._bucket.read_versioned(self._path)
        held = json.loads(text) if text else {}
        is_fresh = bool(held) and self._clock() - parse_instant(held["renewed_at"]) < STALE
        if is_fresh and held["holder"] != self._holder:
            raise self._taken(held["holder"])
        try:
            self._bucket.replace_text(self._path, self._text(), generation)
        except WriteConflictError:
            raise self._taken("another one, since this moment") from None
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(RENEWED_SECONDS)
        with suppress(CoinbeamError):
            holder, generation = self._read()
            if holder == self._holder:
                self._bucket.delete(self._path, generation)

    def _read(self) -> tuple[str, int]:
        """Who holds it, and the generation of the object."""
        text, generation = self._bucket.read_versioned(self._path)
        return (json.loads(text)["holder"] if text else ""), generation

    def _taken(self, holder: str) -> HeldError:
        return HeldError(f"This work is under way: {holder} holds {self._bucket.uri(self._path)}.")

    def _text(self) -> str:
        return json.dumps({"holder": self._holder, "renewed_at": format_instant(self._clock())})

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED_SECONDS):
            try:
                if not self.renewed():
                    logger.error("The lease %s was lost to another execution: this one ends.", self._path)
                    self._on_loss()
                    return
            except CoinbeamError as error:
                logger.warning("The lease could not be renewed: %s", error)

    def renewed(self) -> bool:
        """Renew it once; False when another execution took it over, which is left alone.

        Raises:
            CoinbeamError: the bucket does not answer, or somebody wrote at the same moment.
        """
        holder, generation = self._read()
        if holder != self._holder:
            return False
        self._bucket.replace_text(self._path, self._text(), generation)
        return True
