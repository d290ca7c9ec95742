"""Start the simulator: ``python -m local.simulator --port 9080``. Stop it with Ctrl-C or SIGTERM."""

import argparse
import socket
import sys
from collections.abc import Sequence
from datetime import datetime

import uvicorn

from coinbeam.clock import parse_instant
from coinbeam.errors import CoinbeamError, SettingsError
from coinbeam.settings import LocalSettings, load_settings
from local.environment import HOST
from local.simulator.app import create_app, server_config
from local.simulator.binance.tape import MOST_PER_SECOND
from local.simulator.faults import FaultOrder, Profile
from local.simulator.service import SimulatedApi, SimulatorOptions

_BACKLOG = 128
"""Calls that may wait while the market is built: a reader of the announcement can connect."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop.

    Returns:
        0 after a stop, 2 for a wrong argument or setting or a port that is taken.
    """
    try:
        local = load_settings().local
        arguments = _parser(local).parse_args(argv)
        listener = _listen(arguments.port)
        _serve(listener, _options(arguments))
    except CoinbeamError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser(local: LocalSettings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.simulator", description="A CoinGecko that runs on this machine."
    )
    add, start = parser.add_argument, local.simulator
    port, limit = local.ports.simulator, start.calls_per_minute
    add("--port", type=int, default=port, help="loopback port; 0 takes a free one (default: %(default)s)")
    add("--seed", type=int, default=start.seed, help="the same seed gives the same market (default: %(default)s)")
    add("--coins", type=int, default=start.coins, help="coins in the market (default: %(default)s)")
    add("--faults", default=start.faults, help=f"one of {', '.join(Profile)} (default: %(default)s)")
    add("--retry-after", type=int, default=1, help="seconds that the profile throttle asks for (default: %(default)s)")
    add("--at", type=_instant, default=None, help="stop the clock at this ISO 8601 instant")
    add("--calls-per-minute", type=float, default=limit, help="more calls answer 429 (default: %(default)s)")
    rate = start.trades_per_second
    add("--trades-per-second", type=float, default=rate, help="of each symbol (default: %(default)s)")
    return parser


def _instant(text: str) -> datetime:
    try:
        return parse_instant(text)
    except SettingsError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _options(arguments: argparse.Namespace) -> SimulatorOptions:
    if arguments.faults not in list(Profile):
        found = f"--faults is {arguments.faults!r}, which is no fault profile."
        raise SettingsError(found, f"Take one of {', '.join(Profile)}.")
    coins, calls, trades = arguments.coins, arguments.calls_per_minute, arguments.trades_per_second
    if coins < 1 or calls <= 0 or not 0 < trades <= MOST_PER_SECOND:
        found = f"--coins is {coins}, --calls-per-minute {calls}, --trades-per-second {trades}."
        raise SettingsError(found, f"All must be above zero, and the trades at most {MOST_PER_SECOND}.")
    order = FaultOrder(profile=Profile(arguments.faults), retry_after=arguments.retry_after)
    return SimulatorOptions(arguments.seed, coins, order, arguments.at, calls, trades)


def _listen(port: int) -> socket.socket:
    """A listening socket, taken before the market is built so that a second start fails at once.

    Raises:
        SettingsError: the port is taken.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        remedy = "Stop the other process, or take another one with --port or local.ports.simulator."
        raise SettingsError(f"Port {port} of {HOST} cannot be used: {error}.", remedy) from error
    return listener


def _serve(listener: socket.socket, options: SimulatorOptions) -> None:
    config = server_config(create_app(SimulatedApi(options)))
    address = f"http://{HOST}:{listener.getsockname()[1]}/api/v3"
    print(f"CoinGecko simulator: {address} seed={options.seed} coins={options.coins}", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
