"""The form of a snapshot: the batch that it names, and messages that name the field."""

from datetime import UTC, datetime
from typing import Any

import pytest

from coinbeam.batch.universe import UniverseSpec
from coinbeam.errors import SettingsError
from coinbeam.feeds.snapshot.request import present_instant, request_from
from coinbeam.settings import (
    Environment,
    GoogleSettings,
    MarketSettings,
    Period,
    Settings,
    StorageSettings,
    Universe,
)

SCHEDULED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FORM: dict[str, Any] = {
    "universe": "all",
    "ids": "",
    "top_n": 250,
    "category": "",
    "quote_currency": "usd",
    "replay_date": None,
    "snapshot_at": None,
    "source": "",
}


def settings(environment: Environment = Environment.LOCAL, period: Period = Period.DAILY) -> Settings:
    """Settings without the machine's variables."""
    return Settings(
        environment=environment,
        google=GoogleSettings(project="p"),
        storage=StorageSettings(bucket="bucket"),
        market=MarketSettings(period=period),
    )


@pytest.mark.parametrize(
    ("period", "named", "expected"),
    [
        pytest.param(
            Period.DAILY, {}, datetime(2026, 1, 2, tzinfo=UTC), id="an empty form means the day of the schedule"
        ),
        pytest.param(Period.HOURLY, {}, datetime(2026, 1, 2, 3, tzinfo=UTC), id="or its hour"),
        pytest.param(
            Period.DAILY,
            {"replay_date": "2025-12-24"},
            datetime(2025, 12, 24, tzinfo=UTC),
            id="a replay date is a midnight",
        ),
        pytest.param(
            Period.HOURLY,
            {"snapshot_at": "2025-12-24T07:00:00+02:00"},
            datetime(2025, 12, 24, 5, tzinfo=UTC),
            id="an instant is taken in its own time zone",
        ),
    ],
)
def test_the_form_names_the_snapshot(period: Period, named: dict[str, str], expected: datetime) -> None:
    assert request_from(FORM | named, SCHEDULED, settings(period=period)).snapshot_at == expected


def test_the_form_names_the_universe_and_the_currency() -> None:
    request = request_from(
        FORM | {"universe": "ids", "ids": " bitcoin, ethereum ,,", "quote_currency": "eur"}, SCHEDULED, settings()
    )
    assert request.universe == UniverseSpec(Universe.IDS, ids=("bitcoin", "ethereum"))
    assert request.quote_currency == "eur"
    assert request.batch_id.startswith("20260102T0000Z-eur-ids-")


def test_files_are_a_batch_of_their_own() -> None:
    files = {"source": "captures/*.json", "snapshot_at": "2026-01-02T00:00:00Z"}
    with_files = request_from(FORM | files, SCHEDULED, settings())
    assert with_files.files == "captures/*.json"
    assert with_files.batch_id != request_from(FORM, SCHEDULED, settings()).batch_id


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        pytest.param(
            {"replay_date": "2026-01-01", "snapshot_at": "2026-01-01"}, "replay_date and snapshot_at", id="two instants"
        ),
        pytest.param({"snapshot_at": "noon"}, "'noon'", id="no instant"),
        pytest.param({"source": "captures/*.json"}, "which instant the files stand for", id="files without an instant"),
        pytest.param(
            {"snapshot_at": "2026-01-01T12:34:00Z"},
            "start of a daily interval.*2026-01-01T00:00:00Z",
            id="within an interval",
        ),
        pytest.param({"universe": "moon"}, "'moon'", id="an unknown universe"),
        pytest.param({"universe": "top", "top_n": None}, "top_n", id="the largest without a number"),
        pytest.param({"universe": "ids", "ids": " , "}, "ids is empty", id="only commas for ids"),
        pytest.param({"universe": "ids", "ids": "bitcoin,../x"}, r"'\.\./x' is no id", id="a path for an id"),
        pytest.param({"universe": "category"}, "category", id="no category"),
        pytest.param({"quote_currency": "USD"}, "quote_currency is 'USD'", id="an upper-case currency"),
        pytest.param({"quote_currency": "u'd"}, "quote_currency", id="a currency that would break out of SQL"),
    ],
)
def test_a_wrong_field_is_refused_and_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        request_from(FORM | fields, SCHEDULED, settings())


def test_files_never_enter_a_warehouse_that_is_not_local() -> None:
    with pytest.raises(SettingsError, match="source names files, but the warehouse is not local"):
        request_from(FORM | {"source": "captures/*.json"}, SCHEDULED, settings(Environment.PRODUCTION))


@pytest.mark.parametrize(
    ("period", "expected"), [(Period.DAILY, "2026-01-02T00:00:00Z"), (Period.HOURLY, "2026-01-02T03:00:00Z")]
)
def test_now_belongs_to_one_snapshot(period: Period, expected: str) -> None:
    assert present_instant(SCHEDULED, settings(period=period)) == expected


def test_a_landed_batch_is_asked_for_by_its_name() -> None:
    name = "20251224T0000Z-eur-ids-1a2b3c4d"
    request = request_from(
        FORM | {"replay_batch": name, "universe": "top", "snapshot_at": "2025-12-24"}, SCHEDULED, settings()
    )
    assert (request.batch_id, request.label, request.quote_currency) == (name, "ids-1a2b3c4d", "eur")
    assert request.snapshot_at == datetime(2025, 12, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"replay_batch": "yesterday"}, "names no snapshot", id="no name"),
        pytest.param(
            {"replay_batch": "20251224T0000Z-usd-all", "replay_date": "2025-12-25"},
            "another source or instant",
            id="two instants",
        ),
        pytest.param(
            {"replay_batch": "20251224T0000Z-usd-all", "source": "x/*"}, "another source or instant", id="files too"
        ),
        pytest.param({"replay_batch": "20251224T0000Z-usd-all-files-1a2b3c4d"}, "never landed", id="a batch of files"),
    ],
)
def test_a_replay_that_cannot_be_meant_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        request_from(FORM | fields, SCHEDULED, settings())


@pytest.mark.parametrize(
    ("given", "named"),
    [
        pytest.param({"ids": "bitcoin"}, "ids is given, but the universe is 'all'", id="ids of the whole market"),
        pytest.param({"top_n": 20}, "top_n is given, but the universe is 'all'", id="a number without top"),
        pytest.param(
            {"universe": "top", "category": "layer-1"}, "category is given, but the universe is 'top'", id="a category"
        ),
    ],
)
def test_a_field_that_the_universe_does_not_read_is_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        request_from(FORM | given, SCHEDULED, settings())


def test_fields_as_the_deployment_fills_them_are_no_choice() -> None:
    own = settings().model_copy(
        update={"market": MarketSettings(universe=Universe.IDS, ids=("bitcoin", "ethereum"), top_n=77)}
    )
    form = FORM | {"universe": "all", "ids": "bitcoin,ethereum", "top_n": 77}
    assert request_from(form, SCHEDULED, own).universe == UniverseSpec()


@pytest.mark.parametrize("named", [{"source": "x/*.json", "snapshot_at": "2026-01-02"}, {"replay_date": "2026-01-02"}])
def test_a_replay_cannot_be_fetched_again(named: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="nothing can be fetched again"):
        request_from(FORM | named | {"refetch": True}, SCHEDULED, settings())
