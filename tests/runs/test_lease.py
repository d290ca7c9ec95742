"""The lease keeps two executions from one work, and lets nobody wait for a dead one."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from coinbeam.landing.bucket import Bucket
from runs.lease import STALE, HeldError, Lease
from tests.temporary import LocalCloud

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.cloud
def test_one_holds_it_at_a_time_and_a_dead_one_is_followed(fresh_cloud: LocalCloud) -> None:
    bucket, path = Bucket(fresh_cloud.settings), "jobs/due.lease"
    with Lease(bucket, path, "first", lambda: NOW):
        with pytest.raises(HeldError, match="first holds"), Lease(bucket, path, "second", lambda: NOW):
            pass
        with Lease(bucket, path, "first", lambda: NOW):
            pass  # its second attempt: the first one is dead
    assert bucket.read_text(path) is None, "who ends gives it back"
    bucket.write_text(path, Lease(bucket, path, "killed", lambda: NOW)._text())
    with (
        pytest.raises(HeldError),
        Lease(bucket, path, "second", lambda: NOW + STALE - timedelta(seconds=1)),
    ):
        pass
    with Lease(bucket, path, "second", lambda: NOW + STALE):
        assert "second" in str(bucket.read_text(path))


@pytest.mark.cloud
def test_who_lost_it_ends_and_leaves_the_next_one_alone(
    fresh_cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.lease.RENEWED_SECONDS", 0.05)
    bucket, path, lost = Bucket(fresh_cloud.settings), "jobs/due.lease", threading.Event()
    with Lease(bucket, path, "frozen", lambda: NOW, lost.set), Lease(bucket, path, "next", lambda: NOW + STALE):
        assert lost.wait(10), "it learns it at its next renewal"
        assert not Lease(bucket, path, "frozen", lambda: NOW).renewed()
        assert "next" in str(bucket.read_text(path))
    assert bucket.read_text(path) is None


@pytest.mark.cloud
def test_a_lease_of_another_is_not_given_back(fresh_cloud: LocalCloud) -> None:
    bucket, path = Bucket(fresh_cloud.settings), "jobs/due.lease"
    with Lease(bucket, path, "first", lambda: NOW):
        bucket.write_text(path, Lease(bucket, path, "second", lambda: NOW)._text())
    assert "second" in str(bucket.read_text(path))
