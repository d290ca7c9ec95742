"""The log of a run that a command started, cut into its tasks, where Airflow's web interface looks for them."""

import json
import re
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import TextIO

RUNNING = re.compile(
    r"\[DAG TEST\] running task <TaskInstance: (?P<dag>\w+)\.(?P<task>\S+) (?P<run>\S+) "
    r"(?:map_index=(?P<index>\d+) )?\["
)
_ENDED = re.compile(r"\[DAG TEST\] end task ")
_LINE = re.compile(r"^(?P<timestamp>\d{4}-\d\d-\d\dT\S+) \[(?P<level>\w+)\s*\] (?P<event>.*)$")


class TaskLogs:
    """Takes the lines of ``airflow dags test`` and writes those of each task below Airflow's folder of logs.

    The path is that of Airflow's option ``[logging] log_filename_template``; a line is an object of JSON, as Airflow
    itself writes it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: TextIO | None = None
        self._attempts = Counter[Path]()

    def __enter__(self) -> "TaskLogs":
        """Nothing is open yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the last log, of a task that may not have ended."""
        self._close()

    def line(self, text: str) -> None:
        """Take one line."""
        if running := RUNNING.search(text):
            self._open(running)
        if self._file:
            said = _LINE.match(text)
            self._file.write(json.dumps(said.groupdict() if said else {"event": text}) + "\n")
        if _ENDED.search(text):
            self._close()

    def _open(self, running: re.Match[str]) -> None:
        self._close()
        index = [f"map_index={running['index']}"] if running["index"] else []
        names = [f"dag_id={running['dag']}", f"run_id={running['run']}", f"task_id={running['task']}", *index]
        place = self._folder.joinpath(*names)
        place.mkdir(parents=True, exist_ok=True)
        self._attempts[place] += 1
        self._file = (place / f"attempt={self._attempts[place]}.log").open("w", encoding="utf-8")

    def _close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None
