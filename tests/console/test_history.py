"""The commands of daily history: the plan before anything happens, and what is missing."""

import json
from datetime import date, timedelta

import pytest

from coinbeam.clock import utc_now
from coinbeam.feeds.history.pieces import newest_closed_day
from coinbeam.settings import load_settings
from console.history import backfill_form
from tests.coinbeam.conftest import Stage
from tests.coinbeam.feeds.history.test_planner import load_history
from tests.console.conftest import Coinbeam


@pytest.mark.parametrize("command", ["backfill", "gaps", "fear-greed"])
def test_every_command_explains_itself(command: str, coinbeam: Coinbeam) -> None:
    ended = coinbeam(command, "--help")
    assert ended.code == 0
    assert "source" in ended.out


def test_the_form_is_a_dry_run_unless_a_person_says_otherwise() -> None:
    settings = load_settings()
    assert backfill_form(settings, {})["dry_run"] is True
    assert backfill_form(settings, {"dry_run": False, "assets": None})["dry_run"] is False


@pytest.mark.cloud
def test_a_backfill_shows_its_plan_and_changes_nothing(
    stage: Stage, coinbeam: Coinbeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COINBEAM_MARKET__SOURCE", "simulator")
    ended = coinbeam("backfill", "--assets", "bitcoin,ethereum", "--calls-per-day", "4")
    assert ended.code == 0, ended.err
    assert "2 assets in usd" in ended.out
    assert "Dry run: nothing was changed" in ended.out
    assert stage.contents("history_piece") == []


@pytest.mark.cloud
@pytest.mark.usefixtures("stage")
def test_a_wrong_date_is_misuse(coinbeam: Coinbeam) -> None:
    ended = coinbeam("backfill", "--assets", "bitcoin", "--from", "soon")
    assert ended.code == 2
    assert "from_date is 'soon'" in ended.err


@pytest.mark.cloud
def test_gaps_are_told_per_asset_and_day(stage: Stage, coinbeam: Coinbeam) -> None:
    last = newest_closed_day(utc_now(), load_settings().history)
    known = [last - timedelta(days=n) for n in range(365) if n not in {3, 4}]
    load_history(stage, {"bitcoin": known})
    ended = coinbeam("gaps", "--format", "json")
    assert ended.code == 0, ended.err
    (gap,) = json.loads(ended.out)
    assert (gap["asset_id"], gap["days"], gap["source_was_asked"]) == ("bitcoin", 2, False)
    assert date.fromisoformat(gap["first"]) == last - timedelta(days=4)
    shown = coinbeam("gaps")
    assert "363" in shown.out
    assert "coinbeam gaps --fill" in shown.out


@pytest.mark.cloud
def test_filling_gaps_plans_just_the_missing_days(
    stage: Stage, coinbeam: Coinbeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COINBEAM_MARKET__SOURCE", "simulator")
    last = newest_closed_day(utc_now(), load_settings().history)
    load_history(stage, {"bitcoin": [last - timedelta(days=n) for n in range(365) if n != 3]})
    ended = coinbeam("gaps", "--fill")
    assert ended.code == 0, ended.err
    assert "1 pieces, at most 1 rows" in ended.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--assets", "bitcoin", "--top-n", "5"), "--assets and --top-n choose different assets"),
        (("--assets", "bitcoin", "--time-zone", "UTC"), "--time-zone has no meaning without --source=GLOB"),
        (("--asset-of", "x.csv=bitcoin"), "--asset-of has no meaning without"),
        (("--source", "x/*.csv", "--calls-per-day", "5"), "--calls-per-day has no meaning for files"),
        (("--source", "x/*.csv", "--refetch"), "nothing that could be fetched again"),
        (("--mode", "cloud", "--source", "simulator"), "a deployment reads live prices"),
    ],
)
@pytest.mark.cloud
@pytest.mark.usefixtures("stage")
def test_an_option_without_effect_is_refused(arguments: tuple[str, ...], said: str, coinbeam: Coinbeam) -> None:
    ended = coinbeam("backfill", *arguments)
    assert ended.code == 2, ended.err
    assert said in ended.err
