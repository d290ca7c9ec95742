"""``python -m local up|down|status|reset|live``: the local cloud. Exit codes: 0 done, 1 failed, 2 misuse."""

import argparse
import sys
from collections.abc import Sequence

from coinbeam.errors import CoinbeamError, SettingsError, disk_full
from coinbeam.settings import Settings, load_settings
from local import cloud

_COMMANDS = {
    "up": "start the services, the bucket and the datasets",
    "down": "stop the services; the data stay",
    "status": "show which services answer, and why one died",
    "reset": "stop the services and delete their data",
    "live": "move from simulated to real prices: put the warehouse aside, keep what was really landed, and start anew",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    args = _parser().parse_args(argv)
    try:
        return _run(load_settings(), args)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except CoinbeamError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        full = disk_full(error)
        if full is None:
            raise
        print(full, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="coinbeam local", description="BigQuery, Cloud Storage and CoinGecko on this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="|".join(_COMMANDS))
    for name, text in _COMMANDS.items():
        commands.add_parser(name, help=text, description=text.capitalize() + ".")
    commands.choices["reset"].add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _run(settings: Settings, args: argparse.Namespace) -> int:
    match args.command:
        case "up":
            cloud.up(settings, print)
        case "down":
            cloud.down(settings, print)
        case "status":
            return _status(settings)
        case "reset":
            return 0 if cloud.reset(settings, print, lambda question: args.yes or _ask(question)) else 1
        case "live":
            from local.live import go_live  # the Google clients take most of a second, which `up` need not wait for

            go_live(settings, print)
    return 0


def _status(settings: Settings) -> int:
    entries = cloud.status(settings)
    for entry in entries:
        print(f"{entry.service.name:<10} {entry.condition:<9} {entry.service.url}")
    if report := cloud.failure_report(settings):
        print(report)
    return 0 if all(entry.condition == "up" for entry in entries) else 1


def _ask(question: str) -> bool:
    """Ask a person; where nobody can answer, the answer is no."""
    if not sys.stdin.isatty():
        print(f"{question} Nobody is there to confirm: use --yes.", file=sys.stderr)
        return False
    return input(f"{question} Go on? [y/N] ").strip().lower() in {"y", "yes"}


if __name__ == "__main__":
    sys.exit(main())
