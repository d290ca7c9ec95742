"""The connection of one machine to its Pub/Sub."""

from collections.abc import Iterable
from typing import Any

import grpc

_ANY_SIZE = ("grpc.max_receive_message_length", -1)


def take_large_messages() -> None:
    """Let the client of Pub/Sub that Beam opens take messages of any size, as it does in Google Cloud.

    To an emulator it opens a plain channel, whose limit is 4 MiB; Pub/Sub takes messages of 10 MB. One that cannot be
    received would come again for a day, and keep others of its pull back. No setting of client or channel reaches it.
    """
    opened = grpc.insecure_channel

    def insecure_channel(target: str, options: Iterable[Any] | None = None, compression: Any = None) -> grpc.Channel:
        return opened(target, [*(options or ()), _ANY_SIZE], compression)

    grpc.insecure_channel = insecure_channel
