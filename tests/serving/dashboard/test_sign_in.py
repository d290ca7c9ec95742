"""Who may look after a sign-in: in doubt nobody."""

from typing import Any

import pytest

from coinbeam.settings import Settings, SignIn
from serving.dashboard.sign_in import may_look
from tests.serving.dashboard.conftest import opened
from tests.serving.dashboard.made import Market, build
from tests.serving.dashboard.test_pages import said

SOMEONE = {"is_logged_in": True, "email": "Someone@Example.com", "email_verified": True}


@pytest.mark.parametrize(
    ("user", "viewers", "allowed"),
    [
        (SOMEONE, (), True),
        (SOMEONE, ("someone@example.com",), True),
        (SOMEONE, ("@example.COM",), True),
        (SOMEONE, ("@ample.com", "one@example.com", "example.com"), False),
        (SOMEONE | {"email_verified": False}, ("@example.com",), False),
        (SOMEONE | {"email_verified": "true"}, ("@example.com",), False),
        (SOMEONE | {"email": None}, ("@", ""), False),
    ],
)
def test_viewers_are_addresses_that_were_verified(
    user: dict[str, Any], viewers: tuple[str, ...], allowed: bool
) -> None:
    assert may_look(user, viewers) is allowed


def signing_in(settings: Settings, **serving: Any) -> Settings:
    changed = {"sign_in": SignIn.OIDC, **serving}
    return settings.model_copy(update={"serving": settings.serving.model_copy(update=changed)})


def test_a_sign_in_that_is_not_set_up_shows_nothing(settings: Settings) -> None:
    build(settings, Market())
    text = said(opened(signing_in(settings), "trust"))
    assert "there is no section auth in Streamlit's secrets" in text
    assert "Trust" not in text


def test_the_proxy_is_not_passed_without_its_assertion(settings: Settings) -> None:
    build(settings, Market())
    text = said(opened(signing_in(settings, sign_in=SignIn.IAP, iap_audience="/projects/1/x"), "trust"))
    assert "only reached through Identity-Aware Proxy" in text
    assert "Trust" not in text
