"""The API key: where it comes from; from then on it is kept out of all that the process writes."""

from collections.abc import Callable
from typing import Any

from coinbeam.errors import SettingsError, TransientError
from coinbeam.redaction import keep_secret
from coinbeam.settings import CoinGeckoSettings

_ACCESS_TIMEOUT_SECONDS = 30.0

SecretReader = Callable[[str], bytes]
"""Reads the payload of a Secret Manager version by its resource name."""


def api_key(settings: CoinGeckoSettings, read_secret: SecretReader | None = None) -> str | None:
    """The key of the configured plan, kept out of logs from this moment on; ``None`` for a plan without one.

    The environment wins over Secret Manager, which ``read_secret`` replaces in tests.

    Raises:
        SettingsError: plan and key do not fit, or it cannot be a key, or the secret cannot be read.
        TransientError: Secret Manager did not answer.
    """
    check_key(settings)
    if settings.limits.key_header is None:
        return None
    direct = _direct(settings)
    key = direct or _from_secret_manager(settings.api_key_secret, read_secret or read_secret_version)
    if not key:
        raise _keyless(settings)
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise SettingsError(
            "The CoinGecko API key holds a character that no key has (not shown).",
            f"Copy it again into {'COINGECKO_API_KEY' if direct else settings.api_key_secret}, without quotes or line "
            "breaks.",
        )
    keep_secret(key)
    return key


def check_key(settings: CoinGeckoSettings) -> None:
    """Hold the plan against the key, without reading Secret Manager.

    Raises:
        SettingsError: the plan needs a key and none is named, or a key is set that the plan would never send.
    """
    direct = _direct(settings)
    if direct:
        keep_secret(direct)
    if settings.limits.key_header is None and direct:
        with_key = ", ".join(sorted(name for name, limits in settings.plans.items() if limits.key_header))
        raise SettingsError(
            f"COINGECKO_API_KEY is set, but coingecko.plan is {settings.plan!r}, which sends no key.",
            f"Set COINBEAM_COINGECKO__PLAN to the plan of the key ({with_key}), or unset COINGECKO_API_KEY.",
        )
    if settings.limits.key_header is not None and not (direct or settings.api_key_secret):
        raise _keyless(settings)


def _direct(settings: CoinGeckoSettings) -> str:
    return settings.api_key.get_secret_value().strip() if settings.api_key else ""


def _keyless(settings: CoinGeckoSettings) -> SettingsError:
    return SettingsError(
        f"coingecko.plan is {settings.plan!r}, which needs an API key, and there is none.",
        "Set COINGECKO_API_KEY, or coingecko.api_key_secret to a Secret Manager version, or coingecko.plan to keyless.",
    )


def _from_secret_manager(name: str | None, read: SecretReader) -> str:
    if not name:
        return ""
    try:
        return read(name).decode().strip()
    except UnicodeDecodeError:
        pass  # raised below, outside the handler: the error of the codec carries the payload
    raise SettingsError(f"The secret {name} is not text.", "Store the API key alone as UTF-8 text in a new version.")


def read_secret_version(name: str, client: Any = None) -> bytes:
    """Read one version of a secret, ``projects/P/secrets/S/versions/V``, with the credentials of the machine.

    Raises:
        SettingsError: the name is malformed, the secret is absent or may not be read, or there are no credentials.
        TransientError: the service did not answer.
    """
    # Imported here since it costs 0.4 s, and only a plan with a key in Secret Manager pays it.
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from google.cloud import secretmanager

    passing = api.ServiceUnavailable, api.DeadlineExceeded, api.RetryError, api.TooManyRequests, auth.TransportError
    try:
        manager = client or secretmanager.SecretManagerServiceClient()
        return bytes(manager.access_secret_version(name=name, timeout=_ACCESS_TIMEOUT_SECONDS).payload.data)
    except passing as error:
        problem = f"Secret Manager did not give {name}: {type(error).__name__}."
        raise TransientError(problem, "Try again later.") from error
    except (api.GoogleAPICallError, auth.GoogleAuthError, ValueError) as error:
        raise SettingsError(
            f"Secret Manager refuses {name}: {type(error).__name__}.",
            "Check coingecko.api_key_secret (projects/P/secrets/S/versions/V); the account needs "
            "roles/secretmanager.secretAccessor.",
        ) from error
