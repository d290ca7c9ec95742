"""The history of the rules, and ``coinbeam quality`` as a person meets it."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from coinbeam.batch.tables import ASSETS, DATES
from coinbeam.batch.tables import SNAPSHOT_FACT as FACT
from coinbeam.contracts import Rule, Severity
from coinbeam.contracts import Stage as AuditStage
from coinbeam.quality import Audit, Auditor, Result, Status
from coinbeam.quality.record import COLUMNS, TREND_RUNS, Selection, rule_histories
from coinbeam.settings import load_settings
from console import main
from tests.coinbeam.conftest import DAY, Stage, asset_row, date_row, fact_row

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command in this process through its real entry; its exit code and what it says."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["coinbeam", "quality", *arguments])
        load_settings.cache_clear()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out + captured.err

    return run


def result(rule: str, status: Status, value: float | None, sample: tuple[str, ...] = (), table: str = FACT) -> Result:
    """A made-up result."""
    severity = Severity.WARNING if status is Status.WARNING else Severity.ERROR
    return Result(
        table, Rule(rule, "q", "<=", 5, severity, "Protects."), status, value, f"{rule} says {value}.", sample
    )


def record(stage: Stage, number: int, *results: Result) -> None:
    """Record what a run found, an hour after the one before."""
    then: datetime = DAY + timedelta(hours=number)
    audit = Audit(f"batch-{number}", f"run-{number}", then, AuditStage.STAGING, then.date(), then.date(), then)
    Auditor(stage.warehouse, audit).record(results, then)


@pytest.mark.cloud
def test_the_history_of_a_rule_is_its_last_result_its_trend_and_its_last_failure(
    stage: Stage, command: Command
) -> None:
    for number in range(10):
        record(stage, number, result("steady", Status.PASSED, float(number)))
    record(stage, 10, result("odd", Status.WARNING, 9.0, ("old",)))
    record(stage, 11, result("odd", Status.WARNING, 7.5, ("bitcoin", "it's")), result("broken", Status.ERROR, None))
    record(stage, 12, result("odd", Status.PASSED, 0.1 + 0.2), result("odd", Status.FAILED, 6.0, table=ASSETS))

    rows = rule_histories(stage.warehouse, Selection())
    assert [(row["table_name"], row["rule"]) for row in rows] == [
        (ASSETS, "odd"),
        (FACT, "odd"),
        (FACT, "broken"),
        (FACT, "steady"),
    ]
    assert all(tuple(row) == COLUMNS for row in rows)
    failed, odd, broken, steady = rows
    assert (odd["last_status"], odd["last_value"], odd["threshold"]) == ("passed", 0.1 + 0.2, "<= 5")
    assert odd["trend"].split() == ["0.30000000000000004", "7.5", "9.0"]
    assert (odd["passed"], odd["warning"], odd["failed"], odd["error"]) == (1, 2, 0, 0)
    assert (odd["last_failure"], odd["failure_message"]) == (DAY + timedelta(hours=11), "odd says 7.5.")
    assert json.loads(odd["failure_sample"]) == ["bitcoin", "it's"]
    assert (odd["last_checked"], odd["last_run"]) == (DAY + timedelta(hours=12), "run-12")
    assert (broken["trend"], broken["error"], broken["last_status"]) == ("-", 1, "error")
    assert [float(value) for value in steady["trend"].split()] == [float(n) for n in range(9, 9 - TREND_RUNS, -1)]
    assert (steady["passed"], steady["last_failure"], steady["failure_sample"]) == (10, None, None)
    assert failed["last_status"] == "failed"

    def chosen(**selection: object) -> list[tuple[str, str]]:
        return [(row["table_name"], row["rule"]) for row in rule_histories(stage.warehouse, Selection(**selection))]  # type: ignore[arg-type]

    assert chosen(table=ASSETS) == [(ASSETS, "odd")]
    assert chosen(rule="steady") == [(FACT, "steady")]
    assert chosen(batch="batch-11") == [(FACT, "broken"), (FACT, "odd")]
    assert chosen(status=Status.ERROR) == [(FACT, "broken")]
    assert chosen(limit=1) == [(ASSETS, "odd")]

    code, text = command("--rule", "odd", "--table", FACT, "--format", "json")
    (shown,) = json.loads(text)
    assert (code, shown["trend"], shown["last_status"]) == (0, odd["trend"], "passed")
    code, text = command("--status", "warning")
    assert code == 0
    assert len(text.splitlines()) == 1, "only the heading: no rule ended so at last"
    assert command("--table", FACT, "check")[0] == 2, "the option belongs after the command"


@pytest.mark.cloud
def test_a_check_now_says_what_fails_by_its_exit_code_and_appends_its_results(stage: Stage, command: Command) -> None:
    stage.publish("batch", **{FACT: [fact_row("a")], ASSETS: [asset_row("a")], DATES: [date_row(DAY)]})
    code, text = command("check", "--table", ASSETS)
    assert code == 0, text
    assert text.startswith("manual__")
    assert "passed" in text
    first = stage.contents("quality_result")
    stage.warehouse.query(
        f"UPDATE `{stage.warehouse.dataset('crypto_data')}.{ASSETS}` SET is_current = FALSE WHERE TRUE"
    )
    code, text = command("check", "--table", ASSETS, "--format", "json")
    assert code == 1
    found = {row["rule"]: row for row in json.loads(text)}
    assert (found["one_current_version"]["status"], found["one_current_version"]["sample"]) == ("failed", "a")
    assert found["asset_id_not_null"]["status"] == "passed"
    after = stage.contents("quality_result")
    assert len(after) == 2 * len(first)
    assert all(row in after for row in first), "results are appended, never replaced"
    code, text = command("check", "--table", "nothing")
    assert code != 0
    assert "no contract for 'nothing'" in text
