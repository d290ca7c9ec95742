"""Replaying what was refused: every batch once, with the counts before and after."""

import pytest

from coinbeam.batch.tables import SNAPSHOT_FACT
from coinbeam.errors import SettingsError
from console.rejects import Replayed, replay_rejects
from tests.coinbeam.conftest import Stage, fact_row, reject_row

pytestmark = pytest.mark.cloud

FIRST, SECOND, FILES = (
    "20260102T0000Z-usd-all",
    "20260102T0000Z-usd-ids-1a2b3c4d",
    "20260102T0000Z-usd-top-5-files-1a2b3c4d",
)
HISTORY_FILES, INDEX_FILES = "backfill-0123456789-20260102", "fear-greed-20260102-files-1a2b3c4d"


class Repaired:
    """Stands for the DAG after a fix: publishing the batch again refuses only what is still wrong."""

    def __init__(self, stage: Stage, still_wrong: int = 0, fault: str | None = None) -> None:
        self.stage, self.still_wrong, self.fault = stage, still_wrong, fault
        self.replayed: list[str] = []

    def __call__(self, batch_id: str) -> str | None:
        """Replay one batch."""
        self.replayed.append(batch_id)
        if self.fault is None:
            refuse(self.stage, batch_id, self.still_wrong)
        return self.fault


def refuse(stage: Stage, batch: str, count: int, reason: str = "negative") -> None:
    """Publish a batch that refused so many records."""
    rows = [reject_row(number, batch, reason=reason) for number in range(count)]
    stage.publish(batch, **{SNAPSHOT_FACT: [fact_row("bitcoin", batch=batch)], "rejected_record": rows})


def test_every_batch_with_open_rejects_is_replayed_once(stage: Stage) -> None:
    refuse(stage, SECOND, 2)
    refuse(stage, FIRST, 3)
    repaired = Repaired(stage)
    assert replay_rejects(stage.warehouse, repaired) == [
        Replayed(FIRST, 3, 0, "replayed"),
        Replayed(SECOND, 2, 0, "replayed"),
    ]
    assert repaired.replayed == [FIRST, SECOND]
    with pytest.raises(SettingsError, match="No reject is open"):
        replay_rejects(stage.warehouse, repaired)


def test_what_is_still_wrong_stays_open(stage: Stage) -> None:
    refuse(stage, FIRST, 3)
    assert replay_rejects(stage.warehouse, Repaired(stage, still_wrong=1)) == [Replayed(FIRST, 3, 1, "replayed")]


def test_a_replay_that_fails_says_why_and_the_next_batch_is_replayed(stage: Stage) -> None:
    refuse(stage, FIRST, 3)
    refuse(stage, SECOND, 1)
    failing = Repaired(stage, fault="TerminalError: no landing")
    assert [r.outcome for r in replay_rejects(stage.warehouse, failing)] == ["TerminalError: no landing"] * 2
    assert len(failing.replayed) == 2


@pytest.mark.parametrize(("batch", "reason"), [(FIRST, None), (None, "too_long"), (FIRST, "too_long")])
def test_only_what_is_selected_is_replayed(stage: Stage, batch: str | None, reason: str | None) -> None:
    refuse(stage, FIRST, 3, "too_long")
    refuse(stage, SECOND, 1)
    repaired = Repaired(stage)
    (one,) = replay_rejects(stage.warehouse, repaired, batch, reason)
    assert one == Replayed(FIRST, 3, 0, "replayed")
    assert len(repaired.replayed) == 1


@pytest.mark.parametrize("batch", [FILES, HISTORY_FILES, INDEX_FILES])
def test_what_cannot_be_replayed_from_landing_is_said(stage: Stage, batch: str) -> None:
    refuse(stage, batch, 1)
    repaired = Repaired(stage)
    (one,) = replay_rejects(stage.warehouse, repaired)
    assert (one.before, one.after) == (1, 1)
    assert "--source=GLOB" in one.outcome
    assert repaired.replayed == []
