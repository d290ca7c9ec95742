"""Progress read from what `airflow dags test` printed; the lines were recorded from Airflow 3.3.2."""

import io
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from console.progress import TaskProgress

RECORDED = """\
2026-01-02T00:00:01.000000Z [info     ] Added Permission can edit on DAG     [airflow.www]
2026-01-02T00:00:02.000000Z [info     ] [DAG TEST] starting task_id=plan_batch map_index=-1 [airflow.sdk.definitions.dag]
batch     20260102T0000Z-usd-all
mode      fetch: 2026-01-02T00:00:00Z is the present interval: the source is asked.
cost      about $0.00 on local
################################
# SIMULATED PRICES: nothing in this run is a real market.
################################
2026-01-02T00:00:03.000000Z [info     ] Task instance state updated new_state=success
2026-01-02T00:00:03.000000Z [info     ] [DAG TEST] end task task_id=plan_batch map_index=-1 [airflow.sdk.definitions.dag]
rows      this is a log line of another task
2026-01-02T00:00:04.000000Z [info     ] [DAG TEST] starting task_id=audit map_index=-1 [airflow.sdk.definitions.dag]
rows      a line of the audit that looks like the plan
2026-01-02T00:00:05.000000Z [error    ] Task instance state updated new_state=failed
2026-01-02T00:00:06.000000Z [info     ] [DAG TEST] end task task_id=audit map_index=-1 [airflow.sdk.definitions.dag]
"""


def timer() -> Iterator[float]:
    """Two and a half seconds pass between two looks."""
    now = 0.0
    while True:
        yield now
        now += 2.5


def played(lines: str, *, terminal: bool = False) -> str:
    """What is shown of the recorded lines."""
    sink, clock = io.StringIO(), timer()
    console = Console(file=sink, force_terminal=terminal, color_system=None, width=160)
    with TaskProgress(console, lambda: next(clock)) as progress:
        for line in lines.splitlines():
            progress.line(line)
    return sink.getvalue()


def test_each_task_is_shown_once_with_its_state_and_seconds() -> None:
    ended = [line.split() for line in played(RECORDED).splitlines() if line.startswith("  ")]
    assert ended == [["plan_batch", "success", "2.5", "s"], ["audit", "failed", "2.5", "s"]]


def test_the_plan_and_the_banner_are_let_through_and_nothing_else() -> None:
    shown = [line for line in played(RECORDED).splitlines() if not line.startswith("  ")]
    assert shown == RECORDED.splitlines()[2:8]


def test_a_task_that_says_no_state_has_ended() -> None:
    lines = [line for line in RECORDED.splitlines() if "new_state" not in line]
    assert played("\n".join(lines)).count("ended") == 2


def test_plain_lines_have_no_control_characters() -> None:
    assert "\x1b" not in played(RECORDED)


def test_a_terminal_sees_the_same_lines() -> None:
    shown = played(RECORDED, terminal=True)
    assert "plan_batch" in shown
    assert "SIMULATED PRICES" in shown


def test_a_banner_is_not_markup() -> None:
    assert "# [bold] is not bold" in played("# [bold] is not bold")


def test_the_display_ends_with_an_error_too() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    with pytest.raises(KeyboardInterrupt), TaskProgress(console):
        raise KeyboardInterrupt
    assert console._live_stack == [], "nothing keeps drawing"


def test_a_banner_is_shown_once_however_often_it_is_told() -> None:
    banner = "\n".join(RECORDED.splitlines()[5:8])
    assert played(f"{banner}\n{banner}").count("SIMULATED PRICES") == 1
    assert played(f"{banner}\n{banner.replace('nothing', 'another')}").count("SIMULATED PRICES") == 2


def test_a_long_task_says_that_it_still_runs_when_nobody_has_a_terminal() -> None:
    sink = io.StringIO()
    console = Console(file=sink, force_terminal=False, color_system=None, width=160)
    with TaskProgress(console, long_seconds=0.05) as progress:
        progress.line(RECORDED.splitlines()[1])
        deadline = time.monotonic() + 10
        while "still running" not in sink.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "plan_batch" in sink.getvalue().split("still running")[0]
