"""Trades in windows of 60 s: from the topic as they come, or again from what was landed.

The same transform makes the rows of both, and they are the same bit for bit. The stream appends its panes to
``trade_window_pane`` and merges them into ``trade_window_fact``; it ends when it is stopped. A batch writes files.

From landed lines, plain or gzip, on one machine::

    python -m beam_pipelines.trade_windows --runner=DirectRunner \
        --source='/tmp/coinbeam/landing/trades/2026/11/27/*' --output=/tmp/again

From a subscription, on one machine, with ``PUBSUB_EMULATOR_HOST`` set; `coinbeam stream up` starts it so::

    python -m beam_pipelines.trade_windows --runner=DirectRunner --source=simulator \
        --subscription=projects/coinbeam-local/subscriptions/trade-windows --output=/tmp/stream

On Dataflow: ``--runner=DataflowRunner --source=live --subscription=projects/PROJECT/subscriptions/trade-windows
--output=gs://BUCKET/stream --project=PROJECT --region=us-central1 --temp_location=gs://BUCKET/dataflow/temp``.

A batch leaves in ``--output``: ``trade_windows_SYMBOL.ndjson``, or ``trade_windows_none.ndjson`` where there was no
trade, ``rejected_trades.ndjson`` and ``report_trade_windows.json``.
"""

import sys
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import StandardOptions

from beam_pipelines.job.command import execute
from beam_pipelines.job.launch import Launch, prepare
from beam_pipelines.job.options import is_local_runner
from beam_pipelines.job.replay import find_files
from beam_pipelines.job.report import Report, WriteReport, final_report, forget
from beam_pipelines.trades.channel import take_large_messages
from beam_pipelines.trades.files import ReadLanded, WriteFiles
from beam_pipelines.trades.sink import WriteStream
from beam_pipelines.trades.windows import PANES, REFUSED, Run, TradeWindows, as_message
from coinbeam.batch.jobs import STREAM_RUNNER
from coinbeam.batch.jobs import TRADE_WINDOWS as JOB
from coinbeam.batch.options import TradeOptions, parts
from coinbeam.clock import Clock, utc_now
from coinbeam.errors import SettingsError
from coinbeam.settings import Settings
from coinbeam.sources.registry import BINANCE, COINGECKO


def run(argv: Sequence[str], settings: Settings | None = None, clock: Clock = utc_now) -> Report:
    """Run the job: a batch to its end, a stream until it is stopped.

    Raises:
        SettingsError: an option or setting is wrong; nothing was read.
    """
    launch = prepare(JOB, argv, settings, clock)
    given = launch.read(TradeOptions)
    if given.subscription and (given.day or given.until):
        raise SettingsError("--day and --until are for landed files: a stream has all windows.", "Leave them out.")
    if given.subscription:
        return run_stream(launch, given, given.subscription)
    if launch.job.glob is None:
        raise SettingsError(
            "There is nothing to read: --source names no files, and there is no --subscription.",
            "Name the landed files, like --source='landing/trades/2026/11/27/*'.",
        )
    return run_batch(launch, given, launch.job.glob)


def run_batch(launch: Launch, given: TradeOptions, glob: str) -> Report:
    """Compute the windows of landed lines, into files."""
    uris, output = sorted({uri for one in parts(glob) for uri in find_files(one)}), launch.job.output
    run = described(launch, given, is_batch=True)
    head = {"job": JOB.name, "mode": "replay", "run_id": run.run_id, "files": len(uris)}
    forget(launch.report_uri)
    with beam.Pipeline(options=launch.options) as pipeline:
        made = pipeline | "Landed" >> ReadLanded(uris) | "Windows" >> TradeWindows(run)
        counts = (made[PANES], made[REFUSED]) | "Files" >> WriteFiles(output)
        _ = counts | "Report" >> WriteReport(launch.report_uri, head, {})
    return final_report(launch.report_uri, pipeline.result)


def run_stream(launch: Launch, given: TradeOptions, subscription: str) -> Report:
    """Read a subscription until somebody stops the job."""
    standard, is_local = launch.options.view_as(StandardOptions), is_local_runner(launch.options)
    standard.streaming = True
    if is_local:
        standard.runner = STREAM_RUNNER
        take_large_messages()
    # The runner of one machine takes its watermark from the clock, and an attribute that is no time would cost the
    # other messages of its pull. Trades carry their own time.
    event_time = None if is_local else "event_time"
    run = described(launch, given)
    with beam.Pipeline(options=launch.options) as pipeline:
        messages = (
            pipeline
            | "Trades"
            >> beam.io.ReadFromPubSub(subscription=subscription, with_attributes=True, timestamp_attribute=event_time)
            | "Message" >> beam.Map(as_message)
        )
        made = messages | "Windows" >> TradeWindows(run)
        _ = (made[PANES], made[REFUSED]) | "Write" >> WriteStream(launch.settings)
    return {"job": JOB.name, "mode": "stream", "run_id": run.run_id}


def described(launch: Launch, given: TradeOptions, *, is_batch: bool = False) -> Run:
    """What the rows of this run say of it."""
    symbols = given.symbols if given.symbols is not None else () if is_batch else launch.settings.stream.symbols
    started = launch.clock()
    name = launch.job.batch or f"{'trades' if is_batch else 'stream'}-{started:%Y%m%dT%H%M%SZ}"
    kind = given.venue or ("live" if launch.job.source is None else launch.job.source.value)
    sources = (BINANCE.answering(kind), COINGECKO.answering(given.price_venue or kind))
    chosen = frozenset(symbols)
    return Run(name, sources[0], name, launch.clock, chosen, is_batch, sources[1], given.day, given.until)


if __name__ == "__main__":
    sys.exit(execute(run, JOB))
