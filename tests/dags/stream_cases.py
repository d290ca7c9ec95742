"""What is done with the streaming job, step by step, each case against a service of its own, as JSON: run in an
interpreter of its own, with a local Pub/Sub. The warehouse has no window.
"""

import json
import sys
from types import SimpleNamespace
from typing import Any

from coinbeam.clock import utc_now
from coinbeam.feeds.forms import StreamAction
from coinbeam.feeds.trades import topic
from coinbeam.settings import load_settings
from dags.stream_job import StreamJob
from tests.dags.description import MARK
from tests.dags.on_dataflow import redirect

WAREHOUSE: Any = SimpleNamespace(
    settings=load_settings(), clock=utc_now, rows=lambda *_, **__: [], names=lambda: {"trade_window_fact": "fact"}
)


def operate(action: StreamAction, release: str) -> str:
    """A task of a deployment of a release; what it said, or its error."""
    settings = load_settings().model_copy(update={"release": release})
    try:
        return StreamJob(settings, WAREHOUSE).operate(action).words
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def snapshots() -> list[str]:
    """The snapshots that there are."""
    settings = load_settings()
    with topic.subscriber(settings) as client:
        return [one.name for one in client.list_snapshots(project=f"projects/{topic.project_of(settings)}")]


def main() -> None:
    """Run the cases that the first argument lists: name, address of REST and of gRPC, pairs of action and release."""
    topic.ensure_topic(load_settings())
    told = {}
    for name, rest, rpc, actions in json.loads(sys.argv[1]):
        redirect(rest, rpc)
        said = [operate(StreamAction(action), release) for action, release in actions]
        told[name] = {"said": said, "snapshots": snapshots()}
    print(MARK + json.dumps(told))


if __name__ == "__main__":
    main()
