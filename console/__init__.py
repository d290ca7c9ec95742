"""The command line ``coinbeam``. Exit codes: 0 done, 1 failed, 2 misuse."""

import sys

from coinbeam.errors import CoinbeamError, SettingsError
from console.app import app
from console.output import complain

__all__ = ["main"]


def main() -> None:
    """Run the command line; an expected error is one clear line, never a traceback."""
    try:
        app()
    except SettingsError as error:
        complain(str(error))
        sys.exit(2)
    except CoinbeamError as error:
        complain(str(error))
        sys.exit(1)
