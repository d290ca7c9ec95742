"""The command line of a job: run it, say in plain lines how it ended, and leave with the exit code that says so too."""

import contextlib
import importlib
import logging
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from beam_pipelines.reports import Report
from coinbeam.errors import CoinbeamError, SettingsError, TerminalError

DONE, FAILED, MISUSE, REFUSED = 0, 1, 2, 3
"""Exit codes. ``REFUSED`` is a failure that a retry without a change cannot mend; schedulers tell it from ``FAILED`` by this number."""

_RAISED_BY_WORKER = re.compile(r"^(?P<module>coinbeam(?:\.\w+)+)\.(?P<kind>\w+): (?P<text>.+)$", re.MULTILINE)
_STEP = re.compile(r" \[while running '[^']*'\]")  # what Beam adds to the message of an exception


def execute(run: Callable[[Sequence[str]], Report], argv: Sequence[str] | None = None) -> int:
    """Run a job.

    Args:
        run: does the work and returns the report.
        argv: the command line without the program; by default that of this process.

    Returns:
        0 done, 1 failed, 2 a wrong option or setting, 3 failed for a reason that stays.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)  # it repeats what is raised, with its traceback
    try:
        print_summary(run(sys.argv[1:] if argv is None else argv))
    except CoinbeamError as error:
        _complain(type(error).__name__, str(error))
        return exit_code(type(error))
    except Exception as error:
        said = cause(error)
        if said is None:
            raise
        kind, text = said
        _complain(kind.__name__, text)
        return exit_code(kind)
    return DONE


def exit_code(kind: type[CoinbeamError]) -> int:
    """The exit code that tells the class of an error."""
    if issubclass(kind, SettingsError):
        return MISUSE
    return REFUSED if issubclass(kind, TerminalError) else FAILED


def cause(error: BaseException) -> tuple[type[CoinbeamError], str] | None:
    """Class and text of the Coinbeam error that a runner wrapped into one of its own, or None when it was none of ours.

    The runners pass on the text of a worker's traceback, not the exception.
    """
    for found in reversed(list(_RAISED_BY_WORKER.finditer(str(error)))):
        kind = getattr(importlib.import_module(found["module"]), found["kind"], None)
        if isinstance(kind, type) and issubclass(kind, CoinbeamError):
            return kind, found["text"]
    return None


def _complain(kind: str, text: str) -> None:
    print(f"{kind}: {_STEP.sub('', text)}", file=sys.stderr, flush=True)


def print_summary(report: Report) -> None:
    """Print a report as aligned lines; nested values are left to the file."""
    width = max((len(name) for name in report), default=0)
    with contextlib.suppress(BrokenPipeError):
        for name, value in report.items():
            if _is_plain(value):
                print(f"{name:<{width}}  {value}")
        sys.stdout.flush()


def _is_plain(value: Any) -> bool:
    return value is not None and not isinstance(value, dict | list)
