"""Exit codes and the one line that says why."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipelines.job.command import execute
from beam_pipelines.job.report import counters, total
from coinbeam.batch.jobs import FETCH_CRYPTO_DATA as JOB
from coinbeam.errors import SettingsError, TerminalError, TransientError, raised_in


def raising(error: Exception) -> Any:
    def run(_: Sequence[str]) -> dict[str, Any]:
        raise error

    return run


def fail(kind: type[Exception]) -> Any:
    def raise_it(element: int) -> None:
        raise kind(f"broken at {element}")

    return raise_it


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        pytest.param(
            SettingsError("--x is wrong.", "Mend it."), 2, "SettingsError: --x is wrong. Mend it.\n", id="misuse is 2"
        ),
        pytest.param(TerminalError("It broke."), 3, "TerminalError: It broke.\n", id="a failure that stays is 3"),
        pytest.param(
            OSError(28, "No space left on device", "/data/x"),
            1,
            "DiskFullError: The disk is full at /data/x. Make room, and run the same command again: it goes on where it "
            "stopped.\n",
            id="a full disk is one sentence",
        ),
        pytest.param(TransientError("It shook."), 1, "TransientError: It shook.\n", id="a transient failure is 1"),
        pytest.param(
            RuntimeError(
                "Traceback...\ncoinbeam.errors.TransientError: It shook. [while running 'Fetch/Step']\n\nmore"
            ),
            1,
            "TransientError: It shook.\n",
            id="a failure told by a worker keeps its class",
        ),
    ],
)
def test_a_failure_has_its_exit_code_and_one_line(
    error: Exception, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(raising(error), JOB, []) == code
    assert capsys.readouterr().err == line


def test_a_success_prints_the_plain_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(lambda argv: {"rows": len(argv), "nested": {"a": 1}, "absent": None}, JOB, ["x"]) == 0
    assert capsys.readouterr().out == "rows    1\n"


def test_an_unexpected_error_keeps_its_traceback_and_leaves_its_words(tmp_path: Path) -> None:
    assert raised_in("ZeroDivisionError: division by zero") is None
    with pytest.raises(ZeroDivisionError):
        execute(raising(ZeroDivisionError("a\nb")), JOB, [f"--output={tmp_path}"])
    assert (tmp_path / "failure_fetch_crypto_data.txt").read_text() == "ZeroDivisionError: b"


@pytest.mark.parametrize(("kind", "code"), [(TerminalError, 3), (TransientError, 1)])
def test_the_runner_hands_on_the_class_of_a_worker_error(
    kind: type[Exception], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: Sequence[str]) -> dict[str, Any]:
        with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
            _ = pipeline | beam.Create([7]) | beam.Map(fail(kind))
        return {}

    assert execute(run, JOB, []) == code
    assert capsys.readouterr().err.splitlines()[-1] == f"{kind.__name__}: broken at 7"


def test_counters_are_summed_by_name() -> None:
    def count(element: int) -> int:
        beam.metrics.Metrics.counter("a", "seen").inc(element)
        beam.metrics.Metrics.counter("b", "seen").inc(1)
        return element

    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        _ = pipeline | beam.Create([1, 2]) | beam.Map(count)
    assert counters(pipeline.result)["seen"] == 5


def test_a_runner_without_metrics_gives_none() -> None:
    assert counters(object()) == {}


def test_reports_add_up_field_by_field() -> None:
    parts = [{"rows": 1, "by": {"a": 1}, "fields": ["x"]}, {"rows": 2, "by": {"a": 1, "b": 2}, "fields": ["x", "w"]}]
    assert total(parts) == {"rows": 3, "by": {"a": 2, "b": 2}, "fields": ["w", "x"]}
    assert total([]) == {}


def test_a_failure_leaves_its_words_beside_the_batch_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(raising(TransientError("It shook.")), JOB, [f"--output={tmp_path}"]) == 1
    assert (tmp_path / "failure_fetch_crypto_data.txt").read_text() == "TransientError: It shook."
    assert capsys.readouterr().err == "TransientError: It shook.\n"


def test_words_that_cannot_be_left_do_not_hide_the_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(raising(TransientError("It shook.")), JOB, ["--output=/dev/null/x"]) == 1
    assert capsys.readouterr().err == "TransientError: It shook.\n"


def test_help_names_the_options_of_the_job_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(raising(AssertionError("help runs nothing")), JOB, ["--output=x", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("usage: python -m beam_pipelines.fetch_crypto_data")
    assert lines[4] == "  --source"
    assert {f"  --{name}" for name in JOB.options.model_fields} <= set(lines)
    assert "--beam_help" in lines[-1]
    assert max(map(len, lines[4:])) <= 90
