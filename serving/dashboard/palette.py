"""Colours that people with any kind of colour blindness tell apart, on a light and on a dark page.

Source: Okabe and Ito, https://jfly.uni-koeln.de/color/. Text needs more contrast than a line: its colours are darker on
white. No colour says anything alone: directions also have an arrow and a sign, lines a dash, marks a shape.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Palette:
    """The colours of one mode.

    Attributes:
        up: text of what rose; ``down`` of what fell.
        line: the main line of a chart.
        fast: the average of few days; ``slow`` that of many.
        rise: marks and bars of what rises; ``fall`` of what falls.
        quiet: what is there for orientation.
    """

    up: str
    down: str
    line: str
    fast: str
    slow: str
    rise: str
    fall: str
    quiet: str


LIGHT = Palette("#00714F", "#A84300", "#0072B2", "#E69F00", "#CC79A7", "#009E73", "#D55E00", "#767676")
DARK = Palette("#2BC49A", "#FF8A3D", "#56B4E9", "#E69F00", "#CC79A7", "#009E73", "#D55E00", "#9A9A9A")

BANDS = ("#D55E00", "#E69F00", "#999999", "#56B4E9", "#0072B2")
"""From extreme fear to extreme greed."""


def of_mode(mode: str | None) -> Palette:
    """The colours of ``light`` or ``dark``; light while the browser has not said."""
    return DARK if mode == "dark" else LIGHT
