"""Runs a module and says what it used: ``python -m benchmarks.launcher MODULE ARGUMENTS``.

A process of its own, which imports little: the system counts to the largest resident set of a process also what its
parent held when it was started.
"""

import json
import os
import subprocess
import sys
import time


def main() -> int:
    """Print user and system seconds, elapsed seconds and KiB as JSON; what the module prints goes to standard error."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", *sys.argv[1:]], stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - started
    print(json.dumps({"cpu": usage.ru_utime + usage.ru_stime, "wall": wall, "peak_kib": usage.ru_maxrss}))
    return process.returncode and 1


if __name__ == "__main__":
    sys.exit(main())
