"""Draws what commands print in a terminal of some width: ``python -m docs.pictures.terminal``.

It runs the commands of the README on the warehouse of this machine, each in a terminal of its own (a pty), and writes
``docs/terminal_80.svg`` and ``docs/terminal_160.svg``.
"""

import fcntl
import io
import os
import pty
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.text import Text

from coinbeam.settings import ROOT
from console.run import NEXT_COMMANDS

WIDTHS = (80, 160)
_LINES = 48

COMMANDS = (NEXT_COMMANDS[0], ".venv/bin/coinbeam status")
"""What a newcomer is told to try first, and what the engineer on call looks at."""


def picture(width: int) -> Path:
    """Where the picture of a width lies."""
    return ROOT / "docs" / f"terminal_{width}.svg"


def printed(command: Sequence[str], width: int) -> str:
    """What a command prints in a terminal of so many columns, with its escapes."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, width, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        env={**variables, "TERM": "xterm-256color"},
    )
    os.close(follower)
    found = bytearray()
    with suppress(OSError):  # Linux ends a terminal that nobody writes to any more with an error
        while chunk := os.read(leader, 65_536):
            found += chunk
    os.close(leader)
    process.wait(60)
    return found.decode("utf-8", "replace").replace("\r\n", "\n")


def draw(texts: Sequence[tuple[str, str]], width: int) -> str:
    """An SVG of commands with what they printed."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    for command, text in texts:
        console.print(Text(f"$ {command}", style="bold green"), soft_wrap=False)
        console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=False)
        console.print()
    return console.export_svg(title=f"coinbeam, {width} columns")


def main() -> None:
    """Write the pictures."""
    for width in WIDTHS:
        texts = [(command, printed(shlex.split(command, comments=True), width)) for command in COMMANDS]
        picture(width).write_text(draw(texts, width), encoding="utf-8")
        sys.stdout.write(f"wrote {picture(width)}\n")


if __name__ == "__main__":
    main()
