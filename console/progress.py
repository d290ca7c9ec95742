"""Progress of a DAG run, read from what Airflow prints: a live display on a terminal, plain lines elsewhere, where a
task that takes long says so now and then.
"""

import re
import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from console.output import TOLD, visible

_STARTED = re.compile(r"\[DAG TEST\] starting task_id=(?P<task>\S+)")
_ENDED = re.compile(r"\[DAG TEST\] end task task_id=(?P<task>\S+)")
_STATE = re.compile(r"new_state=(?P<state>\w+)")
_RULE = re.compile(r"^#{8,}$")
_IN_BANNER = "# "
_LONG_SECONDS = 20.0
"""So long a task runs before a line says that it still does, where there is no live display."""

_PLAN_LINE = re.compile(r"^(batch|mode|universe|calls|rows|cost)     ?\s*\S")


class TaskProgress:
    """Shows each task as it ends, with its seconds by a monotonic timer, and lets banners through."""

    def __init__(
        self, console: Console, timer: Callable[[], float] = time.monotonic, long_seconds: float = _LONG_SECONDS
    ) -> None:
        self._console, self._timer, self._long = console, timer, long_seconds
        self._status: Status | None = console.status("starting Airflow") if console.is_terminal else None
        self._task, self._state, self._since = "", "", timer()
        self._banner: list[str] = []
        self._told = set(TOLD)
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)

    def __enter__(self) -> "TaskProgress":
        """Start the display."""
        if self._status:
            self._status.start()
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the display."""
        self._ended.set()
        self._tell_banner()
        if self._status:
            self._status.stop()

    def _tick(self) -> None:
        """Say from time to time what still runs, and for how long."""
        while not self._ended.wait(1.0 if self._status else self._long):
            task, seconds = self._task or "starting Airflow", self._timer() - self._since
            if self._status:
                self._status.update(f"{task}, {seconds:.0f} s")
            elif seconds >= self._long:
                self._console.print(f"  {task:<34} still running, {seconds:.0f} s")

    def line(self, text: str) -> None:
        """Take one line of Airflow's output."""
        if started := _STARTED.search(text):
            self._task, self._state, self._since = started["task"], "", self._timer()
            if self._status:
                self._status.update(f"{self._task}, 0 s")
        elif _ENDED.search(text):
            self._finish()
        elif state := _STATE.search(text):
            self._state = state["state"]
        elif _RULE.match(text) or text.startswith(_IN_BANNER):
            self._banner.append(text)
            if len(self._banner) > 1 and _RULE.match(text):
                self._tell_banner()
        elif self._task == "plan_batch" and _PLAN_LINE.match(text):
            self._console.print(escape(visible(text)))

    def _tell_banner(self) -> None:
        """Show the banner that has ended, once."""
        banner, self._banner = "\n".join(self._banner), []
        if banner and banner not in self._told:
            self._told.add(banner)
            self._console.print(escape(visible(banner)))

    def _finish(self) -> None:
        seconds = self._timer() - self._since
        self._console.print(f"  {self._task:<34} {self._state or 'ended':<10} {seconds:6.1f} s")
        self._task = ""
