"""Beam's servers as the tests need them: on loopback only, and a job service with two workers, for which its own
command has no option.

``python -m tests.beam_pipelines.job_service jobs --job_port=P`` or ``... pool --service_port=P``
"""

import sys
from typing import Any

import grpc
from apache_beam.runners.portability import local_job_service_main
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.worker import worker_pool_main

WORKERS = 2
_new_runner = FnApiRunner.__init__
_new_server = grpc.server


def _with_workers(self: FnApiRunner, *arguments: Any, **named: Any) -> None:
    _new_runner(self, *arguments, **named)
    self._num_workers = WORKERS


def _on_loopback(*arguments: Any, **named: Any) -> grpc.Server:
    """A server that listens where it is told, but for "everywhere", which becomes loopback."""
    server = _new_server(*arguments, **named)
    listen = server.add_insecure_port
    server.add_insecure_port = lambda address: listen(address.replace("[::]", "localhost"))  # type: ignore[method-assign]
    return server


def main() -> None:
    """Serve jobs, or start workers, until killed."""
    FnApiRunner.__init__, grpc.server = _with_workers, _on_loopback
    kind, *argv = sys.argv[1:]
    {"jobs": local_job_service_main.run, "pool": worker_pool_main.main}[kind](argv)


if __name__ == "__main__":
    main()
