"""The pictures of the terminal: what they show is what the commands are today."""

import sys
from xml.etree import ElementTree

import pytest

from docs.pictures.terminal import COMMANDS, WIDTHS, draw, picture, printed


def words(svg: str) -> str:
    """The text of a picture without its breaks."""
    return "".join("".join(ElementTree.fromstring(svg).itertext()).replace("\xa0", "").split())


def test_a_command_sees_the_width_of_its_terminal() -> None:
    script = "import os, sys; print(os.get_terminal_size().columns, sys.stdout.isatty())"
    assert printed([sys.executable, "-c", script], 80) == "80 True\n"


def test_a_picture_holds_what_was_printed() -> None:
    svg = draw([("coinbeam status", "\x1b[1mFreshness\x1b[0m\nfresh")], 80)
    assert "$coinbeamstatusFreshnessfresh" in words(svg)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_pictures_are_of_the_commands_of_today(width: int) -> None:
    shown = words(picture(width).read_text(encoding="utf-8"))
    for command in COMMANDS:
        assert "".join(f"${command}".split()) in shown, "run `python -m docs.pictures.terminal`"
    assert f"{width}columns" in shown
