"""Who looks: everybody who reaches the page, or who a provider or a proxy says it is. In doubt nobody."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

from coinbeam.clock import Clock
from coinbeam.settings import ServingSettings, SignIn
from serving.dashboard.iap import Admission, Gate, Refused


@dataclass(frozen=True)
class Viewer:
    """Whether somebody may look.

    Attributes:
        name: as the page calls them; None where nobody is asked.
        refusal: why they may not look, or None.
        can_sign_in: whether a sign-in would help; ``can_sign_out`` whether there is one to end.
    """

    name: str | None = None
    refusal: str | None = None
    can_sign_in: bool = False
    can_sign_out: bool = False


def viewer(settings: ServingSettings, clock: Clock) -> Viewer:
    """Who looks at this page."""
    if settings.sign_in is SignIn.IAP:
        return _by_iap(settings, clock)
    if settings.sign_in is SignIn.OIDC:
        return _by_oidc(settings)
    return Viewer()


def _by_iap(settings: ServingSettings, clock: Clock) -> Viewer:
    before: Admission | None = st.session_state.get("admission")
    gate = _gate(str(settings.iap_audience), str(settings.iap_keys_url), clock)
    try:
        admission = gate.admit({name.lower(): value for name, value in st.context.headers.items()}, before)
    except Refused as refused:
        return Viewer(refusal=str(refused))
    st.session_state["admission"] = admission
    return Viewer(admission.email)


@st.cache_resource(show_spinner=False)
def _gate(audience: str, keys_url: str, _clock: Clock) -> Gate:
    return Gate(audience, keys_url, _clock)


def _by_oidc(settings: ServingSettings) -> Viewer:
    if "auth" not in _secrets():
        return Viewer(
            refusal="serving.sign_in is oidc, but there is no section auth in Streamlit's secrets. Write "
            ".streamlit/secrets.toml, or name another file by the setting serving.secrets_file."
        )
    user = st.user.to_dict()
    if user.get("is_logged_in") is not True:
        return Viewer(refusal="Sign in to see the market.", can_sign_in=True)
    name = str(user.get("email") or user.get("name") or user.get("sub"))
    if not may_look(user, settings.oidc_viewers):
        return Viewer(name, f"{name} is not among those who may look.", can_sign_out=True)
    return Viewer(name, can_sign_out=True)


def _secrets() -> Mapping[str, Any]:
    try:
        return st.secrets.to_dict()
    except FileNotFoundError:
        return {}


def may_look(user: Mapping[str, Any], viewers: Iterable[str]) -> bool:
    """Whether a signed-in user is among the viewers: an address, or ``@domain`` for all of its addresses.

    An address counts only where the provider says that it was verified: elsewhere anybody may claim any.
    """
    wanted = {one.casefold() for one in viewers}
    if not wanted:
        return True
    email = str(user.get("email") or "").casefold()
    domain = email.rpartition("@")[2]
    return user.get("email_verified") is True and bool(domain) and bool({email, f"@{domain}"} & wanted)


def show_refusal(viewer: Viewer) -> None:
    """Say why nothing is shown, and what would help."""
    st.title("Coinbeam")
    (st.info if viewer.can_sign_in else st.error)(viewer.refusal or "")
    if viewer.can_sign_in:
        st.button("Sign in", type="primary", on_click=st.login)
    show_sign_out(viewer)


def show_sign_out(viewer: Viewer) -> None:
    """Let somebody who signed in sign out."""
    if viewer.can_sign_out:
        st.button("Sign out", on_click=st.logout)
