"""What every page has: who looks, whose bundle, its newest version, the pages, and where the numbers come from."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import NoReturn

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from coinbeam.clock import Clock
from coinbeam.errors import CoinbeamError
from coinbeam.settings import Settings
from serving.dashboard import formats
from serving.dashboard.context import Context, of_version
from serving.dashboard.market import origin
from serving.dashboard.palette import of_mode
from serving.dashboard.sign_in import show_refusal, show_sign_out, viewer
from serving.dashboard.versions import Look, Shown, Versions, environments
from serving.dashboard.views import coin, fear_greed, market, movers, trust

_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0072B2"/>'
    '<path d="M6 22l7-8 5 5 8-10" fill="none" stroke="#fff" stroke-width="3.4" stroke-linecap="round"/></svg>'
)
_HOME_CURRENCY = "usd"

_VIEWS = {
    "": ("Market", market.show),
    "coin": ("Coin", coin.show),
    "fear-greed": ("Fear & Greed", fear_greed.show),
    "movers": ("Movers", movers.show),
    "trust": ("Trust", trust.show),
}
"""Title and content of each page by its path."""


def show(settings: Settings, clock: Clock) -> None:
    """Show the page that the address names."""
    st.set_page_config(page_title="Coinbeam", page_icon=_ICON, layout="wide")
    who = viewer(settings.serving, clock)
    if who.refusal:
        st.navigation(list(_pages(None).values()), position="hidden")
        show_refusal(who)
        return
    versions = _versions(settings, _chosen_environment(settings))
    look = versions.newest()
    pages: dict[str, StreamlitPage] = {}

    def open_coin(asset_id: str) -> NoReturn:
        st.switch_page(pages["coin"], query_params={"id": asset_id})

    context = _context(look.shown, settings, clock(), open_coin) if look.shown else None
    pages |= _pages(context)
    chosen = st.navigation(list(pages.values()))
    with st.sidebar:
        _follow(versions, look, context, clock, settings.serving.poll_seconds)
        if who.name:
            st.caption(f"Signed in as {who.name}")
        show_sign_out(who)
    if context is None:
        _explain_nothing(look)
        return
    _show_warnings(context, look)
    try:
        chosen.run()
    except CoinbeamError as error:
        st.error(f"This page cannot be read: {error}")
    _show_footer(context)


def _pages(context: Context | None) -> dict[str, StreamlitPage]:
    return {
        path: st.Page(partial(_show_view, content, context), title=title, url_path=path, default=not path)
        for path, (title, content) in _VIEWS.items()
    }


def _show_view(content: Callable[[Context], None], context: Context | None) -> None:
    if context:
        content(context)


@st.cache_resource(show_spinner=False, hash_funcs={Settings: lambda settings: settings.model_dump_json()})
def _versions(settings: Settings, environment: str) -> Versions:
    return Versions(environment, environments(settings)[environment], settings.serving.poll_seconds)


def _chosen_environment(settings: Settings) -> str:
    known = list(environments(settings))
    if len(known) == 1:
        return known[0]
    chosen = st.sidebar.segmented_control(
        "Environment",
        known,
        default=known[0],
        required=True,
        key="environment",
        bind="query-params",
        help="LOCAL is the warehouse of this machine, CLOUD the deployment whose bucket serving.cloud_bucket names.",
    )
    return chosen or known[0]


def _context(shown: Shown, settings: Settings, now: datetime, open_coin: Callable[[str], NoReturn]) -> Context:
    return Context(
        shown=shown,
        currency=_chosen_currency(shown),
        origin=of_version(shown, origin, settings.serving.stale_after_minutes),
        now=now,
        colours=of_mode(st.context.theme.type),
        open_coin=open_coin,
    )


def _chosen_currency(shown: Shown) -> str:
    known = sorted(shown.bundle.currencies, key=lambda currency: (currency != _HOME_CURRENCY, currency))
    if len(known) < 2:
        return known[0] if known else _HOME_CURRENCY
    chosen = st.sidebar.selectbox("Currency", known, key="currency", bind="query-params")
    return chosen or known[0]


def _follow(versions: Versions, look: Look, context: Context | None, clock: Clock, seconds: float) -> None:
    """Say how old the prices are, again and again, and show the page anew when there is a newer version, or when the
    browser has gone from light to dark.
    """

    def follow() -> None:
        newest = versions.newest()
        other_mode = context is not None and context.colours is not of_mode(st.context.theme.type)
        if other_mode or (newest.shown, str(newest.fault)) != (look.shown, str(look.fault)):
            st.rerun()
        age = context.origin.age(clock()) if context else None
        st.caption(f"Newest price {formats.age(age)} ago" if age is not None else "No price yet")

    st.fragment(follow, run_every=seconds)()


def _explain_nothing(look: Look) -> None:
    st.title("Nothing to show yet")
    st.info(str(look.fault))
    st.caption("This page shows the market as soon as there is something.")


def _show_warnings(context: Context, look: Look) -> None:
    origin = context.origin
    if origin.is_simulated:
        st.warning(
            "**Simulated prices.** They are made by a program and are no market prices.", icon=":material/science:"
        )
    if look.fault:
        st.warning(
            f"The newest version cannot be read, so this one may be old. {look.fault}", icon=":material/cloud_off:"
        )
    age = origin.age(context.now)
    if age is None:
        st.info("This version holds no prices. `coinbeam run` brings some.")
    elif origin.is_stale(context.now):
        st.warning(
            f"**Stale prices.** The newest is of {formats.instant(origin.newest)}, {formats.age(age)} ago; it should "
            f"be no older than {formats.age(origin.stale_after)}. The page Trust says what failed.",
            icon=":material/schedule:",
        )


def _show_footer(context: Context) -> None:
    manifest = context.bundle.manifest
    st.divider()
    st.caption(" · ".join(context.origin.attributions))
    st.caption(
        f"{context.shown.environment} · batch {manifest.batch_id} · refreshed "
        f"{formats.instant(manifest.refreshed_at)} · version {manifest.version} · all times are "
        "UTC · signals describe, they advise nobody"
    )
