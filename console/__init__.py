"""The command line ``coinbeam``. Exit codes: 0 done, 1 failed, 2 misuse."""

import sys

from coinbeam.errors import CoinbeamError, SettingsError, disk_full
from console.app import app
from console.output import adapt_streams, complain

__all__ = ["main"]


def main() -> None:
    """Run the command line; an expected error is one clear line, never a traceback."""
    adapt_streams()
    try:
        app()
    except SettingsError as error:
        complain(str(error))
        sys.exit(2)
    except CoinbeamError as error:
        complain(str(error))
        sys.exit(1)
    except Exception as error:
        full = disk_full(error)
        if full is None:
            raise
        complain(str(full))
        sys.exit(1)
