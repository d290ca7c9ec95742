"""Whether the ports of the local cloud are free, and who holds them."""

import socket

import psutil

from coinbeam.errors import TerminalError
from coinbeam.settings import Settings
from local.environment import HOST
from local.services import services


class PortTakenError(TerminalError):
    """Another program listens on a port of the local cloud."""


def check_free(settings: Settings) -> None:
    """Check every port of the services.

    Raises:
        PortTakenError: one is taken; the message names the port, its holder if known, and the setting to change.
    """
    for service in services(settings):
        for name, port in service.ports.items():
            refuse_taken(service.name, name, port)


def refuse_taken(service: str, name: str, port: int) -> None:
    """Check the port of one service, which is that setting below ``local.ports``.

    Raises:
        PortTakenError: it is taken; see :func:`check_free`.
    """
    if not _is_free(port):
        variable = f"COINBEAM_LOCAL__PORTS__{name.upper()}"
        message = f"Port {port} of the local {service} service is taken{_holder(port)}."
        own = "Stop it (a cloud of this folder: `coinbeam local down`)"
        raise PortTakenError(message, f"{own}, or choose another port: {variable}={port + 1}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    """Which process listens there, as far as this user may know."""
    try:
        connections = psutil.net_connections("tcp")
        pid = next(
            c.pid for c in connections if c.laddr and c.laddr.port == port and c.status == psutil.CONN_LISTEN and c.pid
        )
        return f" by process {pid} ({' '.join(psutil.Process(pid).cmdline())[:120]})"
    except (StopIteration, psutil.Error):
        return ""
