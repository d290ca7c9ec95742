"""What keeps a secret out of everything that a process writes: logs, standard streams and the texts of tracebacks.

A log record is made by one factory, whichever logger writes it; ``print``, warnings and the interpreter's own
tracebacks go to the standard streams; an error of a Beam worker leaves it as the text of a traceback. All three are
guarded in the process that learns a secret, from that moment on.
"""

import atexit
import io
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

MASK = "***"
"""What is shown in place of a secret."""

_SECRETS: list[str] = []
"""What this process must not show."""

SECRET_VARIABLES = ("COINGECKO_API_KEY", "COINBEAM_COINGECKO__API_KEY", "COINBEAM_ALERTS__WEBHOOK_URL")
"""Variables of the environment that hold a secret, whether or not a process ever asks for it."""

CONNECTION_VARIABLES = ("COINBEAM_LINEAGE__TRANSPORT", "AIRFLOW__OPENLINEAGE__TRANSPORT", "COINBEAM_POSTGRES__DSN")
"""Variables that may hold a credential among other things."""

_CREDENTIAL = re.compile(
    r""""[^"]*(?:key|token|secret|password)[^"]*"\s*:\s*"(?P<json>[^"]+)"|\bpassword\s*=\s*(?P<dsn>[^\s'&]+)|://[^/@\s:]*:(?P<url>[^/@\s]+)@""",
    re.IGNORECASE,
)
"""A credential within a connection string or a JSON object, which is shown without the rest of it in an error."""

_SHORTEST_PART = 8
"""A shorter part may be a word, and would blot out what has nothing to do with it."""

_FEWEST_CHARACTERS = 6
"""The shortest beginning of a secret that is masked where the output ends with it."""


def keep_secret(secret: str) -> None:
    """Mask a secret in all that this process writes from now on. Safe to call again, and with another secret.

    A stream that somebody puts in the place of a standard one later is guarded at the next call.
    """
    if not secret:
        return
    if secret not in _SECRETS:
        _SECRETS.append(secret)
    _guard_logs()
    _guard_tracebacks()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(getattr(stream, "buffer", None), _MaskingBuffer):
            setattr(sys, name, _guarded(stream))


def keep_secrets_of(environment: Mapping[str, str]) -> None:
    """Mask the secrets of an environment: a worker that never needs the key inherits it all the same."""
    for name in SECRET_VARIABLES:
        keep_secret(environment.get(name, "").strip())
    for name in CONNECTION_VARIABLES:
        for found in _CREDENTIAL.finditer(environment.get(name, "")):
            part = found["json"] or found["dsn"] or found["url"]
            if len(part) >= _SHORTEST_PART:
                keep_secret(part)


def redact(text: str, *secrets: str | None) -> str:
    """The text with every given secret masked."""
    for secret in secrets:
        text = text.replace(secret, MASK) if secret else text
    return text


def _guard_logs() -> None:
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, _RecordGuard):
        logging.setLogRecordFactory(_RecordGuard(factory))


class _RecordGuard:
    """A log record factory that masks every secret in the message, the arguments and the traceback of a record.

    A factory and not a filter: filters of a logger do not see the records of its children, and filters of a handler
    miss other handlers.
    """

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self.make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self.make(*args, **kwargs)
        self._mask_message(record)
        self._mask_traceback(record)
        return record

    def _mask_message(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception:  # a format that does not fit its arguments: the handler reports it with them as they are
            text = f"{record.msg} {record.args!r}"
        if any(secret in text for secret in _SECRETS):
            record.msg, record.args = redact(text, *_SECRETS), ()

    def _mask_traceback(self, record: logging.LogRecord) -> None:
        if not isinstance(record.exc_info, tuple):
            return
        text = "".join(_format_exception(record.exc_info[1]))
        if any(secret in text for secret in _SECRETS):
            # Both: a handler that formats exc_info itself would show the secret again.
            record.exc_text, record.exc_info = redact(text.rstrip(), *_SECRETS), None


_format = traceback.TracebackException.format


def _format_exception(error: BaseException | None) -> Iterator[str]:
    return _format(traceback.TracebackException.from_exception(error)) if error else iter(())


def _masked_format(self: traceback.TracebackException, **options: Any) -> Iterator[str]:
    return (redact(line, *_SECRETS) for line in _format(self, **options))


def _guard_tracebacks() -> None:
    """Every function of ``traceback`` writes through this one: a worker of Beam sends its errors as such texts."""
    traceback.TracebackException.format = _masked_format  # type: ignore[method-assign, assignment]


def _guarded(stream: TextIO) -> io.TextIOWrapper:
    """A stream of texts and bytes that ends in another one, without the secrets."""
    stream.flush()
    return io.TextIOWrapper(
        _MaskingBuffer(stream),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors=getattr(stream, "errors", None) or "backslashreplace",
        newline="",  # the guarded stream, where it knows lines at all, has its own
        line_buffering=True,
        write_through=True,
    )


class _MaskingBuffer(io.BufferedIOBase):
    """The bytes of a stream, with every secret masked, though it came in several pieces.

    An end that may be the beginning of a secret waits for the next piece, which a flush does not change.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._kept = b""
        self._renew_lock()
        os.register_at_fork(after_in_child=self._renew_lock)
        atexit.register(self._let_go)

    def _renew_lock(self) -> None:
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        """What the guarded stream is called."""
        return str(getattr(self._stream, "name", ""))

    def writable(self) -> bool:
        """Bytes may be written."""
        return True

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor below, for children: what they write themselves, they guard themselves."""
        return self._stream.fileno()

    def write(self, data: Any) -> int:
        """Pass on what cannot be the beginning of a secret."""
        given = bytes(data)
        with self._lock:
            text = self._kept + given
            for secret in _SECRETS:
                text = text.replace(secret.encode(), MASK.encode())
            end = len(text) - max((_overlap(text, secret.encode()) for secret in _SECRETS), default=0)
            self._kept = text[end:]
            self._pass_on(text[:end])
        return len(given)

    def _pass_on(self, data: bytes) -> None:
        below = getattr(self._stream, "buffer", None)
        if below is None:
            self._stream.write(data.decode(self._stream.encoding or "utf-8", "backslashreplace"))
        else:
            below.write(data)

    def flush(self) -> None:
        """Flush the guarded stream."""
        if not self._stream.closed:
            self._stream.flush()

    def close(self) -> None:
        """Write what waits; the guarded stream is not ours to close."""
        if not self.closed:
            self._let_go()
            super().close()

    def _let_go(self) -> None:
        """Write what waits, at the end."""
        with self._lock:
            if self._kept and not self._stream.closed:
                self._pass_on(self._kept if len(self._kept) < _FEWEST_CHARACTERS else MASK.encode())
                self._stream.flush()
            self._kept = b""


def _overlap(text: bytes, secret: bytes) -> int:
    """How many bytes at the end of a text are the beginning of a secret."""
    longest = min(len(text), len(secret) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(secret[:length])), 0)
