"""``python -m local up|down|status|reset``: the local cloud. Exit codes: 0 done, 1 failed, 2 misuse."""

import argparse
import sys
from collections.abc import Callable, Sequence

from coinbeam.errors import CoinbeamError, SettingsError
from coinbeam.settings import Settings, load_settings
from local import cloud


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(load_settings(), args))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except CoinbeamError as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="coinbeam local", description="BigQuery, Cloud Storage and CoinGecko on this machine."
    )
    commands = parser.add_subparsers(required=True, metavar="up|down|status|reset")
    _add(commands, "up", _up, "start the services, the bucket and the datasets")
    _add(commands, "down", _down, "stop the services; the data stay")
    _add(commands, "status", _status, "show which services answer, and why one died")
    reset = _add(commands, "reset", _reset, "stop the services and delete their data")
    reset.add_argument("--yes", action="store_true", help="do not ask")
    return parser


_Command = Callable[[Settings, argparse.Namespace], int]


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, run: _Command, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.set_defaults(run=run)
    return parser


def _up(settings: Settings, _: argparse.Namespace) -> int:
    cloud.up(settings, print)
    return 0


def _down(settings: Settings, _: argparse.Namespace) -> int:
    cloud.down(settings, print)
    return 0


def _status(settings: Settings, _: argparse.Namespace) -> int:
    entries = cloud.status(settings)
    for entry in entries:
        print(f"{entry.service.name:<10} {entry.condition:<9} {entry.service.url}")
    if report := cloud.failure_report(settings):
        print(report)
    return 0 if all(entry.condition == "up" for entry in entries) else 1


def _reset(settings: Settings, args: argparse.Namespace) -> int:
    return 0 if cloud.reset(settings, print, lambda question: args.yes or _ask(question)) else 1


def _ask(question: str) -> bool:
    """Ask a person; where nobody can answer, the answer is no."""
    if not sys.stdin.isatty():
        print(f"{question} Nobody is there to confirm: use --yes.", file=sys.stderr)
        return False
    return input(f"{question} Go on? [y/N] ").strip().lower() in {"y", "yes"}


if __name__ == "__main__":
    sys.exit(main())
