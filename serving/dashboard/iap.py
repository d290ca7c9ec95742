"""Who is behind Identity-Aware Proxy: the assertion that it signs, never the plain headers, which anybody can send.

Source: https://cloud.google.com/iap/docs/signed-headers-howto
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from coinbeam.clock import Clock, utc_now

HEADER = "x-goog-iap-jwt-assertion"
ISSUER = "https://cloud.google.com/iap"

SESSION_SECONDS = 3_600
"""An assertion is valid for ten minutes, and a page has the one that it was opened with. So long it may stay open; then
it is asked for a new one, which a browser brings by itself when the page is loaded again. Cloud Run ends connections
after as long.
"""

_LEEWAY_SECONDS = 30
_KEYS_SECONDS = 3_600
_TIMEOUT_SECONDS = 10


class Refused(Exception):
    """Nothing is shown; the text says why and holds nothing of the assertion."""


@dataclass(frozen=True)
class Admission:
    """Somebody who was let in.

    Attributes:
        assertion: by which; a page that was opened anew has another one.
        until: seconds since the epoch.
    """

    email: str
    assertion: str
    until: float


class Gate:
    """Checks assertions for one audience.

    Args:
        keys_url: where the proxy publishes its keys; they are kept for an hour.
    """

    def __init__(self, audience: str, keys_url: str, clock: Clock = utc_now) -> None:
        self._audience, self._clock = audience, clock
        self._keys = jwt.PyJWKClient(keys_url, lifespan=_KEYS_SECONDS, timeout=_TIMEOUT_SECONDS)

    def admit(self, headers: Mapping[str, str], before: Admission | None) -> Admission:
        """Whoever the headers of a page prove.

        Args:
            before: the admission of the same page, if it has one.

        Raises:
            Refused: they prove nobody, or nobody any more.
        """
        assertion = headers.get(HEADER)
        if not assertion:
            raise Refused(
                "This page is only reached through Identity-Aware Proxy, and the request did not come from it."
            )
        now = self._clock().timestamp()
        if before and before.assertion == assertion:
            if now < before.until:
                return before
            raise Refused("This page has been open for an hour. Load it again.")
        return Admission(self._proven(assertion), assertion, now + SESSION_SECONDS)

    def _proven(self, assertion: str) -> str:
        """The address in an assertion that is genuine, meant for us and not expired."""
        try:
            claims: dict[str, Any] = jwt.decode(
                assertion,
                self._keys.get_signing_key_from_jwt(assertion),
                algorithms=["ES256"],
                audience=self._audience,
                issuer=ISSUER,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "aud", "iss", "sub", "email"]},
            )
        except jwt.PyJWKClientConnectionError:
            raise Refused("The keys of Identity-Aware Proxy cannot be fetched. Try again.") from None
        except jwt.PyJWTError as error:
            raise Refused(f"The assertion of Identity-Aware Proxy is not valid: {type(error).__name__}.") from None
        return str(claims["email"])
