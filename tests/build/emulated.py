"""The ``sitecustomize`` of the environment that stands for an image: reads by the Storage Read API go to the emulator.

BigQuery's REST client and Cloud Storage's have a variable for the address of an emulator; this one client has none. Python
imports a module of this name at its start, so that every process of the image has it.
"""

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

ADDRESS = "BIGQUERY_STORAGE_EMULATOR"
"""The variable that holds host and port."""
_MODULE = "google.cloud.bigquery_storage_v1.client"


class _Redirecting(MetaPathFinder):
    """Finds the module of the client once, and changes its client after it was loaded."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the signature is Python's
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """The module, with a loader that changes its client."""
        if fullname != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            _redirect(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _redirect(module: Any) -> None:
    create = module.BigQueryReadClient.__init__

    def connect(self: Any, **given: Any) -> None:
        import grpc
        from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

        options = [("grpc.max_receive_message_length", -1)]
        channel = grpc.insecure_channel(os.environ[ADDRESS], options=options)
        create(self, **{**given, "transport": BigQueryReadGrpcTransport(channel=channel)})

    module.BigQueryReadClient.__init__ = connect


if os.environ.get(ADDRESS):
    sys.meta_path.insert(0, _Redirecting())
