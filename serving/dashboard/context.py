"""What a page is shown with, and what is made of a version once for all who look."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from types import FunctionType
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

import streamlit as st

from coinbeam.bundle.reader import Bundle
from serving.dashboard.market import Origin
from serving.dashboard.palette import Palette
from serving.dashboard.versions import Shown

Arguments = ParamSpec("Arguments")
Made = TypeVar("Made")

_KEPT = 64
"""So many results are kept, of all pages and versions together."""


@dataclass(frozen=True)
class Context:
    """What a page is shown with.

    Attributes:
        currency: of all prices on it.
        origin: where the prices come from.
        now: the present instant.
        colours: of the mode of the browser.
        open_coin: goes to the page of a coin.
    """

    shown: Shown
    currency: str
    origin: Origin
    now: datetime
    colours: Palette
    open_coin: Callable[[str], NoReturn]

    @property
    def bundle(self) -> Bundle:
        """The version."""
        return self.shown.bundle

    def made(
        self,
        make: Callable[Concatenate[Bundle, Arguments], Made],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Made:
        """What a function makes of the version; it is made once, and nobody may change it."""
        return of_version(self.shown, make, *arguments, **named)


def of_version(
    shown: Shown,
    make: Callable[Concatenate[Bundle, Arguments], Made],
    *arguments: Arguments.args,
    **named: Arguments.kwargs,
) -> Made:
    """What a function makes of a version. It has nothing else to read, so the version is all that can change it."""
    made: Made = _made(shown, make, arguments, named)
    return made


@st.cache_resource(
    show_spinner=False,
    max_entries=_KEPT,
    hash_funcs={Shown: attrgetter("key"), FunctionType: lambda function: (function.__module__, function.__qualname__)},
)
def _made(shown: Shown, make: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return make(shown.bundle, *arguments, **named)
