"""One small hierarchy of errors: terminal ones need a person or a change, transient ones deserve another try."""

import errno
import importlib
import re

_RAISED = re.compile(r"^(?P<module>coinbeam(?:\.\w+)+)\.(?P<kind>\w+): (?P<text>.+)$", re.MULTILINE)
_STEP = re.compile(r" \[while running '[^']*'\]")


class CoinbeamError(Exception):
    """Base of every error that Coinbeam raises on purpose.

    Args:
        message: what failed and the value that made it fail.
        remedy: what to do next; appended to the text.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message = message
        self.remedy = remedy

    def __reduce__(self) -> tuple[type["CoinbeamError"], tuple[str, str]]:
        return type(self), (self.message, self.remedy)


class TerminalError(CoinbeamError):
    """Trying again without a change cannot help."""


class TransientError(CoinbeamError):
    """The same call may succeed later."""


class DiskFullError(TransientError):
    """There is no room to write; the same work goes on when there is."""


class WriteConflictError(TransientError):
    """Another statement changed the same rows at the same moment; nothing was written."""


class SettingsError(TerminalError):
    """A setting is missing, malformed or contradicts another; the message names it."""


class ContractError(TerminalError):
    """A contract is not valid, or the warehouse has drifted from it in a way that no additive migration can mend."""


class PublishBlockedError(TerminalError):
    """The audit refused a batch; nothing was published."""


class StreamDiffersError(TerminalError):
    """A batch of the landed trades has other figures than the stream had."""


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SAYS_NO_ROOM = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|database or disk is full", re.IGNORECASE
)


def disk_full(error: BaseException) -> DiskFullError | None:
    """The error of a full disk as one sentence, or None when an error is another one.

    Libraries wrap it, and runners pass on its text only.
    """
    at: BaseException | None = error
    while at is not None:
        if (isinstance(at, OSError) and at.errno in _NO_ROOM) or _SAYS_NO_ROOM.search(str(at)):
            file = f" at {at.filename}" if isinstance(at, OSError) and at.filename else ""
            remedy = "Make room, and run the same command again: it goes on where it stopped."
            return DiskFullError(f"The disk is full{file}.", remedy)
        at = at.__cause__ or at.__context__
    return None


def raised_in(text: str) -> CoinbeamError | None:
    """The Coinbeam error that a traceback ends in, or None when it was none of ours.

    Runners pass on the text of a worker's traceback, not the exception.
    """
    for found in reversed(list(_RAISED.finditer(text))):
        kind = getattr(importlib.import_module(found["module"]), found["kind"], None)
        if isinstance(kind, type) and issubclass(kind, CoinbeamError):
            return kind(without_step(found["text"]))
    return None


def without_step(text: str) -> str:
    """A message without what Beam adds to it: the step that was running."""
    return _STEP.sub("", text)
