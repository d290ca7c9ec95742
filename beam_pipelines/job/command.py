"""The command line of a job: run it, say in plain lines how it ended, and leave with the exit code that says so too."""

import contextlib
import gc
import logging
import sys
import textwrap
from collections.abc import Callable, Sequence

from beam_pipelines.job.report import Report
from beam_pipelines.landing.files import write_atomically
from coinbeam.batch.jobs import DONE, FAILED, MISUSE, REFUSED, JobSpec
from coinbeam.errors import CoinbeamError, SettingsError, TerminalError, disk_full, raised_in, without_step

BEAM_HELP = "--beam_help"
"""Lists the options of Beam, some hundred."""

LONGEST_FAILURE = 500
"""Characters of an unforeseen error that the record of a run shows."""


def execute(run: Callable[[Sequence[str]], Report], job: JobSpec, argv: Sequence[str] | None = None) -> int:
    """Run a job.

    Args:
        run: does the work and returns the report.
        job: the job; a failure is also written beside its batch files, for those who only see the exit code.
        argv: the command line without the program; by default that of this process.

    Returns:
        0 done, 1 failed, 2 a wrong option or setting, 3 failed for a reason that stays.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    # Beam's runner repeats what is raised, with its traceback.
    logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)
    given = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"}.intersection(given):
        print(help_text(job))
        return DONE
    given = ["--help" if option == BEAM_HELP else option for option in given]
    try:
        print_summary(run(given))
        gc.freeze()  # else Python's exit looks through all that Beam imported, for a third of a small job's time
    except Exception as error:
        said = error if isinstance(error, CoinbeamError) else raised_in(str(error)) or disk_full(error)
        if said is None:  # nobody foresaw it: the traceback is for the log, its last line for the record of the run
            write_failure(given, job, f"{type(error).__name__}: {_last_line(error)}")
            raise
        line = f"{type(said).__name__}: {without_step(str(said))}"
        print(line, file=sys.stderr, flush=True)
        write_failure(given, job, line)
        return exit_code(type(said))
    return DONE


def help_text(job: JobSpec) -> str:
    """What a job takes, its own options first; those of Beam would hide them."""
    lines = [f"usage: python -m beam_pipelines.{job.name} --output=FOLDER [options]", "", job.description, ""]
    for name, field in job.options.model_fields.items():
        said = textwrap.wrap(field.description or "", 78)
        lines += [f"  --{name}", *(f"      {line}" for line in said)]
    return "\n".join(
        [*lines, "", f"Beam's own options (--runner, --project, ...) are taken too: {BEAM_HELP} lists them."]
    )


def _last_line(error: Exception) -> str:
    """The words of an error, those of the worker where a runner passes on its traceback."""
    lines = [line.strip() for line in without_step(str(error)).splitlines() if line.strip()]
    return lines[-1][:LONGEST_FAILURE] if lines else ""


def write_failure(argv: Sequence[str], job: JobSpec, line: str) -> None:
    """Write why a job failed into its ``--output``; where even that fails, the log has it."""
    output = next((option.partition("=")[2] for option in argv if option.startswith("--output=")), "")
    if output:
        with contextlib.suppress(Exception):
            write_atomically(job.failure_path(output.rstrip("/")), line.encode())


def exit_code(kind: type[CoinbeamError]) -> int:
    """The exit code that tells the class of an error."""
    if issubclass(kind, SettingsError):
        return MISUSE
    return REFUSED if issubclass(kind, TerminalError) else FAILED


def print_summary(report: Report) -> None:
    """Print a report as aligned lines; nested values are left to the file."""
    width = max((len(name) for name in report), default=0)
    with contextlib.suppress(BrokenPipeError):
        for name, value in report.items():
            if value is not None and not isinstance(value, dict | list):
                print(f"{name:<{width}}  {value}")
        sys.stdout.flush()
