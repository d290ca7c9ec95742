"""Setting the subscription of the windows back before a pipeline starts anew, so that nothing is left out.

Google's order for a streaming job is snapshot, drain, seek, start: Dataflow does not notice a seek under a running job.
Source: https://cloud.google.com/dataflow/docs/concepts/streaming-with-cloud-pubsub#seek

Two things may be missing in the fact when a job has ended. What it never read is still open in the subscription; what
it had read is acknowledged, and windows that were open then were closed early by a drain, or never by a failure. A seek
to the snapshot brings back the first only; one to the oldest window that is not whole acknowledges what is older, which
a lagging job may never have read. So the subscription is set to whichever is earlier. What is read twice changes
nothing.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from google.api_core.exceptions import AlreadyExists, GoogleAPICallError, NotFound
from google.protobuf.timestamp_pb2 import Timestamp
from google.pubsub_v1 import SubscriberClient

from coinbeam.errors import TransientError
from coinbeam.feeds.trades.merge import seek_point
from coinbeam.feeds.trades.topic import project_of, subscription_path
from coinbeam.warehouse.client import Warehouse

SNAPSHOT_LIFETIME = timedelta(days=7)
"""How long a snapshot lives, less the age of its oldest open message. Source: ``Snapshot.expire_time`` of Pub/Sub."""

_BOUNDS: dict[str, Any] = {"timeout": 60.0}


class Rewind:
    """Sets the subscription of the windows back. Its snapshot is made once, however often it is asked for."""

    def __init__(self, warehouse: Warehouse, client: SubscriberClient, subscription: str | None = None) -> None:
        self._warehouse, self._client = warehouse, client
        settings = warehouse.settings
        name = subscription or settings.stream.subscription
        self.subscription = subscription_path(settings, name)
        self.snapshot = f"projects/{project_of(settings)}/snapshots/{name}-restart"

    def keep(self) -> datetime:
        """Take the snapshot, unless an earlier attempt did; when its oldest open message was published.

        Raises:
            TransientError: Pub/Sub does not answer.
        """
        try:
            with suppress(AlreadyExists):
                self._client.create_snapshot(name=self.snapshot, subscription=self.subscription, **_BOUNDS)
            kept = self._client.get_snapshot(snapshot=self.snapshot, **_BOUNDS)
        except GoogleAPICallError as error:
            raise self._trouble(error) from error
        expires: Any = kept.expire_time  # as its client gives it, a datetime
        return cast(datetime, expires.astimezone(UTC) - SNAPSHOT_LIFETIME)

    def point(self, oldest: datetime, symbols: Sequence[str], now: datetime) -> datetime:
        """From where a job reads that starts now: before what was never read, and every window that is not whole.

        Args:
            oldest: when the oldest open message of the snapshot was published.

        Raises:
            TransientError: the warehouse does not answer.
        """
        return min(oldest, seek_point(self._warehouse, symbols, now))

    def seek(self, point: datetime) -> None:
        """Set the subscription to an instant; no job may be running.

        Raises:
            TransientError: Pub/Sub does not answer.
        """
        stamp = Timestamp()
        stamp.FromDatetime(point)
        try:
            self._client.seek(request={"subscription": self.subscription, "time": stamp}, **_BOUNDS)
        except GoogleAPICallError as error:
            raise self._trouble(error) from error

    def forget(self) -> None:
        """Delete the snapshot; it is well when there is none.

        Raises:
            TransientError: Pub/Sub does not answer.
        """
        try:
            with suppress(NotFound):
                self._client.delete_snapshot(snapshot=self.snapshot, **_BOUNDS)
        except GoogleAPICallError as error:
            raise self._trouble(error) from error

    def _trouble(self, error: GoogleAPICallError) -> TransientError:
        return TransientError(
            f"Pub/Sub does not set {self.subscription} back: {error}.", "See docs/runbooks/stream.md, 'Update the job'."
        )
