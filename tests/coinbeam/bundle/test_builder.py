"""A version is whole or not there, and costs what changed."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from coinbeam.bundle.builder import Built
from coinbeam.bundle.manifest import POINTER, read_pointer
from coinbeam.bundle.reader import Bundle
from coinbeam.errors import TerminalError, TransientError, WriteConflictError
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import Settings
from tests.coinbeam.bundle.conftest import LAST, Workshop
from tests.serving.made import midnight
from tests.temporary import free_ports

EVER = (0, 2**53)


def built(workshop: Workshop) -> Built:
    """A version that was built."""
    found = workshop.build()
    assert found is not None
    return found


def prices(bundle: Bundle, asset_id: str = "coin-00001") -> dict[date, float]:
    """The price of an asset by day."""
    instants, values = bundle.series("charts", "usd", bundle.numbers[asset_id], *EVER)
    days = instants.astype("datetime64[ms]").astype("datetime64[D]").tolist()
    return {day: value for day, value in zip(days, values[:, 0].tolist(), strict=True) if value == value}


def expected(workshop: Workshop, place: int = 1) -> dict[date, float]:
    """The same from the source."""
    source = workshop.source
    days = [source.first + timedelta(days=n) for n in range((source.last - source.first).days + 1)]
    return {day: float(source.price(day)[place]) for day in days}


def test_a_version_holds_every_day_and_the_snapshot(workshop: Workshop) -> None:
    made = built(workshop)
    bundle = workshop.bundle()
    assert bundle.version == made.version == "20260310T010000000000Z"
    assert bundle.currencies == ("usd",)
    assert bundle.assets == workshop.source.ids
    assert prices(bundle) == expected(workshop)
    assert bundle.snapshots == {"usd": [midnight(LAST)]}
    assert bundle.markets("usd", midnight(LAST)).num_rows == 5
    assert len(bundle.sparklines("usd")) == 5
    assert bundle.status()[0]["title"] == "Freshness"


def test_a_bundle_that_is_in_step_is_left_alone(workshop: Workshop) -> None:
    built(workshop)
    workshop.written.clear()
    assert workshop.build() is None
    assert workshop.written == []


def test_one_more_day_reads_and_writes_that_day_alone(workshop: Workshop) -> None:
    built(workshop)
    workshop.one_day_later()
    workshop.source.asked.clear()
    workshop.written.clear()
    second = built(workshop)
    assert workshop.source.asked == [(workshop.source.last, date(2026, 3, 31))]
    grids = [name for name in workshop.written if "/charts/" in name or "/indicators/" in name]
    assert len(grids) == 2
    assert all("2026-03" in name for name in grids)
    assert second.written < len(workshop.bundle().manifest.files)
    assert prices(workshop.bundle()) == expected(workshop)


def test_a_correction_changes_every_day_from_its_first_on(workshop: Workshop) -> None:
    built(workshop)
    before = expected(workshop)
    workshop.corrected(date(2026, 2, 20))
    built(workshop)
    after = prices(workshop.bundle())
    assert {day for day in before if before[day] != after[day]} == {day for day in before if day >= date(2026, 2, 20)}


def test_an_older_version_stays_as_it_was(workshop: Workshop) -> None:
    built(workshop)
    old, before = workshop.bundle(), expected(workshop)
    workshop.corrected(workshop.source.first)
    built(workshop)
    assert prices(old) == before


def test_days_that_are_gone_are_gone(workshop: Workshop) -> None:
    built(workshop)
    workshop.source.refreshed_at += timedelta(minutes=1)
    workshop.source.first_touched = date(2026, 3, 1)
    workshop.source.last = date(2026, 3, 5)
    built(workshop)
    assert max(prices(workshop.bundle())) == date(2026, 3, 5)


def test_new_assets_come_after_those_of_before(workshop: Workshop) -> None:
    built(workshop)
    workshop.source.ids.append("a-new-coin")
    workshop.one_day_later()
    built(workshop)
    bundle = workshop.bundle()
    assert bundle.assets == ["coin-00000", "coin-00001", "coin-00002", "coin-00003", "coin-00004", "a-new-coin"]
    assert list(prices(bundle, "a-new-coin")) == [workshop.source.last]
    assert set(expected(workshop)) == set(prices(bundle))


@pytest.mark.parametrize("nth", [0, 1, 4, 9])
def test_a_build_that_is_cut_short_leaves_readers_where_they_were(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    built(workshop)
    before = workshop.bundle().version
    workshop.corrected(workshop.source.first)
    write, left = workshop.bucket.write_new, nth

    def counting(*arguments: Any) -> bool:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(workshop.bucket, "write_new", counting)
        with pytest.raises(KeyboardInterrupt):
            workshop.build()
    assert workshop.bundle().version == before
    assert prices(workshop.bundle())[LAST] == float(workshop.source.price(LAST)[1]) / 2
    built(workshop)
    assert prices(workshop.bundle()) == expected(workshop)


def test_of_two_builds_at_once_one_switches(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    built(workshop)
    workshop.one_day_later()
    replace = workshop.bucket.replace_text

    def late(*arguments: Any) -> None:
        patch.undo()
        built(workshop)
        replace(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(workshop.bucket, "replace_text", late)
        with pytest.raises(WriteConflictError, match="changed meanwhile"):
            workshop.build()
    assert prices(workshop.bundle()) == expected(workshop)


def test_versions_that_are_too_old_are_deleted_and_what_newer_ones_need_is_not(workshop: Workshop) -> None:
    for _ in range(5):
        built(workshop)
        workshop.one_day_later()
    pointer = read_pointer(workshop.bucket.read_text(POINTER) or "")
    assert len(pointer.older) == 1
    names = workshop.bucket.names("serving/")
    assert [name for name in names if "manifest." in name] == sorted(
        [pointer.manifest.path, *(entry.path for entry in pointer.older)]
    )
    needed = {entry.path for entry in workshop.bundle().manifest.files.values()}
    assert needed <= set(names)
    assert len(names) < 2 * len(needed) + 5
    assert len(prices(workshop.bundle())) == 44


def test_a_rebuild_takes_nothing_of_before(workshop: Workshop) -> None:
    first = built(workshop)
    workshop.source.refreshed_at += timedelta(minutes=1)
    second = workshop.build(rebuild=True)
    assert second is not None
    assert second.version != first.version
    assert prices(workshop.bundle()) == expected(workshop)


def test_a_damaged_manifest_is_built_anew(workshop: Workshop) -> None:
    built(workshop)
    pointer = read_pointer(workshop.bucket.read_text(POINTER) or "")
    workshop.bucket.write_text(pointer.manifest.path, "{}")
    workshop.one_day_later()
    workshop.source.first_touched = workshop.source.first
    built(workshop)
    assert prices(workshop.bundle()) == expected(workshop)


def test_a_file_that_is_gone_says_what_to_do(workshop: Workshop) -> None:
    built(workshop)
    entry = workshop.bundle().manifest.files["charts/usd/2026-03.arrow"]
    workshop.bucket.delete(entry.path)
    workshop.one_day_later()
    with pytest.raises(TerminalError, match="--rebuild"):
        workshop.build()


def test_a_bucket_that_does_not_answer_is_told(workshop: Workshop, free_settings: Settings) -> None:
    workshop.bucket = Bucket(free_settings)
    with pytest.raises(TransientError, match="does not answer"):
        workshop.build()


@pytest.fixture
def free_settings(workshop: Workshop) -> Settings:
    """Settings whose storage nobody serves."""
    ports = workshop.settings.local.ports.model_copy(update={"storage": free_ports(1)[0]})
    local = workshop.settings.local.model_copy(update={"ports": ports})
    return workshop.settings.model_copy(update={"local": local})


def test_the_same_market_gives_the_same_bytes(workshop: Workshop) -> None:
    built(workshop)
    digests = {name: entry.sha256 for name, entry in workshop.bundle().manifest.files.items()}
    workshop.source.refreshed_at += timedelta(minutes=1)
    assert built(workshop).written == 0
    assert digests == {name: entry.sha256 for name, entry in workshop.bundle().manifest.files.items()}
    assert np.isfinite(list(prices(workshop.bundle()).values())).all()
