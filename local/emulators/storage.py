"""The local Cloud Storage: gcp-storage-emulator on a folder, on loopback, quiet.

``python -m local.emulators.storage --port 9023 --data-dir DIR`` keeps every object as a plain file
``DIR/.cloudstorage/<bucket>/<name>``.
"""

import argparse
import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

OBJECTS_FOLDER = ".cloudstorage"
"""Where, below its data folder, the emulator keeps one folder per bucket."""


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m local.emulators.storage", description="Cloud Storage on a folder, on loopback."
    )
    parser.add_argument("--port", type=int, required=True, help="HTTP port")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the objects")
    args = parser.parse_args(argv)
    # here, since the supervisor imports this module for the layout alone
    from gcp_storage_emulator.server import create_server

    logging.getLogger().setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, _interrupt)
    create_server("127.0.0.1", args.port, data_dir=str(args.data_dir)).run()


def _interrupt(_signum: int, _frame: FrameType | None) -> NoReturn:
    """The emulator ends its loop on a keyboard interrupt."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
