"""Progress of a DAG run, read from what Airflow prints: a live display on a terminal, plain lines elsewhere."""

import re
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from console.output import visible

_STARTED = re.compile(r"\[DAG TEST\] starting task_id=(?P<task>\S+)")
_ENDED = re.compile(r"\[DAG TEST\] end task task_id=(?P<task>\S+)")
_STATE = re.compile(r"new_state=(?P<state>\w+)")
_BANNER = re.compile(r"^#{8,}$|^# ")
_PLAN_LINE = re.compile(r"^(batch|mode|universe|calls|rows|cost)     ?\s*\S")


class TaskProgress:
    """Shows each task as it ends, with its seconds by a monotonic timer, and lets banners through."""

    def __init__(self, console: Console, timer: Callable[[], float] = time.monotonic) -> None:
        self._console, self._timer = console, timer
        self._status: Status | None = console.status("starting Airflow") if console.is_terminal else None
        self._task, self._state, self._since = "", "", timer()

    def __enter__(self) -> "TaskProgress":
        """Start the display."""
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the display."""
        if self._status:
            self._status.stop()

    def line(self, text: str) -> None:
        """Take one line of Airflow's output."""
        if started := _STARTED.search(text):
            self._task, self._state, self._since = started["task"], "", self._timer()
            if self._status:
                self._status.update(f"running {self._task}")
        elif _ENDED.search(text):
            self._finish()
        elif state := _STATE.search(text):
            self._state = state["state"]
        elif _BANNER.match(text) or (self._task == "plan_batch" and _PLAN_LINE.match(text)):
            self._console.print(escape(visible(text)))

    def _finish(self) -> None:
        seconds = self._timer() - self._since
        self._console.print(f"  {self._task:<34} {self._state or 'ended':<10} {seconds:6.1f} s")
        self._task = ""
