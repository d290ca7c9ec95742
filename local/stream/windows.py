"""Start the pipeline of one machine where it left off: ``python -m local.stream.windows``.

Its runner acknowledges a message before it is done with it, and keeps windows in memory. So the subscription, which
retains what was acknowledged, is first set back to before the oldest window that is not whole; what comes again
changes nothing.
"""

import argparse
import logging
import os
import sys

from coinbeam.batch.jobs import TRADE_WINDOWS
from coinbeam.clock import utc_now
from coinbeam.feeds.trades import topic
from coinbeam.feeds.trades.merge import seek_point
from coinbeam.feeds.trades.rewind import Rewind
from coinbeam.settings import Settings, load_settings
from coinbeam.warehouse.client import Warehouse

log = logging.getLogger(__name__)


def seek(settings: Settings, symbols: list[str]) -> str:
    """Set the subscription back; its full name.

    Raises:
        TransientError: the warehouse or the broker does not answer.
    """
    topic.ensure_topic(settings)
    warehouse = Warehouse(settings)
    point = seek_point(warehouse, symbols, utc_now())
    with topic.subscriber(settings) as client:
        rewind = Rewind(warehouse, client, topic.windows_subscription(settings, symbols))
        rewind.seek(point)
    log.info("The stream is read from %s on", point.isoformat())
    return rewind.subscription


def main() -> None:
    """Seek, and become the Beam job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--output", required=True)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    settings = load_settings()
    subscription = seek(settings, given.symbols.split(","))
    topic.use_emulator(settings)
    job = [
        sys.executable,
        "-m",
        f"beam_pipelines.{TRADE_WINDOWS.name}",
        "--runner=DirectRunner",
        f"--source={given.source}",
    ]
    where = [f"--subscription={subscription}", f"--symbols={given.symbols}", f"--output={given.output}"]
    os.execv(sys.executable, [*job, *where])


if __name__ == "__main__":
    main()
