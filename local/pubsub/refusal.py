"""What the broker answers instead of doing what it was asked: Google's code, and a sentence."""

import grpc

from coinbeam.errors import TerminalError


class RefusedError(TerminalError):
    """A call that cannot be done.

    Args:
        code: the status that Google's service answers in this case.
        message: what is wrong, with the value.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def invalid(message: str) -> RefusedError:
    """The request is wrong, whatever the state of the broker."""
    return RefusedError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_built(message: str) -> RefusedError:
    """Google's service can do it, this one cannot."""
    return RefusedError(grpc.StatusCode.UNIMPLEMENTED, message)


def not_found(name: str) -> RefusedError:
    """There is no such topic, subscription or snapshot."""
    return RefusedError(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={name.rpartition('/')[2]}).")


def exists(name: str) -> RefusedError:
    """There is one of this name."""
    last = name.rpartition("/")[2]
    return RefusedError(grpc.StatusCode.ALREADY_EXISTS, f"Resource already exists in the project (resource={last}).")


def out_of_order(message: str) -> RefusedError:
    """The request is right, but not in this state."""
    return RefusedError(grpc.StatusCode.FAILED_PRECONDITION, message)
