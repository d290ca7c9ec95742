"""Keys of the API: made and revoked by `coinbeam keys`, kept as digests in one object that every server reads.

A key is shown once, when it is made. What is kept is its SHA-256: 160 random bits need no salt and no slow hash.
"""

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from coinbeam.bundle.manifest import ROOT
from coinbeam.clock import Clock, utc_now
from coinbeam.errors import CoinbeamError, SettingsError, TerminalError
from coinbeam.landing.bucket import Bucket

logger = logging.getLogger("coinbeam.api")

PATH = f"{ROOT}/keys.json"
PREFIX = "cbk_"
_KEY = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{27}}")

KEY_HEADERS = ("x-cg-demo-api-key", "x-cg-pro-api-key")
KEY_PARAMETERS = ("x_cg_demo_api_key", "x_cg_pro_api_key")
"""Where CoinGecko's clients put a key."""


class Key(BaseModel):
    """One key as it is kept.

    Attributes:
        key_id: by which it is revoked and named in logs; tells nothing of the key.
        name: whose it is, for people.
        sha256: of the key.
        calls_per_minute: its limit; None for that of the settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_id: str
    name: str = Field(min_length=1, max_length=100)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: AwareDatetime
    revoked_at: datetime | None = None
    calls_per_minute: int | None = Field(None, ge=1)


class _Stored(BaseModel):
    keys: tuple[Key, ...] = ()


class Keys:
    """The keys of one environment, in its bucket."""

    def __init__(self, bucket: Bucket, clock: Clock = utc_now) -> None:
        self._bucket, self._clock = bucket, clock

    def all(self) -> tuple[Key, ...]:
        """Every key, revoked ones too, in the order in which they were made.

        Raises:
            TerminalError: the object is damaged.
        """
        return _parsed(self._bucket.read_bytes(PATH))

    def create(self, name: str, calls_per_minute: int | None = None) -> tuple[str, Key]:
        """Make a key; returns it, which nobody can ever read again, and what is kept of it.

        Raises:
            SettingsError: the name or the limit is wrong.
            WriteConflictError: somebody else changed the keys at the same moment.
        """
        text = PREFIX + secrets.token_urlsafe(20)
        try:
            made = Key(
                key_id=secrets.token_hex(4),
                name=name,
                sha256=digest(text),
                created_at=self._clock(),
                calls_per_minute=calls_per_minute,
            )
        except ValidationError as error:
            wrong = ", ".join(str(fault["loc"][0]) for fault in error.errors())
            raise SettingsError(f"A key cannot be made: {wrong} is wrong.", "Names have 1 to 100 letters.") from None
        self._change(lambda keys: (*keys, made))
        return text, made

    def revoke(self, key_id: str) -> Key:
        """Revoke a key; servers refuse it within seconds.

        Raises:
            SettingsError: there is no such key.
            WriteConflictError: somebody else changed the keys at the same moment.
        """
        found = next((key for key in self.all() if key.key_id == key_id), None)
        if found is None:
            raise SettingsError(f"There is no key {key_id!r}.", "`coinbeam keys list` names them.")
        revoked = found.model_copy(update={"revoked_at": found.revoked_at or self._clock()})
        self._change(lambda keys: tuple(revoked if key.key_id == key_id else key for key in keys))
        return revoked

    def _change(self, change: Callable[[tuple[Key, ...]], tuple[Key, ...]]) -> None:
        text, generation = self._bucket.read_versioned(PATH)
        stored = _Stored(keys=change(_parsed(text)))
        self._bucket.replace_text(PATH, stored.model_dump_json(indent=2), generation)


class KeyRing:
    """The keys that are valid now, looked up by each call and read again by `look`."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._valid: Mapping[str, Key] = {}

    def look(self) -> None:
        """Take the keys as they are now; a fault leaves those of before, and is logged."""
        try:
            self._valid = {key.sha256: key for key in self._keys.all() if key.revoked_at is None}
        except CoinbeamError as error:
            logger.warning("The keys cannot be read: %s", error)

    def find(self, text: str) -> Key | None:
        """The valid key of a text, or None.

        Compared are digests: the time that the look-up takes tells nothing about a key.
        """
        if not _KEY.fullmatch(text):
            return None
        wanted = digest(text)
        found = self._valid.get(wanted)
        return found if found and hmac.compare_digest(found.sha256, wanted) else None


def digest(text: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(text.encode()).hexdigest()


def _parsed(text: str | bytes | None) -> tuple[Key, ...]:
    if text is None:
        return ()
    try:
        return _Stored.model_validate_json(text).keys
    except ValidationError as error:
        raise TerminalError(f"{PATH} is damaged: {error.error_count()} faults.", "Mend it, or make new keys.") from None
