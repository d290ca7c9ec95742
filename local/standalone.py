"""``python -m local.standalone``: Airflow's own `standalone`, without its log servers.

They listen on every address of the machine, whatever is configured, and would give the logs to anyone on the network.
On one machine nobody asks them: the web server reads the log files themselves.
"""

import runpy
import sys
from typing import Any

from airflow.cli.commands import standalone_command

_WITH_LOG_SERVER = ("scheduler", "triggerer")


class LoopbackCommand(standalone_command.SubCommand):
    """A part of Airflow that serves no logs."""

    def __init__(self, parent: Any, name: str, command: list[str], env: dict[str, str]) -> None:
        served = [*command, "--skip-serve-logs"] if name in _WITH_LOG_SERVER else command
        super().__init__(parent, name, served, env)


def main() -> None:
    """Run all parts of Airflow until Ctrl-C."""
    standalone: Any = standalone_command
    standalone.SubCommand = LoopbackCommand
    sys.argv = ["airflow", "standalone"]
    runpy.run_module("airflow", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
