"""What is due: by the clock, and by what nobody published yet."""

from datetime import UTC, datetime
from typing import Any

import pytest

from coinbeam.settings import MarketSettings, Period, Settings, WitnessSettings
from runs.airflow import FEAR_GREED_DAG, SNAPSHOT_DAG, WITNESS_DAG
from runs.due import Due
from tests.temporary import temporary_settings


class Recorded:
    """A warehouse that knows which batches are published, and whether the witness was asked."""

    def __init__(self, settings: Settings, published: tuple[str, ...] = (), compared: int = 0) -> None:
        self.settings, self._published, self._compared = settings, published, compared

    def table(self, contract: Any) -> str:
        return str(contract.name)

    def exists(self, table: str) -> bool:
        return bool(table)

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        if "quality_result" in sql:
            return [{"results": self._compared}]
        assert "status = 'published'" in sql
        return [{"batch_id": one} for one in self._published if one in parameters["ids"]]


MIDNIGHT, LATER = datetime(2026, 1, 2, 0, 1, tzinfo=UTC), datetime(2026, 1, 2, 7, 30, tzinfo=UTC)
TODAY, INDEX = "20260102T0000Z-usd-all", "fear-greed-20260102"


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = temporary_settings(tmp_path_factory.mktemp("state"))
    return made.model_copy(update={"witness": WitnessSettings(enabled=True)})


def due(settings: Settings, now: datetime, *published: str, compared: int = 0) -> list[tuple[str, str]]:
    found = Due(Recorded(settings, published, compared)).runs(now)  # type: ignore[arg-type]
    return [(run.dag_id, run.logical_date) for run in found]


def test_a_snapshot_is_due_at_once_and_the_index_once_it_has_a_point_of_the_day(settings: Settings) -> None:
    instant = "2026-01-02T00:00:00Z"
    assert due(settings, MIDNIGHT) == [(SNAPSHOT_DAG, instant)]
    assert due(settings, LATER) == [(SNAPSHOT_DAG, instant), (FEAR_GREED_DAG, instant), (WITNESS_DAG, instant)]


def test_what_is_published_is_not_due_again(settings: Settings) -> None:
    assert due(settings, LATER, TODAY) == [
        (FEAR_GREED_DAG, "2026-01-02T00:00:00Z"),
        (WITNESS_DAG, "2026-01-02T00:00:00Z"),
    ]
    assert due(settings, LATER, TODAY, INDEX, compared=1) == []


def test_a_day_that_nobody_took_is_a_gap_and_never_due(settings: Settings) -> None:
    assert due(settings, LATER, "20251231T0000Z-usd-all", INDEX, compared=1) == [(SNAPSHOT_DAG, "2026-01-02T00:00:00Z")]


def test_each_hour_has_its_snapshot_where_the_period_says_so(settings: Settings) -> None:
    market = MarketSettings(source=settings.market.source, period=Period.HOURLY)
    hourly = settings.model_copy(update={"market": market})
    assert due(hourly, LATER, "20260102T0600Z-usd-all", INDEX, compared=1) == [(SNAPSHOT_DAG, "2026-01-02T07:00:00Z")]


def test_a_witness_that_is_off_is_never_due(settings: Settings) -> None:
    quiet = settings.model_copy(update={"witness": WitnessSettings()})
    assert due(quiet, LATER, TODAY, INDEX) == []
