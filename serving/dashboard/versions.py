"""The bundles that the dashboard shows, and the newest version of each."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from google.auth.exceptions import GoogleAuthError

from coinbeam.bundle.manifest import Manifest
from coinbeam.bundle.reader import Bundle, Files, open_files
from coinbeam.errors import CoinbeamError, TerminalError
from coinbeam.settings import Environment, Settings, StorageSettings

LOCAL, CLOUD = "LOCAL", "CLOUD"


def environments(settings: Settings) -> dict[str, Settings]:
    """The settings of each bundle that can be shown, its own environment first."""
    if not settings.is_local:
        return {CLOUD: settings}
    found = {LOCAL: settings}
    serving = settings.serving
    if serving.cloud_bucket:
        cache = serving.cache_dir or settings.local.state_dir / "serving"
        found[CLOUD] = settings.model_copy(
            update={
                "environment": Environment.PRODUCTION,
                "storage": StorageSettings(bucket=serving.cloud_bucket),
                "serving": serving.model_copy(update={"cache_dir": cache.with_name(f"{cache.name}-cloud")}),
            }
        )
    return found


@dataclass(frozen=True)
class Shown:
    """One version of one bundle.

    Attributes:
        environment: whose bundle it is.
        key: of what is made of it; two versions never have the same.
    """

    environment: str
    bundle: Bundle

    @property
    def key(self) -> tuple[str, str]:
        return self.environment, self.bundle.version


@dataclass(frozen=True)
class Look:
    """What a look for the newest version brought.

    Attributes:
        shown: the newest version that could be read, or None.
        fault: why it may be an old one, or None.
    """

    shown: Shown | None
    fault: CoinbeamError | None


class Versions:
    """The versions of one bundle as they come.

    Args:
        poll_seconds: how long the answer of a look holds.
    """

    def __init__(
        self,
        environment: str,
        settings: Settings,
        poll_seconds: float,
        open_bucket: Callable[[Settings], Files] = open_files,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environment, self._settings, self._poll_seconds = environment, settings, poll_seconds
        self._open, self._monotonic = open_bucket, monotonic
        self._files: Files | None = None
        self._manifest: Manifest | None = None
        self._look: Look | None = None
        self._looked_at = 0.0
        self._lock = threading.Lock()

    def newest(self) -> Look:
        """The newest version; the bucket is asked for it at most once in ``poll_seconds``, by one reader for all."""
        with self._lock:
            if self._look is None or self._monotonic() - self._looked_at >= self._poll_seconds:
                self._look = self._ask(self._look)
                self._looked_at = self._monotonic()
            return self._look

    def _ask(self, before: Look | None) -> Look:
        shown = before.shown if before else None
        try:
            if self._files is None:
                self._files = _opened(self._open, self._settings)
            manifest = self._files.manifest(self._manifest)
            if manifest is not self._manifest:
                shown = Shown(self._environment, Bundle(manifest, self._files))
                self._files.drop_unused(manifest)
                self._manifest = manifest
        except CoinbeamError as error:
            return Look(shown, error)
        return Look(shown, None)


def _opened(open_bucket: Callable[[Settings], Files], settings: Settings) -> Files:
    try:
        return open_bucket(settings)
    except GoogleAuthError as error:
        raise TerminalError(
            f"{settings.bucket_uri} cannot be read: there are no credentials of Google.",
            "Sign in by `gcloud auth application-default login`.",
        ) from error
